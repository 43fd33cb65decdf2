"""What one process of a run sends to the others: everything but tensors as bytes of ``pickle``, and those beside it.

Tensors travel as they are, without a copy of their bytes, each to the receiver's own device of the same kind. Only the
first process of the very run is listened to: nothing of this reads a file.
"""

import io
import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Head(NamedTuple):
    """What a tensor's receiver makes room for."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    on_cpu: bool

    def empty(self, device: torch.device | None) -> Tensor:
        """The room, on the CPU or on the receiver's ``device``."""
        return torch.empty(self.shape, dtype=self.dtype, device="cpu" if self.on_cpu else device)


def packed(thing: Any, kept: Sequence[Any]) -> tuple[bytes, list[Tensor], list[Head]]:
    """A thing as bytes, and the tensors in it, contiguous, with their heads.

    Args:
        kept: what the receiver has: it is named by its number, wherever it is in the thing.
    """
    numbers, tensors = {id(known): number for number, known in enumerate(kept)}, list[Tensor]()

    class Packer(pickle.Pickler):
        def persistent_id(self, part: Any) -> tuple[str, int] | None:
            if id(part) in numbers:
                return "kept", numbers[id(part)]
            if type(part) is Tensor:  # parameters are more than that, and hold one
                tensors.append(part.detach().contiguous())
                return "tensor", len(tensors) - 1
            return None

    text = io.BytesIO()
    Packer(text, pickle.HIGHEST_PROTOCOL).dump(thing)
    return text.getvalue(), tensors, [Head(tuple(t.shape), t.dtype, t.device.type == "cpu") for t in tensors]


def unpacked(text: bytes, tensors: Sequence[Tensor], kept: Sequence[Any]) -> Any:
    """The thing again, of the bytes, of tensors with the senders' values, and of what is ``kept``."""

    class Unpacker(pickle.Unpickler):
        def persistent_load(self, name: tuple[str, int]) -> Any:
            of, number = name
            return (kept if of == "kept" else tensors)[number]

    return Unpacker(io.BytesIO(text)).load()
