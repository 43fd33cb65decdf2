"""How fast one process is and several are, as ``torchrun`` starts them: docs/scaling.md's tables.

A call measures the training of one field, in samples a second, or the refinement of a mesh, in steps, and adds it to
what is saved. Steps and samples are the same in every row; the first steps, which fill the occupancy grid, and of a
refinement the unwrapping and the texture's first colors, count for all alike.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.results import load, table, value

WAYS = {"1": (1, 1), "1 with 2 threads": (1, 2), "2": (2, 1)}  # processes, threads of each
FIELDS = {"harmonic": "harmonic, the default", "hash_grid": "hash grid"}
VIEWS = {"refine": 2, "refine_8": 8}  # that a step of the refinement looks at
HEADS = ["1 process, 1 thread", "1 process, 2 threads", "2 processes, 1 thread each"]


def measured(what: str, count: int, threads: int, steps: int, folder: Path) -> dict[str, float]:
    """Samples a second, samples and seconds of a training of so many steps, or the same in steps of a refinement."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone"]
    words = ["scene=clock", f"threads={threads}", "trainer.preview_every=1", f"output={folder}"]
    if what in FIELDS:
        words += ["stages=[field]", f"field={what}", f"trainer.max_steps={steps}"]
    else:
        words += ["stages=[field,extract,refine]", "trainer.max_steps=400", f"refine.steps={steps}"]
        words += [f"refine.views_per_step={VIEWS[what]}", "refine.specular=false", "refine.preview_every=1"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    subprocess.run([*torchrun, "train.py", *words], env=environment, check=True, capture_output=True)
    (path,) = folder.glob("*/*/metrics.json")
    metrics = json.loads(path.read_text())
    if what in FIELDS:
        samples, seconds = metrics["field"]["samples"], metrics["field"]["seconds"]
        return {"samples_per_second": round(samples / seconds), "samples": samples, "seconds": seconds}
    seconds = metrics["mesh"]["seconds"]
    return {"steps_per_second": round(steps / seconds, 2), "steps": steps, "seconds": seconds}


def main(argv: list[str]) -> int:
    """Measure and save ``results/scaling.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scaling", description=__doc__)
    parser.add_argument("--of", choices=[*FIELDS, *VIEWS], default="harmonic", help="a field, or the refinement")
    parser.add_argument("--steps", type=int, default=60)
    asked = parser.parse_args(argv)
    found: dict[str, Any] = {}
    for way, (count, threads) in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[way] = measured(asked.of, count, threads, asked.steps, Path(folder))
        print(asked.of, way, found[way], flush=True)
    before = load("scaling")
    print(f"saved {measure.save('scaling', (before['results'] if before else {}) | {asked.of: found})}")
    return 0


def section(folder: Path = measure.RESULTS) -> list[str]:
    """The tables of docs/scaling.md."""
    found = load("scaling", folder)
    rows = [
        [label, *(value(found, f"{field}.{way}.samples_per_second", "{:.2f}", 1e-6) for way in WAYS)]
        for field, label in FIELDS.items()
    ]
    steps = [
        [f"{views} views a step", *(value(found, f"{what}.{way}.steps_per_second", "{:.1f}") for way in WAYS)]
        for what, views in VIEWS.items()
    ]
    return [*table(["field, M samples/s", *HEADS], rows), "", *table(["refinement, steps/s", *HEADS], steps)]
