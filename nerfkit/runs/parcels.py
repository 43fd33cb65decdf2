"""What one process of a run sends to the others: everything but tensors as bytes of ``pickle``, and those beside it.

Tensors that are contiguous travel without a copy of their bytes, each to the receiver's own device of the same kind.
Only the first process of the very run is listened to: nothing of this reads a file.
"""

import io
import pickle
from collections.abc import Mapping, Sequence
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


def packed(thing: Any, kept: Mapping[str, Any]) -> tuple[bytes, list[Tensor], list[Head]]:
    """A thing as bytes, and the tensors in it, each once and contiguous, with their heads.

    Args:
        kept: what the receiver has: it is named, wherever it is in the thing.
    """
    names: dict[int, tuple[str, Any]] = {id(known): ("kept", name) for name, known in kept.items()}
    found: list[Tensor] = []  # keeps them, or another might get the same id

    class Packer(pickle.Pickler):
        def persistent_id(self, part: Any) -> tuple[str, Any] | None:
            if id(part) not in names and type(part) is Tensor:  # parameters are more than that, and hold one
                names[id(part)] = "tensor", len(found)
                found.append(part)
            return names.get(id(part))

    text = io.BytesIO()
    Packer(text, pickle.HIGHEST_PROTOCOL).dump(thing)
    heads = [Head(tuple(t.shape), t.dtype, t.device.type == "cpu") for t in found]
    return text.getvalue(), [t.detach().contiguous() for t in found], heads


def unpacked(text: bytes, tensors: Sequence[Tensor], kept: Mapping[str, Any]) -> Any:
    """The thing again, of the bytes, of tensors with the sender's values, and of what is ``kept``."""

    class Unpacker(pickle.Unpickler):
        def persistent_load(self, name: tuple[str, Any]) -> Any:
            of, which = name
            return kept[which] if of == "kept" else tensors[which]

    return Unpacker(io.BytesIO(text)).load()
