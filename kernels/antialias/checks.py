"""What both antialiasings check of their input: compiled kernels follow the numbers in it wherever they lead."""

import torch
from torch import Tensor

from ..checks import FLOATS, INTEGERS, expect, expect_vertices, trust, trusted


def of_views(name: str, rows: Tensor, width: int, points: Tensor, required: int = 3) -> Tensor:
    """Vertex numbers ``rows``, (R,width) or (N,R,width), as (M,R,width) int64, M one or the number of views.

    Raises:
        ValueError: another shape, dtype or device than fits ``points``, or a vertex that is not there.
    """
    shapes = [("R", width), (1, "R", width), (len(points), "R", width)]
    expect(name, rows, *shapes, dtype=INTEGERS, like=points)
    expect_vertices(name, rows, points.shape[1], required)
    return (rows[None] if rows.ndim == 2 else rows).long()


def check_pairs(pairs: Tensor, image: Tensor, points: Tensor) -> None:
    """Raise ``ValueError`` unless the image is (N,H,W,C), and the pairs (P,4) name pixels and vertices."""
    expect("points", points, ("N", "V", 3), dtype=FLOATS)
    expect("image", image, (len(points), "H", "W", "C"), dtype=FLOATS, like=points)
    expect("pairs", pairs, ("P", 4), dtype=torch.int64, like=points)
    pixels, vertices = image.shape[:3].numel(), points.shape[1]
    if pairs.numel() == 0 or trusted(pairs, pixels, vertices):
        return
    highest = pairs.amax(0).tolist()
    if int(pairs.min()) < 0 or max(highest[:2]) >= pixels or max(highest[2:]) >= vertices:
        raise ValueError(f"pairs: expected numbers of {pixels} pixels and {vertices} vertices, got up to {highest}")
    trust(pairs, pixels, vertices)
