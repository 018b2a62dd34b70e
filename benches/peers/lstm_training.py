"""PyTorch's time for a training step of the LSTMs in benches/training.rs: forward and backward of the sum of squares of the
last frame's outputs. Prints one JSON object: the median and the least seconds of each size.

    python lstm_training.py --runs 5 --threads 2
"""

import argparse
import json
import statistics
import time

import torch

CASES = {
    "128_64/batch20": (128, 64, 20),
    "256/batch64": (256, 0, 64),
    "768_256/batch64": (768, 256, 64),
}
INPUT, FRAMES, LAYERS = 40, 160, 3


def step(lstm, frames):
    lstm.zero_grad(set_to_none=True)
    outputs, _ = lstm(frames)
    outputs[:, -1].square().sum().backward()


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--case", choices=CASES, help="only this one")
    arguments = arguments.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    results = {"torch": torch.__version__, "threads": torch.get_num_threads(), "cases": {}}
    for name, (hidden, projection, sequences) in CASES.items():
        if arguments.case not in (None, name):
            continue
        lstm = torch.nn.LSTM(INPUT, hidden, LAYERS, proj_size=projection, batch_first=True)
        frames = torch.rand(sequences, FRAMES, INPUT) * 2 - 1
        step(lstm, frames)
        seconds = []
        for _ in range(arguments.runs):
            start = time.perf_counter()
            step(lstm, frames)
            seconds.append(time.perf_counter() - start)
        results["cases"][name] = {"median": statistics.median(seconds), "least": min(seconds), "runs": len(seconds)}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
