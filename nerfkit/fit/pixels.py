"""The training photos as pixels to draw: where they are, the ray through each, what color it has."""

from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.kernels import philox
from nerfkit.kernels.sample_rays import PixelSet, sample_photos, sample_rays
from nerfkit.runs.progress import track
from nerfkit.scenes.scene import Scene
from nerfkit.volume.samplers import Sampler

AT_ONCE = 1 << 18  # pixels looked at together when those to draw are chosen: some 50 MB


class TrainingRays(NamedTuple):
    """R rays and the photos there: ``origins``, ``directions`` (R,3), ``rgba`` (R,4) premultiplied, in [0,1], and of
    which photo each is, ``view`` (R,)."""

    origins: Tensor
    directions: Tensor
    rgba: Tensor
    view: Tensor

    def as_leaves(self) -> "TrainingRays":
        """The same rays, whose gradients stop there: pieces of a batch add theirs up before the cameras get them."""
        origins, directions = (t.detach().requires_grad_() for t in (self.origins, self.directions))
        return self._replace(origins=origins, directions=directions)


class TrainingPixels:
    """All training pixels whose rays can meet the object.

    A pixel whose ray misses every occupied cell renders as empty whatever the weights are: drawing it teaches nothing.
    Nor are pixels drawn that are to be ignored. Besides the photos, 0.14 bytes a pixel are held.

    Attributes:
        cameras: all of the scene's cameras, on the device.
        train: (T,) numbers of the training views.
        photos: on the device.
        chosen: the pixels to draw from, as ``photos`` numbers them.
        share: of all training pixels that count that those are.
        outside: mean squared error of the others, which all render as the scene's background.
    """

    def __init__(self, scene: Scene, sampler: Sampler, device: torch.device) -> None:
        self.cameras = scene.cameras.to(device)
        self.train = torch.tensor(scene.train, device=device)
        self.sizes = [scene.cameras.sizes[view] for view in scene.train]
        self.photos = scene.images.to(device)
        self.offsets = torch.tensor(self.photos.offsets, device=device)
        self.widths = torch.tensor([width for _, width in self.photos.sizes], device=device)
        self.chosen = PixelSet(len(self.photos.pixels), device)
        background = torch.tensor(scene.background, device=device)
        missed, total = torch.zeros((), dtype=torch.float64, device=device), 0
        for view in track(scene.train, len(scene.train), "choosing pixels"):
            for first, rgba, known in self._pieces(view):
                reached = sampler.reaches(*self.cameras.image_rays(view, first, len(rgba)))
                self.chosen.add(self.photos.offsets[view] + first, reached & known)
                rest = rgba[known & ~reached].float() / 255
                missed += (rest[:, :3] - rest[:, 3:] * background).square().mean(-1).double().sum()
                total += int(known.sum())
        others = total - self.chosen.size
        self.share, self.outside = 1 - others / max(total, 1), missed.item() / max(others, 1)

    def _pieces(self, view: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """A photo's pixels, some at a time: the first one's number, colors (n,4) uint8, and which count (n,)."""
        rgba, known = self.photos[view].view(-1, 4), self.photos.known(view).flatten()
        for first in range(0, len(rgba), AT_ONCE):
            yield first, rgba[first : first + AT_ONCE], known[first : first + AT_ONCE]

    @cached_property
    def _known(self) -> tuple[PixelSet, list[int]]:
        """The training pixels that count, and how many of them lie before each photo and before the end."""
        known, counts = PixelSet(len(self.photos.pixels), self.train.device), [0] * len(self.photos)
        for view in sorted(set(self.train.tolist())):
            for first, _, piece in self._pieces(view):
                known.add(self.photos.offsets[view] + first, piece)
                counts[view] += int(piece.sum())
        return known, list(accumulate(counts, initial=0))

    def draw(self, seed: int, step: int, count: int, cameras: Cameras | None = None) -> TrainingRays:
        """``count`` of the chosen pixels, with replacement, as ``cameras`` see them; None: the scene's."""
        return self._draw(self.chosen, None, seed, step, count, cameras)

    def _draw(
        self, chosen: PixelSet, among: tuple[int, int] | None, seed: int, step: int, count: int, cameras: Cameras | None
    ) -> TrainingRays:
        cameras = cameras or self.cameras
        batch, rgba = sample_photos(
            cameras.camera_to_world,
            cameras.intrinsics,
            self.photos.pixels,
            self.offsets,
            self.widths,
            chosen,
            count,
            seed=seed,
            step=step,
            among=among,
        )
        return TrainingRays(batch.origins, batch.directions, rgba, batch.view)

    def _draw_known(self, seed: int, step: int, each: int, views: list[int], cameras: Cameras | None) -> TrainingRays:
        """Of each of the training photos numbered ``views``, pixels that count; none of one that is all ignored."""
        known, before = self._known
        parts = []
        for k, view in enumerate(self.train[views].tolist()):
            low, high = before[view], before[view + 1]
            count = each if high > low else 0
            parts.append(self._draw(known, (low, high), seed, step * len(views) + k, count, cameras))
        return TrainingRays(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def draw_from_views(
        self, seed: int, step: int, count: int, views: int, cameras: Cameras | None = None
    ) -> TrainingRays:
        """Pixels of ``views`` different photos, or of all if there are fewer (PyTorch3D's Monte Carlo rays).

        Each photo gives ``count // views`` of them, at least one.
        """
        # On the CPU, whose bits are the device's: to read the order back would be to wait for the device.
        order = philox.uniform(philox.Draw(seed, step), philox.VIEWS, len(self.train))[:, 0]
        each = max(1, count // views)
        if self.photos.ignored is not None:
            return self._draw_known(seed, step, each, order.argsort()[:views].tolist(), cameras)
        cameras = cameras or self.cameras
        batches = [
            sample_rays(
                cameras.camera_to_world,
                cameras.intrinsics,
                height=self.sizes[view][0],
                width=self.sizes[view][1],
                count=each,
                seed=seed,
                step=step,
                first=k * each,
                views=self.train[view : view + 1],
            )
            for k, view in enumerate(order.argsort()[:views].tolist())
        ]
        origins, directions, view, row, column = (torch.cat(parts) for parts in zip(*batches, strict=True))
        pixel = self.offsets[view] + row * self.widths[view] + column
        return TrainingRays(origins, directions, self.photos.pixels[pixel].float() / 255, view)
