"""Numba: a thread owns rows of one channel and pulls each texel toward its eight neighbors, in vector instructions.

Every pair is looked at from both its ends: no texel is written by two threads, and the order of sums is fixed.
"""

import numpy as np
import torch
from numba import prange

from ..jit import jit


@jit(parallel=False, fastmath=True)  # not inlined: eight copies take 6 s to compile
def _toward(pull, here, there, weight, scale, half):
    """Adds to ``pull`` what the texels ``there`` do to those ``here``, all (M,); returns the sum of w h / D."""
    one, total = np.float32(1), np.float32(0)
    for j in range(np.uintp(pull.shape[0])):
        difference = (here[j] - there[j]) * scale
        slope = difference if difference < one else one
        slope = slope if slope > -one else -one
        pulled = weight[j] * slope
        pull[j] += pulled
        total += pulled * (difference - half * slope)
    return total


@jit(fastmath=True)
def ties_kernel(colors, weights, scale, pull, sums):
    """``colors`` and ``pull`` are (C,A,B); ``sums`` (C A,) float64 are twice those of w h / D."""
    channels, height, width = colors.shape
    half = np.float32(0.5)
    for task in prange(channels * height):
        c = task // height
        i = task - c * height
        row, out = colors[c, i], pull[c, i]
        for j in range(np.uintp(width)):
            out[j] = 0.0
        total = 0.0
        if i + 1 < height:
            below = colors[c, i + 1]
            total += _toward(out, row, below, weights[0, i], scale, half)
            total += _toward(out[:-1], row[:-1], below[1:], weights[2, i, :-1], scale, half)
            total += _toward(out[1:], row[1:], below[:-1], weights[3, i, 1:], scale, half)
        if i > 0:
            above = colors[c, i - 1]
            total += _toward(out, row, above, weights[0, i - 1], scale, half)
            total += _toward(out[1:], row[1:], above[:-1], weights[2, i - 1, :-1], scale, half)
            total += _toward(out[:-1], row[:-1], above[1:], weights[3, i - 1, 1:], scale, half)
        total += _toward(out[:-1], row[:-1], row[1:], weights[1, i, :-1], scale, half)
        total += _toward(out[1:], row[1:], row[:-1], weights[1, i, :-1], scale, half)
        sums[task] = total


def forward(texture, weights, corner):
    """The value () and its gradient (A,B,C)."""
    colors = texture.movedim(-1, 0).contiguous()  # (C, A, B): rows without gaps make vectors
    pull, sums = torch.empty_like(colors), np.empty(colors.shape[0] * colors.shape[1])
    ties_kernel(colors.numpy(), weights.numpy(), np.float32(1 / corner), pull.numpy(), sums)
    channels = len(colors)
    value = texture.new_tensor(corner * sums.sum() / (2 * channels))
    return value, pull.movedim(0, -1).contiguous().div_(channels)
