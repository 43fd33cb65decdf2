"""Numba: a thread owns rows and pulls each texel toward its eight neighbors, in vector instructions.

Every pair is looked at from both its ends: no texel is written by two threads, and the order of sums is fixed.
"""

import numpy as np
import torch
from numba import prange

from ..jit import jit

BAND = 16  # rows to a task


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
def ties_kernel(texture, weights, scale, pull, sums):
    """``texture`` and ``pull`` are (A,B,C); ``sums`` (C A,) float64 are twice those of w h / D."""
    height, width, channels = texture.shape
    half = np.float32(0.5)
    for task in prange((height + BAND - 1) // BAND):
        first = task * BAND
        lines = np.empty((3, channels, width), np.float32)  # three rows of texels without gaps: they make vectors
        out = np.empty(width, np.float32)
        for i in range(max(first - 1, 0), first + 1):
            _apart(texture[i], lines[i % 3])
        for i in range(first, min(first + BAND, height)):
            if i + 1 < height:
                _apart(texture[i + 1], lines[(i + 1) % 3])
            for c in range(channels):
                row = lines[i % 3, c]
                for j in range(np.uintp(width)):
                    out[j] = 0.0
                total = 0.0
                if i + 1 < height:
                    below = lines[(i + 1) % 3, c]
                    total += _toward(out, row, below, weights[0, i], scale, half)
                    total += _toward(out[:-1], row[:-1], below[1:], weights[2, i, :-1], scale, half)
                    total += _toward(out[1:], row[1:], below[:-1], weights[3, i, 1:], scale, half)
                if i > 0:
                    above = lines[(i + 2) % 3, c]
                    total += _toward(out, row, above, weights[0, i - 1], scale, half)
                    total += _toward(out[1:], row[1:], above[:-1], weights[2, i - 1, :-1], scale, half)
                    total += _toward(out[:-1], row[:-1], above[1:], weights[3, i - 1, 1:], scale, half)
                total += _toward(out[:-1], row[:-1], row[1:], weights[1, i, :-1], scale, half)
                total += _toward(out[1:], row[1:], row[:-1], weights[1, i, :-1], scale, half)
                for j in range(np.uintp(width)):
                    pull[i, j, c] = out[j] / np.float32(channels)
                sums[c * height + i] = total


@jit(parallel=False)
def _apart(row, lines):
    """A row of texels (B,C) by channel, (C,B)."""
    for j in range(np.uintp(row.shape[0])):
        for c in range(np.uintp(row.shape[1])):
            lines[c, j] = row[j, c]


def forward(texture, weights, corner):
    """The value () and its gradient (A,B,C)."""
    height, _, channels = texture.shape
    pull, sums = torch.empty_like(texture), np.empty(channels * height)
    ties_kernel(texture.numpy(), weights.numpy(), np.float32(1 / corner), pull.numpy(), sums)
    return texture.new_tensor(corner * sums.sum() / (2 * channels)), pull
