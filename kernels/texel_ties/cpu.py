"""Numba: a thread owns rows and pulls the two texels of each pair toward each other, in vector instructions.

A band of rows begins with the pairs that the row above has with its first one, so no texel is written by two threads,
and the order of sums is fixed.
"""

import numpy as np
import torch
from numba import prange

from ..jit import jit

BAND = 16  # rows to a task


@jit(parallel=False, fastmath=True)  # not inlined: four copies take longer to compile
def _between(first, second, here, there, weight, scale, half):
    """Adds to ``first`` what the texels ``there`` do to those ``here``, and the opposite to ``second``, all (M,);
    returns the sum of w h / D."""
    one, total = np.float32(1), np.float32(0)
    for j in range(np.uintp(first.shape[0])):
        difference = (here[j] - there[j]) * scale
        slope = difference if difference < one else one
        slope = slope if slope > -one else -one
        pulled = weight[j] * slope
        first[j] += pulled
        second[j] -= pulled
        total += pulled * (difference - half * slope)
    return total


@jit(fastmath=True)
def ties_kernel(texture, weights, scale, pull, sums):
    """``texture`` and ``pull`` are (A,B,C); ``sums`` (C A,) float64 are those of w h / D."""
    height, width, channels = texture.shape
    half = np.float32(0.5)
    for task in prange((height + BAND - 1) // BAND):
        first = task * BAND
        begin = max(first - 1, 0)
        lines = np.empty((2, channels, width), np.float32)  # this row of texels and the next, without gaps: vectors
        pulls = np.zeros((2, channels, width), np.float32)  # on those two
        right = np.zeros(
            (channels, width), np.float32
        )  # on a texel by the one to its left: a line of its own, for vectors
        _apart(texture[begin], lines[begin % 2])
        for i in range(begin, min(first + BAND, height)):
            if i + 1 < height:
                _apart(texture[i + 1], lines[(i + 1) % 2])
            for c in range(channels):
                row, own, following = lines[i % 2, c], pulls[i % 2, c], pulls[(i + 1) % 2, c]
                total = 0.0
                if i + 1 < height:
                    below = lines[(i + 1) % 2, c]
                    total += _between(own, following, row, below, weights[0, i], scale, half)
                    total += _between(own[:-1], following[1:], row[:-1], below[1:], weights[2, i, :-1], scale, half)
                    total += _between(own[1:], following[:-1], row[1:], below[:-1], weights[3, i, 1:], scale, half)
                if i >= first:
                    total += _between(own[:-1], right[c, 1:], row[:-1], row[1:], weights[1, i, :-1], scale, half)
                    sums[c * height + i] = total
            if i >= first:
                _together(pulls[i % 2], right, pull[i])
            pulls[i % 2] = 0
            right[:] = 0


@jit(parallel=False)
def _apart(row, lines):
    """A row of texels (B,C) by channel, (C,B)."""
    if row.shape[1] == 3:  # with a number that the compiler knows it makes vectors
        red, green, blue = lines[0], lines[1], lines[2]
        for j in range(np.uintp(row.shape[0])):
            red[j], green[j], blue[j] = row[j, 0], row[j, 1], row[j, 2]
        return
    for c in range(np.uintp(row.shape[1])):
        for j in range(np.uintp(row.shape[0])):
            lines[c, j] = row[j, c]


@jit(parallel=False)
def _together(one, other, row):
    """The mean over channels of two sums by channel (C,B), as a row of texels (B,C)."""
    share = np.float32(1) / np.float32(row.shape[1])
    if row.shape[1] == 3:
        red, green, blue = one[0], one[1], one[2]
        more_red, more_green, more_blue = other[0], other[1], other[2]
        for j in range(np.uintp(row.shape[0])):
            row[j, 0] = (red[j] + more_red[j]) * share
            row[j, 1] = (green[j] + more_green[j]) * share
            row[j, 2] = (blue[j] + more_blue[j]) * share
        return
    for c in range(np.uintp(row.shape[1])):
        for j in range(np.uintp(row.shape[0])):
            row[j, c] = (one[c, j] + other[c, j]) * share


def forward(texture, weights, corner):
    """The value () and its gradient (A,B,C)."""
    height, _, channels = texture.shape
    pull, sums = torch.empty_like(texture), np.empty(channels * height)
    ties_kernel(texture.numpy(), weights.numpy(), np.float32(1 / corner), pull.numpy(), sums)
    return texture.new_tensor(corner * sums.sum() / channels), pull
