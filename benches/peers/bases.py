"""PyTorch as a peer: losses over all speaker bases when told to, as benches/bases.rs has them.

Started as `python bases.py THREADS`. Prints `ready` after import. Then each line on standard input is a case, LOSS SPEAKERS, LOSS one of
softmax, hard, between, hard+between; the answer is one line of JSON: {"peer": version, "seconds": of the value and all gradients,
the median of some, "check": the embeddings' gradient, where there is one, and the first rows of the bases'}. The between-class loss is
that of the sum of the unit bases, not of the matrix of all pairs; hard negatives are found by `topk`.

Needs: torch, numpy.
"""
import json
import statistics
import sys
import time

import torch
from resnet import noise
from torch.nn.functional import cross_entropy, normalize, softplus

UTTERANCES, DIMENSION, NEGATIVES, SECONDS = 100, 128, 100, 0.5

torch.set_num_threads(int(sys.argv[1]))
torch.set_flush_denormal(True)


class Scene:
    def __init__(self, name, speakers):
        self.parts = name.split("+")
        self.bases = noise(1, (speakers, DIMENSION), 0.1).requires_grad_()
        self.bias = torch.zeros(speakers, requires_grad=True)
        self.embeddings = noise(2, (UTTERANCES, DIMENSION), 1.0).requires_grad_()
        self.labels = torch.arange(UTTERANCES) * 7919 % speakers

    def loss(self):
        if self.parts == ["softmax"]:
            return cross_entropy(self.embeddings @ self.bases.T + self.bias, self.labels, reduction="sum")
        unit, total = normalize(self.bases), 0.0
        if "hard" in self.parts:
            cosines = normalize(self.embeddings) @ unit.T
            own = cosines.gather(1, self.labels[:, None])
            others = cosines.detach().scatter(1, self.labels[:, None], -torch.inf)
            nearest = others.topk(NEGATIVES, sorted=False).indices
            total = total + softplus(cosines.gather(1, nearest) - own).sum()
        if "between" in self.parts:
            total = total + unit.sum(0).square().sum() - len(unit)
        return total

    def run(self):
        for parameter in (self.bases, self.bias, self.embeddings):
            parameter.grad = None
        start = time.perf_counter()
        self.loss().backward()
        return time.perf_counter() - start

    def check(self):
        of_embeddings = [] if self.embeddings.grad is None else self.embeddings.grad.flatten().tolist()
        return of_embeddings + self.bases.grad[:UTTERANCES].flatten().tolist()


print("ready", flush=True)
for line in sys.stdin:
    name, speakers = line.split()
    scene = Scene(name, int(speakers))
    scene.run()
    check, times, begun = scene.check(), [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begun < SECONDS:
        times.append(scene.run())
    print(json.dumps({"peer": f"PyTorch {torch.__version__}", "seconds": statistics.median(times), "check": check}), flush=True)
