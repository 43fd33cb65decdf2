"""Where a mesh ends because what is looked at does, not the thing: the region's border, a box, what carries it.

A wall is a plane, unit normal n and offset: n p <= offset is inside, so n points outward, as the normals
of the faces do that close a mesh there.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nerfkit.errors import ConfigError
from nerfkit.mesh.mesh import Mesh, face_normals
from nerfkit.mesh.repair import select_faces, split_non_manifold
from nerfkit.scenes.frame import Corners
from nerfkit.scenes.scene import Scene
from nerfkit.schema import shown

Plane = tuple[float, float, float, float]
Density = Callable[[Tensor], Tensor]

REACH = 1.5  # lattice cells: how far from its wall a closed surface lies, and after smoothing
ALONG = 0.5  # cosine between the normals of a wall and of a face that closes a mesh there, in rounded corners, too


def crop_of(scene: Scene, box: Corners | None) -> Corners | None:
    """Least and largest coordinates, in normalized units, that a mesh may have; None for no crop.

    Args:
        box: in the scene's own units, as ``extract.box``; None takes the scene's.

    Raises:
        ConfigError: the box is not in the region.
    """
    own = scene.box if box is None else box
    if own is None:
        return None
    low, high = scene.normalization.apply(torch.tensor(own, dtype=torch.float64)).tolist()
    if min(high) <= -1 or max(low) >= 1 or any(a >= 1 or b <= -1 for a, b in zip(low, high, strict=True)):
        region = scene.normalization.invert(torch.tensor([[-1.0] * 3, [1.0] * 3], dtype=torch.float64))
        known = [[float(f"{value:.5g}") for value in corner] for corner in region.tolist()]
        raise ConfigError(
            f"extract.box={shown(own)}: it is outside of the region, where the field is known; expected a box that "
            f"overlaps {shown(known)}, in the scene's own units"
        )
    return tuple(low), tuple(high)


def walls_of(crop: Corners | None, ground: Plane | None) -> list[Plane]:
    """The walls of [-1,1]^3, of a box in it, and of the plane that carries the thing."""
    low, high = crop or ((-1.0,) * 3, (1.0,) * 3)
    walls: list[Plane] = []
    for axis in range(3):
        x, y, z = (float(axis == k) for k in range(3))
        walls += [(x, y, z, min(high[axis], 1.0)), (-x, -y, -z, -max(low[axis], -1.0))]
    return walls if ground is None else [*walls, (-ground[0], -ground[1], -ground[2], -ground[3])]


def cropped(density: Density, crop: Corners | None) -> Density:
    """The density inside of a box, and 0 outside."""
    if crop is None:
        return density
    low, high = torch.tensor(crop[0]), torch.tensor(crop[1])

    def inside(points: Tensor) -> Tensor:
        counts = ((points >= low.to(points)) & (points <= high.to(points))).all(-1)
        return torch.where(counts, density(points), 0.0)

    return inside


def outside(points: Tensor, walls: Sequence[Plane]) -> Tensor:
    """How far points (...,3) are outside of the nearest wall's plane, (...) ; negative inside."""
    planes = points.new_tensor(walls)
    return (points @ planes[:, :3].T - planes[:, 3]).amax(-1)


def closing(mesh: Mesh, walls: Sequence[Plane], cell: float) -> Tensor:
    """The faces that close a mesh at a wall, (F,) bool, of lattice cells as large as ``cell``."""
    planes = mesh.vertices.new_tensor(walls)
    off = mesh.vertices[mesh.faces].mean(1) @ planes[:, :3].T - planes[:, 3]  # (F, W)
    along = face_normals(mesh.vertices, mesh.faces) @ planes[:, :3].T
    return ((off.abs() < REACH * cell) & (along > ALONG)).any(1)


def opened(mesh: Mesh, walls: Sequence[Plane], cell: float) -> Mesh:
    """The mesh without the faces that close it at a wall; may have none. Each vertex keeps one fan of faces."""
    return split_non_manifold(select_faces(mesh, ~closing(mesh, walls, cell)))


def cut_off(mesh: Mesh, walls: Sequence[Plane], cell: float) -> bool:
    """Whether a mesh of lattice cells as large as ``cell`` ends at a wall."""
    return bool((outside(mesh.vertices, walls) > -REACH * cell).any())
