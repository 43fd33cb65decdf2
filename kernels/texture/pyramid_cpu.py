"""Numba: a level of a pyramid from the one before it, and back; parallel over rows of texels."""

import numpy as np
from numba import prange

from ..jit import inline, jit


@inline
def _tap(size, half, k, tap):
    """Weight of texel 2 k + ``tap`` in texel k of the next level."""
    if size == 1:
        return np.float32(1 if tap == 0 else 0)
    if size % 2 == 0:
        return np.float32(0.5 if tap < 2 else 0)
    share = half - k if tap == 0 else half if tap == 1 else k + 1
    return np.float32(share / size)


@jit
def halve_into(texture, smaller):
    textures, height, width, channels = texture.shape
    _, rows, columns, _ = smaller.shape
    down = 1 if height == 1 else 2 + height % 2
    across = 1 if width == 1 else 2 + width % 2
    for task in prange(textures * rows):
        n = task // rows
        i = task - n * rows
        if down == 2 and across == 2:
            target, upper, lower = smaller[n, i], texture[n, 2 * i], texture[n, 2 * i + 1]
            for j in range(np.uintp(columns)):
                left, right = np.uintp(2) * j, np.uintp(2) * j + np.uintp(1)
                for c in range(np.uintp(channels)):
                    total = upper[left, c] + upper[right, c] + lower[left, c] + lower[right, c]
                    target[j, c] = np.float32(0.25) * total
            continue
        for j in range(columns):
            for c in range(channels):
                smaller[n, i, j, c] = 0.0
            for a in range(down):
                for b in range(across):
                    weight = _tap(height, rows, i, a) * _tap(width, columns, j, b)
                    for c in range(channels):
                        smaller[n, i, j, c] += weight * texture[n, 2 * i + a, 2 * j + b, c]


@jit
def halve_transposed_into(smaller, texture):
    """Adds to ``texture`` what its halving passes back from ``smaller``."""
    textures, height, width, channels = texture.shape
    _, rows, columns, _ = smaller.shape
    for task in prange(textures * height):
        n = task // height
        i = task - n * height
        for a in range(i % 2, 3, 2):
            k = (i - a) // 2
            if k < 0 or k >= rows:
                continue
            down = _tap(height, rows, k, a)
            if down == 0:
                continue
            for j in range(width):
                for b in range(j % 2, 3, 2):
                    m = (j - b) // 2
                    if m < 0 or m >= columns:
                        continue
                    weight = down * _tap(width, columns, m, b)
                    for c in range(channels):
                        texture[n, i, j, c] += weight * smaller[n, k, m, c]


def halve(texture):
    """The next level (N,A',B',C) of a texture (N,A,B,C)."""
    count, height, width, channels = texture.shape
    smaller = texture.new_empty(count, max(1, height // 2), max(1, width // 2), channels)
    halve_into(texture.numpy(), smaller.numpy())
    return smaller


def halve_transposed(gradient, shape):
    """Gradient of the texture, of the given shape, from that of its next level."""
    texture = gradient.new_zeros(shape)
    halve_transposed_into(gradient.numpy(), texture.numpy())
    return texture
