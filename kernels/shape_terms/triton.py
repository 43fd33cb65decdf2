"""Triton: a lane a face or a vertex walks its list; sums in a fixed order, in float64."""

import torch
import triton
import triton.language as tl

from .reference import FLAT

BLOCK = 128  # faces or vertices of a program


@triton.jit
def _point(x_ptr, vertex, inside):
    """The three coordinates of a vertex, 0 where it is not asked for."""
    return (
        tl.load(x_ptr + 3 * vertex, inside, other=0.0),
        tl.load(x_ptr + 3 * vertex + 1, inside, other=0.0),
        tl.load(x_ptr + 3 * vertex + 2, inside, other=0.0),
    )


@triton.jit
def _keep(to_ptr, row, a, b, c, inside):
    tl.store(to_ptr + 3 * row, a, inside)
    tl.store(to_ptr + 3 * row + 1, b, inside)
    tl.store(to_ptr + 3 * row + 2, c, inside)


@triton.jit
def _cross(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@triton.jit
def _sides(x_ptr, faces_ptr, face, inside):
    """From corner 0 of a face to corners 1 and 2."""
    a, b, c = _point(faces_ptr, face, inside)
    a0, a1, a2 = _point(x_ptr, a.to(tl.int64), inside)
    b0, b1, b2 = _point(x_ptr, b.to(tl.int64), inside)
    c0, c1, c2 = _point(x_ptr, c.to(tl.int64), inside)
    return b0 - a0, b1 - a1, b2 - a2, c0 - a0, c1 - a1, c2 - a2


@triton.jit
def _list(start_ptr, row, inside):
    """Where the list of ``row`` begins, how long it is, and the longest of the program's."""
    begin = tl.load(start_ptr + row, inside, other=0)
    size = tl.load(start_ptr + row + 1, inside, other=0) - begin
    return begin, size, tl.max(size, 0)


@triton.jit(do_not_specialize=("count",))
def normals_kernel(x_ptr, faces_ptr, normals_ptr, scales_ptr, count, least, BLOCK: tl.constexpr):
    """``normals`` (F,3) are unit ones, ``scales`` (F,) 1 / |c|; both 0 for flat faces."""
    face = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = face < count
    u0, u1, u2, v0, v1, v2 = _sides(x_ptr, faces_ptr, face, inside)
    longest = tl.maximum(tl.maximum(tl.abs(u0), tl.abs(u1)), tl.abs(u2))
    longest = tl.maximum(tl.maximum(tl.maximum(tl.abs(v0), tl.abs(v1)), tl.abs(v2)), longest)
    by = 1.0 / tl.where(longest > 0, longest, 1.0)
    c0, c1, c2 = _cross(u0 * by, u1 * by, u2 * by, v0 * by, v1 * by, v2 * by)
    height = tl.sqrt(c0 * c0 + c1 * c1 + c2 * c2)
    scale = tl.where(height > least, 1.0 / tl.where(height > least, height, 1.0), 0.0)
    _keep(normals_ptr, face, c0 * scale, c1 * scale, c2 * scale, inside)
    tl.store(scales_ptr + face, scale * by * by, inside)


@triton.jit(do_not_specialize=("count",))
def turns_kernel(
    x_ptr, faces_ptr, pairs_ptr, beside_ptr, sign_ptr, normals_ptr, scales_ptr, pull_ptr, sums_ptr, count,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """``pull`` (3F,3) is the corners' gradient times P, ``sums`` (programs,) are twice those of the term."""
    face = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = face < count
    n0, n1, n2 = _point(normals_ptr, face, inside)
    begin, size, longest = _list(pairs_ptr, face, inside)
    p0, p1, p2 = tl.zeros_like(n0), tl.zeros_like(n0), tl.zeros_like(n0)
    turn = tl.zeros([BLOCK], tl.float64)
    for k in range(0, longest):
        there = k < size
        other = tl.load(beside_ptr + begin + k, there, other=0)
        s = tl.load(sign_ptr + begin + k, there, other=0.0)
        g0, g1, g2 = _point(normals_ptr, other, there)
        p0, p1, p2 = p0 - s * g0, p1 - s * g1, p2 - s * g2
        turn += tl.where(there, 1.0 - s * (n0 * g0 + n1 * g1 + n2 * g2), 0.0).to(tl.float64)
    tl.store(sums_ptr + tl.program_id(0), tl.sum(turn, 0))
    scale, along = tl.load(scales_ptr + face, inside, other=0.0), p0 * n0 + p1 * n1 + p2 * n2
    d0, d1, d2 = (p0 - n0 * along) * scale, (p1 - n1 * along) * scale, (p2 - n2 * along) * scale
    u0, u1, u2, v0, v1, v2 = _sides(x_ptr, faces_ptr, face, inside)
    a0, a1, a2 = _cross(v0, v1, v2, d0, d1, d2)
    b0, b1, b2 = _cross(d0, d1, d2, u0, u1, u2)
    _keep(pull_ptr, 3 * face, -a0 - b0, -a1 - b1, -a2 - b2, inside)
    _keep(pull_ptr, 3 * face + 1, a0, a1, a2, inside)
    _keep(pull_ptr, 3 * face + 2, b0, b1, b2, inside)


@triton.jit(do_not_specialize=("count",))
def vertices_kernel(
    x_ptr, neighbors_ptr, neighbor_ptr, edge_ptr, corners_ptr, corner_ptr, around_ptr, length_ptr, pull_ptr, bends_ptr,
    sums_ptr, by_turn_ptr, by_edge_ptr, count, turn_factor, edge_factor, BLOCK: tl.constexpr,
):  # fmt: skip
    """``bends`` (V,3) are d / r^2; ``sums`` (programs,2) of the laplacian and twice the edges' term."""
    vertex = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = vertex < count
    x0, x1, x2 = _point(x_ptr, vertex, inside)
    begin, size, longest = _list(neighbors_ptr, vertex, inside)
    d0, d1, d2 = tl.zeros_like(x0), tl.zeros_like(x0), tl.zeros_like(x0)
    e0, e1, e2 = tl.zeros_like(x0), tl.zeros_like(x0), tl.zeros_like(x0)
    stretch = tl.zeros([BLOCK], tl.float64)
    for k in range(0, longest):
        there = k < size
        u0, u1, u2 = _point(x_ptr, tl.load(neighbor_ptr + begin + k, there, other=0), there)
        t0, t1, t2 = u0 - x0, u1 - x1, u2 - x2
        d0, d1, d2 = d0 + tl.where(there, t0, 0.0), d1 + tl.where(there, t1, 0.0), d2 + tl.where(there, t2, 0.0)
        start = tl.load(length_ptr + tl.load(edge_ptr + begin + k, there, other=0), there, other=1.0)
        now = tl.sqrt(t0 * t0 + t1 * t1 + t2 * t2)
        longer = now / start - 1.0
        stretch += tl.where(there, longer * longer, 0.0).to(tl.float64)
        moves = there & (now > 0)
        slope = tl.where(moves, longer / (start * tl.where(moves, now, 1.0)), 0.0)
        e0, e1, e2 = e0 - slope * t0, e1 - slope * t1, e2 - slope * t2
    _keep(by_edge_ptr, vertex, e0 * edge_factor, e1 * edge_factor, e2 * edge_factor, inside)
    share = 1.0 / tl.maximum(size, 1).to(tl.float32)
    weight = 1.0 / tl.load(around_ptr + vertex, inside, other=1.0)
    d0, d1, d2 = d0 * share * weight, d1 * share * weight, d2 * share * weight
    _keep(bends_ptr, vertex, d0 * weight, d1 * weight, d2 * weight, inside)
    bend = tl.where(inside, d0 * d0 + d1 * d1 + d2 * d2, 0.0).to(tl.float64)
    tl.store(sums_ptr + 2 * tl.program_id(0), tl.sum(bend, 0))
    tl.store(sums_ptr + 2 * tl.program_id(0) + 1, tl.sum(stretch, 0))
    begin, size, longest = _list(corners_ptr, vertex, inside)
    n0, n1, n2 = tl.zeros_like(x0), tl.zeros_like(x0), tl.zeros_like(x0)
    for k in range(0, longest):
        there = k < size
        a, b, c = _point(pull_ptr, tl.load(corner_ptr + begin + k, there, other=0), there)
        n0, n1, n2 = n0 + a, n1 + b, n2 + c
    _keep(by_turn_ptr, vertex, n0 * turn_factor, n1 * turn_factor, n2 * turn_factor, inside)


@triton.jit(do_not_specialize=("count",))
def bends_kernel(neighbors_ptr, neighbor_ptr, bends_ptr, by_bend_ptr, count, factor, BLOCK: tl.constexpr):
    """The laplacian's gradient, ``by_bend`` (V,3)."""
    vertex = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = vertex < count
    g0, g1, g2 = _point(bends_ptr, vertex, inside)
    g0, g1, g2 = -g0, -g1, -g2
    begin, size, longest = _list(neighbors_ptr, vertex, inside)
    for k in range(0, longest):
        there = k < size
        other = tl.load(neighbor_ptr + begin + k, there, other=0)
        first = tl.load(neighbors_ptr + other, there, other=0)
        share = 1.0 / tl.maximum(tl.load(neighbors_ptr + other + 1, there, other=1) - first, 1).to(tl.float32)
        b0, b1, b2 = _point(bends_ptr, other, there)
        g0, g1, g2 = g0 + share * b0, g1 + share * b1, g2 + share * b2
    _keep(by_bend_ptr, vertex, g0 * factor, g1 * factor, g2 * factor, inside)


def forward(vertices, lists, around, length):
    """The three values (3,) and their gradients (3,V,3)."""
    count, faces = len(vertices), len(lists.faces)
    pairs, edges = max(len(lists.beside) // 2, 1), max(len(lists.edge) // 2, 1)
    normals, scales, pull = (vertices.new_empty(faces, *shape) for shape in ((3,), (), (3, 3)))
    bends, gradients = vertices.new_empty(count, 3), vertices.new_empty(3, count, 3)
    by_face, by_vertex = triton.cdiv(faces, BLOCK), triton.cdiv(count, BLOCK)
    turns = vertices.new_empty(by_face, dtype=torch.float64)
    sums = vertices.new_empty(by_vertex, 2, dtype=torch.float64)
    corners = vertices, lists.faces.contiguous()
    if faces:
        least = FLAT * torch.finfo(torch.float32).eps
        normals_kernel[(by_face,)](*corners, normals, scales, faces, least, BLOCK=BLOCK)
        beside = lists.pairs, lists.beside, lists.sign
        turns_kernel[(by_face,)](*corners, *beside, normals, scales, pull, turns, faces, BLOCK=BLOCK)
    vertices_kernel[(by_vertex,)](
        vertices, *lists[1:6], around.contiguous(), length.contiguous(), pull, bends, sums, gradients[1], gradients[2],
        count, 1 / pairs, 2 / edges, BLOCK=BLOCK,
    )  # fmt: skip
    bends_kernel[(by_vertex,)](lists.neighbors, lists.neighbor, bends, gradients[0], count, 2 / count, BLOCK=BLOCK)
    bend, stretch = sums.sum(0)
    values = torch.stack([bend / count, turns.sum() / (2 * pairs), stretch / (2 * edges)])
    return values.to(vertices.dtype), gradients
