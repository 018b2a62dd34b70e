"""onnxruntime as a peer: embeds 300 frames with a residual network of Heo et al. 2019 when told to, as benches/resnet.rs does.

Started as `python resnet_onnx.py THREADS NETWORK`: THREADS of onnxruntime's intra-op pool, NETWORK `table1` or `table3`. The network
is exported with opset 14, batch norms folded by the exporter. Prints `ready` when the session stands. Then each line on standard
input is a call; the answer is one line of JSON: {"peer": version, "seconds": ..., "processor": ..., "check": the embedding, "peak":
bytes of resident memory at most}. The frames are `noise` of
benches/workload.rs with seed 7.

Needs: torch, onnx, onnxruntime, numpy.
"""
import io
import json
import resource
import sys
import time

import onnxruntime
import torch
from resnet import BINS, Network, noise

FRAMES = 300


def export(name, frames):
    network = io.BytesIO()
    with torch.no_grad():
        torch.onnx.export(Network(name).eval(), (frames,), network, opset_version=14, input_names=["frames"], output_names=["embedding"],
                          dynamo=False)
    return network.getvalue()


threads, name = int(sys.argv[1]), sys.argv[2]
frames = noise(7, (1, FRAMES, BINS), 4)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(export(name, frames), options, providers=["CPUExecutionProvider"])
frames = {"frames": frames.numpy()}
session.run(None, frames)
print("ready", flush=True)
for line in sys.stdin:
    start, used = time.perf_counter(), time.process_time()
    (embedding,) = session.run(None, frames)
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = {"peer": f"onnxruntime {onnxruntime.__version__}", "seconds": seconds, "processor": processor,
              "check": embedding.reshape(-1).tolist(), "peak": peak}
    print(json.dumps(answer), flush=True)
