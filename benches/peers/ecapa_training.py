"""PyTorch as a peer: training steps of SpeechBrain's ECAPA-TDNN when told to, as benches/ecapa_training.rs makes them.

Started as `python ecapa_training.py THREADS`. Prints `ready` after import. Then each line on standard input is a case five
numbers, CHANNELS MFA SEQUENCES FRAMES CLASSES; the answer is one line of JSON:
{"peer": version, "seconds": ..., "processor": ..., "check": [loss, root of
the gradients' sum of squares], "peak": ...}. Timed are forward and backward of the additive
angular margin loss over the embeddings (m 0.2, s 30, the mean); the first time that a case is asked for, a step goes before
that is not timed. `peak` is the process's largest memory in bytes above that before the first step.

Needs: torch, numpy, speechbrain.
"""
import json
import resource
import sys
import time
import zlib

import numpy as np
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier
from speechbrain.nnet.losses import AdditiveAngularMargin, LogSoftmaxWrapper

INPUT, SIZE = 80, 192

torch.set_num_threads(int(sys.argv[1]))
torch.set_flush_denormal(True)


def noise(seed, shape, scale):
    """`noise` of benches/workload.rs."""
    mixed = (np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (mixed >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return torch.from_numpy((values * np.float32(scale)).reshape(shape))


def ours(name):
    """Our name of one of SpeechBrain's tensors."""
    layer, kind = name.rsplit(".", 1)
    parts = layer.split(".")
    if parts[0] == "blocks" and parts[1] == "0":
        layer = f"stem.{parts[2]}"
    elif parts[0] == "blocks" and parts[2] == "res2net_block":
        layer = f"blocks.{int(parts[1]) - 1}.res2.{parts[4]}.{parts[5]}"
    elif parts[0] == "blocks" and parts[2] == "se_block":
        layer = f"blocks.{int(parts[1]) - 1}.se.{'down' if parts[3] == 'conv1' else 'up'}"
    elif parts[0] == "blocks":
        layer = f"blocks.{int(parts[1]) - 1}.{parts[2]}.{parts[3]}"
    elif parts[0] == "mfa":
        layer = f"mfa.{parts[1]}"
    elif parts[:2] == ["asp", "tdnn"]:
        layer = f"attention.tdnn.{parts[2]}"
    else:
        layer = {"asp.conv.conv": "attention.conv", "asp_bn.norm": "pool.norm", "fc.conv": "embedding"}[layer]
    return f"{layer}.{kind}"


class Step:
    def __init__(self, channels, mfa, sequences, frames, classes):
        self.network = ECAPA_TDNN(INPUT, lin_neurons=SIZE, channels=[channels] * 4 + [mfa]).train()
        self.classifier = Classifier(SIZE, out_neurons=classes)
        self.loss = LogSoftmaxWrapper(AdditiveAngularMargin(margin=0.2, scale=30))
        with torch.no_grad():
            for name, weight in self.network.named_parameters():
                if ".norm." in name or name.startswith("asp_bn"):
                    continue
                name = ours(name)
                fan = weight[0].numel() if weight.dim() > 1 else 64
                weight.copy_(noise(zlib.crc32(name.encode()), tuple(weight.shape), np.float32(1) / np.sqrt(np.float32(fan))))
            self.classifier.weight.copy_(noise(98, (classes, SIZE), 1))
        self.features = noise(99, (sequences, frames, INPUT), 1)
        self.labels = torch.arange(sequences)[:, None] * 7 % classes
        before = self.memory()
        self.run()
        self.peak = self.memory() - before

    @staticmethod
    def memory():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def run(self):
        parameters = [*self.network.parameters(), *self.classifier.parameters()]
        for parameter in parameters:
            parameter.grad = None
        start, processor = time.perf_counter(), time.process_time()
        loss = self.loss(self.classifier(self.network(self.features)), self.labels)
        loss.backward()
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        norm = sum(parameter.grad.double().square().sum() for parameter in parameters).sqrt()
        return {"peer": f"PyTorch {torch.__version__}", "seconds": seconds, "processor": processor, "check": [loss.item(), norm.item()]}


steps = {}
print("ready", flush=True)
for line in sys.stdin:
    if line not in steps:
        steps[line] = Step(*map(int, line.split()))
    print(json.dumps({**steps[line].run(), "peak": steps[line].peak}), flush=True)
