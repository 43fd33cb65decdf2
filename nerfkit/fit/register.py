"""Held-out photos, registered: where their cameras must stand for the model's pictures to be closest to them."""

from dataclasses import replace

import torch

from nerfkit.cameras import Cameras
from nerfkit.cameras.delta import CameraDelta
from nerfkit.fit.exposure import Exposure
from nerfkit.fit.pixels import TrainingPixels
from nerfkit.kernels.pixel_loss import pixel_loss
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel

STEPS = 100
RAYS = 256  # a photo and step
RATE = 0.003  # of Adam, for twists in normalized units and radians
HUBER = 0.1


def registered(model: RadianceModel, scene: Scene, views: list[int], steps: int = STEPS) -> Cameras:
    """The scene's cameras, those of ``views`` moved to where the model's pictures are closest to the photos.

    Where training cameras are refined, a photo that was held out was not; so its camera is found before it is measured
    (as Lin et al., "BARF", 2021, section 4.2). The model stays as it is.
    """
    if not views:
        return scene.cameras
    device = model.device
    pixels = TrainingPixels(replace(scene, train=views), model.sampler, device)
    delta = CameraDelta(pixels.cameras).to(device)
    exposure = Exposure(len(scene.images), views).to(device) if scene.unbounded else None
    learned = [*delta.parameters(), *(() if exposure is None else exposure.parameters())]
    optimizer = torch.optim.Adam(learned, lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    background = torch.tensor(scene.background, device=device)
    for step in range(steps):
        rays = pixels.draw(0, step, RAYS * len(views), cameras=delta.cameras())
        rendered, _ = model.render_rays(rays.origins, rays.directions)
        color = rendered.color if exposure is None else exposure(rendered.color, rendered.opacity, rays.view)
        loss = pixel_loss(color, rendered.opacity, rays.rgba, background.expand(len(color), 3), HUBER)
        for parameter, gradient in zip(learned, torch.autograd.grad(loss.color, learned), strict=True):
            parameter.grad = gradient
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return delta.cameras().to(scene.cameras.camera_to_world.device)
