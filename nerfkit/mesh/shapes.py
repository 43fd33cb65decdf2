"""Template meshes that fits start from."""

import math

import torch
from torch import Tensor

from nerfkit.mesh.mesh import Mesh


def icosphere(subdivisions: int, radius: float = 1.0) -> Mesh:
    """A geodesic sphere of 20 * 4^subdivisions faces with the UVs of ``sphere_uvs``."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions)
    vertices = torch.tensor(ball.vertices, dtype=torch.float32)
    faces = torch.tensor(ball.faces, dtype=torch.int64)
    return Mesh(vertices * radius, faces, corner_uvs=sphere_uvs(vertices, faces))


def sphere_uvs(vertices: Tensor, faces: Tensor) -> Tensor:
    """Longitude-latitude UVs (F,3,2) of the corners of a mesh around the origin, within [0,1].

    u grows with the longitude about +y from the seam at -x, v with the latitude. Faces across the seam lie on one side
    of it, and u is scaled so that both sides' overhang (half a face) lies inside the texture too. A corner at a pole
    takes the mean longitude of its face's other two.
    """
    corner = vertices[faces]  # (F, 3, 3)
    u = torch.atan2(corner[..., 2], corner[..., 0]) / (2 * math.pi) + 0.5  # (F, 3)
    v = torch.asin((corner[..., 1] / corner.norm(dim=-1).clamp(min=1e-12)).clamp(-1, 1)) / math.pi + 0.5
    wraps = (u.amax(1) - u.amin(1) > 0.5)[:, None]
    u = torch.where(wraps & (u < 0.5), u + 1, u)
    pole = corner[..., [0, 2]].norm(dim=-1) < 1e-6 * corner.norm(dim=-1)  # (F, 3)
    others = torch.where(pole, 0, u).sum(1, keepdim=True) / (~pole).sum(1, keepdim=True).clamp(min=1)
    u = torch.where(pole, others, u)
    u = torch.where(u.mean(1, keepdim=True) > 1, u - 1, u)
    low, high = min(u.min().item(), 0.0), max(u.max().item(), 1.0)
    return torch.stack([(u - low) / (high - low), v], -1)
