"""The harmonic field's contestants: one kernel, two kernels, PyTorch and its compiler, on the same rays and weights."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu_floors import Flops, flops, size_of
from nerfkit.kernels.composite import composite, reference as composite_reference
from nerfkit.kernels.harmonic_field import (
    FieldSpec,
    FieldWeights,
    harmonic_field,
    harmonic_render,
    reference as field_reference,
)
from nerfkit.kernels.march import Samples

LOCKSTEP = 128  # samples a ray
CHECKED_RAYS = 64  # whose pixels and gradients are compared with an exact computation
Pixels = tuple[Tensor, Tensor]


class Shape(NamedTuple):
    """A field: its spec and size, and whether opacity depends on a step's length."""

    spec: FieldSpec
    width: int
    depth: int
    by_length: bool = True

    @property
    def flops(self) -> Flops:
        return flops(self.spec, self.width, self.depth)

    @property
    def precision(self) -> str:
        """Of the products."""
        return self.spec.precision

    @property
    def checked_in(self) -> torch.dtype:
        """float64; float32 where embeddings hash the last bit of a float32 position."""
        return torch.float32 if self.spec.omega0 != math.pi and self.spec.octaves > 20 else torch.float64


_BF16 = {"precision": "bf16"}
SHAPES: Mapping[str, Shape] = {
    "tutorial": Shape(FieldSpec(60, 60, 0.1, False, "softplus", "softplus", 10.0, None, "bf16"), 256, 2, False),
    "wide": Shape(FieldSpec(octaves=10, direction_octaves=4, precision="bf16"), 256, 2),
    "preset": Shape(FieldSpec(octaves=10, precision="bf16"), 128, 4),
    "default": Shape(FieldSpec(precision="bf16"), 64, 3),
}


class Batch(NamedTuple):
    """Positions (S,3), where they lie on their rays, and the rays' directions (R,3)."""

    x: Tensor
    samples: Samples
    directions: Tensor

    def first(self, rays: int, dtype: torch.dtype) -> "Batch":
        """The first rays alone, in another precision."""
        offsets = self.samples.offsets[: rays + 1]
        count = int(offsets[-1])
        ray_index, t_start, t_end, _ = self.samples
        ends = (t_start[:count].to(dtype), t_end[:count].to(dtype))
        samples = Samples(ray_index[:count], *ends, offsets)
        return Batch(self.x[:count].to(dtype), samples, self.directions[:rays].to(dtype))


def packed_lengths(samples: int) -> Tensor:
    """Lengths (R,) of rays of 0 to 13 samples, ``samples`` in all, as an occupancy grid leaves them."""
    lengths = torch.randint(0, 14, (samples,), generator=torch.Generator().manual_seed(1))
    ends = lengths.cumsum(0).clamp(max=samples)
    used = ends[: int((ends < samples).sum()) + 1]
    return used.diff(prepend=used.new_zeros(1))


def lockstep_lengths(samples: int) -> Tensor:
    """Lengths (R,) of rays of ``LOCKSTEP`` samples each, as a sampler without a grid makes them."""
    return torch.full((max(1, samples // LOCKSTEP),), LOCKSTEP)


BATCHES: Mapping[str, Callable[[int], Tensor]] = {"packed": packed_lengths, "lockstep": lockstep_lengths}


def new_batch(lengths: Tensor, device: str | torch.device) -> Batch:
    """Seeded samples, evenly spaced on straight rays through [-1,1]^3."""
    generator = torch.Generator().manual_seed(2)
    rays = len(lengths)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])  # (R + 1,)
    ray_index = torch.repeat_interleave(lengths)  # (S,)
    directions = functional.normalize(torch.randn(rays, 3, generator=generator), dim=-1)  # (R, 3)
    middles = 1.2 * torch.rand(rays, 3, generator=generator) - 0.6  # (R, 3)
    step = 1.0 / LOCKSTEP
    t_start = step * (torch.arange(len(ray_index)) - offsets[ray_index] - lengths[ray_index] / 2)  # (S,)
    x = middles[ray_index] + (t_start + step / 2)[:, None] * directions[ray_index]  # (S, 3)
    samples = Samples(*(t.to(device) for t in (ray_index, t_start, t_start + step, offsets)))
    return Batch(x.to(device), samples, directions.to(device))


def new_weights(shape: Shape, device: str | torch.device) -> FieldWeights:
    """Seeded weights, of a scale that keeps features near 1, that want gradients."""
    generator = torch.Generator().manual_seed(0)
    spec, width = shape.spec, shape.width

    def layer(outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
        matrix = torch.randn(outputs, inputs, generator=generator) * math.sqrt(2 / inputs)
        return matrix.to(device).requires_grad_(), torch.zeros(outputs, device=device, requires_grad=True)

    hidden = tuple(layer(width, spec.position_size if number == 0 else width) for number in range(shape.depth))
    direction = layer(width, spec.direction_size)[0]
    return FieldWeights(hidden, layer(1, width), layer(width, width), direction, layer(3, width))


class Case(NamedTuple):
    """One thing to compute: a field over a batch, with gradients of all weights where ``training``.

    ``shape`` and ``weights`` are a ``Shape`` and ``FieldWeights``, or those of ``gpu_features``.
    """

    shape: Any
    batch: Batch
    weights: Any
    training: bool

    @property
    def traffic(self) -> int:
        """Bytes that any implementation moves: inputs and weights read by each pass, pixels and gradients written."""
        x, (_, *samples), directions = self.batch
        inputs = size_of(x, *samples, directions, *self.weights.flat())
        pixels = 16 * len(directions)
        return inputs + pixels + (inputs + pixels + size_of(*self.weights.flat())) * self.training

    def work(self, recompute: bool) -> int:
        """FLOPs of the products, of the forward again too where the backward does ``recompute`` it."""
        per_sample = self.shape.flops
        return len(self.batch.x) * (per_sample.training(recompute) if self.training else per_sample.forward)


Render = Callable[[Case], Pixels]


def one_kernel(case: Case, store: bool = False) -> Pixels:
    """From positions to pixels in one."""
    shape, (x, samples, directions) = case.shape, case.batch
    opacity = "density" if shape.by_length else "raw"
    return harmonic_render(x, samples, directions, case.weights, shape.spec, opacity=opacity, store=store)[:2]  # type: ignore[arg-type]


def storing(case: Case) -> Pixels:
    """The same, with the layers' outputs kept for the backward."""
    return one_kernel(case, True)


def two_kernels(case: Case) -> Pixels:
    """The field of every sample to memory, then compositing."""
    shape, (x, samples, directions) = case.shape, case.batch
    density, color = harmonic_field(x, samples.offsets, directions, case.weights, shape.spec)
    opacity = "density" if shape.by_length else "raw"
    return composite(density, color, samples.t_start, samples.t_end, samples.offsets, opacity=opacity)[:2]  # type: ignore[arg-type]


def plain(case: Case) -> Pixels:
    """The project's references in the precision of their inputs: the oracle."""
    shape, (x, samples, directions) = case.shape, case.batch
    density, color = field_reference.harmonic_field(x, samples.ray_index, directions, case.weights, shape.spec)
    ends = samples.t_start, samples.t_end, samples.offsets
    return composite_reference.composite(density, color, *ends, shape.by_length, 0.0)[:2]


def pytorch(case: Case) -> Pixels:
    """The reference field under autocast to bfloat16, then prefix sums over all samples.

    Nothing waits for the GPU and no size depends on the data, so ``torch.compile`` makes one graph of it. The sums are
    in float64, or late rays lose their digits.
    """
    shape, (x, (ray_index, t_start, t_end, offsets), directions) = case.shape, case.batch
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        density, color = field_reference.harmonic_field(x, ray_index, directions, case.weights, shape.spec)
    density, color = density.float(), color.float()
    tau = density * (t_end - t_start) if shape.by_length else density  # (S,)
    total = functional.pad(tau.double().cumsum(0), (1, 0))  # (S + 1,)
    transmittance = torch.exp(total[offsets[:-1]][ray_index] - total[:-1]).float()  # (S,)
    weights = transmittance * -torch.expm1(-tau)  # (S,)
    pixel = color.new_zeros(len(directions), 3).index_add(0, ray_index, weights[:, None] * color)  # (R, 3)
    return pixel, weights.new_zeros(len(directions)).index_add(0, ray_index, weights)


def compiled() -> Render:
    """``pytorch`` through ``torch.compile``, compiled anew."""
    torch.compiler.reset()
    return torch.compile(pytorch)


def run(case: Case, render: Render, incoming: Pixels | None = None) -> tuple[Tensor, ...]:
    """Pixels; or, where ``training``, the gradients of all weights from ``incoming`` ones (1 everywhere)."""
    if not case.training:
        with torch.no_grad():
            return render(case)
    pixels = render(case)
    if incoming is None:
        incoming = (torch.ones_like(pixels[0]), torch.ones_like(pixels[1]))
    return torch.autograd.grad(pixels, case.weights.flat(), incoming)


class Exact(NamedTuple):
    """What the first ``rays`` should give, and in which precision it was computed."""

    rays: int
    results: tuple[Tensor, ...]
    dtype: torch.dtype


def exact(case: Case, oracle: Render = plain) -> Exact:
    """By the reference, ``oracle``, in the precision that the shape is checked in."""
    dtype = case.shape.checked_in
    rays = min(CHECKED_RAYS, len(case.batch.directions))
    tensors = tuple(t.detach().to(dtype).requires_grad_() for t in case.weights.flat())
    part = Case(case.shape, case.batch.first(rays, dtype), case.weights.unflatten(tensors), case.training)
    return Exact(rays, run(part, oracle), dtype)


def error(case: Case, render: Render, expected: Exact) -> float:
    """Largest error of a pixel; or, where ``training``, |g - exact| / |exact| over all weights' gradients g.

    Only the first rays' gradients flow, so that the work is that of the whole batch.
    """
    if not case.training:
        found = run(case, render)
        return max(
            float((one[: expected.rays].double() - other.double()).abs().max())
            for one, other in zip(found, expected.results, strict=True)
        )
    rays = torch.arange(len(case.batch.directions), device=case.batch.x.device) < expected.rays
    of = rays.to(case.batch.x.dtype)
    found = run(case, render, (of[:, None].expand(-1, 3).contiguous(), of))
    pairs = [(one.double(), other.double()) for one, other in zip(found, expected.results, strict=True)]
    squared = sum(float((one - other).square().sum()) for one, other in pairs)
    return math.sqrt(squared / sum(float(other.square().sum()) for _, other in pairs))
