"""How good a field is on the views it never saw."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fit.exposure import aligned
from nerfkit.fit.metrics import psnr, ssim
from nerfkit.runs.files import WritePng, png_writer, to_bytes
from nerfkit.runs.progress import track
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel

COMPRESSION = 6  # of pictures of views: zlib's usual one
EXACT = 100.0  # dB that a view equal to the last bit counts as: infinity has no mean, and no place in metrics.json


def evaluate_field(
    model: RadianceModel, scene: Scene, folder: Path | None = None, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """PSNR and SSIM on the test views over the scene's background, each view and their means.

    ``psnr_inside`` counts only pixels of which the mask covers more than half, where the scene has masks.

    Args:
        folder: where predicted | true | error of each view is written as ``field_VIEW.png``; None writes none.
        ranks: the processes that render.
    """
    views = []
    pictures = ranks.spread(_picture, scene.test, model, scene.cameras, scene.background)
    with png_writer() as write:
        for view, predicted in zip(scene.test, track(pictures, len(scene.test), "held-out views"), strict=True):
            if folder is not None:
                write_comparison(folder / f"field_{view:03d}.png", predicted, scene.image(view), write)
            views.append({"view": view, **compare(predicted, scene, view)})
    return means(views)


def _picture(view: int, model: RadianceModel, cameras: Cameras, background: tuple[float, float, float]) -> Tensor:
    return model.render_view(cameras, view).over(background).cpu()


def compare(predicted: Tensor, scene: Scene, view: int) -> dict[str, float]:
    """``psnr``, ``ssim`` and, where the scene has masks, ``psnr_inside`` of a picture (H,W,3) of a view.

    Where nothing masks the photos, ``psnr_aligned`` is that of the picture with the photo's exposure. Pixels that are
    to be ignored do not count; for SSIM, whose windows reach over them, they are those of the photo.
    """
    shown, true, known = _shown(predicted, scene, view)
    found = {"psnr": psnr(shown, true, known.float()), "ssim": ssim(shown, true)}
    if scene.unbounded:
        found["psnr_aligned"] = psnr(aligned(shown, true, known), true, known.float())
    if scene.has_masks:
        found["psnr_inside"] = psnr(shown, true, scene.mask(view) * known)
    return found


def view_psnr(predicted: Tensor, scene: Scene, view: int) -> float:
    """The ``psnr`` of ``compare`` alone."""
    shown, true, known = _shown(predicted, scene, view)
    return psnr(shown, true, known.float())


def _shown(predicted: Tensor, scene: Scene, view: int) -> tuple[Tensor, Tensor, Tensor]:
    """A picture of a view with the photo's pixels where these are to be ignored, the photo, and what counts."""
    true, known = scene.image(view), scene.images.known(view)
    return torch.where(known[..., None], predicted, true), true, known


def means(views: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of every number over the views, and the views themselves under ``views``.

    An infinite PSNR counts as ``EXACT``; a NaN, such as the PSNR inside an empty mask, does not count.
    """
    rows = [
        {key: value if key == "view" else round(min(value, EXACT), 4) for key, value in row.items()} for row in views
    ]
    mean = {}
    for key in views[0]:
        counted = [min(row[key], EXACT) for row in views if not math.isnan(row[key])]
        if key != "view":
            mean[key] = round(sum(counted) / len(counted), 4) if counted else math.nan
    return {**mean, "views": rows}


def write_comparison(path: Path, predicted: Tensor, true: Tensor, write: WritePng) -> None:
    """Predicted, true and absolute error side by side, as a PNG, written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    strip = torch.cat([predicted, true, (predicted - true).abs()], 1)
    write(path, to_bytes(strip), COMPRESSION)
