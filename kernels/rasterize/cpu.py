"""Numba: every view is cut into bands of rows, faces are sorted into the bands that they reach, and each band draws its
faces in order, so no two threads share a pixel. The backward pass adds up per piece of a view, then over the pieces in
order. Neither depends on the number of threads."""

import numpy as np
import torch

from ..checks import explain_vertices
from .cpu_backward import gradients
from .cpu_forward import CHUNK, draw

TASKS = 16
"""Least number of bands over all views: enough to keep the cores busy. A face is set up in each band it reaches."""
PART_NUMBERS = 1 << 18
"""Vertices, over the pieces that the backward pass adds up, that are free: more pieces keep more cores busy."""


def pieces(views: int, height: int, most: int) -> tuple[int, int]:
    """Into how many pieces of how many rows each view is cut, ``most`` over all views: a function of the problem alone,
    never of the number of threads."""
    count = max(1, min(-(-most // max(views, 1)), height))
    rows = -(-height // count)
    return -(-height // rows), rows


def exactly(points, faces):
    """Float64 points, as edge functions of small faces cancel, and faces (M,F,3), as arrays."""
    faces = faces if faces.ndim == 3 else faces[None]
    return points.detach().double().contiguous().numpy(), faces.long().contiguous().numpy()


def forward(points, faces, height, width, near):
    """Face, barycentrics, depth; float64 inside."""
    views, count = points.shape[0], faces.shape[-2]
    face = torch.empty(views, height, width, dtype=torch.int32)
    barycentrics = torch.empty(views, height, width, 3, dtype=torch.float32)
    depth = torch.empty(views, height, width, dtype=torch.float32)
    bands, rows = pieces(views, height, TASKS)
    boxes = np.empty((views, count, 4), dtype=np.int32)
    counts = np.empty((views, bands, max(-(-count // CHUNK), 1)), dtype=np.int64)
    outputs = (face.numpy(), barycentrics.numpy(), depth.numpy())
    if not draw(*exactly(points, faces), near, rows, boxes, counts, *outputs):
        raise ValueError(explain_vertices("faces", faces, points.shape[1]))
    return face, barycentrics, depth


def backward(points, faces, face, grad_barycentrics, grad_depth):
    """The points' gradient; of the other two gradients either may be None."""
    views, height, _ = face.shape
    vertices = points.shape[1]
    count, rows = pieces(views, height, min(2 * TASKS, max(PART_NUMBERS // max(vertices, 1), 4)))
    parts = np.empty((views, count, vertices, 3))
    grad_points = torch.empty(points.shape, dtype=torch.float32)
    has = (grad_barycentrics is not None, grad_depth is not None)
    nothing = grad_points.new_empty(0, 0, 0, 3)
    grad_barycentrics = nothing if grad_barycentrics is None else grad_barycentrics.contiguous()
    grad_depth = nothing[..., 0] if grad_depth is None else grad_depth.contiguous()
    incoming = (face.numpy(), grad_barycentrics.numpy(), grad_depth.numpy())
    gradients(*exactly(points, faces), *incoming, *has, rows, parts, grad_points.numpy())
    return grad_points.to(points.dtype)
