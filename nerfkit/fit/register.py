"""Held-out photos, registered: where their cameras must stand for the model's pictures to be closest to them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.cameras.delta import CameraDelta
from nerfkit.fit.exposure import Exposure
from nerfkit.fit.pixels import TrainingPixels
from nerfkit.kernels.pixel_loss import pixel_loss
from nerfkit.runs.progress import track
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel

STEPS = 100
RAYS = 256  # a step
RATE = 0.003  # of Adam, for twists in normalized units and radians, logarithms of gains, and offsets
HUBER = 0.1


def registered(
    model: RadianceModel, scene: Scene, views: Sequence[int], exposure: bool = False, steps: int = STEPS
) -> Cameras:
    """The scene's cameras, those of ``views`` moved to where the model's pictures are closest to the photos.

    Where training cameras are refined, a photo that was held out was not; so its camera is found before it is measured
    (as Lin et al., "BARF", 2021, section 4.2), and with it its ``exposure`` where that was learned of the others. The
    model stays as it is. A photo of which no pixel counts keeps its camera.
    """
    poses = scene.cameras.camera_to_world.clone()
    for view in track(views, len(views), "registering held-out photos"):
        photo = Photos.of([scene.images[view]], [~scene.images.known(view)])
        alone = replace(scene, images=photo, cameras=scene.cameras[[view]], train=[0], test=[])
        poses[view] = _pose(model, alone, exposure, steps).to(poses)
    return scene.cameras.changed(poses)


def _pose(model: RadianceModel, scene: Scene, with_exposure: bool, steps: int) -> Tensor:
    """Camera to world (3,4) of a scene's only photo."""
    device = model.device
    pixels, delta = TrainingPixels(scene, model.sampler, device), CameraDelta(scene.cameras).to(device)
    if not pixels.chosen.size:
        return scene.cameras.camera_to_world[0]
    exposure = Exposure(1, []).to(device) if with_exposure else None
    learned = [*delta.parameters(), *(() if exposure is None else exposure.parameters())]
    optimizer = torch.optim.Adam(learned, lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    background = torch.tensor(scene.background, device=device)
    for step in range(steps):
        rays = pixels.draw(0, step, RAYS, cameras=delta.cameras())
        rendered, _ = model.render_rays(rays.origins, rays.directions)
        color = rendered.color if exposure is None else exposure(rendered.color, rendered.opacity, rays.view)
        loss = pixel_loss(color, rendered.opacity, rays.rgba, background.expand(len(color), 3), HUBER)
        for parameter, gradient in zip(learned, torch.autograd.grad(loss.color, learned), strict=True):
            parameter.grad = gradient
        optimizer.step()
        schedule.step()
    return delta.cameras().camera_to_world[0].detach()
