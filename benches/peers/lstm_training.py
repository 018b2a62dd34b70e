"""PyTorch as a peer of `cargo xtask bench --training`: does the training steps of benches/workload.rs when told to.

Started as `python lstm_training.py THREADS`. Prints `ready` after import. Then each line on standard input is a case as
JSON, {"hidden": 128, "projection": 64, "sequences": 20} with a projection of 0 for none; the answer is one line of JSON:
{"torch": version, "seconds": ..., "loss": ..., "norm": ...}. Timed are forward and backward of the sum of squares of the
last frame's outputs; the first time that a case is asked for, a step goes before that is not timed.

Needs: torch, numpy.
"""
import json
import sys
import time

import numpy as np
import torch

INPUT, FRAMES, LAYERS = 40, 160, 3

torch.set_num_threads(int(sys.argv[1]))
torch.set_flush_denormal(True)


def noise(seed, shape, scale):
    """`noise` of benches/workload.rs."""
    mixed = (np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (mixed >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return torch.from_numpy((values * np.float32(scale)).reshape(shape))


class Step:
    def __init__(self, hidden, projection, sequences):
        self.lstm = torch.nn.LSTM(INPUT, hidden, LAYERS, proj_size=projection, batch_first=True)
        scale = np.float32(1) / np.sqrt(np.float32(hidden))
        seeds = {"weight_ih": 1, "weight_hh": 11, "bias_ih": 21, "weight_hr": 31}
        with torch.no_grad():
            for name, weight in self.lstm.named_parameters():
                kind, layer = name.rsplit("_l", 1)
                # Ours has one bias a gate, PyTorch two.
                values = noise(seeds[kind] + int(layer), tuple(weight.shape), scale) if kind in seeds else torch.zeros(())
                weight.copy_(values)
        self.frames = noise(99, (sequences, FRAMES, INPUT), 1)
        self.run()

    def run(self):
        self.lstm.zero_grad(set_to_none=True)
        start = time.perf_counter()
        outputs, _ = self.lstm(self.frames)
        loss = outputs[:, -1].square().sum()
        loss.backward()
        seconds = time.perf_counter() - start
        slopes = [weight.grad for name, weight in self.lstm.named_parameters() if not name.startswith("bias_hh")]
        norm = sum(slope.double().square().sum() for slope in slopes).sqrt()
        return {"torch": torch.__version__, "seconds": seconds, "loss": loss.item(), "norm": norm.item()}


steps = {}
print("ready", flush=True)
for line in sys.stdin:
    if line not in steps:
        steps[line] = Step(**json.loads(line))
    print(json.dumps(steps[line].run()), flush=True)
