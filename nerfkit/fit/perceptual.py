"""LPIPS (Zhang et al. 2018) of 8-bit-quantized pictures, by the package ``lpips`` where it and its weights are here.

Nothing is downloaded: the package would fetch VGG-16's weights, so they are looked for where torch keeps such files.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor

from nerfkit.fit.metrics import quantize

NET = "vgg"


def lpips() -> tuple[Callable[[Tensor, Tensor], float] | None, str]:
    """The distance of two pictures (H,W,3) in [0,1], 0 where they are equal; or None, and why there is none."""
    try:
        package, vision = importlib.import_module("lpips"), importlib.import_module("torchvision.models")
    except ImportError as error:
        return None, f"the package {error.name or 'lpips'} is not installed (pip install lpips)"
    name = Path(urlparse(vision.VGG16_Weights.IMAGENET1K_V1.url).path).name
    if not (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file():
        return None, f"its weights, {name}, are not in torch's folder hub/checkpoints"
    model = package.LPIPS(net=NET, verbose=False).eval()

    @torch.no_grad()
    def distance(predicted: Tensor, true: Tensor) -> float:
        a, b = (quantize(picture).permute(2, 0, 1)[None] for picture in (predicted, true))  # (1, 3, H, W)
        return float(model(a, b, normalize=True))

    return distance, ""
