"""The training photos as pixels to draw: where they are, the ray through each, what color it has."""

from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.kernels import philox
from nerfkit.kernels.sample_rays import sample_photos, sample_rays
from nerfkit.scenes.scene import Scene
from nerfkit.volume.samplers import Sampler


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
    Nor are pixels drawn that are to be ignored.

    Attributes:
        cameras: all of the scene's cameras, on the device.
        train: (T,) numbers of the training views.
        photos: on the device.
        chosen: (L,) numbers of the pixels to draw from, as ``photos`` counts them.
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
        background = torch.tensor(scene.background, device=device)
        chosen, missed, total = [], torch.zeros((), dtype=torch.float64, device=device), 0
        for view in scene.train:
            rays = (t.contiguous() for t in self.cameras.image_rays(view))
            reached, known = sampler.reaches(*rays), self.photos.known(view).flatten()  # (H*W,)
            chosen.append(self.photos.offsets[view] + (reached & known).nonzero()[:, 0])
            rgba = self.photos[view].view(-1, 4)[known & ~reached].float() / 255
            missed += (rgba[:, :3] - rgba[:, 3:] * background).square().mean(-1).double().sum()
            total += int(known.sum())
        self.chosen = torch.cat(chosen)
        others = total - len(self.chosen)
        self.share, self.outside = 1 - others / max(total, 1), missed.item() / max(others, 1)

    def draw(
        self, seed: int, step: int, count: int, listed: Tensor | None = None, *, cameras: Cameras | None = None
    ) -> TrainingRays:
        """``count`` of the chosen pixels, or of those ``listed``, with replacement.

        ``cameras`` as they stand now, all of the scene's, differentiable; None: as they were given.
        """
        cameras = self.cameras if cameras is None else cameras
        batch, rgba = sample_photos(
            cameras.camera_to_world,
            cameras.intrinsics,
            self.photos.pixels,
            self.offsets,
            self.widths,
            self.chosen if listed is None else listed,
            count,
            seed=seed,
            step=step,
        )
        return TrainingRays(batch.origins, batch.directions, rgba, batch.view)

    def _draw_known(self, seed: int, step: int, each: int, views: list[int], cameras: Cameras) -> TrainingRays:
        """Of each of the training photos numbered ``views``, pixels that count; none of one that is all ignored."""
        parts = []
        for k, view in enumerate(self.train[views].tolist()):
            listed = self.photos.offsets[view] + self.photos.known(view).flatten().nonzero()[:, 0]
            parts.append(self.draw(seed, step * len(views) + k, each if len(listed) else 0, listed, cameras=cameras))
        return TrainingRays(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def draw_from_views(
        self, seed: int, step: int, count: int, views: int, *, cameras: Cameras | None = None
    ) -> TrainingRays:
        """Pixels of ``views`` different photos, or of all if there are fewer (PyTorch3D's Monte Carlo rays).

        Each photo gives ``count // views`` of them, at least one.
        """
        # On the CPU, whose bits are the device's: to read the order back would be to wait for the device.
        order = philox.uniform(philox.Draw(seed, step), philox.VIEWS, len(self.train))[:, 0]
        cameras, each = self.cameras if cameras is None else cameras, max(1, count // views)
        if self.photos.ignored is not None:
            return self._draw_known(seed, step, each, order.argsort()[:views].tolist(), cameras)
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
