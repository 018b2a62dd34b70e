"""SpeechBrain as a peer of `cargo xtask bench --suite ecapa-files`: files to embeddings by its own pipeline.

Started as `python ecapa_files.py THREADS DIRECTORY`, DIRECTORY a model directory of SpeechBrain's. Prints `ready` when the model stands.
Then each line on standard input names a list of files at 16 kHz, one a line; each is read and goes through `encode_batch` by
itself, as `verify_files` does. The answer is one line of JSON: {"peer": version, "seconds": ..., "check": the embeddings of the
first three}.

Needs: torch, speechbrain, soundfile.
"""
import json
import sys
import time

import soundfile
import speechbrain
import torch
from speechbrain.inference.speaker import SpeakerRecognition

torch.set_num_threads(int(sys.argv[1]))
out, sys.stdout = sys.stdout, sys.stderr
model = SpeakerRecognition.from_hparams(source=sys.argv[2], savedir=sys.argv[2], overrides={"pretrained_path": sys.argv[2]})
print("ready", file=out, flush=True)
for line in sys.stdin:
    with open(line.strip()) as listing:
        files = listing.read().split("\n")
    embeddings = []
    start = time.perf_counter()
    for file in filter(None, files):
        samples, rate = soundfile.read(file, dtype="float32")
        wave = model.audio_normalizer(torch.from_numpy(samples), rate)
        embeddings.append(model.encode_batch(wave[None], normalize=False)[0, 0])
    seconds = time.perf_counter() - start
    check = torch.cat(embeddings[:3]).tolist()
    print(json.dumps({"peer": f"SpeechBrain {speechbrain.__version__}", "seconds": seconds, "check": check}), file=out, flush=True)
