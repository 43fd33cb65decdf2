"""What a kernel must do at least, and what the machine can do at most, measured in the same run.

A multiply-add counts 2. Of a field with an embedding of E numbers, width w, n hidden layers:

    forward  = 2 (E w + (n - 1) w^2 + w^2 + 4 w),   E w more where the embedding is fed in again
    backward = 2 forward - 2 E w                    the embedding needs no gradient
    training = forward + backward, or 2 forward + backward where the backward computes the forward again

Embedding, activations, compositing and what a ray needs once count nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import measure
from nerfkit.kernels.harmonic_field import FieldSpec

DTYPES = {"bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}


class Flops(NamedTuple):
    """FLOPs a sample."""

    forward: int
    backward: int

    def training(self, recompute: bool) -> int:
        return self.forward * (2 if recompute else 1) + self.backward


def flops(spec: FieldSpec, width: int, depth: int) -> Flops:
    """The products of one sample, as the module says."""
    embedded = spec.position_size * width * (1 if spec.skip is None else 2)
    forward = 2 * (embedded + depth * width * width + 4 * width)
    return Flops(forward, 2 * forward - 2 * embedded)


def size_of(*tensors: Tensor) -> int:
    """Bytes of the elements of all tensors."""
    return sum(t.numel() * t.element_size() for t in tensors)


class Peaks(NamedTuple):
    """What the machine reaches: FLOP/s of a square matrix product in each precision, bytes/s read and written."""

    bf16: float
    tf32: float
    fp32: float
    copy: float

    def results(self) -> dict[str, float]:
        products = {f"{name}_tflops": round(getattr(self, name) / 1e12, 3) for name in DTYPES}
        return products | {"copy_gb_per_s": round(self.copy / 1e9, 2)}


def measure_peaks(
    device: str | torch.device, *, side: int = 8192, copy_bytes: int = 1 << 30, repeats: int = 20
) -> Peaks:
    """The fastest of ``repeats`` products of two random (side, side) matrices, and copies of ``copy_bytes``.

    rate = 2 side^3 / seconds;   bandwidth = 2 copy_bytes / seconds
    """
    before = torch.get_float32_matmul_precision()
    generator = torch.Generator(device).manual_seed(0)
    rates = {}
    try:
        for name, dtype in DTYPES.items():
            torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
            a, b = (torch.randn(side, side, device=device, generator=generator).to(dtype) for _ in range(2))
            rates[name] = 2 * side**3 / _fastest(lambda a=a, b=b: torch.mm(a, b), device, repeats)  # type: ignore[misc]
    finally:
        torch.set_float32_matmul_precision(before)
    source = torch.randn(copy_bytes // 4, device=device, generator=generator)
    target = torch.empty_like(source)
    copy = 2 * size_of(source) / _fastest(lambda: target.copy_(source), device, repeats)
    return Peaks(**rates, copy=copy)


def _fastest(function: Callable[[], object], device: str | torch.device, repeats: int) -> float:
    """Seconds."""
    return measure.medians({"": function}, repeats=repeats, device=device)[""]["fastest_ms"] / 1e3


def floor(work: float, traffic: float, peak: float, bandwidth: float) -> float:
    """The least seconds for ``work`` FLOPs and ``traffic`` bytes: max(work / peak, traffic / bandwidth)."""
    return max(work / peak, traffic / bandwidth)


def shares(
    median_ms: float, gpu_ms: float | None, *, samples: int, work: float, traffic: float, peak: float, bandwidth: float
) -> dict[str, Any]:
    """Rates of a call, and its shares of what the machine reaches.

    ``share_of_floor`` is of the whole call, launches and Python included; ``gpu_share_of_floor`` of the time that the
    GPU was busy.
    """
    seconds, least = median_ms / 1e3, floor(work, traffic, peak, bandwidth)
    found: dict[str, Any] = {
        "samples_per_second": round(samples / seconds),
        "flops_per_sample": round(work / max(samples, 1)),
        "bytes": round(traffic),
        "share_of_peak": round(work / peak / seconds, 4),
        "share_of_bandwidth": round(traffic / bandwidth / seconds, 4),
        "share_of_floor": round(least / seconds, 4),
    }
    if gpu_ms:
        found |= {"gpu_ms": round(gpu_ms, 4), "gpu_share_of_floor": round(least / gpu_ms * 1e3, 4)}
    return found
