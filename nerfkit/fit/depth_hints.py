"""Sparse points as hints of depth: light that goes toward a point that a photo saw must end there.

Of the ray from the photo's camera through the point, at the distance d from it, the share w_i ends in sample i, whose
middle is at m_i (``composite``). With a tent k around the point,

    k_i = max(0, 1 - |m_i - d| / (WIDTH d)),    loss = mean over rays of  g (1 - sum_i w_i k_i),

g being the point's weight. It is 0 where all light ends at the point. What ends outside of the tent or nowhere
costs 1 whatever the distance, for some points are wrong. As the loss of Deng et al., "Depth-supervised NeRF", 2022,
section 3.2, it is one of the whole distribution: an expected depth can be right with the light half before the point
and half behind it. Linear in w, it stays bounded where theirs, a logarithm, does not.
"""

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.errors import ConfigError
from nerfkit.kernels import philox
from nerfkit.kernels.philox import Draw
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel

WEIGHT = 0.01  # of the loss, against one of colors in [0,1]
SHARE = 4  # rays of photos for each that goes to a point
WIDTH = 0.1  # of the tent on either side, over the point's distance; with 1, a cup's depths are 2.3 % off, not 0.8 %
AT_ONCE = 1 << 18  # sightings looked at together
FIRST = 1 << 30  # number of the first ray to a point: their jitter is not that of the photos' rays


class DepthHints:
    """The sightings of a scene's training photos that say something of depth.

    A sighting says nothing where the photo's pixel is to be ignored or lies outside of it, nor where a mask says that
    nothing is there, or that the object, which is in the cube, is what is seen while the point is not in it. 12 bytes a
    sighting are held, and 12 a point.

    Args:
        scene: with ``sightings``.
        device: where the field is.
    """

    def __init__(self, scene: Scene, device: torch.device | str) -> None:
        seen = scene.sightings
        view, number = torch.from_numpy(seen.view), torch.from_numpy(seen.point)
        points = scene.normalization.apply(torch.from_numpy(scene.points)).float()
        pieces = zip(view.split(AT_ONCE), number.split(AT_ONCE), strict=True)
        told = torch.isin(view, torch.tensor(scene.train))
        told &= torch.cat([_shown(scene, v.long(), points[n.long()]) for v, n in pieces])
        self.cameras, self.points = scene.cameras.to(device), points.to(device)
        self.view, self.number = (values[told].to(device) for values in (view, number))
        self.weight = torch.from_numpy(seen.weight)[told].to(device)

    def __len__(self) -> int:
        return len(self.view)

    def loss(self, model: RadianceModel, draw: Draw, count: int, cameras: Cameras | None = None) -> tuple[Tensor, int]:
        """The loss over ``count`` sightings, drawn uniformly, with replacement, and how many samples it took.

        Ray r takes the words w0, w1 of the Philox block at (r, 0, step, HINTS), as ``sample_photos`` does. Gradients go
        to the field alone.

        Args:
            model: whose field is told.
            draw: seed and step.
            cameras: where the photos were taken from; None: as the scene says.
        """
        device = self.view.device
        high, low = philox.uniform(draw, philox.HINTS, count, 2, device=device).double().unbind(-1)
        chosen = ((high + low * 2.0**-24) * len(self)).long()  # (R,)
        origins = (cameras or self.cameras).positions.detach()[self.view[chosen]]  # (R, 3)
        away = self.points[self.number[chosen]] - origins
        distance = away.norm(dim=-1).clamp_min(1e-9)  # (R,)
        samples, ends = model.termination(origins, away / distance[:, None], draw._replace(first=FIRST))
        ray, middle = samples.ray_index, (samples.t_start + samples.t_end) / 2  # (S,)
        tent = (1 - (middle / distance[ray] - 1).abs() / WIDTH).clamp_min(0)
        weight = self.weight[chosen]
        return (weight.sum() - (ends * tent * weight[ray]).sum()) / count, len(ray)


def hints_of(scene: Scene, weight: float | None, device: torch.device | str) -> DepthHints | None:
    """The hints of a scene as ``trainer.depth_weight`` asks for them; None for none.

    Raises:
        ConfigError: they are asked for, and no sighting says anything.
    """
    if weight == 0 or (weight is None and not scene.unbounded):
        return None
    hints = DepthHints(scene, device)
    if len(hints):
        return hints
    if weight is None:
        return None
    why = f"scene {scene.name} does not say which photo saw which point"
    if len(scene.sightings):
        why = f"none of {len(scene.sightings)} sightings of points is in a training photo's pixel that counts"
    raise ConfigError(
        f"trainer.depth_weight={weight:g}: {why}; expected a COLMAP model with its points' tracks, such as "
        "`python -m nerfkit prepare` makes, a transforms.json with depth files, or trainer.depth_weight=0"
    )


def _shown(scene: Scene, view: Tensor, points: Tensor) -> Tensor:
    """Whether photo ``view`` (M,) has a pixel that counts, and with something there, where ``points`` (M,3) are."""
    photos, cameras = scene.images, scene.cameras.to("cpu")
    pose, (fx, fy, cx, cy) = cameras.camera_to_world[view], cameras.intrinsics[view].T
    x, y, z = torch.einsum("mi,mij->jm", points - pose[..., 3], pose[..., :3])
    height, width = torch.tensor(photos.sizes)[view].T
    column, row = (cx - fx * x / z).floor().long(), (cy + fy * y / z).floor().long()
    inside = (z < 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = torch.where(inside, torch.tensor(photos.offsets)[view] + row * width + column, 0)
    if photos.ignored is not None:
        inside &= ~photos.ignored[pixel.to(photos.ignored.device)].cpu()
    if scene.has_masks:
        inside &= (photos.pixels[pixel.to(photos.pixels.device), 3].cpu() > 127) & (points.abs().amax(-1) <= 1)
    return inside
