"""torchaudio's Kaldi fbank and SpeechBrain's Fbank as peers of `cargo xtask bench --suite features`, on the chirp of
benches/workload.rs.

Started as `python features.py THREADS`. Prints `ready` after import. Then each line on standard input is `NAME SECONDS`, NAME one of
kaldi-povey, kaldi-hamming, speechbrain; the answer is one line of JSON: {"peer": versions, "seconds": of a call, the median of
some, "check": sums over the frames}.

Needs: torch, torchaudio, speechbrain.
"""
import json
import statistics
import sys
import time

import speechbrain
import torch
import torchaudio
import torchaudio.compliance.kaldi as kaldi
from speechbrain.lobes.features import Fbank

RATE = 16000

torch.set_num_threads(int(sys.argv[1]))


def chirp(seconds):
    """0.3 sin of 100 Hz rising by 6,400 Hz a second, anew each second."""
    t = torch.arange(RATE, dtype=torch.float64) / RATE
    return (0.3 * torch.sin(2 * torch.pi * (100 + 0.2 * RATE * t) * t)).float().repeat(seconds)


fbank = Fbank(n_mels=80)
cases = {
    "kaldi-povey": lambda wave: kaldi.fbank(wave * 32768, num_mel_bins=80, dither=0.0),
    "kaldi-hamming": lambda wave: kaldi.fbank(wave * 32768, num_mel_bins=80, dither=0.0, window_type="hamming"),
    "speechbrain": lambda wave: fbank(wave)[0],
}
peer = f"torchaudio {torchaudio.__version__}, SpeechBrain {speechbrain.__version__}"
print("ready", flush=True)
with torch.inference_mode():
    for line in sys.stdin:
        name, seconds = line.split()
        wave, times = chirp(int(seconds))[None], []
        features = cases[name](wave)
        for _ in range(max(120 // int(seconds), 3)):
            start = time.perf_counter()
            features = cases[name](wave)
            times.append(time.perf_counter() - start)
        print(json.dumps({"peer": peer, "seconds": statistics.median(times), "check": features.double().sum(0).tolist()}), flush=True)
