"""onnxruntime as a peer of `cargo xtask bench --ecapa`: embeds frames with SpeechBrain's ECAPA-TDNN when told to.

Started as `python ecapa_onnx.py THREADS DIRECTORY`: THREADS of onnxruntime's intra-op pool, DIRECTORY a SpeechBrain model directory at
full size (1024 channels). The network is exported with opset 14 and a fixed length of 301 frames, without the lengths input.
Prints `ready` when the session stands. Then each line on standard input is a case as JSON, {"runs": 5}; the answer is one line
of JSON: {"onnxruntime": version, "seconds": [one a run], "embedding": [192 values], "peak_kib": resident memory at most}.
The frames are `noise` of benches/workload.rs with seed 7.

Needs: torch, speechbrain, onnx, onnxruntime, numpy.
"""
import io
import json
import os
import resource
import sys
import time

import numpy as np
import onnxruntime
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

FRAMES, BINS = 301, 80


def noise(seed, shape, scale):
    """`noise` of benches/workload.rs."""
    mixed = (np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (mixed >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return (values * np.float32(scale)).reshape(shape)


def export(directory, frames):
    model = ECAPA_TDNN(BINS, channels=[1024, 1024, 1024, 1024, 3072], kernel_sizes=[5, 3, 3, 3, 1], dilations=[1, 2, 3, 4, 1],
                       attention_channels=128, lin_neurons=192)
    model.load_state_dict(torch.load(os.path.join(directory, "embedding_model.ckpt"), map_location="cpu", weights_only=True))
    model.eval()
    network = io.BytesIO()
    with torch.no_grad():
        torch.onnx.export(model, (frames,), network, opset_version=14, input_names=["frames"], output_names=["embedding"], dynamo=False)
    return network.getvalue()


threads, directory = int(sys.argv[1]), sys.argv[2]
frames = noise(7, (1, FRAMES, BINS), 4)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(export(directory, torch.from_numpy(frames)), options, providers=["CPUExecutionProvider"])
session.run(None, {"frames": frames})
print("ready", flush=True)
for line in sys.stdin:
    seconds = []
    for _ in range(json.loads(line)["runs"]):
        start = time.perf_counter()
        (embedding,) = session.run(None, {"frames": frames})
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = {"onnxruntime": onnxruntime.__version__, "seconds": seconds, "embedding": embedding.reshape(-1).tolist(), "peak_kib": peak}
    print(json.dumps(answer), flush=True)
