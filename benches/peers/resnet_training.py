"""PyTorch as a peer: training steps of the residual networks of Heo et al. 2019 when told to, as benches/resnet_training.rs makes them.

Started as `python resnet_training.py THREADS`. Prints `ready` after import. Then each line on standard input is a case , NETWORK SEQUENCES
FRAMES, as `table1 16 200`; the answer is one line of JSON: {"peer": version, "seconds": ..., "processor": ..., "check": [loss, root of the
gradients' sum of squares], "peak": ...}. Timed are forward and backward of the sum of squares of the embeddings; the
first time that a case is asked for, a step goes before that is not timed. `peak` is the process's largest memory in bytes above that
before the first step.

Needs: torch, numpy.
"""
import json
import resource
import sys
import time

import torch
from resnet import BINS, Network, noise

torch.set_num_threads(int(sys.argv[1]))
torch.set_flush_denormal(True)


class Step:
    def __init__(self, network, sequences, frames):
        self.network = Network(network).train()
        self.features = noise(99, (sequences, frames, BINS), 1)
        before = self.memory()
        self.run()
        self.peak = self.memory() - before

    @staticmethod
    def memory():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def run(self):
        parameters = list(self.network.parameters())
        for parameter in parameters:
            parameter.grad = None
        start, processor = time.perf_counter(), time.process_time()
        loss = self.network(self.features).square().sum()
        loss.backward()
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        norm = sum(parameter.grad.double().square().sum() for parameter in parameters).sqrt()
        return {"peer": f"PyTorch {torch.__version__}", "seconds": seconds, "processor": processor, "check": [loss.item(), norm.item()]}


steps = {}
print("ready", flush=True)
for line in sys.stdin:
    if line not in steps:
        network, sequences, frames = line.split()
        steps[line] = Step(network, int(sequences), int(frames))
    print(json.dumps({**steps[line].run(), "peak": steps[line].peak}), flush=True)
