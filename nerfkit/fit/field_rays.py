"""Random rays of the field stage: drawn from the training photos, compared with them, and blamed for bad numbers."""

import math
from functools import cached_property

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fit.bad_rays import bad_rays, pixels_named
from nerfkit.fit.corrections import Corrections
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.fit.pixels import TrainingPixels, TrainingRays
from nerfkit.kernels import philox
from nerfkit.kernels.philox import Draw
from nerfkit.kernels.pixel_loss import pixel_loss
from nerfkit.runs.memory import fitting
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel

RAYS = "rays of a training step"
SHORT = "trainer.samples={}: expected fewer, or a smaller field"
BEST = 30.0  # dB; a scene that cannot reach it for what is outside of its box is told so


class FieldRays:
    """The rays of the steps of one fit.

    Args:
        model: what renders them.
        scene: whose training photos they run through.
        options: how many, and how they are compared.
        corrections: of exposure and cameras.
        seed: of rays, jitter and random backgrounds.
    """

    def __init__(
        self, model: RadianceModel, scene: Scene, options: TrainerOptions, corrections: Corrections, seed: int
    ) -> None:
        self.model, self.scene, self.options, self.corrections, self.seed = model, scene, options, corrections, seed
        self.background = torch.tensor(scene.background, device=model.device)

    @cached_property
    def pixels(self) -> TrainingPixels:
        """What is drawn from; not needed to render."""
        return TrainingPixels(self.scene, self.model.sampler, self.model.device)

    def draw(self, step: int, count: int, cameras: Cameras | None) -> TrainingRays:
        """``count`` rays of a step, or ``trainer.rays``, as ``cameras`` see them; None: as the scene says."""
        o, wanted = self.options, self.options.rays or count
        if o.views_per_step:
            return self.pixels.draw_from_views(self.seed, step, wanted, o.views_per_step, cameras=cameras)
        return self.pixels.draw(self.seed, step, wanted, cameras=cameras)

    def losses(self, rays: TrainingRays, first: int, step: int) -> tuple[dict[str, Tensor], Tensor, int]:
        """The weighted terms of the loss over ``rays``, the sum of squared color errors, and the samples it took.

        Each term is a mean of pseudo-Huber errors, huber (sqrt(1 + (e / huber)^2) - 1). ``first`` numbers the first
        ray.
        """
        o, draw = self.options, Draw(self.seed, step, first)
        rendered, samples = self.model.render_rays(rays.origins, rays.directions, draw, capacity=o.capacity)
        count, device = len(rays.rgba), rays.rgba.device
        if o.random_background:
            background = philox.uniform(draw, philox.BACKGROUND, count, 3, device=device)
        else:
            background = self.background.expand(count, 3)
        mask_weight = o.mask_weight if self.scene.has_masks else 0.0
        color, exposure = rendered.color, self.corrections.exposure
        if exposure is not None:
            color = exposure(color, rendered.opacity, rays.view)
        loss = pixel_loss(color, rendered.opacity, rays.rgba, background, o.huber, mask_weight)
        terms = {"color": loss.color} | ({} if loss.silhouette is None else {"silhouette": loss.silhouette})
        return terms | self.corrections.penalties(), loss.squared, samples

    def to_blame(self, step: int, count: int) -> str:
        """The rays of a step that make its loss or its gradient not finite, in words; empty where none does.

        On a GPU the number of rays, now ``count``, may have changed since then; those that both have are the same.
        """
        with torch.no_grad():
            cameras = self.corrections.cameras()
            rays = self.draw(step, count, cameras)
        at_once = self.model.sampler.rays_at_once(len(rays.rgba), self.model.device)
        parameters = [*self.model.parameters(), *self.corrections.parameters()]

        def look(some: int) -> list[int]:
            return bad_rays(rays, lambda piece, first: self.losses(piece, first, step)[0], parameters, some)

        _, found = fitting(RAYS, look, at_once, SHORT.format(self.options.samples))
        return pixels_named(self.scene, cameras or self.pixels.cameras, rays, found)

    def outside_noted(self) -> str:
        """Where photos show much beyond the box around the object, what that costs any field; else empty."""
        error = (1 - self.pixels.share) * self.pixels.outside
        if error <= 10 ** (-BEST / 10):
            return ""
        return (
            f"note: {1 - self.pixels.share:.0%} of the photos' pixels show what is outside of the box around the "
            f"object and render as background: PSNR cannot exceed {-10 * math.log10(error):.1f} dB"
        )
