"""The edges of a triangle mesh, each once, and the faces at them: for repair, smoothing, remeshing and contours."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class EdgeTable:
    """The undirected edges of F faces over V vertices. Side 3 f + k joins corners k and k + 1 of face f.

    Attributes:
        faces: (F,3) int64.
        vertex_count: V.
        ends: (E,2) int64, lower vertex first, sorted.
        face_edges: (F,3) int64, the edge of every side.
        ordered: (3F,) int64, the sides by edge, those of an edge in ascending order.
        start: (E,) int64, where an edge's sides begin in ``ordered``.
        count: (E,) int64, sides at an edge.
    """

    faces: Tensor
    vertex_count: int
    ends: Tensor
    face_edges: Tensor
    ordered: Tensor
    start: Tensor
    count: Tensor

    @staticmethod
    def of(faces: Tensor, vertex_count: int) -> "EdgeTable":
        """The edges of ``faces`` (F,3), of any integer type, which name vertices below ``vertex_count``; on any device.

        A face that names a vertex twice has an edge from that vertex to itself, and one with two of its sides.
        """
        faces = faces.long()  # keys are products of two vertex numbers
        following = faces.roll(-1, 1)
        keys = torch.minimum(faces, following) * vertex_count + torch.maximum(faces, following)  # (F, 3)
        keys, ordered = torch.sort(keys.flatten(), stable=True)
        keys, edge, count = torch.unique_consecutive(keys, return_inverse=True, return_counts=True)
        face_edges = torch.empty_like(ordered).scatter_(0, ordered, edge).view(-1, 3)
        ends = torch.stack([keys // vertex_count, keys % vertex_count], -1)
        return EdgeTable(faces, vertex_count, ends, face_edges, ordered, count.cumsum(0) - count, count)

    @cached_property
    def keys(self) -> Tensor:
        """V times the lower vertex plus the higher one, (E,), ascending."""
        return self.ends[:, 0] * self.vertex_count + self.ends[:, 1]

    @cached_property
    def sides(self) -> Tensor:
        """The first two sides at every edge, (E,2); -1 for the second where there is one."""
        second = self.ordered[(self.start + 1).clamp(max=max(len(self.ordered) - 1, 0))]
        return torch.stack([self.ordered[self.start], torch.where(self.count > 1, second, -1)], -1)

    @cached_property
    def boundary(self) -> Tensor:
        """Which edges have one face, (E,) bool."""
        return self.count == 1

    @cached_property
    def regular(self) -> Tensor:
        """Which edges have two faces that run along them in opposite directions, (E,) bool."""
        rising = (self.faces < self.faces.roll(-1, 1)).flatten()  # (3F,)
        one, other = self.sides.unbind(-1)
        return (self.count == 2) & (rising[one] != rising[other])

    def pairs(self) -> tuple[Tensor, Tensor]:
        """The two sides, lower one first, of every edge that has exactly two: (P,) each."""
        one, other = self.sides[self.count == 2].unbind(-1)
        return one, other

    def ends_of(self, edge: Tensor) -> Tensor:
        """Which vertices are ends of the edges where ``edge`` (E,) is true, (V,) bool."""
        mask = torch.zeros(self.vertex_count, dtype=torch.bool, device=edge.device)
        mask[self.ends[edge].flatten()] = True
        return mask

    def joined(self, a: Tensor, b: Tensor) -> Tensor:
        """Whether there are edges between vertices a and b (n,): (n,) bool."""
        if not len(self.keys):
            return torch.zeros_like(a, dtype=torch.bool)
        key = torch.minimum(a, b) * self.vertex_count + torch.maximum(a, b)
        return self.keys[torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)] == key


def corners_of(side: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Start, end and opposite vertex of sides 3 f + k of ``faces`` (F,3): (n,) each."""
    flat, face, k = faces.flatten(), side // 3 * 3, side % 3
    return flat[side], flat[face + (k + 1) % 3], flat[face + (k + 2) % 3]
