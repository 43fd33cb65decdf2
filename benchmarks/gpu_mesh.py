"""The rasterizer on a GPU: a colored torus, in pictures and their gradients, by size and by visibility gradient.

Of each size: ``hard``, the z-buffer alone; ``forward``, the antialiased picture (contour); ``step``, the same with the
gradients of vertices and colors, in milliseconds, with the share of the time in which the GPU has nothing to do; the
step's memory; whether two steps give the same bits. The z-buffer stands against its floor in bytes,

    30 faces x views + 20 pixels

the numbers and half a vertex of every face, and face, barycentrics and depth of every pixel. Small sizes are repeated
on the CPU, with the largest difference of the gradients, relative to the largest of them.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import gpu_profile
from benchmarks.gpu_floors import Peaks
from benchmarks.gpu_limits import Budget, Entry, attempt, peak_bytes
from benchmarks.raster_gradients import METHODS, four_cameras, torus
from nerfkit.cameras import Cameras
from nerfkit.raster import rasterize, render
from nerfkit.raster.visibility import Visibility

FIRST_CALL = 60.0  # seconds that a size's first calls may take, their compilation included
TIMED = 1.5  # seconds of timed calls of one size together
Gradients = tuple[Tensor, ...]


class Case(NamedTuple):
    """About so many faces in ``views`` square pictures of ``size`` pixels a side."""

    faces: int
    size: int
    views: int

    @property
    def name(self) -> str:
        """As in ``80k_1024_1``."""
        return f"{round(self.faces / 1000)}k_{self.size}_{self.views}"


CASES = (
    Case(5_000, 512, 1),
    Case(80_000, 1024, 1),
    Case(80_000, 512, 16),
    Case(1_000_000, 2048, 1),
    Case(10_000_000, 4096, 1),
)
STUDIED = Case(80_000, 1024, 1)
"""The size at which the visibility gradients are compared."""
ON_CPU = 100_000
"""Most faces of a size that is repeated on the CPU."""


class Picture:
    """A case's mesh, colors and cameras on ``device``."""

    def __init__(self, case: Case, device: str | torch.device) -> None:
        across = max(3, round(math.sqrt(case.faces / 4)))
        vertices, faces = torus(2 * across, across)
        colors = 0.5 + 0.5 * torch.sin(7 * vertices)
        self.vertices = vertices.float().to(device).requires_grad_()
        self.colors = colors.float().to(device).requires_grad_()
        self.faces = faces.to(device)
        one = four_cameras(case.size)
        self.cameras: Cameras = one[[view % len(one) for view in range(case.views)]].to(device)

    @torch.no_grad()
    def hard(self) -> object:
        """The z-buffer."""
        return rasterize(self.vertices, self.faces, self.cameras)

    @torch.no_grad()
    def forward(self) -> object:
        """The antialiased picture."""
        return render(self.vertices, self.faces, self.cameras, colors=self.colors)

    def step(self, visibility: Visibility | str = "contour") -> Gradients:
        """The picture and the gradients of vertices and colors."""
        rgb, alpha, _ = render(self.vertices, self.faces, self.cameras, colors=self.colors, visibility=visibility)
        return torch.autograd.grad(rgb.square().mean() + alpha.square().mean(), (self.vertices, self.colors))


def timed(calls: dict[str, Callable[[], object]], device: str | torch.device) -> dict[str, Entry]:
    """Medians of calls that have been made once, in turns, and what the GPU does in them."""
    entries: dict[str, Entry] = {}
    for name, (found, profile) in gpu_profile.medians(calls, TIMED, device).items():
        entries[name] = dict(found)
        if profile is not None:
            entries[name]["gpu_ms"] = round(profile.busy_ms, 4)
            entries[name]["idle_share"] = round(max(0.0, 1 - profile.busy_ms / found["median_ms"]), 4)
            entries[name]["kernels_ms"] = gpu_profile.longest(profile)
    return entries


def size_row(case: Case, device: str | torch.device, peaks: Peaks) -> dict[str, Any]:
    """One size."""
    picture = Picture(case, device)
    gradients = picture.step()
    calls: dict[str, Callable[[], object]] = {"hard": picture.hard, "forward": picture.forward, "step": picture.step}
    for call in calls.values():
        call()
    again = picture.step()
    row: dict[str, Any] = {"faces": len(picture.faces), "size": case.size, "views": case.views}
    row["bit_equal"] = all(torch.equal(*pair) for pair in zip(gradients, again, strict=True))
    row |= timed(calls, device)
    traffic = 30 * len(picture.faces) * case.views + 20 * case.size**2 * case.views
    row["hard"]["share_of_floor"] = round(1e3 * traffic / peaks.copy / row["hard"]["median_ms"], 4)
    memory = peak_bytes(picture.step, device)
    if memory is not None:
        row["step"]["peak_bytes"] = memory
    return row


def cpu_row(case: Case, device: str | torch.device) -> dict[str, Any]:
    """The step on the CPU, and how far the gradients of the two are apart."""
    here, there = Picture(case, "cpu"), Picture(case, device).step()
    own = here.step()
    pairs = zip(own, there, strict=True)
    apart = max(float((a - b.cpu()).abs().max() / a.abs().max()) for a, b in pairs)
    return {**timed({"step": here.step}, "cpu")["step"], "largest_difference": apart}


def results(
    device: str | torch.device, peaks: Peaks, budget: Budget, cases: tuple[Case, ...] = CASES, studied: Case = STUDIED
) -> dict[str, Any]:
    """``sizes``, ``cpu`` and ``visibility``; what there is no time left for says so."""
    found: dict[str, dict[str, Any]] = {"sizes": {}, "visibility": {}, "cpu": {}}

    def keep(part: str, name: str, function: Callable[[], dict[str, Any]]) -> None:
        row, reason = attempt(function, min(FIRST_CALL, budget.left()))
        found[part][name] = reason if row is None else row
        print(f"  {part:<11} {name:<16} {summary(found[part][name])}", flush=True)

    def step_of(method: Visibility) -> dict[str, Any]:
        picture = Picture(studied, device)
        picture.step(method)
        row = timed({"step": lambda: picture.step(method)}, device)["step"]
        memory = peak_bytes(lambda: picture.step(method), device)
        return row if memory is None else row | {"peak_bytes": memory}

    for case in cases:
        keep("sizes", case.name, lambda case=case: size_row(case, device, peaks))  # type: ignore[misc]
    for name, method in METHODS.items():
        keep("visibility", name, lambda method=method: step_of(method))  # type: ignore[misc]
    for case in cases:
        if case.faces * case.views <= ON_CPU:
            keep("cpu", case.name, lambda case=case: cpu_row(case, device))  # type: ignore[misc]
    return found


def summary(row: dict[str, Any]) -> str:
    """A line of what is printed on the way."""
    if "not_run" in row or "failed" in row:
        return str(row)
    steps = {name: row[name] for name in ("hard", "forward", "step") if name in row} or {"step": row}
    return ", ".join(f"{name} {entry['median_ms']:.3f} ms" for name, entry in steps.items())
