"""What both antialiasings check of their input: compiled kernels follow the numbers in it wherever they lead."""

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

# rows -> (version, lowest number, highest, whether a row lacks a vertex): reading these from a device waits for it.
_known: WeakIdKeyDictionary = WeakIdKeyDictionary()


def of_views(name: str, rows: Tensor, width: int, views: int) -> Tensor:
    """``rows``, (R,width) or (N,R,width) integers, as (M,R,width) int64, M one or the number of views.

    Raises:
        ValueError: another shape or dtype.
    """
    found = tuple(rows.shape)
    rows = rows[None] if rows.ndim == 2 else rows
    if rows.ndim != 3 or rows.shape[0] not in (1, views) or rows.shape[2] != width or rows.is_floating_point():
        raise ValueError(f"{name}: expected integers of shape (*,{width}) or ({views},*,{width}), got {found}")
    return rows.long()


def check_vertices(name: str, rows: Tensor, vertices: int, required: int) -> None:
    """Raise ``ValueError`` unless the numbers in ``rows`` (...,K) suit ``vertices`` vertices.

    Each is in [0, V) or -1. In a row whose first number is not -1, which would make it padding, the first ``required``
    must be vertices. A tensor's numbers are read when it is first met and whenever PyTorch has seen it written to.
    """
    if rows.numel() == 0:
        return
    version = None if rows.is_inference() else rows._version
    known = _known.get(rows)
    if known is None or version is None or known[0] != version:
        lacks = (rows[..., :1] >= 0) & (rows[..., :required] < 0)  # (..., required)
        known = _known[rows] = (version, *torch.stack([*rows.aminmax(), lacks.any().to(rows.dtype)]).tolist())
    _, lowest, highest, lacking = known
    if lowest < -1 or highest >= vertices or lacking:
        bad = (rows < -1) | (rows >= vertices)  # (..., K)
        bad[..., :required] |= (rows[..., :1] >= 0) & (rows[..., :required] < 0)
        where = tuple(bad.any(-1).nonzero()[0].tolist())
        found = f"row {', '.join(map(str, where))} is {tuple(rows[where].tolist())}"
        raise ValueError(f"{name}: {found}; expected vertex numbers from 0 to {vertices - 1}, -1 where there is none")


def check_shown(face: Tensor, count: int) -> None:
    """On a CPU, raise ``ValueError`` if a pixel shows a face that is not among ``count``. A GPU would have to wait."""
    if face.device.type == "cpu" and face.numel() and int(face.max()) >= count:
        raise ValueError(f"face: expected numbers below {count}, the number of faces, got {int(face.max())}")


def check_image(image: Tensor, face: Tensor) -> None:
    """Raise ``ValueError`` unless ``image`` is (N,H,W,C) of the size of ``face`` (N,H,W)."""
    if image.shape[:-1] != face.shape:
        raise ValueError(f"image: expected ({','.join(map(str, face.shape))},C), got {tuple(image.shape)}")


def check_pairs(pairs: Tensor, image: Tensor, vertices: int) -> None:
    """Raise ``ValueError`` unless ``pairs`` is (P,4), and, on a CPU, its numbers are of pixels and vertices."""
    if pairs.ndim != 2 or pairs.shape[-1] != 4:
        raise ValueError(f"pairs: expected (P,4), got {tuple(pairs.shape)}")
    if pairs.device.type != "cpu" or pairs.numel() == 0:
        return
    pixels, highest = image.shape[:3].numel(), pairs.amax(0).tolist()
    if int(pairs.min()) < 0 or max(highest[:2]) >= pixels or max(highest[2:]) >= vertices:
        raise ValueError(f"pairs: expected numbers of {pixels} pixels and {vertices} vertices, got up to {highest}")
