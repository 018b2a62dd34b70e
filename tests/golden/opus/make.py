#!/usr/bin/env python3
"""Synthetic voice in the three modes of Opus, and libopus' decoding of each: NAME and NAME.flac (mono mix, 16 bit).

Needs numpy, scipy, soundfile and an ffmpeg with libopus. Made with ffmpeg 5.1 and libopus 1.3.1. Usage: make.py (in this folder)
"""
import os, subprocess
import numpy as np
import soundfile as sf
from scipy.signal import lfilter

rng = np.random.default_rng(8)
rate = 48000
n = int(0.5 * rate)
t = np.arange(n) / rate
pitch = 120 + 30 * np.sin(2 * np.pi * 3 * t)
y = np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / rate)) * 0.5 + 0.05 * rng.standard_normal(n)
for f, b in ((600, 90), (1300, 120), (2600, 200)):
    r = np.exp(-np.pi * b / rate)
    y = lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * f / rate), r * r], y)
y = y / np.abs(y).max() * 0.5
y += 0.1 * rng.standard_normal(n) * (np.sin(2 * np.pi * 4 * t) > 0.5)
sf.write("source.wav", np.stack([y, 0.6 * np.roll(y, 200)], 1), rate, "PCM_16")


def ff(*arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True)


plain = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact", "-c:a", "libopus"]
ff("-i", "source.wav", "-ac", "1", "-ar", "16000", *plain, "-b:a", "16k", "silk.ogg")
ff("-i", "source.wav", *plain, "-b:a", "32k", "hybrid.webm")
ff("-i", "source.wav", *plain, "-b:a", "96k", "-application", "audio", "celt.ogg")
for name, channels in (("silk.ogg", 1), ("hybrid.webm", 2), ("celt.ogg", 2)):
    ff("-c:a", "libopus", "-i", name, "-f", "f32le", "-c:a", "pcm_f32le", "decoded.raw")
    mix = np.fromfile("decoded.raw", "<f4").reshape(-1, channels).astype(float).mean(1)
    sf.write(f"{name}.flac", np.clip(np.round(mix * 32768), -32768, 32767).astype("i2"), rate, "PCM_16")
os.remove("source.wav")
os.remove("decoded.raw")
