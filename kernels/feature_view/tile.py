"""One tile of samples through the field, and what a group of rays works with."""

from typing import NamedTuple

import numpy as np

from ..elementary import rowwise
from ..feature_field.encoding import encode_tile
from ..feature_field.layout import COORDINATES, STRIDE, TILE
from ..feature_field.mirrors import mirror_rows, mirrors_of
from ..feature_field.spec import HARMONICS
from ..feature_field.tiles import activate_color, activate_density, color_head, color_layer, density_head, hidden_layer
from ..products import COLUMNS


class Net(NamedTuple):
    """A feature field: as ``encode_tile`` and the layers take it, and a ray's part of the color layer: W_v^T, b_c."""

    levels: np.ndarray
    pairs: int
    table: np.ndarray
    width: int
    size: int
    of_rays: np.ndarray
    bias: np.ndarray


class Tile(NamedTuple):
    """The columns: coordinates and features, layers and results; mirrors (TILE,3); ``starts``: of the tile's rays."""

    rows: np.ndarray
    weights: np.ndarray
    kept: np.ndarray
    z: np.ndarray
    h: np.ndarray
    logits: np.ndarray
    rgb: np.ndarray
    sigma: np.ndarray
    mirrors: np.ndarray
    harmonics: np.ndarray
    of_rays: np.ndarray
    starts: np.ndarray


@rowwise
def tile_for(net, mirrors):
    """A tile of the field; ``mirrors`` is (TILE,3), or (0,0) where samples have no direction of their own."""
    deep = net.width + mirrors_of(mirrors)
    return Tile(
        np.empty(8 * TILE, np.int32),
        np.empty(8 * TILE, np.float32),
        np.zeros((COORDINATES + net.size) * STRIDE, np.float32),
        np.empty(deep * STRIDE, np.float32),
        np.empty(net.width * STRIDE, np.float32),
        np.empty(4 * STRIDE, np.float32),
        np.empty((3, TILE), np.float32),
        np.empty(TILE, np.float32),
        mirrors,
        np.empty(HARMONICS * STRIDE, np.float32),
        np.empty((TILE, net.width), np.float32),
        np.zeros(TILE + 1, np.int64),
    )


@rowwise
def look_along(directions, tile):
    """The harmonics of TILE rays at the most: of ray n in column n."""
    mirror_rows(directions, 0, len(directions), len(directions), tile.harmonics, 0)


@rowwise
def admit(net, tile, n, number, column):
    """Column ``column`` is the first one of the tile's ray ``number``, which is ray n of those looked along."""
    row = tile.of_rays[number]
    row[:] = net.bias
    for k in range(HARMONICS):
        factor, weights = tile.harmonics[k * STRIDE + n], net.of_rays[k]
        for j in range(row.shape[0]):
            row[j] += factor * weights[j]
    tile.starts[number] = column


@rowwise
def evaluate(net, packed, tile, number, columns, dense):
    """The colors of the first ``columns`` columns, of ``number`` rays, and, if ``dense``, their densities."""
    tile.starts[number] = columns
    rounded = (columns + COLUMNS - 1) // COLUMNS * COLUMNS
    for i in range(COORDINATES):
        tile.kept[i * STRIDE + columns : i * STRIDE + rounded] = tile.kept[i * STRIDE + columns - 1]
    deep, f0 = net.width + mirrors_of(tile.mirrors), COORDINATES * STRIDE
    encode_tile(
        net.levels, net.pairs, tile.kept, STRIDE, 0, rounded, net.table, tile.rows, tile.weights, tile.kept, f0,
        STRIDE, net.size,
    )  # fmt: skip
    hidden_layer(packed, net.width, net.size, tile.kept, f0, STRIDE, rounded, tile.z)
    if dense:
        density_head(packed, net.width, deep, rounded, tile.z, tile.logits)
        activate_density(tile.logits, tile.sigma[:columns])
    mirror_rows(tile.mirrors, 0, columns, rounded, tile.z, net.width)
    color_layer(packed, net.width, deep, tile.of_rays, 0, tile.starts, 0, columns, rounded, tile.z, tile.h)
    color_head(packed, net.width, rounded, tile.h, tile.logits)
    for c in range(3):
        activate_color(tile.logits[c * STRIDE :], tile.rgb[c, :columns])
