"""The training photos as pixels to draw: where they are, the ray through each, what color it has."""

from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.kernels import philox
from nerfkit.kernels.sample_rays import sample_photos, sample_rays
from nerfkit.scenes.scene import Scene
from nerfkit.volume.samplers import Sampler


class TrainingRays(NamedTuple):
    """R rays and the photos there: ``origins``, ``directions`` (R,3), ``rgba`` (R,4) premultiplied, in [0,1]."""

    origins: Tensor
    directions: Tensor
    rgba: Tensor


class TrainingPixels:
    """All training pixels whose rays can meet the object.

    A pixel whose ray misses every occupied cell renders as empty whatever the weights are: drawing it teaches nothing.

    Attributes:
        cameras: all of the scene's cameras, on the device.
        train: (T,) numbers of the training views.
        images: (N,H,W,4) uint8, premultiplied, on the device.
        chosen: (P,) flat numbers (view H + row) W + column of the pixels to draw from.
        share: of all training pixels that those are.
        outside: mean squared error of the others, which all render as the scene's background.
    """

    def __init__(self, scene: Scene, sampler: Sampler, device: torch.device) -> None:
        self.cameras = scene.cameras.to(device)
        self.train = torch.tensor(scene.train, device=device)
        self.images = scene.images.to(device)  # (N, H, W, 4)
        size = self.cameras.height * self.cameras.width
        background = self.images.new_tensor(scene.background, dtype=torch.float32)
        chosen, missed = [], self.images.new_zeros((), dtype=torch.float64)
        for view in scene.train:
            rays = (t.contiguous() for t in self.cameras.image_rays(view))
            reached = sampler.reaches(*rays)  # (H*W,)
            chosen.append(view * size + reached.nonzero()[:, 0])
            rgba = self.images[view].view(-1, 4)[~reached].float() / 255
            missed += (rgba[:, :3] - rgba[:, 3:] * background).square().mean(-1).double().sum()
        self.chosen = torch.cat(chosen)
        others = len(scene.train) * size - len(self.chosen)
        self.share, self.outside = 1 - others / (len(scene.train) * size), missed.item() / max(others, 1)

    def draw(self, seed: int, step: int, count: int) -> TrainingRays:
        """``count`` of the chosen pixels, with replacement."""
        cameras = self.cameras
        batch, rgba = sample_photos(
            cameras.camera_to_world, cameras.intrinsics, self.images, self.chosen, count, seed=seed, step=step
        )
        return TrainingRays(batch.origins, batch.directions, rgba)

    def draw_from_views(self, seed: int, step: int, count: int, views: int) -> TrainingRays:
        """Pixels of ``views`` different photos, or of all if there are fewer (PyTorch3D's Monte Carlo rays).

        Each photo gives ``count // views`` of them, at least one.
        """
        # On the CPU, whose bits are the device's: to read the order back would be to wait for the device.
        order = philox.uniform(philox.Draw(seed, step), philox.VIEWS, len(self.train))[:, 0]
        cameras, each = self.cameras, max(1, count // views)
        batches = [
            sample_rays(
                cameras.camera_to_world,
                cameras.intrinsics,
                cameras.height,
                cameras.width,
                each,
                seed=seed,
                step=step,
                first=k * each,
                views=self.train[view : view + 1],
            )
            for k, view in enumerate(order.argsort()[:views].tolist())
        ]
        origins, directions, view, row, column = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return TrainingRays(origins, directions, self.images[view, row, column].float() / 255)
