"""Connectivity of a mesh that deforms, and its Laplacians: uniform and cotangent.

Symbols: x_v vertex positions, N(v) the neighbors of v.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.mesh import rows, scattered

STEEPEST = 1e3  # largest cotangent: an angle of 0.06 degrees


@dataclass(frozen=True)
class Topology:
    """Connectivity of a mesh, which stays fixed while its vertices move.

    Attributes:
        faces: (F,3) int64.
        edges: (E,2) int64, undirected, each once.
        face_edges: (F,3) int64, the edge that joins each face's corners k and k + 1.
        neighbors: (V,V) sparse CSR float32, row v holding 1 / |N(v)| at the neighbors of v; rows without neighbors
            hold 1 on the diagonal.
        neighbors_transposed: its transpose, for the backward pass.
        face_pairs: (P,2) int64, faces that share an edge; where more than two do, each with the next.
        pair_signs: (P,) float32, 1 where the two faces run along their edge in opposite directions, so that their
            normals are on the same side; -1 where one of them is turned over.
    """

    faces: Tensor
    edges: Tensor
    face_edges: Tensor
    neighbors: Tensor
    neighbors_transposed: Tensor
    face_pairs: Tensor
    pair_signs: Tensor

    @staticmethod
    def of(faces: Tensor, vertex_count: int) -> "Topology":
        """Topology of ``faces`` (F,3) over ``vertex_count`` vertices, on the faces' device."""
        table = EdgeTable.of(faces, vertex_count)
        edges = table.ends
        row = torch.cat([edges[:, 0], edges[:, 1]])  # (2E,)
        column = torch.cat([edges[:, 1], edges[:, 0]])
        degree = torch.bincount(row, minlength=vertex_count)  # (V,)
        lonely = (degree == 0).nonzero().flatten()
        row, column = torch.cat([row, lonely]), torch.cat([column, lonely])
        weight = (1.0 / degree.clamp(min=1))[row].float()
        size = (vertex_count, vertex_count)
        neighbors = _csr(row, column, weight, size)
        transposed = _csr(column, row, weight, size)

        edge = table.face_edges.flatten()[table.ordered]  # (3F,)
        same = edge[1:] == edge[:-1]
        first, second = table.ordered[:-1][same], table.ordered[1:][same]  # (P,)
        start = faces.flatten()
        signs = torch.where(start[first] == start[second], -1.0, 1.0)
        face_pairs = torch.stack([first // 3, second // 3], -1)
        return Topology(faces, edges, table.face_edges, neighbors, transposed, face_pairs, signs)


def _csr(row: Tensor, column: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*[Ss]parse"
        )  # torch calls CSR beta; the tests hold it to a dense matrix
        return torch.sparse_coo_tensor(torch.stack([row, column]), weight, size).coalesce().to_sparse_csr()


class _NeighborMean(torch.autograd.Function):
    """Sparse product whose backward multiplies by the stored transpose: autograd would build it anew at every step."""

    @staticmethod
    def forward(ctx, x: Tensor, topology: Topology) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.topology = topology
        return topology.neighbors.to(x.dtype) @ x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return ctx.topology.neighbors_transposed.to(gradient.dtype) @ gradient, None


def laplacian_vectors(vertices: Tensor, topology: Topology) -> Tensor:
    """Uniform Laplacian of every vertex, mean of x_u over u in N(v), minus x_v: (V,3). Zero for lonely vertices."""
    return _NeighborMean.apply(vertices, topology) - vertices


def cotangent_weights(vertices: Tensor, topology: Topology) -> Tensor:
    """w_uv = max(0, sum of cot(angle) / 2 over the faces at edge (u, v), the angle opposite the edge): (E,).

    Pinkall & Polthier, "Computing discrete minimal surfaces and their conjugates", 1993. Differentiable with respect to
    ``vertices``. Cotangents are clamped to +-1000, and a corner that has no angle, as two corners of the face are one,
    counts 0. An edge whose weight would be negative (its two angles exceed 180 degrees) counts 0, so that the weights
    around a vertex stay those of a mean.
    """
    corners = [rows(vertices, corner) for corner in topology.faces.unbind(1)]  # (F, 3) each
    halves = []
    for k in range(3):  # side k joins corners k and k + 1; corner k + 2 is opposite
        tip = corners[(k + 2) % 3]
        one, other = corners[k] - tip, corners[(k + 1) % 3] - tip
        scale = torch.maximum(one.detach().abs(), other.detach().abs()).amax(-1, keepdim=True)
        scale = torch.where(scale > 0, scale, 1)
        one, other = one / scale, other / scale
        dot, area = (one * other).sum(-1), torch.linalg.cross(one, other).norm(dim=-1)
        steep = dot.abs() >= STEEPEST * area
        cotangent = dot / torch.where(steep, 1, area)
        halves.append(torch.where(steep, STEEPEST * dot.detach().sign(), cotangent) / 2)
    weights = scattered(len(topology.edges), topology.face_edges.flatten(), torch.stack(halves, 1).flatten())
    return weights.clamp(min=0)


def cotangent_laplacian_vectors(vertices: Tensor, topology: Topology, weights: Tensor | None = None) -> Tensor:
    """Cotangent Laplacian of every vertex, sum of w_uv x_u over u in N(v) / sum of w_uv, minus x_v: (V,3).

    It points along the mean curvature normal, and is zero within plane parts however their triangles are shaped (where
    no weight was clamped); zero for vertices whose weights are all 0.

    Args:
        weights: (E,) of the topology's edges; None takes ``cotangent_weights`` of these vertices as constants, so that
            the gradient is that of springs of this stiffness. Pass ``cotangent_weights(vertices, topology)`` for the
            whole derivative, or the weights of a rest shape for a fixed linear map.
    """
    if weights is None:
        weights = cotangent_weights(vertices.detach(), topology)
    first, second = topology.edges.unbind(-1)
    index = torch.cat([first, second])
    pull = weights[:, None] * (rows(vertices, second) - rows(vertices, first))  # (E, 3), of u upon v
    both = torch.cat([torch.cat([pull, weights[:, None]], -1), torch.cat([-pull, weights[:, None]], -1)])  # (2E, 4)
    total = scattered(len(vertices), index, both)  # (V, 4)
    held = total[:, 3:] > 0
    return torch.where(held, total[:, :3] / torch.where(held, total[:, 3:], 1), 0)
