"""Tensors as ``.safetensors``, for programs of other people: nothing in such a file is ever executed.

    N: 8 bytes, little-endian | header: N bytes of JSON, filled up with spaces | the tensors' bits, one after the other

The header says of each name ``dtype``, ``shape`` and ``data_offsets``, and under ``__metadata__`` has texts alone. The
format is that of github.com/huggingface/safetensors.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nerfkit.runs.files import replacing

DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
ALIGNED = 8  # bytes that the data begin at a multiple of


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Writes tensors, on any device, and texts about them, whole or not at all.

    Raises:
        KeyError: a dtype that is none of ``DTYPES``.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))  # so that each is aligned
    header: dict[str, object] = {"__metadata__": dict(about)}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.numel() * tensor.itemsize
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNED)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            file.write(plain.view(torch.uint8).numpy().data)
