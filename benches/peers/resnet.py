"""The residual networks of Heo et al. 2019 in PyTorch, with the weights of benches/residual.rs: what both peers of them measure."""
import zlib

import numpy as np
import torch
from torch import nn
from torch.nn.functional import leaky_relu

BINS, SLOPE = 64, 0.3
NETWORKS = {"table1": ((16, 32, 64, 128), (1, 1), None), "table3": ((64, 128, 256, 512), (1, 2), 1024)}


def noise(seed, shape, scale):
    """`noise` of benches/workload.rs."""
    mixed = (np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (mixed >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return torch.from_numpy((values * np.float32(scale)).reshape(shape))


class Layer(nn.Module):
    """A convolution without bias and its batch norm, under our names."""

    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x):
        return self.norm(self.conv(x))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first, self.second = Layer(inputs, outputs, 3, stride), Layer(outputs, outputs, 3, 1)
        self.shortcut = Layer(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else nn.Identity()

    def forward(self, x):
        return leaky_relu(self.second(leaky_relu(self.first(x), SLOPE)) + self.shortcut(x), SLOPE)


class Network(nn.Module):
    """(B, T, F) to (B, D)."""

    def __init__(self, name):
        super().__init__()
        channels, stride, size = NETWORKS[name]
        self.stem = Layer(1, channels[0], 7, stride)
        widths = (channels[0], *channels)
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(widths[stage] if block == 0 else width, width, 2 if stage and block == 0 else 1) for block in range(depth))
            for stage, (width, depth) in enumerate(zip(channels, (3, 4, 6, 3))))
        self.embedding = nn.Linear(channels[-1], size) if size else nn.Identity()
        with torch.no_grad():
            for theirs, weight in self.named_parameters():
                if ".norm." in theirs:
                    continue
                fan = weight[0].numel() if weight.dim() > 1 else 64
                seed = zlib.crc32(ours(theirs).encode())
                weight.copy_(noise(seed, tuple(weight.shape), np.float32(1) / np.sqrt(np.float32(fan))))

    def forward(self, x):
        x = leaky_relu(self.stem(x[:, None]), SLOPE)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.embedding(x.mean((2, 3)))


def ours(name):
    """Our name of a parameter."""
    return name.replace(".first.conv.", ".conv1.").replace(".second.conv.", ".conv2.")
