"""The radiance model: what is trained, averaged, saved, rendered and extracted."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor, nn

from nerfkit.cameras import Cameras
from nerfkit.cameras.channels import CHANNELS, check_channels
from nerfkit.fields.field import Field
from nerfkit.kernels.composite import Rendered, composite
from nerfkit.kernels.march import Samples, positions
from nerfkit.kernels.philox import Draw
from nerfkit.runs.memory import by_rows, in_pieces
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.volume.recompute import Recomputed
from nerfkit.volume.samplers import Sampler
from nerfkit.volume.wavefront import WAVES, parts, render_waves

T = TypeVar("T")
CELLS = 64  # a side of the grid by which a field is framed
SMALL_PART = 0.02
RAYS_AT_ONCE = 8192  # bounds the memory of an image on a CPU: a few hundred samples a ray at the most
RAYS_OF_A_VIEW = {"cpu": 1 << 14, "cuda": 1 << 17}  # of a picture without gradients, whose samples come in waves
EARLY_STOP = 1e-4  # samples behind this transmittance change no 8-bit pixel
UNSEEN = 1 / 512  # half a step of 8 bits: a ray of a picture that has so little light left is opaque


class FieldImage(NamedTuple):
    """One rendered view: ``rgb`` (H,W,3) premultiplied, ``alpha``, ``depth`` (H,W) expected distance along the ray,
    premultiplied too, and ``normal`` (H,W,3), unit and in world axes, zero where nothing is or it was not asked for."""

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    normal: Tensor

    def over(self, background: tuple[float, float, float]) -> Tensor:
        """The image over a background color, (H,W,3) in [0,1]."""
        behind = (1 - self.alpha)[..., None] * self.rgb.new_tensor(background)
        return behind.add_(self.rgb).clamp_(0, 1)


class RadianceModel(nn.Module):
    """A field and the sampler, with its grid, that says where along rays it is evaluated.

    Optimizer, running average, checks and checkpoints go by ``parameter_groups``, ``named_parameters`` and
    ``state_dict`` and know no names.

    Args:
        field: density and color.
        sampler: where it is evaluated.
    """

    field: Field
    sampler: Sampler

    def __init__(self, field: Field, sampler: Sampler) -> None:
        super().__init__()
        self.field, self.sampler = field, sampler

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        tensor = next(chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if tensor is None else tensor.device

    @property
    def occupied(self) -> Tensor | None:
        """(G,G,G) bool over [-1,1]^3, index [x,y,z]: cells that may hold something; None where nothing is known."""
        return self.sampler.occupied

    def render_rays(
        self,
        origins: Tensor,
        directions: Tensor,
        draw: Draw | None = None,
        *,
        piece: int | None = None,
        capacity: int | None = None,
    ) -> tuple[Rendered, int]:
        """Pixels of rays (R,3), differentiable in the weights, and the number of samples that took.

        Args:
            origins, directions: (R,3), unit directions, in normalized units.
            draw: samples are jittered by it; None for none.
            piece: rays at once. The memory of a picture's gradient is then that of one piece: a piece keeps nothing
                but its pixels, and its backward renders it again. Pixels and gradients are those without pieces,
                because the jitter is keyed by a ray's number. None keeps everything for the backward: faster.
            capacity: samples to make room for, of each piece; see ``march``. None makes as much as is needed.
        """
        if piece is None:
            return self._render(draw, capacity, origins, directions)
        weights = tuple(self.parameters())
        parts, samples = [], 0
        for first in range(0, max(len(origins), 1), piece):
            drawn = None if draw is None else draw._replace(first=draw.first + first)
            rays = origins[first : first + piece], directions[first : first + piece]
            *pixels, count = Recomputed.apply(partial(self._render, drawn, capacity), *rays, *weights)
            parts.append(pixels)
            samples += count
        return Rendered(*(torch.cat(part) for part in zip(*parts, strict=True))), samples

    def _render(
        self, draw: Draw | None, capacity: int | None, origins: Tensor, directions: Tensor
    ) -> tuple[Rendered, int]:
        samples = self.sampler.sample(origins, directions, draw, capacity)
        points, samples = self.field.thinned(positions(samples, origins, directions), samples)  # (S, 3)
        return self.field.render(points, samples, directions, self.sampler.opacity, EARLY_STOP), len(points)

    def termination(self, origins: Tensor, directions: Tensor, draw: Draw | None = None) -> tuple[Samples, Tensor]:
        """The samples of rays (R,3), and which share (S,) of its ray ends in each: the weights of ``composite``.

        Differentiable in the field's weights; colors are not evaluated.
        """
        samples = self.sampler.sample(origins, directions, draw)
        density = self.density(positions(samples, origins, directions))
        black, opacity = density.new_zeros(len(density), 3), self.sampler.opacity
        return samples, composite(density, black, *samples[1:], opacity=opacity, early_stop=EARLY_STOP).weights

    @torch.no_grad()
    def render_view(self, cameras: Cameras, view: int, *, normals: bool = False) -> FieldImage:
        """One view, without gradients: only the samples that can be seen are evaluated.

        What is behind a transmittance of ``UNSEEN`` counts as what is in front of it: no pixel is further off than
        that from all samples composited, but for the colors of a signed distance on a CPU: see ``feature_view``.

        Normals are -grad sigma / |grad sigma| at the expected depth of each pixel that is at least half covered.
        """
        cameras = cameras.to(self.device)
        rgb, alpha, depth = self._viewed(cameras, view)  # (H*W, 3), (H*W,), (H*W,)
        normal = rgb.new_zeros(()).expand(rgb.shape)
        if normals:
            origins, directions = cameras.image_rays(view)
            hit, normal = alpha > 0.5, torch.zeros_like(rgb)
            normal[hit] = self.field.normals(origins[hit] + directions[hit] * (depth[hit] / alpha[hit])[:, None])
        shape = cameras.sizes[view]
        return FieldImage(rgb.view(*shape, 3), alpha.view(shape), depth.view(shape), normal.view(*shape, 3))

    def _viewed(self, cameras: Cameras, view: int) -> Rendered:
        """The pixels of a view: in one kernel on a CPU, where there is one; else piece by piece."""
        occupied, step_size = self.sampler.occupied, self.sampler.step_size
        if self.device.type == "cpu" and occupied is not None and step_size is not None:
            found = self.field.view(cameras, view, occupied, step_size, UNSEEN)
            if found is not None:
                return found

        def seen(first: int, past: int) -> Rendered:
            return self._seen(*cameras.image_rays(view, first, past - first))

        height, width = cameras.sizes[view]
        at_once = RAYS_OF_A_VIEW.get(self.device.type, RAYS_AT_ONCE)
        parts = [pixels for _, pixels in in_pieces("rays of a picture", seen, height * width, at_once)]
        return Rendered(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def _seen(self, origins: Tensor, directions: Tensor) -> Rendered:
        """Pixels of rays (R,3) of a view."""
        samples, opacity = self.sampler.sample(origins, directions, None), self.sampler.opacity
        points, samples = self.field.thinned(positions(samples, origins, directions), samples)
        whole = points, samples, directions
        split = parts(*whole, WAVES["cpu"].samples) if points.device.type == "cpu" else [whole]  # a GPU would wait
        found = [render_waves(self.field, *part, opacity, UNSEEN)[0] for part in split]
        color, opaque, depth = (torch.cat(values) for values in zip(*found, strict=True))
        taken = torch.where(1 - opaque < UNSEEN, opaque, 1.0)  # (R,)
        return Rendered(color / taken[:, None], opaque / taken, depth / taken)

    def density(self, positions: Tensor) -> Tensor:
        """sigma (S,) per unit length at positions (S,3)."""
        return self.field.density(positions)

    def before_step(self, share: float) -> None:
        """What precedes the optimizer's step, ``share`` of the budget being used."""
        self.field.before_step(share)

    def penalties(self, step: int) -> dict[str, Tensor]:
        """Terms of the loss that the field itself asks for."""
        return self.field.penalties(step)

    def after_step(self, seed: int, step: int, ranks: Ranks = ALONE) -> None:
        """What follows the optimizer's step number ``step``, counted from 1: the grid follows the field.

        ``ranks`` are the processes that ask it for density.
        """
        self.sampler.after_step(self.field if ranks.count == 1 else _Asked(self.field, ranks), seed, step)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trained parameters as ``fit.adam.Adam`` takes them; all have the trainer's learning rate."""
        groups, others = self.field.parameter_groups(), list(self.sampler.parameters())
        return [*groups, {"params": others}] if others else groups

    def in_pieces(self, what: str, call: Callable[..., T], *rows: Tensor, at_once: int = RAYS_AT_ONCE) -> list[T]:
        """What ``call`` makes of tensors with R rows on the model's device, ``at_once`` rows together, or fewer where
        memory is short (``runs.memory``); ``what`` they are of is said then."""
        rows = tuple(t.to(self.device) for t in rows)
        return [made for _, made in by_rows(what, call, *rows, at_once=at_once)]


class _Asked(Field):
    """A field whose density several processes ask for together, each for a part of the points."""

    def __init__(self, field: Field, ranks: Ranks) -> None:
        super().__init__()
        self.field, self.ranks = field, ranks

    def density(self, positions: Tensor) -> Tensor:
        return self.ranks.rows(self.field.density, positions)

    def density_bounds(self, resolution: int) -> tuple[Tensor, Tensor] | None:
        return self.field.density_bounds(resolution)


class FieldSource:
    """A model as something to look at: ``render`` gives the pictures that a camera path asks for."""

    def __init__(self, model: RadianceModel, background: tuple[float, float, float]) -> None:
        self.model, self.background = model, background

    def render(self, cameras: Cameras, view: int, channels: Sequence[str] = CHANNELS) -> dict[str, Tensor]:
        """Of ``rgb`` (H,W,3) over the background, ``depth`` (H,W) mean distance, 0 where nothing is, ``normal`` (H,W,3)
        and ``alpha`` (H,W) the named ones; ValueError for another name."""
        check_channels(channels)
        image = self.model.render_view(cameras, view, normals="normal" in channels)
        found = {"normal": image.normal, "alpha": image.alpha}
        if "rgb" in channels:
            found["rgb"] = image.over(self.background)
        if "depth" in channels:
            found["depth"] = torch.where(image.alpha > 0.5, image.depth / image.alpha.clamp_min(1e-6), 0.0)
        return {name: found[name] for name in channels}

    @torch.no_grad()
    def points(self) -> Tensor:
        """Points (P,3) of what is to be seen: the middles of the cells, of 64^3, that block half the light at least.

        Floaters do not count: what hangs together with less than a fiftieth of the largest part's cells.
        """
        cell, device = 2 / CELLS, self.model.device
        line = (torch.arange(CELLS, device=device) + 0.5) * cell - 1
        points = torch.cartesian_prod(line, line, line)  # (64^3, 3)
        occupied = self.model.occupied
        if occupied is not None:
            points = points[occupied[((points + 1) / 2 * len(occupied)).long().unbind(-1)]]
        density = torch.cat(self.model.in_pieces("points", self.model.density, points, at_once=1 << 16))
        points = points[density * cell > math.log(2)]
        solid = np.zeros((CELLS,) * 3, bool)
        place = tuple(((points + 1) / cell).long().cpu().numpy().T)
        solid[place] = True
        part = label(solid, np.ones((3, 3, 3)))[0][place]  # (P,), from 1
        size = np.bincount(part, minlength=1)
        return points[torch.from_numpy(size[part] >= SMALL_PART * size.max()).to(points.device)]
