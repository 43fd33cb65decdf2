"""Where everything lies that the CPU kernels read and write.

A feature, a column of a layer or a derivative is a row, a sample a column: samples are the vectors' lanes. Rows are
padded with zeros to multiples of ROWS. A group of rays owns the columns ``base`` to ``base + count``, rounded up to
COLUMNS; a padding column holds the group's last sample again, without a derivative.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np
import torch

from ..products import COLUMNS, CORRELATED, LANES, ROWS
from .spec import HARMONICS, FeatureWeights, Spec

GROUP = 512  # samples that a group of whole rays has, about
TILE = 256  # samples that go through all layers together
STRIDE = TILE + LANES  # odd numbers of vectors: rows spread over a cache's sets; and room behind the last row
COORDINATES = 3  # the first rows of what a sample keeps; its features follow


class Packed(NamedTuple):
    """The layers as the kernels read them: matrices with padded rows and columns, flat.

    hidden (w, L F) and its bias; feature (w + 1, v): W_c beside W_m, if there is one, and below them w_d; color (4, w):
    W_o and a row of zeros; heads: [b_d, b_o, 0].
    """

    hidden: np.ndarray
    bias: np.ndarray
    feature: np.ndarray
    color: np.ndarray
    heads: np.ndarray


class Places(NamedTuple):
    """Where the gradients of ``Packed`` lie in one flat array of sums; those of matrices have LANES sums a number."""

    hidden: int
    feature: int
    color: int
    bias: int
    heads: int
    size: int


class Groups(NamedTuple):
    """Groups of whole rays: group g owns rays ``rays[g]`` to ``rays[g + 1] - 1``, and its columns begin at base[g]."""

    rays: np.ndarray
    base: np.ndarray
    columns: int


def padded(count: int, unit: int = ROWS) -> int:
    """``count`` up to a multiple of ``unit``."""
    return -(-count // unit) * unit


def groups_of(offsets: np.ndarray, samples: int = GROUP) -> Groups:
    """The groups of packed samples, each of about so many ``samples``."""
    count = int(offsets[-1])
    number = max(1, -(-count // samples))  # one where there are no samples: rays without any are pixels, too
    rays = np.append(np.searchsorted(offsets[:-1], np.arange(number) * samples), len(offsets) - 1)
    base = COLUMNS * (offsets[rays[:-1]] // COLUMNS + np.arange(number))
    columns = COLUMNS * (count // COLUMNS + number + 1)
    return Groups(rays, base, columns + (LANES if columns // LANES % 2 == 0 else 0))


@functools.lru_cache(maxsize=16)
def places_of(width: int, size: int, mirrors: int) -> Places:
    """Of a field of padded ``width`` with ``size`` padded features and ``mirrors`` columns of W_m."""
    feature = width * size * LANES
    color = feature + padded(width + 1, CORRELATED[0]) * (width + mirrors) * LANES
    bias = color + 4 * width * LANES
    return Places(0, feature, color, bias, bias + width, bias + width + 4)


def pack(weights: FeatureWeights, spec: Spec) -> Packed:
    """The layers of a field as the kernels read them."""
    _, w1, b1, w_d, b_d, w_c, _, w_v, w_o, b_o = (t.detach().numpy() for t in weights.flat())
    mirrors = w_v.shape[1] - HARMONICS
    outputs, width, size = len(b1), padded(len(b1)), padded(spec.size)
    hidden, bias = np.zeros((width, size), np.float32), np.zeros(width, np.float32)
    feature, color = np.zeros((width + 1, width + mirrors), np.float32), np.zeros((4, width), np.float32)
    hidden[:outputs, : spec.size], bias[:outputs] = w1, b1
    feature[:outputs, :outputs], feature[:outputs, width:], feature[width, :outputs] = w_c, w_v[:, HARMONICS:], w_d[0]
    color[:3, :outputs] = w_o
    heads = np.array([b_d[0], *b_o, 0], np.float32)
    return Packed(hidden.ravel(), bias, feature.ravel(), color.ravel(), heads)


def unpack(sums: np.ndarray, places: Places, width: int, spec: Spec) -> list[torch.Tensor]:
    """The gradients of W_1, b_1, w_d, b_d, W_c, W_m, W_o, b_o from sums (parts, n) without lanes, part after part."""
    wide, size = padded(width), padded(spec.size)
    flat = sums.sum(0)
    ends = np.cumsum([(end - first) // LANES for first, end in itertools.pairwise(places[:4])])
    hidden, feature, color, bias, heads = np.split(flat, [*ends, ends[-1] + wide])
    feature = feature.reshape(padded(wide + 1, CORRELATED[0]), -1)
    found = (
        hidden.reshape(wide, size)[:width, : spec.size], bias[:width], feature[wide : wide + 1, :width], heads[:1],
        feature[:width, :width], feature[:width, wide:], color.reshape(4, wide)[:3, :width], heads[1:],
    )  # fmt: skip
    return [torch.from_numpy(np.ascontiguousarray(gradient)) for gradient in found]
