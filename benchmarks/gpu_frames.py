"""Pictures: frames a second of a trained field, and the memory of a whole picture's gradient."""

import statistics
import time
from typing import Any, NamedTuple

import torch

from benchmarks.gpu_limits import peak_bytes, wait
from nerfkit.cameras import Cameras, look_at
from nerfkit.fields.harmonic import HarmonicField, HarmonicOptions
from nerfkit.kernels.march import positions
from nerfkit.volume.model import EARLY_STOP, RadianceModel
from nerfkit.volume.samplers import StratifiedSampler
from nerfkit.volume.wavefront import Waves, render_waves

SIDE = 800
MEMORY_LIMIT = 1e9  # bytes above the weights


def whole_view(model: RadianceModel, cameras: Cameras, view: int, waves: Waves | None) -> tuple[torch.Tensor, int]:
    """Colors (H*W,3) of a view by the waves given (None: the device's own), and the samples it evaluated."""
    origins, directions = cameras.image_rays(view)

    def seen(o: torch.Tensor, d: torch.Tensor) -> tuple[torch.Tensor, int]:
        samples, opacity = model.sampler.sample(o, d, None), model.sampler.opacity
        rendered, count = render_waves(model.field, positions(samples, o, d), samples, d, opacity, EARLY_STOP, waves)
        return rendered.color, count

    colors, evaluated = zip(*model.in_pieces("rays", seen, origins, directions), strict=True)
    return torch.cat(colors), sum(evaluated)


EVERYTHING = Waves(1 << 62, 1)  # all samples in one wave: none is left out


@torch.no_grad()
def frames(
    model: RadianceModel, cameras: Cameras, views: list[int], device: torch.device, side: int = SIDE
) -> dict[str, Any]:
    """Median seconds of ``render_view`` at (side, side), the same without waves, and the share of samples evaluated."""
    cameras = cameras.to(device).resized(side, side)
    waves, everything, shares, errors = [], [], [], []
    model.render_view(cameras, views[0])
    whole_view(model, cameras, views[0], EVERYTHING)
    for view in views:
        waves.append(_seconds(lambda view=view: model.render_view(cameras, view), device))
        everything.append(_seconds(lambda view=view: whole_view(model, cameras, view, EVERYTHING), device))
        one, taken = whole_view(model, cameras, view, None)
        other, all_of_them = whole_view(model, cameras, view, EVERYTHING)
        shares.append(taken / max(all_of_them, 1))
        errors.append(float((one - other).abs().max()))
    return {
        "side": side,
        "views": len(views),
        "with_waves": {"frames_per_second": round(1 / statistics.median(waves), 2)},
        "without_waves": {"frames_per_second": round(1 / statistics.median(everything), 2)},
        "share_of_samples_evaluated": round(statistics.mean(shares), 4),
        "largest_difference": max(errors),
    }


def _seconds(function: Any, device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    function()
    wait(device)
    return time.perf_counter() - start


class Picture(NamedTuple):
    """What a gradient is taken of: side^2 rays of ``samples``, ``piece`` rays at once, and the field."""

    side: int = SIDE
    samples: int = 192
    piece: int = 8192
    width: int = 256
    depth: int = 2
    octaves: int = 10


def backward_memory(device: torch.device, picture: Picture | None = None) -> dict[str, Any]:
    """Seconds and bytes above the weights of a picture's gradient, all rays of it.

    Autograd over layers would keep, a sample, the embedding and n + 1 outputs and pre-activations in bf16 or fp32; in
    pieces one piece's rays, samples and chunk of layers are held.
    """
    p = picture or Picture()
    field = HarmonicField(HarmonicOptions(width=p.width, depth=p.depth, octaves=p.octaves, precision="bf16")).to(device)
    pose = look_at(torch.tensor([[0.0, 0.0, 2.7]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    intrinsics = torch.tensor([[1.4 * p.side, 1.4 * p.side, p.side / 2, p.side / 2]])
    cameras = Cameras(pose, intrinsics, p.side, p.side).to(device)
    model = RadianceModel(field, StratifiedSampler(1.7, 3.7, p.samples))
    weights = tuple(field.parameters())

    def gradient() -> tuple[torch.Tensor, ...]:
        origins, directions = (t.contiguous() for t in cameras.image_rays(0))
        rendered, _ = model.render_rays(origins, directions, piece=p.piece)
        return torch.autograd.grad(rendered.color.square().mean() + rendered.opacity.mean(), weights)

    first = [float(t.abs().sum()) for t in gradient()]
    found: dict[str, Any] = p._asdict() | {"finite": all(abs(value) < float("inf") for value in first)}
    memory = None
    seconds = _seconds(gradient, device)
    if device.type == "cuda":
        memory = peak_bytes(gradient, device)
    found["seconds"] = round(seconds, 4)
    found["samples_per_second"] = round(p.side**2 * p.samples / seconds)
    if memory is not None:
        found |= {"bytes_above_weights": memory, "limit_bytes": MEMORY_LIMIT, "within": memory < MEMORY_LIMIT}
    return found
