"""Small meshes with known properties."""

import numpy as np
import torch
import trimesh

from nerfkit.mesh.mesh import Mesh


def sphere(subdivisions: int = 2, radius: float = 1.0) -> Mesh:
    return from_trimesh(trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius))


def box(extents: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Mesh:
    return from_trimesh(trimesh.creation.box(extents=extents))


def from_trimesh(mesh: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(np.array(mesh.vertices)).float(), torch.tensor(np.array(mesh.faces)).long())


def joined(*meshes: Mesh) -> Mesh:
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]]).tolist()
    return Mesh(
        torch.cat([m.vertices for m in meshes]),
        torch.cat([m.faces + offset for m, offset in zip(meshes, offsets, strict=True)]),
    )


def quad(texture: torch.Tensor | None = None) -> Mesh:
    """The square [0,1]^2 at z = 0, facing +z, with u = x and v = y."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices, faces, vertices[faces][..., :2].contiguous(), None, texture)
