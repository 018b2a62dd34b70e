"""resample.safetensors: torchaudio's default resampler on noise and a chirp.

Made with torch 2.8.0, torchaudio 2.8.0, numpy 2.4.6; seeded, no recording. Again: python make_resample.py
Keys: NOISE or CHIRP `.FROM.TO.input` and `.output`, one axis of samples, f32.
"""
import json
import struct

import numpy as np
import torch
import torchaudio

torch.set_num_threads(1)
PAIRS = [(rate, 16000) for rate in (8000, 11025, 22050, 44100, 48000, 96000)] + [(16000, 8000)]
tensors = {}
for source, target in PAIRS:
    n = int(0.04 * source) + 1                      # odd lengths, so the rule for the last sample matters
    random = np.random.default_rng(source + target)
    t = np.arange(n) / source
    sweep = 50 + (0.48 * source - 50) * t / t[-1] / 2   # from 50 Hz to just below half the rate
    signals = {
        "noise": random.uniform(-1, 1, n),
        "chirp": 0.9 * np.sin(2 * np.pi * sweep * t),
    }
    resample = torchaudio.transforms.Resample(source, target)
    for name, signal in signals.items():
        x = signal.astype(np.float32)
        tensors[f"{name}.{source}.{target}.input"] = x
        tensors[f"{name}.{source}.{target}.output"] = resample(torch.from_numpy(x)).numpy()

header, start = {}, 0
for name, values in tensors.items():
    header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [start, start + values.nbytes]}
    start += values.nbytes
head = json.dumps(header).encode()
head += b" " * (-len(head) % 8)
with open("resample.safetensors", "wb") as out:
    out.write(struct.pack("<Q", len(head)) + head + b"".join(values.tobytes() for values in tensors.values()))
