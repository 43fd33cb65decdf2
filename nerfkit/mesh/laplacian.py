"""Connectivity of a mesh that deforms, and its uniform Laplacian.

Symbols: x_v vertex positions, N(v) the neighbors of v.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.mesh.edges import EdgeTable


@dataclass(frozen=True)
class Topology:
    """Connectivity of a mesh, which stays fixed while its vertices move.

    Attributes:
        faces: (F,3) int64.
        edges: (E,2) int64, undirected, each once.
        neighbors: (V,V) sparse CSR float32, row v holding 1 / |N(v)| at the neighbors of v; rows without neighbors
            hold 1 on the diagonal.
        neighbors_transposed: its transpose, for the backward pass.
        face_pairs: (P,2) int64, faces that share an edge; where more than two do, each with each.
        pair_signs: (P,) float32, 1 where the two faces run along their edge in opposite directions, so that their
            normals are on the same side; -1 where one of them is turned over.
    """

    faces: Tensor
    edges: Tensor
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
        isolated = (degree == 0).nonzero().flatten()
        row, column = torch.cat([row, isolated]), torch.cat([column, isolated])
        weight = (1.0 / degree.clamp(min=1))[row].float()
        size = (vertex_count, vertex_count)
        neighbors = _csr(row, column, weight, size)
        transposed = _csr(column, row, weight, size)

        edge = table.face_edges.flatten()[table.ordered]  # (3F,)
        pairs = [torch.stack([table.ordered, table.ordered])[:, :0]]
        for apart in range(1, int(table.count.max()) if len(table.count) else 1):  # sides of an edge are neighbors here
            same = edge[apart:] == edge[:-apart]
            pairs.append(torch.stack([table.ordered[:-apart][same], table.ordered[apart:][same]]))
        first, second = torch.cat(pairs, 1)  # (P,)
        start = faces.flatten()
        signs = torch.where(start[first] == start[second], -1.0, 1.0)
        face_pairs = torch.stack([first // 3, second // 3], -1)
        return Topology(faces, edges, neighbors, transposed, face_pairs, signs)


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
    """Uniform Laplacian of every vertex, mean of x_u over u in N(v), minus x_v: (V,3). Zero for isolated vertices."""
    return _NeighborMean.apply(vertices, topology) - vertices
