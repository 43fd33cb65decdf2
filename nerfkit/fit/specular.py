"""Highlights: what a textured surface shows beyond one color a point.

    rgb(x, v) = diffuse(x) + strength(x) sum over k of color_k exp(sharpness_k (r . direction_k - 1))

with unit vectors v to the camera, n the smooth normal and r = 2 (n . v) n - v: a mirror image of some distant lamps,
each a spherical Gaussian (Wang et al., "All-frequency rendering of dynamic, spatially-varying reflectance", 2009), as
bright as ``strength`` says. Lamps and lobes are one here: how wide a highlight is does not tell which of them is wide.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.cameras import Cameras
from nerfkit.errors import CheckpointError
from nerfkit.mesh.mesh import Mesh, vertex_normals
from nerfkit.raster import Fragments, interpolate, interpolate_corners, rasterize, render_channels, sample_texture
from nerfkit.raster.shade import CHANNELS, MeshSource
from nerfkit.runs.files import replacing, to_bytes


@dataclass(frozen=True)
class Specular:
    """The highlights of a mesh with UVs; the formula heads this module.

    Attributes:
        diffuse: (A,B,3) float32 sRGB in [0,1], the texture without highlights.
        strength: (C,D) float32, not negative, over the same UVs.
        direction: (K,3) float32, unit, toward the lamps in the world.
        sharpness: (K,) float32, positive.
        color: (K,3) float32, not negative.
    """

    diffuse: Tensor
    strength: Tensor
    direction: Tensor
    sharpness: Tensor
    color: Tensor

    def to(self, device: torch.device | str) -> "Specular":
        """The same highlights with every tensor on ``device``."""
        return Specular(*(getattr(self, field.name).to(device) for field in fields(self)))

    def light(self, uv: Tensor, mirrored: Tensor) -> Tensor:
        """What is added to the diffuse color, (P,3), at ``uv`` (P,2) for unit mirrored directions r (P,3)."""
        strength = sample_texture(self.strength[..., None], uv)  # (P, 1)
        lobes = torch.exp(self.sharpness * (mirrored @ self.direction.T - 1))  # (P, K)
        return strength * (lobes @ self.color)

    def roughness(self) -> Tensor:
        """glTF's roughness, (C,D) in [0,1]: 1 where there is no highlight, that of the lobes where they are strongest.

        A lobe of roughness s, alpha = s^2, has about the sharpness 1 / (2 alpha^2) around the mirrored direction. It
        counts the lamps' own size as roughness, so it is an upper bound.
        """
        weight = self.color.sum(-1)
        sharpness = (weight * self.sharpness).sum() / weight.sum().clamp(min=1e-12)
        least = (2 * sharpness.clamp(min=0.5)) ** -0.25
        strongest = self.strength.flatten().quantile(0.98).clamp(min=1e-6)
        return 1 - (1 - least) * (self.strength / strongest).clamp(0, 1)

    def save(self, path: Path) -> None:
        """Writes a compressed .npz of the attributes, the diffuse texture as 8 bits; whole or not at all."""
        arrays = {field.name: getattr(self, field.name).detach().cpu().numpy() for field in fields(self)}
        arrays["diffuse"] = to_bytes(arrays["diffuse"])
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @staticmethod
    def load(path: Path) -> "Specular":
        """What ``save`` wrote.

        Raises:
            CheckpointError: it is no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: torch.from_numpy(file[key]).float() for name, key in _keys(file.files).items()}
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path}: not a file of highlights ({error}); export the mesh again") from error
        return Specular(**(arrays | {"diffuse": arrays["diffuse"] / 255}))


def _keys(present: Sequence[str]) -> dict[str, str]:
    """Attribute -> its key in a file; version 0.1.0 spelled one of them otherwise."""
    keys = {field.name: field.name for field in fields(Specular)}
    return keys | ({"color": "colour"} if "colour" in present else {})


def surface_points(mesh: Mesh, fragments: Fragments, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """UVs (P,2) and mirrored view directions r (P,3) at the pixels that the mesh covers, in the order of the pixels."""
    assert mesh.corner_uvs is not None
    covered = fragments.covered
    uv = interpolate_corners(fragments, mesh.corner_uvs)[covered]
    normals = vertex_normals(mesh.vertices, mesh.faces)
    both = interpolate(fragments, mesh.faces, torch.cat([mesh.vertices, normals], -1))  # (N, H, W, 6)
    position, normal = both[..., :3], normalize(both[..., 3:], dim=-1)
    view = normalize(cameras.positions.to(position)[:, None, None] - position, dim=-1)
    mirrored = 2 * (normal * view).sum(-1, keepdim=True) * normal - view
    return uv, normalize(mirrored[covered], dim=-1)


@torch.no_grad()
def render_specular(
    mesh: Mesh,
    specular: Specular,
    cameras: Cameras,
    channels: Sequence[str] = ("rgb",),
    background: Sequence[float] | None = None,
) -> dict[str, Tensor]:
    """``render_channels`` with highlights; colors are clamped to [0,1]."""
    pictures = render_channels(replace(mesh, texture=specular.diffuse), cameras, channels, background)
    if "rgb" in pictures:
        fragments = rasterize(mesh.vertices, mesh.faces, cameras)
        rgb = pictures["rgb"].clone()
        rgb[fragments.covered] += specular.light(*surface_points(mesh, fragments, cameras))
        pictures["rgb"] = rgb.clamp(0, 1)
    return pictures


class SpecularSource(MeshSource):
    """A mesh with highlights as something to look at."""

    def __init__(self, mesh: Mesh, specular: Specular, background: Sequence[float]) -> None:
        super().__init__(mesh, background)
        self.specular = specular

    def render(self, cameras: Cameras, view: int) -> dict[str, Tensor]:
        """``rgb`` (H,W,3) over the background, ``depth`` (H,W), ``normal`` (H,W,3), ``alpha`` (H,W)."""
        pictures = render_specular(self.mesh, self.specular, cameras[view], CHANNELS, self.background)
        return {name: picture[0] for name, picture in pictures.items()}
