"""Highlights: what a textured surface shows beyond one color a point.

    rgb(x, v) = diffuse(x) + strength(x) sum over k of color_k exp(sharpness_k (r . direction_k - 1))

with unit vectors v to the camera, n the smooth normal and r = 2 (n . v) n - v: a mirror image of some distant lamps,
each a spherical Gaussian (Wang et al., "All-frequency rendering of dynamic, spatially-varying reflectance", 2009), as
bright as ``strength`` says. Lamps and lobes are one here: how wide a highlight is does not tell which of them is wide.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.cameras import Cameras
from nerfkit.errors import CheckpointError
from nerfkit.mesh.mesh import Mesh, vertex_normals
from nerfkit.raster import Fragments, interpolate, interpolate_corners, sample_texture
from nerfkit.raster.shade import MeshSource, Rendering
from nerfkit.runs.archives import load_arrays
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
            stored = load_arrays(path)
            arrays = {name: torch.from_numpy(stored[key]).float() for name, key in _keys(stored).items()}
            lobes = arrays["sharpness"].numel()
            known = {"direction": (lobes, 3), "sharpness": (lobes,), "color": (lobes, 3)}
            fit = all(arrays[name].shape == shape for name, shape in known.items())
            if not fit or arrays["diffuse"].shape[2:] != (3,) or arrays["strength"].dim() != 2:
                raise ValueError(f"shapes {[tuple(array.shape) for array in arrays.values()]}")
        except Exception as error:  # a damaged header raises a dozen unrelated types
            raise CheckpointError(f"{path}: not a file of highlights ({error}); export the mesh again") from error
        return Specular(**(arrays | {"diffuse": arrays["diffuse"] / 255}))


def _keys(present: Container[str]) -> dict[str, str]:
    """Attribute -> its key in a file; version 0.1.0 spelled one of them otherwise."""
    keys = {field.name: field.name for field in fields(Specular)}
    return keys | ({"color": "colour"} if "colour" in present else {})


def surface_points(
    mesh: Mesh, fragments: Fragments, cameras: Cameras, normals: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """UVs (P,2) and mirrored view directions r (P,3) at the pixels that the mesh covers, in the order of the pixels.

    ``normals`` (V,3) are the mesh's, where known.
    """
    assert mesh.corner_uvs is not None
    view, row, column = fragments.covered.nonzero().unbind(1)  # (P,)
    face, barycentrics = (t[view, row, column][:, None, None] for t in (fragments.face, fragments.barycentrics))
    seen = Fragments(face, barycentrics, face, face)  # P pictures of a pixel; depth and points are not looked at
    uv = interpolate_corners(seen, mesh.corner_uvs)[:, 0, 0]
    normals = vertex_normals(mesh.vertices, mesh.faces) if normals is None else normals
    both = interpolate(seen, mesh.faces, torch.cat([mesh.vertices, normals], -1))[:, 0, 0]  # (P, 6)
    position, normal = both[:, :3], normalize(both[:, 3:], dim=-1)
    toward = normalize(cameras.positions.to(position)[view] - position, dim=-1)
    mirrored = 2 * (normal * toward).sum(-1, keepdim=True) * normal - toward
    return uv, normalize(mirrored, dim=-1)


def render_specular(
    mesh: Mesh,
    specular: Specular,
    cameras: Cameras,
    channels: Sequence[str] = ("rgb",),
    background: Sequence[float] | None = None,
) -> dict[str, Tensor]:
    """``render_channels`` with highlights, without gradients; colors are clamped to [0,1]."""
    return SpecularSource(mesh, specular, background).pictures(cameras, channels)


class SpecularSource(MeshSource):
    """A mesh with highlights as something to look at."""

    def __init__(self, mesh: Mesh, specular: Specular, background: Sequence[float] | None) -> None:
        super().__init__(replace(mesh, texture=specular.diffuse), background)
        self.specular = specular

    def drawn(self, cameras: Cameras) -> Rendering:
        """As ``MeshSource.drawn``, with the highlights."""
        drawn = super().drawn(cameras)
        rgb, covered = drawn.rgb.clone(), drawn.fragments.covered
        rgb[covered] += self.specular.light(*surface_points(self.mesh, drawn.fragments, cameras, self.normals))
        return drawn._replace(rgb=rgb.clamp_(0, 1))
