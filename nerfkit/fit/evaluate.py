"""How good a field is on the views it never saw."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fit.exposure import aligned
from nerfkit.fit.metrics import psnr, ssim
from nerfkit.fit.surface_error import Surface, of_field
from nerfkit.runs.files import WritePng, png_writer, to_bytes
from nerfkit.runs.progress import track
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel

COMPRESSION = 6  # of pictures of views: zlib's usual one
Further = Callable[[int, Tensor, Surface], dict[str, float]]
"""More numbers of a view: its number, its picture (H,W,3) over the background, and what the picture shows."""

EXACT = 100.0  # dB that a view equal to the last bit counts as: infinity has no mean, and no place in metrics.json


def evaluate_field(
    model: RadianceModel, scene: Scene, folder: Path | None = None, ranks: Ranks = ALONE, further: Further | None = None
) -> dict[str, Any]:
    """PSNR and SSIM on the test views over the scene's background, each view and their means.

    ``psnr_inside`` counts only pixels of which the mask covers more than half, where the scene has masks.

    Args:
        folder: where predicted | true | error of each view is written as ``field_VIEW.png``; None writes none.
        ranks: the processes that render.
        further: what else is measured of each view.
    """
    views = []
    pictures = ranks.spread(_picture, scene.test, model, scene.cameras, scene.background, further is not None)
    with png_writer() as write:
        for view, (predicted, surface) in zip(
            scene.test, track(pictures, len(scene.test), "held-out views"), strict=True
        ):
            if folder is not None:
                write_comparison(folder / f"field_{view:03d}.png", predicted, scene.image(view), write)
            row = {"view": view, **compare(predicted, scene, view)}
            if further is not None and surface is not None:
                row |= further(view, predicted, surface)
            views.append(row)
    return means(views)


def _picture(
    view: int, model: RadianceModel, cameras: Cameras, background: tuple[float, float, float], surface: bool
) -> tuple[Tensor, Surface | None]:
    image = model.render_view(cameras, view, normals=surface)
    return image.over(background).cpu(), of_field(image, cameras, view) if surface else None


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
    """The mean of every number over the views that have it, and the views themselves under ``views``.

    A PSNR counts as ``EXACT`` at the most; a NaN, such as the PSNR inside an empty mask, does not count.
    """
    rows = [
        {key: min(value, EXACT) if key.startswith("psnr") else value for key, value in row.items()} for row in views
    ]
    mean = {}
    for key in dict.fromkeys(key for row in rows for key in row if key != "view"):
        counted = [row[key] for row in rows if not math.isnan(row.get(key, math.nan))]
        mean[key] = _rounded(sum(counted) / len(counted)) if counted else math.nan
    return {**mean, "views": [{key: _rounded(value) for key, value in row.items()} for row in rows]}


def _rounded(value: float) -> float:
    """Four decimals, or four digits of a small number; whole numbers and NaN stay."""
    return round(value, 4) if isinstance(value, int) or abs(value) >= 1 / 8 else float(f"{value:.4g}")


def write_comparison(path: Path, predicted: Tensor, true: Tensor, write: WritePng) -> None:
    """Predicted, true and absolute error side by side, as a PNG, written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    strip = torch.cat([predicted, true, (predicted - true).abs()], 1)
    write(path, to_bytes(strip), COMPRESSION)
