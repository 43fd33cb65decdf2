"""Points on a surface, and distances between sets of points: differentiable."""

from typing import NamedTuple

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from nerfkit.mesh.mesh import face_areas, face_normals, rows
from nerfkit.runs.memory import by_rows

PAIRS = 2**26  # distances held at a time on a GPU: 256 MiB of float32, three times that on the way


class SurfaceSamples(NamedTuple):
    """Points on a surface.

    Attributes:
        points: (S,3), differentiable with respect to the vertices: each stays at its place within its face.
        normals: (S,3) unit normals of the faces there, differentiable too.
        face: (S,) int64, the face that each point lies in.
        barycentrics: (S,3), where in it; constants.
    """

    points: Tensor
    normals: Tensor
    face: Tensor
    barycentrics: Tensor


def sample_surface(vertices: Tensor, faces: Tensor, count: int, seed: int = 0) -> SurfaceSamples:
    """``count`` points spread evenly by area over the surface, on the vertices' device.

    The area is stratified: point i falls into the i-th of ``count`` equal shares of it, and is uniform within its face.
    The same seed gives the same points, on any device. Which face a point falls into is not differentiable.

    Args:
        vertices: (V,3).
        faces: (F,3) int64.

    Raises:
        ValueError: the mesh has no area.
    """
    generator = torch.Generator().manual_seed(seed)
    cumulative = face_areas(vertices.detach().cpu().double(), faces.cpu()).cumsum(0)  # (F,)
    if not len(faces) or not cumulative[-1] > 0:
        raise ValueError("a mesh without area has no points to sample")
    share = (torch.arange(count) + torch.rand(count, generator=generator, dtype=torch.float64)) / count
    face = torch.searchsorted(cumulative, share * cumulative[-1]).clamp(max=len(faces) - 1)  # (S,)
    root, along = torch.rand(count, 2, generator=generator).unbind(-1)
    root = root.sqrt()
    barycentrics = torch.stack([1 - root, root * (1 - along), root * along], -1)  # (S, 3), uniform over the triangle
    face, barycentrics = face.to(faces.device), barycentrics.to(vertices)
    corners = faces[face]  # (S, 3)
    points = torch.stack([rows(vertices, corner) for corner in corners.unbind(1)], 1)  # (S, 3, 3)
    points = (points * barycentrics[..., None]).sum(1)
    return SurfaceSamples(points, face_normals(vertices, corners), face, barycentrics)


def nearest_points(points: Tensor, others: Tensor) -> Tensor:
    """The number of the nearest of ``others`` (T,3) to each of ``points`` (S,3), (S,) int64; no gradient.

    A k-d tree on the CPU; all distances, some rows at a time, on a GPU.

    Raises:
        ValueError: no points, or coordinates that are NaN or infinite.
    """
    points, others = points.detach(), others.detach()
    for name, some in (("points", points), ("others", others)):
        if not len(some) or not torch.isfinite(some).all():
            raise ValueError(f"{name}: expected at least one point, all coordinates finite")
    if points.device.type == "cpu":
        return torch.from_numpy(cKDTree(others.double().numpy()).query(points.double().numpy())[1])

    def nearest(some: Tensor) -> Tensor:
        return sum((some[:, None, axis] - others[None, :, axis]).square() for axis in range(3)).argmin(1)  # type: ignore[union-attr]

    found = by_rows("points", nearest, points, at_once=max(1, PAIRS // len(others)))
    return torch.cat([numbers for _, numbers in found])


def chamfer_distance(points: Tensor, others: Tensor) -> Tensor:
    """Mean over x in ``points`` of min over y of ||x - y||^2, plus the same with the two sets exchanged.

    PyTorch3D's ``chamfer_distance`` for one pair of clouds: squared distances, means, both directions. Differentiable
    with respect to both sets, for the nearest neighbors that they have now.

    Args:
        points: (S,3).
        others: (T,3).

    Raises:
        ValueError: a set without points, or coordinates that are NaN or infinite.
    """
    there = points - rows(others, nearest_points(points, others))
    back = others - rows(points, nearest_points(others, points))
    return there.square().sum(-1).mean() + back.square().sum(-1).mean()
