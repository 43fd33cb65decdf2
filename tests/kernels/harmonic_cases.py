"""Fields, samples and losses that the tests of the Triton harmonic field share."""

from typing import Any, NamedTuple

import numpy as np
import torch

from nerfkit.kernels import use
from nerfkit.kernels.composite import composite
from nerfkit.kernels.harmonic_field import FieldSpec, FieldWeights, harmonic_field, harmonic_render
from nerfkit.kernels.march import Samples
from tests.kernels.test_harmonic_field import make_samples, make_weights

SPECS = {
    "default": FieldSpec(),
    "wide embedding": FieldSpec(octaves=16, direction_octaves=4),
    "no octaves": FieldSpec(octaves=0, direction_octaves=0),
    "fed in again at an even layer": FieldSpec(octaves=3, skip=1),
    "fed in again at an odd layer": FieldSpec(octaves=3, skip=2, activation="softplus"),
    "softplus": FieldSpec(octaves=6, activation="softplus", density_activation="softplus"),
    "another frequency": FieldSpec(octaves=5, direction_octaves=2, omega0=1.3),
    "tutorial": FieldSpec(60, 60, 0.1, False, "softplus", "softplus", 10.0),
}
PACKED = [70, 1, 0, 300, 40, 2, 0]  # rays that share tiles, cross them, and fill several
FEWER = [70, 1, 0, 60, 2]
FEW = [3, 0, 5]


class Result(NamedTuple):
    """Outputs, and dL/d(x, directions, weights in their flat order)."""

    outputs: tuple[torch.Tensor, ...]
    gradients: tuple[torch.Tensor, ...]


def make_rays(counts: list[int]) -> tuple[torch.Tensor, Samples, torch.Tensor]:
    """Positions, their intervals and the rays' directions, float32."""
    x, offsets, directions = make_samples(counts)
    generator = torch.Generator().manual_seed(11)
    near = torch.rand(len(x), generator=generator)
    far = near + 0.1 * torch.rand(len(x), generator=generator)
    return x, Samples(torch.repeat_interleave(offsets.diff(), output_size=len(x)), near, far, offsets), directions


def evaluate(
    backend: str,
    spec: FieldSpec,
    *,
    width: int = 32,
    depth: int = 2,
    counts: list[int] = PACKED,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    composited: bool = True,
    change: Any = None,
    autocast: torch.dtype | None = None,
    **options: Any,
) -> Result:
    """Outputs and all gradients of a fixed random loss; ``change(weights, samples)`` may alter the case in place."""
    weights = make_weights(spec, width, depth)
    x, samples, directions = make_rays(counts)
    if change is not None:
        with torch.no_grad():
            change(weights, samples)
    weights = FieldWeights.unflatten(
        tuple(t.detach().to(device, dtype, copy=True).requires_grad_() for t in weights.flat())
    )
    x, directions = (t.to(device, dtype, copy=True).requires_grad_() for t in (x, directions))
    samples = Samples(*(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in samples))
    generator = torch.Generator().manual_seed(13)
    with use(backend):
        if autocast is not None:  # the field in that precision, its compositing not
            with torch.autocast(device, dtype=autocast):
                density, color = harmonic_field(x, samples.offsets, directions, weights, spec)
            density, color = density.to(dtype), color.to(dtype)
            outputs = composite(density, color, samples.t_start, samples.t_end, samples.offsets)[:3]
        elif composited:
            outputs = tuple(harmonic_render(x, samples, directions, weights, spec, **options))
        else:
            outputs = harmonic_field(x, samples.offsets, directions, weights, spec)
        loss = x.new_zeros(())
        for output in outputs:
            weigh = torch.randn(output.shape, generator=generator).to(device)
            loss = loss + (output.to(dtype) * weigh).sum()
    gradients = torch.autograd.grad(loss, (x, directions, *weights.flat()))
    return Result(tuple(t.detach() for t in outputs), gradients)


def assert_same(found: Result, expected: Result, tolerance: float = 5e-6) -> None:
    """Outputs absolutely, gradients relative to the largest of each tensor, within ``tolerance``."""
    for one, other in zip(found.outputs, expected.outputs, strict=True):
        torch.testing.assert_close(one.double().cpu(), other.double().cpu(), rtol=tolerance, atol=tolerance)
    for one, other in zip(found.gradients, expected.gradients, strict=True):
        scale = float(other.abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(
            one.double().cpu(), other.double().cpu(), rtol=0, atol=tolerance * scale + 1e-9, msg=lambda m: m
        )


def bits(result: Result) -> list[np.ndarray]:
    """Every number of a result as the integer its bits are."""
    return [t.detach().cpu().contiguous().view(torch.int32).numpy() for t in (*result.outputs, *result.gradients)]
