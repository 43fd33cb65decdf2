"""What the steps of remeshing share: the mesh being worked on, grouped sums, quadrics and independent sets.

Everything is int64 and float64 tensors on the mesh's device. Sums over a vertex's surroundings are taken over sorted
segments, so that two runs agree to the bit on a GPU too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.mesh.edges import EdgeTable, corners_of
from nerfkit.mesh.mesh import face_cross, face_normals

SPLIT_ABOVE, COLLAPSE_BELOW = 4 / 3, 4 / 5  # of the target length: halves and unions of such edges are nearer to it
STIFFNESS = 3e-3  # of a vertex against sliding, as a share of its quadric's trace
SLIVER = 1e-3  # shape below which a face's normal says nothing
_FAR = torch.iinfo(torch.int64).max
_CARRIED = ("position", "target", "attributes", "source")  # by every vertex


@dataclass(frozen=True)
class State:
    """A mesh between two steps, and what its vertices carry.

    Attributes:
        position: (V,3) float64.
        faces: (F,3) int64.
        target: (V,) float64 target length of the edges around a vertex.
        attributes: (V,C) of any floating-point type.
        source: (V,) int64 vertex of the input that each vertex is, or descends from.
    """

    position: Tensor
    faces: Tensor
    target: Tensor
    attributes: Tensor
    source: Tensor

    def mixed(self, a: Tensor, b: Tensor, t: Tensor) -> "State":
        """New vertices (1 - t) a + t b, without faces; a and b (n,) vertex numbers, t (n,)."""

        def mix(values: Tensor) -> Tensor:
            weight = t.to(values.dtype).view(-1, *[1] * (values.dim() - 1))
            return torch.lerp(values[a], values[b], weight)

        source = torch.where(t <= 0.5, self.source[a], self.source[b])
        return State(mix(self.position), self.faces[:0], mix(self.target), mix(self.attributes), source)

    def extended(self, other: "State", faces: Tensor) -> "State":
        """This state with the vertices of ``other`` behind its own, and other faces."""
        return State(faces=faces, **{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in _CARRIED})

    def overwritten(self, vertex: Tensor, other: "State", faces: Tensor) -> "State":
        """This state with the vertices of ``other`` in place of ``vertex`` (n,), all different, and other faces."""
        carried = {name: getattr(self, name).index_copy(0, vertex, getattr(other, name)) for name in _CARRIED}
        return State(faces=faces, **carried)

    def selected(self, keep: Tensor, faces: Tensor) -> "State":
        """The vertices where ``keep`` (V,) is true, and other faces."""
        return State(faces=faces, **{name: getattr(self, name)[keep] for name in _CARRIED})

    def lengths(self, edges: EdgeTable) -> tuple[Tensor, Tensor]:
        """Length and target length, the mean of its ends', of every edge: (E,) each."""
        a, b = edges.ends.unbind(-1)
        return (self.position[a] - self.position[b]).norm(dim=-1), (self.target[a] + self.target[b]) / 2

    def compacted(self) -> "State":
        """Without the vertices that no face uses."""
        used = torch.zeros(len(self.position), dtype=torch.bool, device=self.faces.device)
        used[self.faces.flatten()] = True
        return self.selected(used, (used.cumsum(0) - 1)[self.faces])


@dataclass(frozen=True)
class Groups:
    """Items sorted by the vertex they belong to: those of vertex v are items[start[v] : start[v] + count[v]]."""

    items: Tensor
    start: Tensor
    count: Tensor

    @staticmethod
    def of(vertex: Tensor, vertex_count: int, among: Tensor | None = None) -> "Groups":
        """Group the numbers 0..n-1 by ``vertex`` (n,); only for vertices where the mask ``among`` (V,) is true."""
        items = None if among is None else among[vertex].nonzero().flatten()
        vertex = vertex if items is None else vertex[items]
        order = torch.sort(vertex, stable=True).indices
        count = torch.bincount(vertex, minlength=vertex_count)
        return Groups(order if items is None else items[order], count.cumsum(0) - count, count)

    def at(self, vertex: Tensor) -> tuple[Tensor, Tensor]:
        """The items of each of ``vertex`` (n,), one after the other: (total,), and which of the n each is for."""
        count = self.count[vertex]
        owner = torch.arange(len(vertex), device=vertex.device).repeat_interleave(count)
        offset = self.start[vertex] - (count.cumsum(0) - count)
        return self.items[torch.arange(len(owner), device=vertex.device) + offset[owner]], owner

    def sum(self, values: Tensor) -> Tensor:
        """Sum over each vertex's items of values, which are in the order of ``items``: (V,...)."""
        return torch.segment_reduce(values, "sum", lengths=self.count, axis=0, unsafe=True)


def shapes(position: Tensor, faces: Tensor) -> Tensor:
    """Shape of every face, 4 sqrt(3) area / sum of squared sides: (F,), 1 where equilateral, 0 where flat."""
    corners = position[faces]  # (F, 3, 3)
    squares = (corners - corners.roll(-1, 1)).square().sum((1, 2))
    return 2 * 3**0.5 * face_cross(position, faces).norm(dim=-1) / squares.clamp(min=1e-300)


def quadrics(state: State, edges: EdgeTable, corners: Groups) -> Tensor:
    """Matrix A_v of every vertex, (V,3,3), by which (x - v)^T A_v (x - v) sums squared distances to planes.

    The planes are those of the faces around v, weighted by area, and at boundary edges also the ones upright on them,
    weighted by squared length (Garland & Heckbert 1997).

    Args:
        corners: corners 3 f + k by vertex; vertices that have none of theirs there get 0, or the boundary's share.
    """
    V = len(state.position)
    cross = face_cross(state.position, state.faces[corners.items // 3]) / 2
    plane = normalize(cross, dim=-1, eps=1e-300)[:, :, None] * cross[:, None, :]  # (n, 3, 3), area n n^T
    total = corners.sum(plane.flatten(1)).view(-1, 3, 3)
    side = edges.sides[edges.boundary, 0]
    a, b, _ = corners_of(side, state.faces)
    normal = face_normals(state.position, state.faces[side // 3])
    upright = torch.linalg.cross(state.position[b] - state.position[a], normal)
    by_vertex = Groups.of(torch.cat([a, b]), V)
    plane = (upright[:, :, None] * upright[:, None, :]).flatten(1)[by_vertex.items % max(len(side), 1)]
    return total + by_vertex.sum(plane).view(-1, 3, 3)


def settled(guess: Tensor, a: Tensor, A: Tensor, b: Tensor, B: Tensor) -> Tensor:
    """The point x at which (x-a)^T A (x-a) + (x-b)^T B (x-b) + s |x - guess|^2 is least; all (n,3) or (n,3,3).

    s is the trace of A + B times a small factor: x stays on sharp edges and corners, and where the surface is flat it
    hardly leaves the guess.
    """
    total = A + B
    trace = total.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None].clamp(min=1e-300)
    pull = (A @ (a - guess)[..., None] + B @ (b - guess)[..., None]) / trace
    stiff = total / trace + STIFFNESS * torch.eye(3, dtype=total.dtype, device=total.device)
    return guess + torch.linalg.solve(stiff, pull)[..., 0]


def ranked(priority: Tensor) -> Tensor:
    """A rank for each of n candidates, (n,) int64, all different: small ``priority`` (n,) first, in coarse classes.

    Within a class, candidates are shuffled by a hash of their index: ranks that rise along a row of the mesh would let
    an independent set hold only one of the row.
    """
    index = torch.arange(len(priority), device=priority.device)
    shuffled = (index * 2654435761) % 2**32
    shuffled = ((shuffled ^ (shuffled >> 15)) * 2246822519) % 2**32
    coarse = (priority * 8).floor().clamp(-(2**29), 2**29).to(torch.int64)
    order = torch.sort(coarse * 2**32 + shuffled, stable=True).indices
    return torch.empty_like(order).scatter_(0, order, index)


def least(rank: Tensor, vertices: Tensor, vertex_count: int) -> Tensor:
    """For each vertex the least rank of the candidates that touch it: (V,); rank (n,), vertices (n,m)."""
    result = torch.full((vertex_count,), _FAR, dtype=torch.int64, device=rank.device)
    return result.scatter_reduce(0, vertices.flatten(), rank.repeat_interleave(vertices.shape[1]), "amin")
