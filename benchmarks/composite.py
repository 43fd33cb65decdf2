"""Compositing, forward and backward, on the CPU: our kernel against two ways to write it in vectorized PyTorch.

``padded`` is the project's own reference (rays padded to the longest); ``packed`` keeps the samples packed and takes
prefix sums over all of them at once, as nerfacc does without CUDA.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks import measure
from nerfkit.kernels import use
from nerfkit.kernels.composite import composite

EARLY_STOP = 1e-4
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def packed_inputs(lengths: Tensor, device: str = "cpu") -> Inputs:
    """Seeded density, color, t_start, t_end and offsets for rays of these ``lengths`` (R,), with gradients wanted."""
    generator = torch.Generator().manual_seed(0)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])  # (R + 1,)
    samples = int(offsets[-1])
    step = 0.02
    within = torch.arange(samples) - torch.repeat_interleave(offsets[:-1], lengths)  # (S,)
    t_start = 0.5 + step * within  # (S,)
    density = 30 * torch.rand(samples, generator=generator)  # (S,)
    color = torch.rand(samples, 3, generator=generator)  # (S, 3)
    density, color = density.to(device).requires_grad_(), color.to(device).requires_grad_()
    return density, color, t_start.to(device), (t_start + step).to(device), offsets.to(device)


def training_rays() -> Tensor:
    """Lengths (R,) of 15,000 rays, about 100,000 samples: a training step behind an occupancy grid."""
    return torch.randint(0, 14, (15_000,), generator=torch.Generator().manual_seed(1))


def lockstep_rays() -> Tensor:
    """Lengths (R,) of 1,024 rays of 128 samples each: a sampler without an occupancy grid."""
    return torch.full((1024,), 128)


def packed_pytorch(density: Tensor, color: Tensor, t_start: Tensor, t_end: Tensor, offsets: Tensor) -> list[Tensor]:
    """Color (R, 3), opacity (R,) from prefix sums over all samples; float64 sums, or late rays lose their digits."""
    lengths = offsets.diff()
    ray = torch.repeat_interleave(torch.arange(len(lengths), device=offsets.device), lengths)  # (S,)
    tau = density * (t_end - t_start)  # (S,)
    total = torch.nn.functional.pad(tau.double().cumsum(0), (1, 0))  # (S + 1,)
    transmittance = torch.exp(total[offsets[:-1]][ray] - total[:-1]).to(tau)  # (S,)
    weights = torch.where(transmittance >= EARLY_STOP, transmittance * -torch.expm1(-tau), 0)  # (S,)
    pixel = color.new_zeros(len(lengths), 3).index_add(0, ray, weights[:, None] * color)  # (R, 3)
    return [pixel, tau.new_zeros(len(lengths)).index_add(0, ray, weights)]


def step(function: Callable[..., Sequence[Tensor]], inputs: Inputs) -> Callable[[], tuple[Tensor, ...]]:
    """One forward and backward from color and opacity, the way a training step asks for it."""
    rays = len(inputs[-1]) - 1
    incoming = (torch.ones(rays, 3, device=inputs[0].device), torch.ones(rays, device=inputs[0].device))

    def run() -> tuple[Tensor, ...]:
        outputs = function(*inputs)[:2]
        return torch.autograd.grad(outputs, inputs[:2], incoming)

    return run


def kernel(*inputs: Tensor) -> tuple[Tensor, ...]:
    """The public operation, on whatever backend the tensors lead to."""
    return composite(*inputs, early_stop=EARLY_STOP)


def padded_pytorch(*inputs: Tensor) -> tuple[Tensor, ...]:
    """The project's reference."""
    with use("reference"):
        return kernel(*inputs)


def contestants(inputs: Inputs) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    """Ours first; all three checked to give the same gradients before anything is timed."""
    functions: dict[str, Callable[..., Sequence[Tensor]]] = {
        "kernel": kernel,
        "packed": packed_pytorch,
        "padded": padded_pytorch,
    }
    steps = {name: step(function, inputs) for name, function in functions.items()}
    ours, *others = (run() for run in steps.values())
    for other in others:
        torch.testing.assert_close(other, ours, rtol=1e-3, atol=1e-4)
    return steps


def main(argv: list[str]) -> int:
    """Time both shapes of batch and save ``results/composite.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks composite", description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="timed runs of each")
    arguments = parser.parse_args(argv)
    results = {}
    for name, lengths in {"training": training_rays(), "lockstep": lockstep_rays()}.items():
        inputs = packed_inputs(lengths)
        times = measure.medians(contestants(inputs), repeats=arguments.repeats)
        results[name] = {"rays": len(lengths), "samples": len(inputs[0]), "times": times}
        measure.print_medians(f"{name}: {len(lengths)} rays, {len(inputs[0])} samples, forward and backward", times)
    print(f"saved {measure.save('composite', results)}")
    return 0
