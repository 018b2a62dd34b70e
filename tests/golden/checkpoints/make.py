"""Small PyTorch checkpoints for tests/checkpoints.rs, written by torch 2.8.0 (CPU): `python make.py DIRECTORY`.

All hold the tensors of `state`; expected.safetensors has their values, laid out.
"""
import json
import os
import struct
import sys
import zipfile
from collections import OrderedDict

import torch

out = lambda name: os.path.join(sys.argv[1], name)
ramp = torch.arange(24, dtype=torch.float32) / 8 - 1
flat = torch.arange(40, dtype=torch.float32) / 4
state = OrderedDict(
    [
        ("matrix", ramp.reshape(4, 6)),
        ("transposed", ramp.reshape(4, 6).t()),
        ("permuted", ramp.reshape(2, 3, 4).permute(2, 0, 1)),
        ("every_second", ramp[1::2]),
        ("expanded", torch.tensor([[0.5, -0.25]]).expand(3, 2)),
        ("lstm.weight", flat[:32].reshape(8, 4)),
        ("lstm.bias", flat[32:]),
        ("half", torch.tensor([0.1, -65504.0, 6e-8, float("inf")]).half()),
        ("bfloat", torch.tensor([0.1, -3e38, 1e-40]).bfloat16()),
        ("double", torch.tensor([0.1, -1e300], dtype=torch.float64)),
        ("int64", torch.tensor([-(2**62), 7])),
        ("int32", torch.tensor([-5, 6], dtype=torch.int32)),
        ("int16", torch.tensor([-300, 300], dtype=torch.int16)),
        ("int8", torch.tensor([-128, 127], dtype=torch.int8)),
        ("uint8", torch.tensor([0, 255], dtype=torch.uint8)),
        ("flags", torch.tensor([[True], [False]])),
        ("empty", torch.zeros(0, 3)),
        ("scalar", torch.tensor(1.5)),
    ]
)
names = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL", torch.uint8: "U8"}
names |= {torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8"}
header, data = {}, b""
for name, value in state.items():
    # numpy has no bfloat16: its bits as int16.
    laid_out = value.contiguous().clone()
    raw = (laid_out.view(torch.int16) if value.dtype == torch.bfloat16 else laid_out).numpy().tobytes()
    header[name] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
header = json.dumps(header).encode()
with open(out("expected.safetensors"), "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header + data)
wrapped = {"step": 12, "rate": 1e-4, "kind": "lstm", "done": False, "model_state": state, "optimizer_state": {"state": {7: {"exp_avg": ramp}}}}
torch.save(wrapped, out("zip.pt"))
torch.save(wrapped, out("legacy.pt"), _use_new_zipfile_serialization=False)
torch.save(state, out("protocol4.pt"), pickle_protocol=4)
torch.save(state, out("legacy_protocol4.pt"), pickle_protocol=4, _use_new_zipfile_serialization=False)
# As an ordinary zip program packs it again.
with zipfile.ZipFile(out("zip.pt")) as stored, zipfile.ZipFile(out("deflated.pt"), "w", zipfile.ZIP_DEFLATED) as deflated:
    for name in stored.namelist():
        deflated.writestr(zipfile.ZipInfo(name), stored.read(name), zipfile.ZIP_DEFLATED)
