"""Are faces what an operation can take: shape, dtype, vertex numbers in range? Once a tensor, not once a call."""

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

# faces -> (version, highest vertex number, whether a number below 0 stands outside a row of -1): reading these from a
# device waits for it.
_known: WeakIdKeyDictionary = WeakIdKeyDictionary()


def check_faces(faces: Tensor, vertices: int, views: int, name: str = "faces") -> None:
    """Raise ``ValueError`` unless ``faces`` suit ``vertices`` vertices and ``views`` views.

    They are integers (F,3), or (N,F,3), a topology for each view, with numbers in [0, V) and rows of three -1 that are
    padding. A tensor's numbers are read when it is first met and whenever PyTorch has seen it written to.
    """
    check_shape(faces, views, name)
    if faces.numel() == 0:
        return
    version = None if faces.is_inference() else faces._version
    known = _known.get(faces)
    if known is None or version is None or known[0] != version:
        known = _known[faces] = (version, *_read(faces))
    if known[1] >= vertices or known[2]:
        raise ValueError(explain(faces, vertices, name))


def check_shape(faces: Tensor, views: int, name: str = "faces") -> None:
    """The part of ``check_faces`` that does not look at the numbers."""
    if faces.ndim not in (2, 3) or faces.shape[-1] != 3 or faces.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{name}: expected integers of shape (F,3) or (N,F,3), got {faces.dtype} {tuple(faces.shape)}")
    if faces.ndim == 3 and faces.shape[0] != views:
        raise ValueError(f"{name}: expected faces of one mesh or of {views}, one for each view, got {faces.shape[0]}")


def _read(faces: Tensor) -> tuple[int, bool]:
    lowest, highest = torch.stack(faces.aminmax()).tolist()
    if lowest >= 0:
        return highest, False
    low, high = faces.amin(-1), faces.amax(-1)
    return highest, bool(((low < 0) & ((low != -1) | (high != -1))).any())


def explain(faces: Tensor, vertices: int, name: str = "faces") -> str:
    """Which row of ``faces`` is the first that cannot be, and what was expected."""
    low, high = faces.amin(-1), faces.amax(-1)
    bad = (high >= vertices) | ((low < 0) & ((low != -1) | (high != -1)))
    where = tuple(bad.nonzero()[0].tolist())
    found = f"row {', '.join(map(str, where))} is {tuple(faces[where].tolist())}"
    return f"{name}: {found}; expected vertex numbers from 0 to {vertices - 1}, or three -1 in a row of padding"
