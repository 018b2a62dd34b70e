"""Resemblyzer as a peer of `cargo xtask bench`: embeds lists of files when told to, and says how long it took.

Started as `python resemblyzer_lists.py THREADS`. Prints `ready` after import, model load and one warm-up. Then each line
on standard input is a file that names one recording a line; the answer is one line of JSON:
{"seconds": ..., "embeddings": [[...], ...]}. Decoding to embedding is timed, as its own documentation does it:
preprocess_wav, then embed_utterance, file after file.

Needs: Resemblyzer 0.1.4, soundfile, torch.
"""
import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import numpy as np
import soundfile
import torch
from resemblyzer import VoiceEncoder, preprocess_wav

torch.set_num_threads(int(sys.argv[1]))
encoder = VoiceEncoder("cpu", verbose=False)


def embed(path):
    wave, rate = soundfile.read(path, dtype="float32")
    return encoder.embed_utterance(preprocess_wav(wave, source_sr=rate))


noise = np.random.default_rng(0).standard_normal(32000).astype("float32") * 0.05
encoder.embed_utterance(preprocess_wav(noise))
print("ready", flush=True)

for line in sys.stdin:
    with open(line.rstrip("\n")) as listing:
        paths = listing.read().splitlines()
    start = time.perf_counter()
    embeddings = [embed(path) for path in paths]
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "embeddings": [e.tolist() for e in embeddings]}), flush=True)
