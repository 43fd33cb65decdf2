"""Speed beside other programs that keep processors busy: a field step, a rasterizer step, a refinement.

For 0, 1 and 2 busy processes each contestant is a process of its own, in turns: the package as it is, and with OpenMP's
own way of waiting (``GOMP_SPINCOUNT=300000``, libgomp's default). With k busy processes on c cores, c threads have a
fair share of c / (c + k) of the quiet speed; the results say what part of that share was had.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import measure

WAYS = {"package": {}, "openmp_default": {"GOMP_SPINCOUNT": "300000"}}
BUSY = (0, 1, 2)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def rates(seconds: float) -> dict[str, float]:
    """Steps a second of each kind, in this process."""
    import torch

    from nerfkit.fit.build import load_scene
    from nerfkit.fit.refine import refine_mesh
    from nerfkit.fit.refine_options import RefineOptions
    from nerfkit.mesh.shapes import icosphere
    from nerfkit.options import compose
    from nerfkit.raster import render
    from nerfkit.results import new_fit
    from nerfkit.runs.folder import Run
    from nerfkit.runs.threads import set_threads

    set_threads(None)
    config = compose("train", ["scene=clock", "preset=cpu", "trainer.max_steps=100000"])
    scene, sphere = load_scene(config), icosphere(4)
    vertices = (0.5 * sphere.vertices).requires_grad_()

    def raster() -> None:
        pictures = render(vertices, sphere.faces, scene.cameras[:2], background=(0.0, 0.0, 0.0))
        pictures.rgb.mean().backward()

    def spell(step: Callable[[], object], warmup: int) -> float:
        for _ in range(warmup):
            step()
        start = time.perf_counter()
        count = 0
        while time.perf_counter() - start < seconds:
            step()
            count += 1
        return count / (time.perf_counter() - start)

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        fit = new_fit(config, scene, Run(Path(folder)), torch.device("cpu"))
        found["field"] = spell(fit.step, 60)
        found["raster"] = spell(raster, 5)
        steps, mesh = 10, sphere.transformed(lambda p: 0.5 * p)
        options = RefineOptions(steps=steps)
        refine_mesh(mesh, scene, RefineOptions(steps=2))  # compiles
        start = time.perf_counter()
        refine_mesh(mesh, scene, options)
        found["refine"] = steps / (time.perf_counter() - start)
    return found


def main(argv: list[str]) -> int:
    """Measure and save ``results/busy.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks busy", description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="processes of each contestant")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each spell")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        print(json.dumps(rates(arguments.seconds)))
        return 0
    command = [sys.executable, "-m", "benchmarks", "busy", "--child", "--seconds", str(arguments.seconds)]
    cores = measure.machine()["cores"]
    found: dict[str, dict[str, dict[str, float]]] = {way: {} for way in WAYS}
    for count in BUSY:
        spells: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(arguments.turns):
            for way, variables in WAYS.items():
                with busy(count):
                    made = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
                if made.returncode:
                    print(made.stderr, file=sys.stderr)
                    return 1
                spells[way].append(json.loads(made.stdout.splitlines()[-1]))
        for way, rows in spells.items():
            found[way][str(count)] = {k: round(statistics.median(row[k] for row in rows), 3) for k in rows[0]}
    results: dict[str, object] = {"steps_per_second": found, "share_of_fair": shares(found, cores), "cores": cores}
    for way, by_count in found.items():
        for count_text, row in by_count.items():
            fair = shares(found, cores)[way][count_text]
            print(
                f"{way:<15} {count_text} busy  " + "  ".join(f"{k} {v:7.2f}/s ({fair[k]:.2f})" for k, v in row.items())
            )
    print(f"saved {measure.save('busy', results)}")
    return 0


def shares(found: dict[str, dict[str, dict[str, float]]], cores: int) -> dict[str, dict[str, dict[str, float]]]:
    """Each rate as a part of the fair share of the package's quiet rate; 1 is all of it."""
    quiet = found["package"]["0"]
    return {
        way: {
            count: {k: round(v / (quiet[k] * cores / (cores + int(count))), 3) for k, v in row.items()}
            for count, row in by_count.items()
        }
        for way, by_count in found.items()
    }
