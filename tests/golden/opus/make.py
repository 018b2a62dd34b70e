#!/usr/bin/env python3
"""Synthetic voice in the three modes of Opus, between them, and in several streams, and libopus' decoding of each: NAME and NAME.flac (mono mix, 16 bit).

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
# Five channels in a stereo and three mono streams (mapping family 1), and three that have no order (255).
five = "pan=5.0|c0=c0|c1=c1|c2=0.5*c0|c3=-0.3*c1|c4=0.2*c0+0.4*c1"
ff("-i", "source.wav", "-af", five, *plain, "-b:a", "160k", "-mapping_family", "1", "surround.ogg")
three = "pan=3c|c0=c0|c1=c1|c2=-0.3*c1"
ff("-i", "source.wav", "-af", three, *plain, "-b:a", "96k", "-mapping_family", "255", "-frame_duration", "40", "apart.webm")
# Voice, then a chord: at this rate the encoder goes from hybrid to CELT.
chord = sum(np.sin(2 * np.pi * f * t) for f in (330, 415, 495, 660, 1245, 2480, 5000, 9900)) / 16
sf.write("source.wav", np.concatenate([y, chord, chord]), rate, "PCM_16")
ff("-i", "source.wav", *plain, "-b:a", "28k", "-application", "audio", "between.ogg")
for name, channels in (
    ("silk.ogg", 1), ("hybrid.webm", 2), ("celt.ogg", 2), ("surround.ogg", 5), ("apart.webm", 3), ("between.ogg", 1)
):
    ff("-c:a", "libopus", "-i", name, "-f", "f32le", "-c:a", "pcm_f32le", "decoded.raw")
    mix = np.fromfile("decoded.raw", "<f4").reshape(-1, channels).astype(float).mean(1)
    sf.write(f"{name}.flac", np.clip(np.round(mix * 32768), -32768, 32767).astype("i2"), rate, "PCM_16")
os.remove("source.wav")
os.remove("decoded.raw")
