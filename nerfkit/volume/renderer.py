"""The volume renderer: rays -> samples -> field -> pixels."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fields.field import Field
from nerfkit.kernels.composite import Rendered
from nerfkit.kernels.march import positions
from nerfkit.kernels.philox import Draw
from nerfkit.volume.samplers import Sampler
from nerfkit.volume.wavefront import render_waves

RAYS_AT_ONCE = 8192  # bounds the memory of an image on a CPU: a few hundred samples a ray at the most
RAYS_AT_ONCE_ON_GPU = 1 << 17
EARLY_STOP = 1e-4  # samples behind this transmittance change no 8-bit pixel


class FieldImage(NamedTuple):
    """One rendered view: ``rgb`` (H,W,3) premultiplied, ``alpha``, ``depth`` (H,W) expected distance along the ray,
    premultiplied too, and ``normal`` (H,W,3), unit and in world axes, zero where nothing is; None if not asked for."""

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    normal: Tensor | None


def render_rays(
    field: Field,
    sampler: Sampler,
    origins: Tensor,
    directions: Tensor,
    draw: Draw | None = None,
    *,
    piece: int | None = None,
) -> tuple[Rendered, int]:
    """Composites the field along rays (R,3); jittered where ``draw`` is given. Also returns the number of samples.

    Args:
        piece: rays at once. The memory of a picture's gradient is then that of one piece: a piece keeps nothing but its
            pixels, and its backward renders it again. Pixels and gradients are those without pieces, because the
            jitter is keyed by a ray's number. None keeps everything for the backward, which is faster.
    """
    if piece is None:
        return _render(field, sampler, draw, origins, directions)
    weights = tuple(field.parameters())
    parts, samples = [], 0
    for first in range(0, max(len(origins), 1), piece):
        drawn = None if draw is None else draw._replace(first=draw.first + first)
        rays = origins[first : first + piece], directions[first : first + piece]
        *pixels, count = _Recomputed.apply(partial(_render, field, sampler, drawn), *rays, *weights)
        parts.append(pixels)
        samples += count
    return Rendered(*(torch.cat(part) for part in zip(*parts, strict=True))), samples


def _render(
    field: Field, sampler: Sampler, draw: Draw | None, origins: Tensor, directions: Tensor
) -> tuple[Rendered, int]:
    samples = sampler.sample(origins, directions, draw)
    points = positions(samples, origins, directions)  # (S, 3)
    return field.render(points, samples, directions, sampler.opacity, EARLY_STOP), len(points)


class _Recomputed(torch.autograd.Function):
    """``render(origins, directions)`` without a graph; the backward calls it again with one.

    torch.utils.checkpoint would not do: it frees what went through ``save_for_backward``, and kernels keep other things
    too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        render: Callable[[Tensor, Tensor], tuple[Rendered, int]],
        origins: Tensor,
        directions: Tensor,
        *weights: Tensor,
    ) -> tuple[Any, ...]:
        ctx.set_materialize_grads(False)
        ctx.render = render
        ctx.save_for_backward(origins, directions, *weights)
        rendered, samples = render(origins, directions)
        return *rendered, samples

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        origins, directions, *weights = ctx.saved_tensors
        rays = [t.detach().requires_grad_(w) for t, w in zip((origins, directions), wanted, strict=False)]
        with torch.enable_grad():
            rendered, _ = ctx.render(*rays)
        pairs = [(p, g) for p, g in zip(rendered, gradients, strict=False) if g is not None and p.requires_grad]
        inputs = [*rays, *weights]
        if not pairs:
            return None, *(None for _ in inputs)
        found = iter(
            torch.autograd.grad(
                [p for p, _ in pairs],
                [t for t, w in zip(inputs, wanted, strict=True) if w],
                [g for _, g in pairs],
                allow_unused=True,
            )
        )
        return None, *(next(found) if w else None for w in wanted)


@torch.no_grad()
def render_view(field: Field, sampler: Sampler, cameras: Cameras, view: int, *, normals: bool = False) -> FieldImage:
    """One view of the field, without gradients: only the samples that can be seen are evaluated.

    Normals are -grad sigma / |grad sigma| at the expected depth of each pixel that is at least half covered.
    """
    origins, directions = cameras.image_rays(view)
    at_once = RAYS_AT_ONCE_ON_GPU if origins.is_cuda else RAYS_AT_ONCE
    pieces = []
    for o, d in zip(origins.split(at_once), directions.split(at_once), strict=True):
        o, d = o.contiguous(), d.contiguous()
        pieces.append(render_waves(field, sampler.sample(o, d, None), o, d, sampler.opacity, EARLY_STOP)[0])
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
    """The image over a background color, (H,W,3) in [0,1]."""
    return (image.rgb + (1 - image.alpha)[..., None] * image.rgb.new_tensor(background)).clamp(0, 1)


class FieldSource:
    """A field as something to look at: ``render`` gives the pictures that a camera path asks for."""

    def __init__(self, field: Field, sampler: Sampler, background: tuple[float, float, float]) -> None:
        self.field, self.sampler, self.background = field, sampler, background

    def render(self, cameras: Cameras, view: int) -> dict[str, Tensor]:
        """``rgb`` (H,W,3) over the background, ``depth`` (H,W) mean distance, 0 where nothing is, ``normal`` (H,W,3),
        ``alpha`` (H,W)."""
        device = next(self.field.parameters()).device
        image = render_view(self.field, self.sampler, cameras.to(device), view, normals=True)
        normal = image.normal if image.normal is not None else torch.zeros_like(image.rgb)
        depth = torch.where(image.alpha > 0.5, image.depth / image.alpha.clamp_min(1e-6), 0.0)
        return {"rgb": over(image, self.background), "depth": depth, "normal": normal, "alpha": image.alpha}
