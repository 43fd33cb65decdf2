"""Regularizers of a mesh's shape, over a ``Topology`` computed once: they are differentiable in the vertices.

Symbols: x_v vertex positions, N(v) the neighbors of v, n_f unit face normals, A_f face areas, E edges. Every loss is a
mean, so it does not grow with the number of vertices; sources that sum are named. Degenerate faces give finite values
and gradients.
"""

from torch import Tensor

from nerfkit.mesh.laplacian import Topology as Topology, laplacian_vectors
from nerfkit.mesh.mesh import face_areas, face_normals, rows


def laplacian(vertices: Tensor, topology: Topology) -> Tensor:
    """Uniform Laplacian smoothing, mean over v of ||L x_v||^2, L x_v = mean of x_u over u in N(v), minus x_v.

    As in DIB-R and SoftRas, which sums over v; PyTorch3D's takes the norm without the square.
    """
    return laplacian_vectors(vertices, topology).square().sum(-1).mean() if len(vertices) else vertices.sum()


def laplacian_norm(vertices: Tensor, topology: Topology) -> Tensor:
    """Mean over v of ||L x_v||, the uniform Laplacian's length without the square: PyTorch3D's smoothing term."""
    return laplacian_vectors(vertices, topology).norm(dim=-1).mean() if len(vertices) else vertices.sum()


def normal_consistency(vertices: Tensor, topology: Topology) -> Tensor:
    """Mean over face pairs (f, g) that share an edge of 1 - n_f . n_g; 0 for a flat mesh or one without such pairs.

    As PyTorch3D's: three faces at an edge are three pairs. Which way a face looks does not count: the normals of two
    faces are taken on the same side.
    """
    if not len(topology.face_pairs):
        return vertices.sum() * 0
    return (1 - _pair_cosines(vertices, topology)).mean()


def flatness(vertices: Tensor, topology: Topology) -> Tensor:
    """Mean over face pairs that share an edge of (1 + cos a)^2, a the angle between the faces: 180 degrees if flat.

    The smoothness term of Kato et al., "Neural 3D Mesh Renderer", 2018, and of SoftRas, which both sum over the pairs:
    multiply by ``len(topology.face_pairs)`` for their scale. With cos a = -n_f . n_g it is the square of
    ``normal_consistency``'s term: small bends cost less, sharp ones up to 4.
    """
    if not len(topology.face_pairs):
        return vertices.sum() * 0
    return (1 - _pair_cosines(vertices, topology)).square().mean()


def edge_length(vertices: Tensor, topology: Topology, target: float = 0.0) -> Tensor:
    """Mean over edges (u, v) of (||x_u - x_v|| - target)^2, in squared world units; 0 for a mesh without edges.

    As PyTorch3D's ``mesh_edge_loss``.
    """
    if not len(topology.edges):
        return vertices.sum() * 0
    first, second = topology.edges.unbind(-1)
    vector = rows(vertices, first) - rows(vertices, second)  # (E, 3)
    if target == 0:
        return vector.square().sum(-1).mean()  # has a gradient at length 0, unlike the norm
    return (vector.norm(dim=-1) - target).square().mean()


def area_variance(vertices: Tensor, topology: Topology) -> Tensor:
    """Mean over faces of (A_f / A - 1)^2, A the mean area: the relative variance of the triangles' areas.

    Keeps a fit from hiding its errors in triangles that shrink to nothing while others grow. Of degree 0 in the mesh's
    scale: it neither shrinks nor blows it up. 0 for a mesh without area.
    """
    areas = face_areas(vertices, topology.faces)
    mean = areas.mean() if len(areas) else vertices.sum() * 0
    if not mean > 0:
        return vertices.sum() * 0
    return (areas / mean - 1).square().mean()


def _pair_cosines(vertices: Tensor, topology: Topology) -> Tensor:
    """n_f . n_g over the face pairs, (P,), the normals taken on the same side."""
    normals = face_normals(vertices, topology.faces)  # (F, 3)
    first, second = topology.face_pairs.unbind(-1)
    return topology.pair_signs.to(normals) * (rows(normals, first) * rows(normals, second)).sum(-1)
