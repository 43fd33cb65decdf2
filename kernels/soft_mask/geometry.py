"""What all backends share: the faces' corners in normalized device coordinates, the pixels near a face, the way back.

Normalized device coordinates run over [-1, 1] across the picture's width and over [-1, 1] up its height, whatever its
aspect: the center of pixel (i, j) is at ((2 j + 1 - W) / W, (H - 1 - 2 i) / H).
"""

import torch
from torch import Tensor

NEAREST = 1e-3
"""A face with a corner nearer than this, or behind the camera, is left out: neither project clips faces."""


def gather(attributes: Tensor, faces: Tensor) -> Tensor:
    """Corners (N,F,3,C) of attributes (A,V,C) by faces (M,F,3), A and M being 1 or N; padding reads vertex 0."""
    views = max(attributes.shape[0], faces.shape[0]) if min(attributes.shape[0], faces.shape[0]) else 0
    if attributes.shape[1] == 0:  # then all faces are padding
        attributes = torch.nn.functional.pad(attributes, (0, 0, 0, 1))
    view = torch.arange(views, device=faces.device)[:, None, None]
    return attributes.expand(views, -1, -1)[view, faces.clamp(min=0)]


def project(points: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Corners (N,F,3,3) of the faces as x and y in normalized device coordinates and depth w; which faces count (N,F).

    A face counts if it is no padding and its corners are finite and no nearer than ``NEAREST``. The corners of the
    others are meaningless but finite.
    """
    corners = gather(points, faces)  # (N, F, 3, 3)
    usable = (faces >= 0).all(-1) & torch.isfinite(corners).all(-1).all(-1)
    usable = usable & (corners[..., 2] >= NEAREST).all(-1)  # (N, F)
    x, y, w = torch.where(usable[..., None, None], corners, 1.0).unbind(-1)
    return torch.stack([2 * x / (w * width) - 1, 1 - 2 * y / (w * height), w], -1), usable


def unproject_gradient(gradient: Tensor, corners: Tensor, usable: Tensor, height: int, width: int) -> Tensor:
    """The gradient (N,F,3,3) of the corners that ``project`` returned, as one of homogeneous pixel coordinates."""
    x, y, w = corners.unbind(-1)
    by_x, by_y, by_w = gradient.to(corners).unbind(-1)
    result = torch.stack([2 / width * by_x, -2 / height * by_y, w * by_w - (x + 1) * by_x + (1 - y) * by_y], -1)
    return torch.where(usable[..., None, None], result / w[..., None], 0.0)


def pixel_boxes(corners: Tensor, usable: Tensor, reach: float, height: int, width: int) -> Tensor:
    """First row, last row, first column, last column (N,F,4) int32 of the pixels whose centers lie within ``reach``.

    ``reach`` is a distance along either axis. No center is missed through rounding; one just outside may come along.
    A face without pixels, or one that is not ``usable``, has its first row behind its last.
    """
    x, y = corners[..., 0], corners[..., 1]
    slack = 1e-6  # pixels

    def span(low: Tensor, high: Tensor, size: int) -> tuple[Tensor, Tensor]:
        first = ((low - reach + 1) / 2 * size - 0.5 - slack).ceil().clamp(0, size)
        last = ((high + reach + 1) / 2 * size - 0.5 + slack).floor().clamp(-1, size - 1)
        return first, last

    top, bottom = span(-y.amax(-1), -y.amin(-1), height)  # (N, F)
    left, right = span(x.amin(-1), x.amax(-1), width)
    visible = usable & (left <= right)
    bottom = torch.where(visible, bottom, -1.0)
    top = torch.where(visible, top, float(height))
    return torch.stack([top, bottom, left, right], -1).int()


def pixel_centers(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """x (W,) and y (H,1) of the pixels' centers in normalized device coordinates."""
    column = torch.arange(width, device=like.device, dtype=like.dtype)
    row = torch.arange(height, device=like.device, dtype=like.dtype)
    return (2 * column + 1 - width) / width, ((height - 1 - 2 * row) / height)[:, None]
