"""Meshes and pictures that recipes aim at: the user's files, or the project's own where none are given."""

from pathlib import Path

import torch
from torch import Tensor

from nerfkit.errors import SceneError
from nerfkit.mesh.clean import decimate
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.repair import merge_vertices
from nerfkit.mesh.topology import degenerate_faces
from nerfkit.runs.files import followed
from nerfkit.scenes.images import decode
from nerfkit.studio import clock_model

BLACK = 0.1
CLOCK_FACES = 6000  # of 107,544: fewer than 4000 tear its thin parts


def target_mesh(path: str | None) -> Mesh:
    """The mesh in ``path``, or the project's own clock; its box is centered and its longest side is 2 units long.

    Raises:
        SceneError: the file cannot be read as a mesh, or none of its faces has an area.
    """
    if path is not None:
        mesh = load_mesh(path)
    else:
        vertices, faces, _ = clock_model.truth()
        mesh = Mesh(torch.tensor(vertices, dtype=torch.float32), torch.tensor(faces, dtype=torch.int64))
        mesh = decimate(merge_vertices(mesh), CLOCK_FACES)  # its faces do not share vertices where they are shaded flat
    if degenerate_faces(mesh).all():
        raise SceneError(f"{path}: no face has an area; expected a surface. Check the file that it comes from")
    low, high = mesh.positions.aminmax(dim=0)
    side = (high - low).max()
    return mesh.transformed(lambda points: (points - (low + high) / 2) * (2 / side))


def target_picture(path: str | Path, size: int) -> Tensor:
    """An image file as (size,size,3) in [0,1], its pixels averaged or repeated; over black where it has alpha.

    Raises:
        SceneError: it is missing, or not an image.
    """
    rgb, alpha = _read(path)
    return _resized(rgb * alpha, size)


def target_mask(path: str | Path, size: int, soft: bool = False) -> Tensor:
    """The coverage (size,size) in [0,1] of an image file: its alpha, or where all of that is opaque, what is not black.

    In a JPEG, which leaves traces around an outline, what is no brighter than ``BLACK`` is black.

    Args:
        soft: of an opaque picture the mean of its channels in place of what is not black.

    Raises:
        SceneError: it is missing, or not an image.
    """
    rgb, alpha = _read(path)
    if (alpha < 1).any():
        mask = alpha
    elif soft:
        mask = rgb.mean(-1, keepdim=True)
    else:
        black = BLACK if Path(path).suffix.lower() in (".jpg", ".jpeg") else 0.0
        mask = (rgb > black).any(-1, keepdim=True).float()
    return _resized(mask, size)[..., 0]


def _read(path: str | Path) -> tuple[Tensor, Tensor]:
    """The color (H,W,3) and alpha (H,W,1) in [0,1]."""
    path = followed(path)
    if not path.is_file():
        raise SceneError(f"{path}: there is no such picture; check the path")
    rgba = torch.from_numpy(decode(path.read_bytes(), str(path))).float() / 255
    return rgba[..., :3], rgba[..., 3:]


def _resized(picture: Tensor, size: int) -> Tensor:
    planes = torch.nn.functional.interpolate(picture.permute(2, 0, 1)[None], (size, size), mode="area")
    return planes[0].permute(1, 2, 0)


def square(size: int) -> Tensor:
    """A white square in the middle of a black picture, half as wide: (size,size,3)."""
    picture = torch.zeros(size, size, 3)
    picture[size // 4 : size - size // 4, size // 4 : size - size // 4] = 1
    return picture


def stripes(size: int, count: int = 6) -> Tensor:
    """Horizontal stripes in the colors of the rainbow, (size,size,3)."""
    row = (torch.arange(size) * count // size).float() / count  # (size,) of [0, 1)
    hue = torch.stack([row, row + 1 / 3, row + 2 / 3], -1)
    color = 0.6 + 0.4 * torch.cos(2 * torch.pi * hue)  # (size, 3)
    return color[:, None].expand(size, size, 3).contiguous()
