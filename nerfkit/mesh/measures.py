"""Distances between surfaces."""

from typing import NamedTuple

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from nerfkit.mesh.mesh import Mesh, face_areas, face_normals


class SurfaceDistance(NamedTuple):
    """How far two surfaces lie apart, in units of the second (true) mesh's bounding-box diagonal.

    Attributes:
        chamfer: (accuracy + completeness) / 2.
        accuracy: mean distance from the first surface to the second.
        completeness: mean distance from the second surface to the first.
        f_score: harmonic mean of the shares of either surface that lie within the threshold of the other.
    """

    chamfer: float
    accuracy: float
    completeness: float
    f_score: float


def sample_surface(mesh: Mesh, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """``count`` points spread evenly by area over the surface and their face normals, (count,3) float32 each, on the
    CPU.

    The area is stratified: point i falls into the i-th of ``count`` equal shares of it. The same seed gives the same
    points.
    """
    vertices, faces = mesh.vertices.detach().cpu(), mesh.faces.cpu()
    generator = torch.Generator().manual_seed(seed)
    cumulative = face_areas(vertices.double(), faces).cumsum(0)  # (F,)
    if not len(faces) or cumulative[-1] == 0:
        raise ValueError("a mesh without area has no points to sample")
    share = (torch.arange(count) + torch.rand(count, generator=generator, dtype=torch.float64)) / count
    face = torch.searchsorted(cumulative, share * cumulative[-1]).clamp(max=len(faces) - 1)  # (count,)
    root, along = torch.rand(count, 2, generator=generator).unbind(-1)
    root = root.sqrt()
    barycentric = torch.stack([1 - root, root * (1 - along), root * along], -1)  # (count, 3), uniform over the triangle
    points = (vertices[faces[face]] * barycentric[..., None]).sum(1)
    return points, face_normals(vertices, faces)[face]


def surface_distance(
    mesh: Mesh, true: Mesh, count: int = 100_000, threshold: float = 0.005, seed: int = 0
) -> SurfaceDistance:
    """Compare two surfaces through ``count`` points sampled on each, nearest neighbour to nearest neighbour.

    Points that sample the same surface still lie about 0.5 sqrt(area / count) apart: that is the floor of the
    distances.

    Args:
        threshold: for the F-score, as a fraction of the true mesh's diagonal.
    """
    points = sample_surface(mesh, count, seed)[0].numpy()
    true_points = sample_surface(true, count, seed + 1)[0].numpy()
    diagonal = true.diagonal()
    forward = cKDTree(true_points).query(points)[0] / diagonal  # (count,)
    backward = cKDTree(points).query(true_points)[0] / diagonal
    precision, recall = float((forward < threshold).mean()), float((backward < threshold).mean())
    accuracy, completeness = float(forward.mean()), float(backward.mean())
    f_score = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return SurfaceDistance((accuracy + completeness) / 2, accuracy, completeness, f_score)
