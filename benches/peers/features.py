"""Times torchaudio's Kaldi fbank and SpeechBrain's Fbank, one thread: the other side of `features/*` in benches/audio.rs.

Prints one line a case, `NAME SECONDS MILLISECONDS`, the median of many runs on a chirp of 3 s and of 60 s.
"""
import statistics
import time

import torch
import torchaudio.compliance.kaldi as kaldi
from speechbrain.lobes.features import Fbank

RATE = 16000


def chirp(seconds):
    """0.3 sin of 100 Hz rising by 6,400 Hz a second, anew each second."""
    t = torch.arange(RATE, dtype=torch.float64) / RATE
    return (0.3 * torch.sin(2 * torch.pi * (100 + 0.2 * RATE * t) * t)).float().repeat(seconds)


def median_ms(run, runs):
    for _ in range(3):
        run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def main():
    torch.set_num_threads(1)
    fbank = Fbank(n_mels=80)
    cases = {
        "torchaudio-kaldi-povey80": lambda wave: kaldi.fbank(wave * 32768, num_mel_bins=80, dither=0.0),
        "torchaudio-kaldi-hamming80": lambda wave: kaldi.fbank(wave * 32768, num_mel_bins=80, dither=0.0, window_type="hamming"),
        "speechbrain-fbank80": fbank,
    }
    with torch.inference_mode():
        for seconds in (3, 60):
            wave = chirp(seconds)[None]
            for name, run in cases.items():
                print(name, seconds, f"{median_ms(lambda: run(wave), 300 // seconds):.3f}", flush=True)


if __name__ == "__main__":
    main()
