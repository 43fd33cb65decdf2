"""The harmonic field on the CPU, forward and backward, against the machine's matrix products and against PyTorch.

Rate: the FLOPs that the default field's products need (two a multiply-add: outputs, gradients of all weights, gradients
of hidden layers; no padding, no embedding, no activations) over the median time of a step, as a share of the best rate
of a large square product in the same run: PyTorch's own (``torch.mm``) and oneDNN's.

Tutorial: one step of PyTorch3D's NeRF tutorial, 6 x 750 rays of 128 samples, in a process of its own for each
contestant, in turns: the CPU kernels; the project's plain PyTorch references; and the same written as the tutorial
does, with the direction's embedding beside every sample's features. Each cuts the step into the pieces that suit it.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import measure
from benchmarks.gpu_fields import Shape, new_weights, packed_lengths
from nerfkit.kernels import use
from nerfkit.kernels.composite import composite
from nerfkit.kernels.harmonic_field import FieldSpec, FieldWeights, harmonic_field
from nerfkit.kernels.harmonic_field.reference import embed
from nerfkit.runs.threads import set_threads

DEFAULT = Shape(FieldSpec(), 64, 3)
TUTORIAL = Shape(FieldSpec(60, 60, 0.1, False, "softplus", "softplus", 10.0), 256, 2)
TUTORIAL_RAYS, TUTORIAL_SAMPLES = 6 * 750, 128
NEAR, FAR = 0.1, 3.0
SQUARE = 2048  # rows and columns of the product that sets the machine's rate
Batch = tuple[Tensor, Tensor, Tensor]


def packed_batch(samples: int) -> Batch:
    """x (S,3), offsets (R+1,), directions (R,3): rays of 0 to 13 samples, as an occupancy grid leaves them."""
    generator = torch.Generator().manual_seed(1)
    offsets = functional.pad(packed_lengths(samples).cumsum(0), (1, 0))
    x = 2 * torch.rand(samples, 3, generator=generator) - 1
    directions = functional.normalize(torch.randn(len(offsets) - 1, 3, generator=generator), dim=-1)
    return x, offsets, directions


def field_step(samples: int) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward of the default field over ``samples`` samples."""
    weights, batch = new_weights(DEFAULT, "cpu"), packed_batch(samples)
    incoming = (torch.ones(samples), torch.ones(samples, 3))

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(harmonic_field(*batch, weights, DEFAULT.spec), weights.flat(), incoming)

    return run


def rates(repeats: int) -> dict[str, Any]:
    """Medians of the default field's step, its rate, and its share of the machine's."""
    a, b = torch.randn(SQUARE, SQUARE), torch.randn(SQUARE, SQUARE)
    squares: dict[str, Callable[[], object]] = {"torch_mm": lambda: torch.mm(a, b)}
    if torch.backends.mkldnn.is_available():
        squares["oneDNN"] = lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    steps = {samples: field_step(samples) for samples in (16_384, 65_536)}
    times = measure.medians(squares | {str(samples): step for samples, step in steps.items()}, repeats=repeats)
    machine = {name: 2 * SQUARE**3 / times[name]["fastest_ms"] / 1e6 for name in squares}  # GFLOP/s
    found: dict[str, Any] = {"matrix_product_gflops": {name: round(rate, 1) for name, rate in machine.items()}}
    needed = sum(DEFAULT.flops)
    for samples in steps:
        entry = times[str(samples)]
        rate = needed * samples / entry["median_ms"] / 1e6
        found[str(samples)] = entry | {
            "gflops": round(rate, 1),
            "samples_per_second": round(1e3 * samples / entry["median_ms"]),
            "share": {name: round(rate / of, 3) for name, of in machine.items()},
        }
    return found


def tutorial_rays(count: int) -> tuple[Batch, Tensor]:
    """Points (R * 128, 3), offsets, directions of rays through the scene; and depths (R * 128 + R,) of the samples."""
    generator = torch.Generator().manual_seed(2)
    directions = functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    width = (FAR - NEAR) / TUTORIAL_SAMPLES
    depth = NEAR + width * (torch.arange(TUTORIAL_SAMPLES) + torch.rand(count, TUTORIAL_SAMPLES, generator=generator))
    x = (depth[..., None] - 1.5) * directions[:, None]  # (R, 128, 3)
    offsets = torch.arange(count + 1) * TUTORIAL_SAMPLES
    return (x.reshape(-1, 3), offsets, directions), depth.reshape(-1)


def packed_pixels(batch: Batch, depth: Tensor, weights: FieldWeights) -> tuple[Tensor, Tensor]:
    """Color (R,3) and opacity (R,) by the project's operations, on whatever backend they are told to use."""
    density, color = harmonic_field(*batch, weights, TUTORIAL.spec)
    return composite(density, color, depth, depth, batch[1], opacity="raw")[:2]


def reference_pixels(batch: Batch, depth: Tensor, weights: FieldWeights) -> tuple[Tensor, Tensor]:
    """The same by the project's plain PyTorch references."""
    with use("reference"):
        return packed_pixels(batch, depth, weights)


def tutorial_pixels(batch: Batch, depth: Tensor, weights: FieldWeights) -> tuple[Tensor, Tensor]:
    """The same as the tutorial writes it: rays by samples, and the direction's embedding repeated for every sample."""
    x, offsets, directions = batch
    points = x.view(len(offsets) - 1, -1, 3)  # (R, 128, 3)

    def waves(v: Tensor) -> Tensor:
        return embed(v.reshape(-1, 3), TUTORIAL.spec.octaves, TUTORIAL.spec.omega0, False).view(*v.shape[:-1], -1)

    features = waves(points)
    for matrix, bias in weights.hidden:
        features = functional.softplus(functional.linear(features, matrix, bias), TUTORIAL.spec.beta)
    raw = functional.softplus(functional.linear(features, *weights.density), TUTORIAL.spec.beta)[..., 0]  # (R, 128)
    seen = torch.cat([features, waves(directions)[:, None].expand(*points.shape[:2], -1)], -1)
    both = torch.cat([weights.feature[0], weights.direction], 1)
    hidden = functional.softplus(functional.linear(seen, both, weights.feature[1]), TUTORIAL.spec.beta)
    colors = functional.linear(hidden, *weights.color).sigmoid()  # (R, 128, 3)
    opacity = 1 - torch.exp(-raw)
    passed = torch.cumprod(1 - opacity + 1e-10, -1)
    light = opacity * torch.cat([torch.ones_like(passed[:, :1]), passed[:, :-1]], -1)
    return (light[..., None] * colors).sum(1), light.sum(1)


CONTESTANTS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "kernels": packed_pixels,
    "plain_pytorch": reference_pixels,
    "as_pytorch3d": tutorial_pixels,
}
PIECES = (256, 64, 16)  # rays at once that each contestant tries before its step: it takes the fastest


def tutorial_gradients(name: str, rays: int, pieces_of: int, weights: FieldWeights) -> tuple[Tensor, ...]:
    """The step's gradients for every weight, summed over its pieces."""
    pixels, total = CONTESTANTS[name], tuple(torch.zeros_like(t) for t in weights.flat())
    (x, _, directions), depth = tutorial_rays(rays)
    for first in range(0, rays, pieces_of):
        of = directions[first : first + pieces_of]
        samples = slice(first * TUTORIAL_SAMPLES, (first + len(of)) * TUTORIAL_SAMPLES)
        batch = (x[samples], torch.arange(len(of) + 1) * TUTORIAL_SAMPLES, of)
        found = pixels(batch, depth[samples], weights)
        torch._foreach_add_(total, torch.autograd.grad(found, weights.flat(), [torch.ones_like(t) for t in found]))
    return total


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident() -> int:
    """Bytes of memory that this process has now; where the system does not tell, those that it has had at most."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") if statm.exists() else peak()


def one_step(name: str, threads: int | None) -> dict[str, float]:
    """Seconds of one step of a contestant in the pieces that suit it best, and the memory that pieces take."""
    set_threads(threads)
    weights = new_weights(TUTORIAL, "cpu")

    def seconds(rays: int, pieces_of: int) -> float:
        start = time.perf_counter()
        tutorial_gradients(name, rays, pieces_of, weights)
        return time.perf_counter() - start

    seconds(1, 1)
    before = resident()
    seconds(PIECES[0], PIECES[0])
    per_sample = (peak() - before) / PIECES[0] / TUTORIAL_SAMPLES
    best = min(PIECES, key=lambda pieces_of: seconds(PIECES[0], pieces_of))
    return {
        "seconds": seconds(TUTORIAL_RAYS, best),
        "rays_at_once": best,
        "peak_bytes": peak(),
        "bytes_per_sample": per_sample,
    }


def tutorial(turns: int, threads: int) -> dict[str, Any]:
    """Each contestant's steps, one a process, in turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    for _ in range(turns):
        for name, steps in found.items():
            command = [sys.executable, "-m", "benchmarks", "field", "--step", name, "--threads", str(threads)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            steps.append(json.loads(output.splitlines()[-1]))
    results: dict[str, Any] = {}
    needed = sum(TUTORIAL.flops) * TUTORIAL_RAYS * TUTORIAL_SAMPLES
    for name, steps in found.items():
        seconds = statistics.median(step["seconds"] for step in steps)
        per_sample = statistics.median(step["bytes_per_sample"] for step in steps)
        results[name] = {
            "seconds": round(seconds, 3),
            "fastest_seconds": round(min(step["seconds"] for step in steps), 3),
            "times_the_kernels": round(seconds / results["kernels"]["seconds"], 2) if results else 1.0,
            "gflops": round(needed / seconds / 1e9, 1),
            "rays_at_once": [step["rays_at_once"] for step in steps],
            "peak_bytes": round(max(step["peak_bytes"] for step in steps)),
            "bytes_for_a_whole_step_at_once": round(per_sample * TUTORIAL_RAYS * TUTORIAL_SAMPLES),
        }
    return results


def main(argv: list[str]) -> int:
    """Measure both and save ``results/field.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks field", description=__doc__)
    parser.add_argument("--repeats", type=int, default=40, help="timed steps of the default field")
    parser.add_argument("--turns", type=int, default=2, help="timed steps of each contestant of the tutorial")
    parser.add_argument("--threads", type=int, help="threads to use; those that pay where it is not given")
    parser.add_argument("--step", choices=list(CONTESTANTS), help="only one step of this contestant, as JSON")
    arguments = parser.parse_args(argv)
    if arguments.step:
        print(json.dumps(one_step(arguments.step, arguments.threads)))
        return 0
    threads = set_threads(arguments.threads)
    results: dict[str, Any] = {"threads": threads, "default": rates(arguments.repeats)}
    machine = results["default"]["matrix_product_gflops"]
    print("matrix products: " + ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in machine.items()))
    for samples in ("16384", "65536"):
        entry = results["default"][samples]
        shares = ", ".join(f"{100 * share:.0f} % of {name}" for name, share in entry["share"].items())
        print(f"default field, {samples} samples: {entry['median_ms']:.2f} ms, {entry['gflops']:.0f} GFLOP/s, {shares}")
    results["tutorial"] = tutorial(arguments.turns, threads)
    for name, entry in results["tutorial"].items():
        times, memory = entry["times_the_kernels"], entry["peak_bytes"] / 1e9
        print(f"tutorial's step, {name:<14} {entry['seconds']:8.2f} s {times:6.1f} x {memory:6.2f} GB")
    print(f"saved {measure.save('field', results)}")
    return 0
