"""Regularisers of a mesh's shape, over a ``Topology`` computed once: they are differentiable in the vertices.

Symbols: x_v vertex positions, N(v) the neighbours of v, n_f unit face normals, E edges.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.mesh.mesh import face_normals, unique_edges


@dataclass(frozen=True)
class Topology:
    """Connectivity of a mesh, which stays fixed while its vertices move.

    Attributes:
        faces: (F,3) int64.
        edges: (E,2) int64, undirected, each once.
        neighbours: (V,V) sparse CSR float32, row v holding 1 / |N(v)| at the neighbours of v; rows without neighbours
            hold 1 on the diagonal.
        neighbours_transposed: its transpose, for the backward pass.
        face_pairs: (P,2) int64, faces that share an edge; where more than two do, each with the next.
    """

    faces: Tensor
    edges: Tensor
    neighbours: Tensor
    neighbours_transposed: Tensor
    face_pairs: Tensor

    @staticmethod
    def of(faces: Tensor, vertex_count: int) -> "Topology":
        """Topology of ``faces`` (F,3) over ``vertex_count`` vertices, on the faces' device."""
        edges, face_edges = unique_edges(faces)
        device = faces.device
        row = torch.cat([edges[:, 0], edges[:, 1]])  # (2E,)
        column = torch.cat([edges[:, 1], edges[:, 0]])
        degree = torch.bincount(row, minlength=vertex_count)  # (V,)
        lonely = (degree == 0).nonzero().flatten()
        row, column = torch.cat([row, lonely]), torch.cat([column, lonely])
        weight = (1.0 / degree.clamp(min=1))[row].float()
        size = (vertex_count, vertex_count)
        neighbours = _csr(row, column, weight, size)
        transposed = _csr(column, row, weight, size)

        face_of_side = torch.arange(len(faces), device=device).repeat_interleave(3)  # (3F,)
        edge_of_side, order = torch.sort(face_edges.flatten(), stable=True)
        same = edge_of_side[1:] == edge_of_side[:-1]
        face_of_side = face_of_side[order]
        face_pairs = torch.stack([face_of_side[:-1][same], face_of_side[1:][same]], -1)  # (P, 2)
        return Topology(faces, edges, neighbours, transposed, face_pairs)


def _csr(row: Tensor, column: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*[Ss]parse"
        )  # torch calls CSR beta; the tests hold it to a dense matrix
        return torch.sparse_coo_tensor(torch.stack([row, column]), weight, size).coalesce().to_sparse_csr()


class _NeighbourMean(torch.autograd.Function):
    """Sparse product whose backward multiplies by the stored transpose: autograd would build it anew at every step."""

    @staticmethod
    def forward(ctx, x: Tensor, topology: Topology) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.topology = topology
        return topology.neighbours.to(x.dtype) @ x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return ctx.topology.neighbours_transposed.to(gradient.dtype) @ gradient, None


def laplacian_vectors(vertices: Tensor, topology: Topology) -> Tensor:
    """Uniform Laplacian of every vertex, mean of x_u over u in N(v), minus x_v: (V,3). Zero for lonely vertices."""
    return _NeighbourMean.apply(vertices, topology) - vertices


def laplacian(vertices: Tensor, topology: Topology, rest: Tensor | None = None) -> Tensor:
    """Uniform Laplacian smoothing, mean over v of ||L x_v - L x0_v||^2, L x_v = mean of x_u over u in N(v), minus x_v.

    Args:
        vertices: (V,3).
        rest: (V,3) Laplacian vectors L x0 of a shape whose curvature is kept; None smooths towards a flat one.
    """
    difference = laplacian_vectors(vertices, topology)
    if rest is not None:
        difference = difference - rest
    return difference.square().sum(-1).mean()


def normal_consistency(vertices: Tensor, topology: Topology) -> Tensor:
    """Mean over face pairs (f, g) that share an edge of 1 - n_f . n_g; 0 for a flat mesh or one without such pairs."""
    if not len(topology.face_pairs):
        return vertices.sum() * 0
    normals = face_normals(vertices, topology.faces)  # (F, 3)
    first, second = topology.face_pairs.unbind(-1)
    cosine = (normals.index_select(0, first) * normals.index_select(0, second)).sum(-1)  # (P,)
    return (1 - cosine).mean()


def edge_length(vertices: Tensor, topology: Topology, target: float = 0.0) -> Tensor:
    """Mean over edges (u, v) of (||x_u - x_v|| - target)^2, in squared world units; 0 for a mesh without edges."""
    if not len(topology.edges):
        return vertices.sum() * 0
    first, second = topology.edges.unbind(-1)
    vector = vertices.index_select(0, first) - vertices.index_select(0, second)  # (E, 3)
    if target == 0:
        return vector.square().sum(-1).mean()  # has a gradient at length 0, unlike the norm
    return (vector.norm(dim=-1) - target).square().mean()
