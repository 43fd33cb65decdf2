"""The pixels of a group of rays, TILE at the most: from rays to colors without leaving the cache."""

import numpy as np

from .. import elementary
from ..elementary import rowwise
from ..feature_field.front_to_back import unit
from ..feature_field.layout import STRIDE, TILE
from ..march.walk import AHEAD
from .points import look_ahead, mirror, opacities, place, rays_of, scratch
from .tile import admit, evaluate, look_along, tile_for

ONE = np.float32(1)
FEW, MOST = 4, 8  # samples of a ray that a tile takes
RED, OPACITY, DEPTH = 0, 3, 4  # columns of a ray's sums


@rowwise
def _write(sums, first, early_stop, color, opacity, depth):
    """The pixels of rays ``first`` on; one that lets less light through than ``early_stop`` is opaque."""
    for n in range(len(sums)):
        taken = sums[n, OPACITY]
        scale = 1 / taken if 1 - taken < early_stop else 1.0
        for c in range(3):
            color[first + n, c] = sums[n, RED + c] * scale
        opacity[first + n], depth[first + n] = taken * scale, sums[n, DEPTH] * scale


@rowwise
def view_density(net, packed, camera, grid, first, last, early_stop, color, opacity, depth):
    """Of a field with a density of its own: tiles take the next few samples of rays that still let light through."""
    most, work, rays = last - first, scratch(), rays_of(camera, grid, first, last)
    points, stops = rays.points, rays.stops
    tile = tile_for(net, np.empty((0, 0), np.float32))
    sums, light, alive = np.zeros((most, 5)), np.ones(most), np.empty(most, np.int64)
    named = np.empty(TILE, np.int64)
    # Of each ray the samples that were found and not yet looked at: from ``begun`` on, before ``ends``.
    waiting, begun, ends = np.empty((most, AHEAD), np.int32), np.zeros(most, np.int64), np.zeros(most, np.int64)
    places, alpha = np.empty(3 * STRIDE, np.float32), np.empty(STRIDE, np.float32)
    middles, lengths = np.empty(STRIDE, np.float32), np.empty(STRIDE, np.float32)
    count = 0
    for n in range(most):
        if points[n] < stops[n]:
            alive[count] = n
            count += 1
    if count > 0:
        look_along(rays.directions, tile)
    while count > 0:
        share, number, columns, looked_at = max(FEW, min(MOST, TILE // count)), 0, 0, 0
        while looked_at < count and columns + share <= TILE:
            n = alive[looked_at]
            if begun[n] == ends[n]:
                begun[n] = 0
                ends[n], points[n] = look_ahead(rays, grid, n, points[n], stops[n], work)
                waiting[n] = work.numbers
            taken = min(share, ends[n] - begun[n])
            if taken > 0:
                place(rays, n, grid.step, waiting[n], begun[n], taken, places, middles, lengths, columns)
                admit(net, tile, n, number, columns)
                begun[n] += taken
                named[number] = n
                number += 1
                columns += taken
            looked_at += 1
        going = 0
        if number > 0:
            for i in range(3):
                for s in range(columns):
                    tile.kept[i * STRIDE + s] = unit(places[i * STRIDE + s])
            evaluate(net, packed, tile, number, columns, True)
            for s in range(columns):
                alpha[s] = elementary.softplus_slope(tile.sigma[s] * lengths[s], ONE)
        for i in range(number):
            n, s = named[i], tile.starts[i]
            behind = light[n]
            while s < tile.starts[i + 1] and behind >= early_stop:
                weight = behind * np.float64(alpha[s])
                behind -= weight
                for c in range(3):
                    sums[n, RED + c] += weight * tile.rgb[c, s]
                sums[n, OPACITY] += weight
                sums[n, DEPTH] += weight * middles[s]
                s += 1
            light[n] = behind
            if (begun[n] < ends[n] or points[n] < stops[n]) and behind >= early_stop:
                alive[going] = n
                going += 1
        for i in range(looked_at, count):
            alive[going + i - looked_at] = alive[i]
        count += going - looked_at
    _write(sums, first, early_stop, color, opacity, depth)


@rowwise
def _add_colors(net, packed, tile, number, columns, named, weights, sums):
    """The colors of a tile's columns, each times its weight, to the sums of its rays."""
    evaluate(net, packed, tile, number, columns, False)
    for i in range(number):
        n = named[i]
        for s in range(tile.starts[i], tile.starts[i + 1]):
            for c in range(3):
                sums[n, RED + c] += weights[s] * tile.rgb[c, s]


@rowwise
def view_surface(net, packed, camera, grid, distance, first, last, early_stop, color, opacity, depth):
    """Of a signed distance: it says which samples' colors count and how much, and a tile is filled with these."""
    most, work, rays = last - first, scratch(), rays_of(camera, grid, first, last)
    points, stops = rays.points, rays.stops
    tile = tile_for(net, np.empty((TILE, 3), np.float32))
    sums = np.zeros((most, 5))
    named = np.empty(TILE, np.int64)
    # A ray's samples side by side.
    places, slopes, alpha = (
        np.empty(3 * STRIDE, np.float32),
        np.empty(3 * STRIDE, np.float32),
        np.empty(AHEAD, np.float32),
    )
    middles, lengths = np.empty(STRIDE, np.float32), np.empty(STRIDE, np.float32)
    weights, weighed, shares = np.empty(STRIDE), np.empty(TILE), np.empty(most)
    look_along(rays.directions, tile)
    number = columns = 0
    for n in range(most):
        k, light, largest, total, entered, going = points[n], 1.0, 0.0, 0.0, False, points[n] < stops[n]
        while going:
            count = 0
            while k < stops[n] and light >= early_stop and count + AHEAD <= STRIDE:
                taken, k = look_ahead(rays, grid, n, k, stops[n], work)
                place(rays, n, grid.step, work.numbers, 0, taken, places, middles, lengths, count)
                opacities(
                    distance.nodes, distance.cells, distance.beta, places, lengths, count, taken, alpha, slopes
                )  # fmt: skip
                s = 0
                while s < taken and light >= early_stop:
                    weight = light * np.float64(alpha[s])
                    light -= weight
                    weights[count] = weight
                    sums[n, OPACITY] += weight
                    sums[n, DEPTH] += weight * middles[count]
                    largest = max(largest, weight)
                    count += 1
                    s += 1
            going = k < stops[n] and light >= early_stop
            for s in range(count):
                if weights[s] <= distance.least * largest:
                    continue
                if columns == TILE:
                    _add_colors(net, packed, tile, number, columns, named, weighed, sums)
                    number, columns, entered = 0, 0, False
                if not entered:
                    admit(net, tile, n, number, columns)
                    named[number] = n
                    number += 1
                    entered = True
                for axis in range(3):
                    tile.kept[axis * STRIDE + columns] = unit(places[axis * STRIDE + s])
                mirror(rays.directions, n, slopes, s, tile.mirrors, columns)
                weighed[columns] = weights[s]
                total += weights[s]
                columns += 1
        shares[n] = sums[n, OPACITY] / total if total > 0 else 1.0
    if columns > 0:
        _add_colors(net, packed, tile, number, columns, named, weighed, sums)
    for n in range(most):
        for c in range(3):
            sums[n, RED + c] *= shares[n]
    _write(sums, first, early_stop, color, opacity, depth)
