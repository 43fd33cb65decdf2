"""Numba: a face finds what its neighbors do to its corners, a vertex gathers it: nothing is written by two threads.

Float64 inside; sums are those of blocks, so that they do not depend on threads.
"""

import math

import numpy as np
import torch
from numba import prange

from ..jit import jit
from .reference import FLAT

BLOCK = 256  # faces or vertices whose terms are summed together


@jit(parallel=False)
def _cross(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@jit(parallel=False)
def _sides(x, faces, f):
    """From corner 0 of a face to corners 1 and 2."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    x0, x1, x2 = x[a, 0], x[a, 1], x[a, 2]
    return x[b, 0] - x0, x[b, 1] - x1, x[b, 2] - x2, x[c, 0] - x0, x[c, 1] - x1, x[c, 2] - x2


@jit
def face_kernel(x, faces, pairs, beside, sign, least, normals, pull, sums):
    """``normals`` (F,4) are unit ones and 1 / |c|, 0 for flat faces; ``pull`` (F,3,3) the corners' gradient times P,
    ``sums`` by block twice those of the term."""
    for f in prange(len(faces)):
        u0, u1, u2, v0, v1, v2 = _sides(x, faces, f)
        longest = max(abs(u0), abs(u1), abs(u2), abs(v0), abs(v1), abs(v2))
        c0, c1, c2 = _cross(u0, u1, u2, v0, v1, v2)
        size = math.sqrt(c0 * c0 + c1 * c1 + c2 * c2)
        scale = 0.0 if size <= least * longest * longest else 1.0 / size
        normals[f, 0], normals[f, 1], normals[f, 2], normals[f, 3] = c0 * scale, c1 * scale, c2 * scale, scale
    for block in prange(len(sums)):
        total = 0.0
        for f in range(block * BLOCK, min(block * BLOCK + BLOCK, len(faces))):
            n0, n1, n2, scale = normals[f, 0], normals[f, 1], normals[f, 2], normals[f, 3]
            p0 = p1 = p2 = 0.0
            for k in range(pairs[f], pairs[f + 1]):
                g, s = beside[k], np.float64(sign[k])
                p0, p1, p2 = p0 - s * normals[g, 0], p1 - s * normals[g, 1], p2 - s * normals[g, 2]
            along = p0 * n0 + p1 * n1 + p2 * n2
            total += pairs[f + 1] - pairs[f] + along
            d0, d1, d2 = (p0 - n0 * along) * scale, (p1 - n1 * along) * scale, (p2 - n2 * along) * scale
            u0, u1, u2, v0, v1, v2 = _sides(x, faces, f)
            a0, a1, a2 = _cross(v0, v1, v2, d0, d1, d2)
            b0, b1, b2 = _cross(d0, d1, d2, u0, u1, u2)
            pull[f, 0, 0], pull[f, 0, 1], pull[f, 0, 2] = -a0 - b0, -a1 - b1, -a2 - b2
            pull[f, 1, 0], pull[f, 1, 1], pull[f, 1, 2] = a0, a1, a2
            pull[f, 2, 0], pull[f, 2, 1], pull[f, 2, 2] = b0, b1, b2
        sums[block] = total


@jit
def vertex_kernel(
    x, neighbors, neighbor, edge, corners, corner, around, length, pull, pair_count, bends, sums, gradients
):
    """``bends`` (V,3) are d / r^2; ``sums`` by block of the laplacian and twice the edges' term; ``gradients`` (3,V,3)
    of the three terms."""
    count, edges = len(x), max(len(length), 1)
    pairs = max(pair_count, 1)
    for block in prange(len(sums)):
        bend = stretch = 0.0
        for v in range(block * BLOCK, min(block * BLOCK + BLOCK, count)):
            d0 = d1 = d2 = e0 = e1 = e2 = 0.0
            for k in range(neighbors[v], neighbors[v + 1]):
                u = neighbor[k]
                t0, t1, t2 = x[u, 0] - x[v, 0], x[u, 1] - x[v, 1], x[u, 2] - x[v, 2]
                d0, d1, d2 = d0 + t0, d1 + t1, d2 + t2
                now, start = math.sqrt(t0 * t0 + t1 * t1 + t2 * t2), np.float64(length[edge[k]])
                longer = now / start - 1
                stretch += longer * longer
                slope = longer / (start * now) if now > 0 else 0.0
                e0, e1, e2 = e0 - slope * t0, e1 - slope * t1, e2 - slope * t2
            share = 1.0 / max(neighbors[v + 1] - neighbors[v], 1)
            d0, d1, d2 = d0 * share, d1 * share, d2 * share
            weight = 1.0 / (np.float64(around[v]) * np.float64(around[v]))
            bend += (d0 * d0 + d1 * d1 + d2 * d2) * weight
            bends[v, 0], bends[v, 1], bends[v, 2] = d0 * weight, d1 * weight, d2 * weight
            factor = 2.0 / edges
            gradients[2, v, 0], gradients[2, v, 1], gradients[2, v, 2] = e0 * factor, e1 * factor, e2 * factor
            n0 = n1 = n2 = 0.0
            for k in range(corners[v], corners[v + 1]):
                f, at = corner[k] // 3, corner[k] % 3
                n0, n1, n2 = n0 + pull[f, at, 0], n1 + pull[f, at, 1], n2 + pull[f, at, 2]
            gradients[1, v, 0], gradients[1, v, 1], gradients[1, v, 2] = n0 / pairs, n1 / pairs, n2 / pairs
        sums[block, 0], sums[block, 1] = bend, stretch
    for v in prange(count):
        g0, g1, g2 = -bends[v, 0], -bends[v, 1], -bends[v, 2]
        for k in range(neighbors[v], neighbors[v + 1]):
            u = neighbor[k]
            share = 1.0 / (neighbors[u + 1] - neighbors[u])
            g0, g1, g2 = g0 + share * bends[u, 0], g1 + share * bends[u, 1], g2 + share * bends[u, 2]
        factor = 2.0 / count
        gradients[0, v, 0], gradients[0, v, 1], gradients[0, v, 2] = g0 * factor, g1 * factor, g2 * factor


def forward(vertices, lists, around, length):
    """The three values (3,) and their gradients (3,V,3)."""
    count, faces = len(vertices), len(lists.faces)
    pair_count = len(lists.beside) // 2
    x, arrays = vertices.double().numpy(), [t.numpy() for t in lists]
    normals, pull, turns = np.empty((faces, 4)), np.empty((faces, 3, 3)), np.empty(-(-faces // BLOCK))
    least = FLAT * torch.finfo(vertices.dtype).eps
    face_kernel(x, arrays[0], *arrays[6:], least, normals, pull, turns)
    bends, sums, gradients = np.empty((count, 3)), np.empty((-(-count // BLOCK), 2)), vertices.new_empty(3, count, 3)
    lengths = around.contiguous().numpy(), length.contiguous().numpy()
    vertex_kernel(x, *arrays[1:6], *lengths, pull, pair_count, bends, sums, gradients.numpy())
    bend, stretch = sums.sum(0)
    values = bend / count, turns.sum() / max(2 * pair_count, 1), stretch / max(len(lists.edge), 1)
    return vertices.new_tensor(values), gradients
