"""The harmonic embedding on a CPU, row by row into a flat array."""

import functools
import math
from typing import NamedTuple

import numpy as np

from ..elementary import rowwise, summing
from .octaves import embed_octaves
from .sine import sine_of_turns


class Waves(NamedTuple):
    """One embedding: ``table`` (4, 6K) for ``_embed_waves``, empty where ``embed_octaves`` is to reduce the phases.

    ``frequencies`` (K,): omega0 2^k.
    """

    table: np.ndarray
    frequencies: np.ndarray
    omega0: np.float32
    octaves: int
    append_input: bool


@functools.cache
def waves(omega0: float, octaves: int, append_input: bool) -> Waves:
    """The embedding with these frequencies; pi has phases that are exact without integers."""
    table = np.zeros((4, 6 * octaves if omega0 == math.pi else 0), np.float32)
    if omega0 == math.pi:
        for axis in range(3):
            for part in range(2):
                start = (2 * axis + part) * octaves
                table[axis, start : start + octaves] = 0.5 * 2.0 ** np.arange(octaves)
                table[3, start : start + octaves] = 0.25 * part
    frequencies = np.float32(omega0) * 2.0 ** np.arange(octaves, dtype=np.float32)
    return Waves(table, frequencies, np.float32(omega0), octaves, append_input)


@rowwise
def _embed_waves(x, table, out, stride):
    """sin(2 pi (x . table[:3, j] + table[3, j])); only one axis of a column is not 0."""
    for s in range(x.shape[0]):
        x0, x1, x2 = x[s, 0], x[s, 1], x[s, 2]
        row = s * stride
        for j in range(table.shape[1]):
            t = x0 * table[0, j] + x1 * table[1, j] + x2 * table[2, j]
            t -= np.rint(t)  # exact: whole turns removed from a number that is x times a power of two
            t += table[3, j]
            out[row + j] = sine_of_turns(t - np.rint(t))


@rowwise
def embed_rows(x, waves, out, stride):
    """e(x[s]) into out[s stride + j]."""
    if waves.table.shape[1] > 0:
        _embed_waves(x, waves.table, out, stride)
    else:
        embed_octaves(x, waves.omega0, waves.octaves, out, stride)
    if waves.append_input:
        for s in range(x.shape[0]):
            for axis in range(3):
                out[s * stride + 6 * waves.octaves + axis] = x[s, axis]


@summing
def embed_rows_backward(e, g, waves, out):
    """The gradient by x (rows of ``out``) from those by e(x), ``g``: the formula heads the package."""
    octaves, frequencies = waves.octaves, waves.frequencies
    for s in range(out.shape[0]):
        for axis in range(3):
            sines = 2 * axis * octaves
            cosines = sines + octaves
            total = np.float32(0)
            for k in range(octaves):
                total += frequencies[k] * (e[s, cosines + k] * g[s, sines + k] - e[s, sines + k] * g[s, cosines + k])
            out[s, axis] = total + g[s, 6 * octaves + axis] if waves.append_input else total
