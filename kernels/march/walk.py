"""A ray's way through the occupancy grid, in Numba.

Every t and every decision on a cell is the reference's float32 expression, operation for operation. Only which lattice
points are looked at differs: those that certainly share a cell, or lie in empty space, are not tested one by one.
"""

import math

import numpy as np
from numba import prange

from ..jit import inline, jit
from ..philox import JITTER
from ..philox.cpu import to_uniform, words

ZERO, ONE, HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
ULPS = np.float32(2.0**-20)  # margin, relative: eight float32 roundings
LONGEST = np.float32(2.0**24)  # a lattice has at most this many points: float32 counts no further
STILL, FAR_AWAY = np.float32(1e-30), np.float32(1e30)
BLOCK = 8  # cells along a side of a coarse block
SHIFT = np.uint32(3)
SHORT = np.float32(0.125)  # a step of fewer cells: worth finding the cell's wall, to take all steps before it at once
AHEAD = 16  # lattice points whose cells are found together, in vectors
RAYS = 32  # that a thread takes together
# Where ``approach`` has what of them: of each axis, and then one number.
ORIGIN, DIRECTION, RATE, SLACK, CELL = (RAYS * i for i in range(0, 15, 3))
NEAR, FAR, OFFSET, MIDDLE, BLOCKS, POINT, STOP, NUMBERS = (RAYS * i for i in range(15, 23))


@jit(parallel=False)
def lattice_range(o, d, near, far, h, u, bounds):
    """First and last lattice point that can lie within ``bounds`` (2,3) and before ``far``, generously; none on a miss.

    The bounds are those of the occupied cells.
    """
    enter, leave = np.float64(near), np.float64(far)
    for axis in range(3):
        p, v = np.float64(o[axis]), np.float64(d[axis])
        slack = 1e-5 * (1.0 + abs(p))
        low, high = bounds[0, axis], bounds[1, axis]
        if v == 0.0:
            if p < low - slack or p > high + slack:
                leave = np.float64(-np.inf)
        else:
            rate = 1.0 / v
            a, b = (low - p) * rate, (high - p) * rate
            widen = slack * abs(rate)
            enter, leave = max(enter, min(a, b) - widen), min(leave, max(a, b) + widen)
    if not leave > enter:
        return 0, 0
    margin = 1e-5 * (abs(near) + abs(leave))
    first = math.floor((enter - margin - near) / h - u) - 1.0
    stop = math.ceil((leave + margin - near) / h - u) + 1.0
    return int(max(first, 0.0)), int(min(max(stop, 0.0), LONGEST))


@inline
def lattice_offset(key, r):
    """u of ray r; ``key`` is whether there is jitter, seed, step, number of ray 0."""
    jittered, seed, step, first = key
    return to_uniform(words(seed, first + r, 0, step, JITTER)[0]) if jittered else ZERO


@inline
def axis_of(o, v, scale):
    """Along one axis: 1 if the wall ahead is a cell's upper one, distance per cell (signed), and the slack in distance.

    Where the ray stands still, every wall is far away and no rounding can cross one.
    """
    if abs(v) < STILL:
        return 1, FAR_AWAY, ZERO
    rate = ONE / (v * scale)
    return int(v > ZERO), rate, ULPS * (ONE + abs(o)) * scale * abs(rate)


@jit(parallel=False)
def approach(rays, h, size, distance):
    """Move each ray's lattice point on to the first one that no empty block holds, as ``walk`` would; all in step.

    ``rays`` is flat: of RAYS rays one number after the other. All are float32, so that the loops are vectors.
    """
    limit = np.float32(size)
    scale = HALF * limit
    per_step, side, block, share = ONE / h, np.float32((size + BLOCK - 1) // BLOCK), np.float32(BLOCK), ONE / BLOCK
    moves = ONE
    while moves > ZERO:
        for i in range(RAYS):
            near, far, u, k = (rays[NEAR + i], rays[FAR + i], rays[OFFSET + i], rays[POINT + i])
            start = near + (k + u) * h
            end = min(near + ((k + ONE) + u) * h, far)
            middle = HALF * (start + end)
            gx = (rays[ORIGIN + i] + middle * rays[DIRECTION + i] + ONE) * scale
            gy = (rays[ORIGIN + RAYS + i] + middle * rays[DIRECTION + RAYS + i] + ONE) * scale
            gz = (rays[ORIGIN + 2 * RAYS + i] + middle * rays[DIRECTION + 2 * RAYS + i] + ONE) * scale
            inside = (gx >= ZERO) & (gx < limit) & (gy >= ZERO) & (gy < limit) & (gz >= ZERO) & (gz < limit)
            number = (np.floor(gx * share) * side + np.floor(gy * share)) * side + np.floor(gz * share)
            rays[CELL + i], rays[CELL + RAYS + i], rays[CELL + 2 * RAYS + i] = gx, gy, gz
            rays[MIDDLE + i] = middle
            rays[BLOCKS + i] = number if inside else -ONE
            rays[POINT + i] = k if (start < far) & (k < rays[STOP + i]) else rays[STOP + i]
        for i in range(RAYS):
            number = int(rays[BLOCKS + i])
            rays[BLOCKS + i] = np.float32(distance[number]) if number >= 0 else -ONE
        moves = ZERO
        for i in range(RAYS):
            blocks, middle, k = rays[BLOCKS + i], rays[MIDDLE + i], rays[POINT + i]
            away = rays[FAR + i] - middle
            for axis in range(3):
                # a wall ``blocks`` blocks on or, where the ray goes down, ``blocks`` - 1 back
                g, rate = rays[CELL + axis * RAYS + i], rays[RATE + axis * RAYS + i]
                wall = (np.floor(g * share) + (blocks if rate > ZERO else ONE - blocks)) * block
                away = min(away, (wall - g) * rate - rays[SLACK + axis * RAYS + i])
            away -= ULPS * (abs(rays[NEAR + i]) + abs(middle) + away)
            same = np.floor(max(min(away * per_step, LONGEST), ZERO)) + ONE
            move = ONE if blocks < ZERO else same if blocks > ZERO else ZERO
            move = move if k < rays[STOP + i] else ZERO
            rays[POINT + i] = min(k + move, LONGEST)
            moves += move


@jit(parallel=False)
def depart(o, d, near, far, first, end, h, key, size, distance, bounds, rays):
    """Of RAYS rays at most, POINT, STOP and OFFSET in ``rays``: behind the empty space before what they may meet."""
    scale = HALF * np.float32(size)
    rays[STOP : STOP + RAYS] = ZERO  # what is there of others is done
    for i in range(end - first):
        r = first + i
        u = lattice_offset(key, r)
        for axis in range(3):
            at = axis * RAYS + i
            rays[ORIGIN + at], rays[DIRECTION + at] = o[r, axis], d[r, axis]
            _, rays[RATE + at], rays[SLACK + at] = axis_of(o[r, axis], d[r, axis], scale)
        rays[NEAR + i], rays[FAR + i], rays[OFFSET + i] = near[r], far[r], u
        rays[POINT + i], rays[STOP + i] = lattice_range(o[r], d[r], near[r], far[r], h, u, bounds)
    approach(rays, h, size, distance)


@jit(parallel=False)
def _cells_ahead(k, ox, oy, oz, dx, dy, dz, near, far, h, u, size, cells, lengths):
    """The cells, numbered x G^2 + y G + z, of AHEAD lattice points from ``k`` on, and the intervals' lengths.

    -1 is no cell: out of the box, or behind ``far``. The expressions are those of ``walk``.
    """
    limit = np.float32(size)
    scale = HALF * limit
    for i in range(AHEAD):
        start = near + (np.float32(k + i) + u) * h
        end = min(near + (np.float32(k + i + 1) + u) * h, far)
        middle = HALF * (start + end)
        gx, gy, gz = (
            (ox + middle * dx + ONE) * scale,
            (oy + middle * dy + ONE) * scale,
            (oz + middle * dz + ONE) * scale,
        )
        inside = (gx >= ZERO) & (gx < limit) & (gy >= ZERO) & (gy < limit) & (gz >= ZERO) & (gz < limit)
        x, y, z = np.int32(gx if inside else ZERO), np.int32(gy if inside else ZERO), np.int32(gz if inside else ZERO)
        cells[i] = (x * size + y) * size + z if inside & (start < far) else np.int32(-1)
        lengths[i] = end - start


@jit(parallel=False)
def walk(
    k, stop, depth, room, o, d, near, far, h, u, size, occupancy, distance, densities, depth_limit, runs, cells, lengths
):
    """Runs of emitted intervals, [first, last + 1), from lattice point ``k`` until ``runs`` is full or the ray is done.

    Not more than ``room`` intervals. Returns how many runs, how many intervals, where to go on (``stop``: the ray is
    done), and the optical depth so far. ``occupancy``, ``distance`` and ``densities`` are flat.
    """
    limit = np.float32(size)
    scale = HALF * limit
    ox, oy, oz, dx, dy, dz = o[0], o[1], o[2], d[0], d[1], d[2]
    up_x, rate_x, slack_x = axis_of(ox, dx, scale)
    up_y, rate_y, slack_y = axis_of(oy, dy, scale)
    up_z, rate_z, slack_z = axis_of(oz, dz, scale)
    per_step, side = ONE / h, (size + BLOCK - 1) // BLOCK
    strides = h * scale < SHORT
    count, emitted, last = 0, 0, -1
    while k < stop and emitted < room:
        start = near + (np.float32(k) + u) * h
        if not start < far:
            k = stop
            break
        end = min(near + (np.float32(k + 1) + u) * h, far)
        middle = HALF * (start + end)
        gx, gy, gz = (
            (ox + middle * dx + ONE) * scale,
            (oy + middle * dy + ONE) * scale,
            (oz + middle * dz + ONE) * scale,
        )
        if not (gx >= ZERO and gx < limit and gy >= ZERO and gy < limit and gz >= ZERO and gz < limit):
            k += 1
            continue
        x, y, z = np.uint32(gx), np.uint32(gy), np.uint32(gz)
        bx, by, bz = x >> SHIFT, y >> SHIFT, z >> SHIFT
        blocks = int(distance[(np.int64(bx) * side + by) * side + bz])
        if blocks == 0 and not strides:
            _cells_ahead(k, ox, oy, oz, dx, dy, dz, near, far, h, u, size, cells, lengths)
            full, i = False, 0
            while i < AHEAD and k < stop and emitted < room:
                cell = np.int64(cells[i])
                if cell >= 0 and occupancy[cell]:
                    if depth > depth_limit:
                        k = stop
                        break
                    if k != last:
                        full = count == len(runs)
                        if full:
                            break
                        runs[count, 0] = k
                        count += 1
                    if len(densities):
                        depth += np.float64(densities[cell]) * np.float64(lengths[i])
                    emitted += 1
                    last = k + 1
                    runs[count - 1, 1] = last
                k += 1
                i += 1
            if full:
                break
            continue
        occupied = blocks == 0 and occupancy[(np.int64(x) * size + y) * size + z] != 0
        if blocks > 0:
            wall_x = (int(bx) + (blocks if up_x else 1 - blocks)) * BLOCK
            wall_y = (int(by) + (blocks if up_y else 1 - blocks)) * BLOCK
            wall_z = (int(bz) + (blocks if up_z else 1 - blocks)) * BLOCK
        else:
            wall_x, wall_y, wall_z = int(x) + up_x, int(y) + up_y, int(z) + up_z
        # So many lattice points, this one included, certainly lie before the nearest wall and before the end.
        away_x = (np.float32(wall_x) - gx) * rate_x - slack_x
        away_y = (np.float32(wall_y) - gy) * rate_y - slack_y
        away_z = (np.float32(wall_z) - gz) * rate_z - slack_z
        away = min(away_x, away_y, away_z, far - middle)
        away -= ULPS * (abs(near) + abs(middle) + away)
        same = max(1, int(min(away * per_step, LONGEST)) + 1)
        if occupied:
            if depth > depth_limit:
                k = stop
                break
            if k != last:
                if count == len(runs):
                    break
                runs[count, 0] = k
                count += 1
            if len(densities):
                same = 1
                depth += np.float64(densities[(np.int64(x) * size + y) * size + z]) * np.float64(end - start)
            same = min(same, room - emitted)
            emitted += same
            last = k + same
            runs[count - 1, 1] = last
        k += same
    return count, emitted, k, depth


@jit
def _block_distance(occupancy, distance):
    """How many blocks of cells away (largest of the three axes) the nearest occupied block is; 255 if farther."""
    size, n = occupancy.shape[0], distance.shape[0]
    for bx in prange(n):
        distance[bx] = 255
        for x in range(bx * BLOCK, min(bx * BLOCK + BLOCK, size)):
            for y in range(size):
                for z in range(size):
                    if occupancy[x, y, z]:
                        distance[bx, y // BLOCK, z // BLOCK] = 0
    for sweep in range(2):  # forward, then backward: each block learns from the 13 neighbors already visited
        for i in range(n * n * n):
            b = i if sweep == 0 else n * n * n - 1 - i
            x, y, z = b // (n * n), b // n % n, b % n
            for j in range(13):
                dx, dy, dz = j // 9 - 1, j // 3 % 3 - 1, j % 3 - 1
                if sweep:
                    dx, dy, dz = -dx, -dy, -dz
                if 0 <= x + dx < n and 0 <= y + dy < n and 0 <= z + dz < n:
                    near = min(int(distance[x + dx, y + dy, z + dz]) + 1, 255)
                    distance[x, y, z] = min(int(distance[x, y, z]), near)


def map_of(occupancy):
    """Of blocks the distances, flat int32, and the bounds (2,3) float64 of the occupied ones; the box if none is."""
    distance = np.empty((-(-len(occupancy) // BLOCK),) * 3, np.uint8)
    _block_distance(occupancy.numpy().view(np.uint8), distance)
    blocks = np.argwhere(distance == 0)
    ends = np.array([[0] * 3, distance.shape])
    if len(blocks):
        ends = np.stack([blocks.min(0), blocks.max(0) + 1])
    ends *= BLOCK
    return distance.ravel().astype(np.int32), np.minimum(ends, len(occupancy)) * (2 / len(occupancy)) - 1
