"""The volume renderer: rays -> samples -> field -> pixels."""

from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fields.harmonic import HarmonicField
from nerfkit.kernels.composite import Composite, composite
from nerfkit.kernels.march import positions
from nerfkit.kernels.philox import Draw
from nerfkit.volume.samplers import Sampler

RAYS_AT_ONCE = 8192  # bounds the memory of an image: a few hundred samples a ray at the most
EARLY_STOP = 1e-4  # samples behind this transmittance change no 8-bit pixel


class FieldImage(NamedTuple):
    """One rendered view: ``rgb`` (H,W,3) premultiplied, ``alpha``, ``depth`` (H,W) expected distance along the ray,
    premultiplied too, and ``normal`` (H,W,3), unit and in world axes, zero where nothing is; None if not asked for."""

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    normal: Tensor | None


def render_rays(
    field: HarmonicField, sampler: Sampler, origins: Tensor, directions: Tensor, draw: Draw | None = None
) -> tuple[Composite, int]:
    """Composites the field along rays (R,3); jittered where ``draw`` is given. Also returns the number of samples."""
    samples = sampler.sample(origins, directions, draw)
    points = positions(samples, origins, directions)  # (S, 3)
    density, colour = field(points, samples.offsets, directions)
    pixels = composite(
        density, colour, samples.t_start, samples.t_end, samples.offsets, opacity=sampler.opacity, early_stop=EARLY_STOP
    )
    return pixels, len(points)


@torch.no_grad()
def render_view(
    field: HarmonicField, sampler: Sampler, cameras: Cameras, view: int, *, normals: bool = False
) -> FieldImage:
    """One view of the field, in pieces of ``RAYS_AT_ONCE`` rays.

    Normals are -grad sigma / |grad sigma| at the expected depth of each pixel that is at least half covered.
    """
    origins, directions = cameras.image_rays(view)
    pieces = [
        render_rays(field, sampler, o.contiguous(), d.contiguous())[0][:3]  # without the weights, the bulk of it
        for o, d in zip(origins.split(RAYS_AT_ONCE), directions.split(RAYS_AT_ONCE), strict=True)
    ]
    rgb, alpha, depth = (torch.cat(parts) for parts in zip(*pieces, strict=True))  # (H*W, 3), (H*W,), (H*W,)
    normal = None
    if normals:
        hit = alpha > 0.5
        normal = torch.zeros_like(rgb)
        normal[hit] = field.normals(origins[hit] + directions[hit] * (depth[hit] / alpha[hit])[:, None])
        normal = normal.view(cameras.height, cameras.width, 3)
    shape = cameras.height, cameras.width
    return FieldImage(rgb.view(*shape, 3), alpha.view(shape), depth.view(shape), normal)


def over(image: FieldImage, background: tuple[float, float, float]) -> Tensor:
    """The image over a background colour, (H,W,3) in [0,1]."""
    return (image.rgb + (1 - image.alpha)[..., None] * image.rgb.new_tensor(background)).clamp(0, 1)


class FieldSource:
    """A field as something to look at: ``render`` gives the pictures that a camera path asks for."""

    def __init__(self, field: HarmonicField, sampler: Sampler, background: tuple[float, float, float]) -> None:
        self.field, self.sampler, self.background = field, sampler, background

    def render(self, cameras: Cameras, view: int) -> dict[str, Tensor]:
        """``rgb`` (H,W,3) over the background, ``depth`` (H,W) mean distance, 0 where nothing is, ``normal`` (H,W,3),
        ``alpha`` (H,W)."""
        device = next(self.field.parameters()).device
        image = render_view(self.field, self.sampler, cameras.to(device), view, normals=True)
        normal = image.normal if image.normal is not None else torch.zeros_like(image.rgb)
        depth = torch.where(image.alpha > 0.5, image.depth / image.alpha.clamp_min(1e-6), 0.0)
        return {"rgb": over(image, self.background), "depth": depth, "normal": normal, "alpha": image.alpha}
