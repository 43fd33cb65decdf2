"""LPIPS (Zhang et al. 2018) of 8-bit-quantized pictures, by VGG-16: of weights in files, else by the package ``lpips``.

With f_l the features (C,H,W) of a picture x at the last rectifier of VGG-16's block l, into which (2 x - 1 - ``SHIFT``)
/ ``SPREAD`` goes, and u_l = f_l / (|f_l| + 1e-10), the norm over the channels,

    LPIPS(x, y) = sum over l = 1 ... 5 of mean over pixels of sum over channels of w_l (u_l(x) - u_l(y))^2,

which is version 0.1 of the package. Nothing is downloaded: it would fetch VGG-16's weights, so they are looked for
where torch keeps such files.
"""

import importlib
import io
import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from nerfkit.errors import ConfigError
from nerfkit.fit.metrics import quantize
from nerfkit.runs.archives import Archive
from nerfkit.runs.untrusted import read_file

NET = "vgg"
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions, 3x3 with a border of one; between blocks the maximum of every 2x2 pixels."""
SHIFT, SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
LEAST = 16  # pixels of a side, of which the last block sees one
MOST = 1 << 30  # bytes of a file
EXPECTED = (
    "the state dicts of torchvision's vgg16 and of lpips' weights/v0.1/vgg.pth, or one of lpips.LPIPS(net='vgg'), as "
    "torch.save writes them; --lpips FILE may be given twice"
)
Distance = Callable[[Tensor, Tensor], float]
Layers = list[tuple[Tensor, Tensor]]


def lpips(files: Sequence[str | Path] = (), device: torch.device | str = "cpu") -> tuple[Distance | None, str]:
    """The distance of two pictures (H,W,3) in [0,1], 0 where they are equal; or None, and why there is none.

    Args:
        files: of the weights, as ``EXPECTED`` says; without any, the package's are taken.
        device: that computes it.

    Raises:
        ConfigError: a file that cannot be read, or not all weights are in them.
    """
    if files:
        blocks, weights = _weights([Path(file).expanduser() for file in files], device)
        return _quantized(lambda a, b: vgg_distance(a, b, blocks, weights), device), ""
    try:
        package, vision = importlib.import_module("lpips"), importlib.import_module("torchvision.models")
    except ImportError as error:
        return None, f"the package {error.name or 'lpips'} is not installed (pip install lpips); or --lpips FILE"
    name = Path(urlparse(vision.VGG16_Weights.IMAGENET1K_V1.url).path).name
    if not (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file():
        return None, f"its weights, {name}, are not in torch's folder hub/checkpoints"
    model = package.LPIPS(net=NET, verbose=False).eval().to(device)
    return _quantized(lambda a, b: model(a, b, normalize=True), device), ""


def _quantized(measure: Callable[[Tensor, Tensor], Tensor], device: torch.device | str) -> Distance:
    """Of pictures (H,W,3) what ``measure`` says of (1,3,H,W)."""

    @torch.no_grad()
    def distance(predicted: Tensor, true: Tensor) -> float:
        a, b = (quantize(picture).to(device).permute(2, 0, 1)[None] for picture in (predicted, true))
        return float(measure(a, b))

    return distance


def vgg_distance(a: Tensor, b: Tensor, blocks: Sequence[Layers], weights: Sequence[Tensor]) -> Tensor:
    """LPIPS () of pictures (1,3,H,W) in [0,1]; NaN where a side has less than ``LEAST`` pixels.

    Args:
        blocks: kernels and biases of each block's convolutions.
        weights: w_l (1,C,1,1).
    """
    if min(a.shape[2:]) < LEAST:
        return a.new_tensor(math.nan)
    shift, spread = (a.new_tensor(values).view(1, 3, 1, 1) for values in (SHIFT, SPREAD))
    pair = (2 * torch.cat([a, b]) - 1 - shift) / spread  # (2, 3, H, W)
    total = a.new_zeros(())
    for number, (block, weight) in enumerate(zip(blocks, weights, strict=True)):
        pair = max_pool2d(pair, 2) if number else pair
        for kernel, bias in block:
            pair = relu(conv2d(pair, kernel, bias, padding=1))  # (2, C, H', W')
        first, second = pair / (pair.norm(dim=1, keepdim=True) + 1e-10)
        total = total + (weight[0] * (first - second).square()).sum(0).mean()
    return total


def _weights(files: Sequence[Path], device: torch.device | str) -> tuple[list[Layers], list[Tensor]]:
    """The convolutions of each block and w_l, from all files together."""
    found: dict[str, object] = {}
    for path in files:
        found |= _state(path)
    where = ", ".join(map(str, files))

    def tensor(names: Sequence[str], shape: tuple[int, ...]) -> Tensor:
        value = next((found[name] for name in names if name in found), None)
        if not isinstance(value, Tensor) or value.shape != shape or not value.isfinite().all():
            raise ConfigError(f"--lpips {where}: no {names[0]} {shape} of finite numbers; expected {EXPECTED}")
        return value.to(device, torch.float32)

    blocks, place, before = [], 0, 3  # places count rectifiers and maxima, too
    for number, widths in enumerate(BLOCKS):
        block: Layers = []
        for width in widths:
            names = [f"features.{place}", f"net.slice{number + 1}.{place}"]
            kernel = tensor([f"{name}.weight" for name in names], (width, before, 3, 3))
            block.append((kernel, tensor([f"{name}.bias" for name in names], (width,))))
            place, before = place + 2, width
        blocks.append(block)
        place += 1
    return blocks, [tensor([f"lin{k}.model.1.weight"], (1, widths[0], 1, 1)) for k, widths in enumerate(BLOCKS)]


def _state(path: Path) -> dict[str, object]:
    """What torch.save has written to a file, a dictionary."""
    try:
        data = read_file(path, MOST)
        if zipfile.is_zipfile(io.BytesIO(data)):
            with Archive(data) as parts:
                parts.check()
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises half a dozen kinds, from the zip, the pickle or the storage
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"--lpips {path}: cannot be read ({reason[:200]}); expected {EXPECTED}") from None
    if not isinstance(state, dict):
        raise ConfigError(f"--lpips {path}: holds no dictionary of tensors; expected {EXPECTED}")
    return state
