"""Training on a GPU with the gpu preset: speed, quality by the second, launch gaps, memory, equal reruns."""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_limits import Budget, Entry, attempt, wait
from benchmarks.gpu_profile import profiled
from benchmarks.runs import NOT_THERE, RUNS, with_data
from nerfkit.config import TrainOptions
from nerfkit.fit.build import load_scene
from nerfkit.fit.field import FieldFit
from nerfkit.fit.metrics import psnr
from nerfkit.options import compose
from nerfkit.results import new_fit
from nerfkit.runs.folder import Run
from nerfkit.scenes.scene import Scene

THRESHOLDS = (24.0, 26.0, 28.0, 30.0, 32.0, 33.8, 35.0, 37.0)  # dB
# name -> words of the command, as in ``runs``, at full size; the clock with each field.
SCENES = {
    "clock": ["scene=clock"],
    "clock_hash_grid": ["scene=clock", "field=hash_grid"],
    "clock_planes": ["scene=clock", "field=planes"],
    "kaolin": RUNS["kaolin"][:2],
    "mic": [*RUNS["mic"][:2], "scene.resolution=800"],
}
STEPS_AT_ONCE = 16  # between two looks at the clock
PROFILED = 20  # steps
TOP = 15  # kernels named in a profile
RERUN = 50  # steps of each of two fits whose weights must be equal
TEST_VIEWS = 8  # held-out views at the end, at most


def config_of(words: list[str], seconds: float) -> TrainOptions:
    """The gpu preset on a scene, with a budget that the learning rate follows."""
    return compose(
        "train", [*words[:1], "preset=gpu", *words[1:], f"trainer.max_seconds={seconds}", "trainer.max_steps=null"]
    )


def held_out(fit: FieldFit, view: int) -> float:
    """PSNR of a view, in dB."""
    image = fit.average.render_view(fit.scene.cameras, view).over(fit.scene.background)
    return psnr(image.cpu(), fit.scene.image(view))


def train(fit: FieldFit, seconds: float, device: torch.device) -> dict[str, Any]:
    """Steps for ``seconds``, looks at a held-out view not counted; its PSNR at moments a quarter further each.

    Raises:
        FloatingPointError: the loss or a gradient was not finite.
    """
    view, progress = fit.scene.test[0], fit.progress
    curve: list[tuple[float, float]] = []
    due = seconds / 100
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    while progress.seconds < seconds:
        wait(device)
        start = time.perf_counter()
        for _ in range(STEPS_AT_ONCE):
            fit.step()
        wait(device)
        progress.seconds += time.perf_counter() - start
        if progress.seconds >= due or progress.seconds >= seconds:
            curve.append((round(progress.seconds, 3), round(held_out(fit, view), 3)))
            due = 1.25 * progress.seconds
    fit.watch.check()
    views = fit.scene.test[:: max(1, len(fit.scene.test) // TEST_VIEWS)][:TEST_VIEWS]
    found: dict[str, Any] = {
        "seconds": round(progress.seconds, 3),
        "steps": progress.step,
        "steps_per_second": round(progress.step / progress.seconds, 2),
        "samples_per_second": round(progress.samples / progress.seconds),
        "psnr": round(sum(held_out(fit, view) for view in views) / len(views), 3),
        "psnr_views": views,
        "curve_view": view,
        "curve": curve,
        "seconds_to_psnr": reached(curve),
    }
    if device.type == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated(device)
        found["before_bytes"] = before
    return found


def reached(curve: list[tuple[float, float]]) -> dict[str, float]:
    """The second of the first point of a curve (seconds, PSNR) at each threshold; those never reached are absent."""
    found = {}
    for threshold in THRESHOLDS:
        moment = next((second for second, value in curve if value >= threshold), None)
        if moment is not None:
            found[f"{threshold:g}"] = moment
    return found


def gaps(fit: FieldFit, device: torch.device, steps: int = PROFILED) -> dict[str, Any]:
    """Milliseconds of a step without a profiler, those in which a profiler sees the GPU busy, and the idle share.

    idle = 1 - busy / wall, where the step is not slowed down by the profiler that finds ``busy``
    """
    wait(device)
    start, samples = time.perf_counter(), fit.progress.samples
    for _ in range(steps):
        fit.step()
    wait(device)
    wall = time.perf_counter() - start
    found: dict[str, Any] = {
        "step_ms": round(1e3 * wall / steps, 4),
        "samples_per_second": round((fit.progress.samples - samples) / wall),
    }
    profile = profiled(fit.step, steps, device)
    if profile is None:
        return found | {"idle": "not known: the profiler saw no GPU"}
    return found | {
        "busy_ms": round(profile.busy_ms, 4),
        "idle_share": round(max(0.0, 1 - profile.busy_ms * steps / 1e3 / wall), 4),
        "kernels": len(profile.kernels),
        "kernels_ms": dict(list(profile.kernels.items())[:TOP]),
    }


def repeatable(build: Callable[[], FieldFit], steps: int = RERUN) -> dict[str, Any]:
    """Whether two fits with one seed have the same bits in all weights after ``steps``."""
    states = []
    for _ in range(2):
        fit = build()
        for _ in range(steps):
            fit.step()
        states.append({name: p.detach().clone() for name, p in fit.model.named_parameters()})
    one, other = states
    differing = [name for name in one if not torch.equal(one[name].view(torch.int32), other[name].view(torch.int32))]
    return {"steps": steps, "equal": not differing, "differing": differing}


def builder(config: TrainOptions, scene: Scene, device: torch.device, folder: Path) -> Callable[[], FieldFit]:
    """Makes untrained fits of one scene, all alike."""
    return lambda: new_fit(config, scene, Run(folder), device)


def scene_results(
    name: str, seconds: float, device: torch.device, budget: Budget
) -> tuple[dict[str, Any], FieldFit | None]:
    """All that is measured on one scene, and the trained fit."""
    try:
        words = with_data(SCENES[name])
    except FileNotFoundError as missing:
        return {"not_run": f"{missing} {NOT_THERE}"}, None
    if budget.left() < seconds + 10:
        return {"not_run": f"no time left for {seconds:.0f} s of training"}, None
    config = config_of(words, seconds)
    start = time.perf_counter()
    scene, reason = attempt(lambda: load_scene(config), budget.left())
    if scene is None:
        return reason, None
    size = [scene.cameras.width, scene.cameras.height]
    found: dict[str, Any] = {"size": size, "loading_seconds": round(time.perf_counter() - start, 2)}
    with tempfile.TemporaryDirectory() as folder:
        build = builder(config, scene, device, Path(folder))
        return measured(build, found, seconds, device, budget)


def measured(
    build: Callable[[], FieldFit], found: dict[str, Any], seconds: float, device: torch.device, budget: Budget
) -> tuple[dict[str, Any], FieldFit | None]:
    """``found`` with equal reruns, then a training run, then its gaps; what breaks or runs out of time says so."""
    same, reason = attempt(lambda: repeatable(build), budget.left())
    found["rerun"] = same or reason
    fit = build()
    trained, reason = attempt(lambda: train(fit, seconds, device), budget.left())
    if trained is None:
        return {**found, **reason}, None
    fit.progress.seconds = min(fit.progress.seconds, 0.99 * seconds)  # the learning rate of its last steps
    idle, reason = attempt(lambda: gaps(fit, device), budget.left())
    return {**found, **trained, "gaps": idle or reason}, fit


def results(
    device: torch.device, budget: Budget, seconds: float, names: list[str]
) -> tuple[dict[str, Any], FieldFit | None]:
    """All scenes, for the same time each, and the fit of the first that was trained."""
    found: dict[str, Any] = {}
    kept = None
    for name in names:
        found[name], fit = scene_results(name, seconds, device, budget)
        kept = kept if fit is None else kept or fit
        describe(name, found[name])
    return found, kept


def describe(name: str, found: Entry) -> None:
    """Two lines a scene."""
    if "psnr" not in found:
        print(f"{name}: {found}", flush=True)
        return
    rate = found["samples_per_second"] / 1e6
    print(
        f"{name}: {found['steps_per_second']:.1f} steps/s, {rate:.1f} M samples/s, {found['psnr']:.2f} dB", flush=True
    )
    idle = found["gaps"].get("idle_share", math.nan)
    print(f"  seconds to dB: {found['seconds_to_psnr']}, idle {100 * idle:.1f} %, rerun {found['rerun']}", flush=True)
