"""Small meshes with known properties."""

import numpy as np
import torch
import trimesh

from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.repair import drop_unused


def sphere(subdivisions: int = 2, radius: float = 1.0) -> Mesh:
    return from_trimesh(trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius))


def box(extents: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Mesh:
    return from_trimesh(trimesh.creation.box(extents=extents))


def from_trimesh(mesh: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(np.array(mesh.vertices)).float(), torch.tensor(np.array(mesh.faces)).long())


def edge_table(faces: torch.Tensor) -> EdgeTable:
    return EdgeTable.of(faces, int(faces.max()) + 1 if len(faces) else 0)


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


def torus() -> Mesh:
    return from_trimesh(trimesh.creation.torus(1.0, 0.3, major_sections=12, minor_sections=8))


def moebius() -> Mesh:
    """A strip of six quads that closes with a half turn."""
    angle = torch.arange(6) * torch.pi / 3
    side = torch.tensor([-0.2, 0.2])[:, None]
    radius = 1 + side * torch.cos(angle / 2)
    points = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), side * torch.sin(angle / 2)], -1)
    faces = []
    for i in range(6):
        a, b, c, d = i, i + 1, 6 + i + 1, 6 + i
        if i == 5:
            b, c = 6, 0
        faces += [[a, b, c], [a, c, d]]
    return Mesh(points.reshape(-1, 3), torch.tensor(faces))


def pinched() -> Mesh:
    """Two boxes that share one vertex."""
    two = joined(box(), box().transformed(lambda p: p + 1.0))
    return drop_unused(Mesh(two.vertices, torch.where(two.faces == 8, 7, two.faces)))
