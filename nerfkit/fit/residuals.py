"""How near a field comes to every photo of its scene, those that it was trained on too."""

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from nerfkit.fit.evaluate import EXACT
from nerfkit.fit.exposure import aligned
from nerfkit.fit.metrics import psnr
from nerfkit.runs.progress import track
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.scenes.images import Picture, shrink, working_size
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel

SIDES = (32, 128)  # pixels of the longer side: a wrong pose shows in small pictures, and they cost seconds
PIXELS = 600_000  # of all pictures together, as far as ``SIDES`` allow


def photo_psnr(model: RadianceModel, scene: Scene, ranks: Ranks = ALONE) -> list[float]:
    """PSNR in dB of the model's small picture of each view with the photo's exposure (``aligned``).

    Pictures have 128 pixels along the longer side, fewer where there are many photos. NaN where no pixel counts.
    """
    side = min(max(SIDES[0], round(math.sqrt(PIXELS / max(len(scene.images), 1)))), SIDES[1])
    views = range(len(scene.images))
    return list(track(ranks.spread(_near, views, model, scene, side), len(views), "photos against the field"))


@torch.no_grad()
def _near(view: int, model: RadianceModel, scene: Scene, side: int) -> float:
    height, width = working_size(*scene.cameras.sizes[view], side)
    camera = scene.cameras[[view]].resized(height, width)
    true, known = _small(scene, view, height, width)
    if not known.any():
        return math.nan
    picture = model.render_view(camera, 0).over(scene.background).cpu()
    return min(psnr(aligned(picture, true, known), true, known.float()), EXACT)


def _small(scene: Scene, view: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """A photo over the background (height,width,3), and which of its pixels hold nothing that is to be ignored."""
    rgba = scene.images[view].numpy(force=True)
    full = torch.full(rgba.shape[:2], 255, dtype=torch.uint8).numpy()  # its color is premultiplied already
    small = torch.from_numpy(shrink(Picture(rgba, full), height, width)).float() / 255
    color = small[..., :3] + (1 - small[..., 3:]) * torch.tensor(scene.background)
    share = adaptive_avg_pool2d(scene.images.known(view).cpu().float()[None], (height, width))[0]
    return color, share > 1 - 1e-6
