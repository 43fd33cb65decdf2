"""Frames of a run's field and of its finished mesh on a CPU: milliseconds from a camera to 8-bit colors.

The held-out views in turn, color alone. Wall time is that of all threads; processor time, of one thread, is what a
machine with other work can be asked for.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks import measure
from nerfkit.cameras import Cameras
from nerfkit.fit.build import load_scene
from nerfkit.results import finished_file, load_fit, mesh_source
from nerfkit.resume import load
from nerfkit.runs.files import to_bytes
from nerfkit.runs.folder import Run, find
from nerfkit.runs.threads import set_threads
from nerfkit.scenes.record import recorded
from nerfkit.scenes.scene import Scene
from nerfkit.view.show import Source
from nerfkit.volume.model import FieldSource

SIDES = (256, 512)
FRAMES = 20


def main(argv: list[str]) -> int:
    """Measure the runs given, print and save as ``frames``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks frames", description=__doc__)
    parser.add_argument("runs", nargs="+", help="run folders, such as outputs/clock/latest")
    parser.add_argument("--threads", type=int, default=None, help="as many as pay where it is not given")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="of the pictures, in pixels")
    arguments = parser.parse_args(argv)
    threads, rows = set_threads(arguments.threads), []
    for folder in map(find, arguments.runs):
        (scene, sources), config = sources_of(folder), load(folder)
        run = f"{config.scene.name} field={config.field.name} field.surface={config.field.surface}"
        for name, source in sources.items():
            for side in arguments.sides:
                found = frames(source, scene.cameras.resized(side, side), scene.test)
                rows.append({"run": run, "source": name, "side": side, **found})
                print(f"{folder} {name} {side}x{side}: {found}")
    print(f"saved {measure.save('frames', {'threads': threads, 'rows': rows})}")
    return 0


def sources_of(folder: Path) -> tuple[Scene, dict[str, Source]]:
    """The scene of a run, its field and, where it has one, its mesh."""
    record, device = Run.open(folder), torch.device("cpu")
    config = load(folder)
    scene = recorded(folder) or load_scene(config)
    field = load_fit(config, scene, record, device, rendering=True).average
    sources: dict[str, Source] = {"field": FieldSource(field, scene.background)}
    if finished_file(record) is not None:
        sources["mesh"] = mesh_source(record, scene, device)[0]
    return scene, sources


def frames(source: Source, cameras: Cameras, views: list[int]) -> dict[str, float]:
    """Medians over ``FRAMES`` frames of ``views`` in turn: ``wall_ms`` and ``processor_ms``."""

    def frame(view: int) -> None:
        to_bytes(source.render(cameras, view, ("rgb",))["rgb"])

    for view in views[:2]:  # compilation, caches
        frame(view)
    turns = [partial(frame, views[turn % len(views)]) for turn in range(FRAMES)]
    wall, processor = zip(*(_seconds(turn) for turn in turns), strict=True)
    return {
        "wall_ms": round(1e3 * statistics.median(wall), 2),
        "processor_ms": round(1e3 * statistics.median(processor), 2),
    }


def _seconds(function: Callable[[], None]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor
