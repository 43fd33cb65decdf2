"""Samples a second of training by one process and by several, as ``torchrun`` starts them: docs/scaling.md's table.

A call measures one field and adds it to what is saved. Steps and samples are the same in every row; the first steps,
which compile and fill the occupancy grid, count for all alike.
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


def measured(field: str, count: int, threads: int, steps: int, folder: Path) -> dict[str, float]:
    """Samples a second, samples and seconds of a training of so many steps."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone"]
    words = ["scene=clock", f"field={field}", "stages=[field]", f"trainer.max_steps={steps}", f"threads={threads}"]
    words += ["trainer.preview_every=1", f"output={folder}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    subprocess.run([*torchrun, "train.py", *words], env=environment, check=True, capture_output=True)
    (path,) = folder.glob("*/*/metrics.json")
    found = json.loads(path.read_text())["field"]
    samples, seconds = found["samples"], found["seconds"]
    return {"samples_per_second": round(samples / seconds), "samples": samples, "seconds": seconds}


def main(argv: list[str]) -> int:
    """Measure and save ``results/scaling.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scaling", description=__doc__)
    parser.add_argument("--field", choices=FIELDS, default="harmonic")
    parser.add_argument("--steps", type=int, default=60)
    asked = parser.parse_args(argv)
    found: dict[str, Any] = {}
    for way, (count, threads) in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[way] = measured(asked.field, count, threads, asked.steps, Path(folder))
        print(f"{asked.field}, {way}: {found[way]['samples_per_second'] / 1e6:.2f} M samples/s", flush=True)
    before = load("scaling")
    print(f"saved {measure.save('scaling', (before['results'] if before else {}) | {asked.field: found})}")
    return 0


def section(folder: Path = measure.RESULTS) -> list[str]:
    """The table of docs/scaling.md."""
    found = load("scaling", folder)
    rows = [
        [label, *(value(found, f"{field}.{way}.samples_per_second", "{:.2f}", 1e-6) for way in WAYS)]
        for field, label in FIELDS.items()
    ]
    heads = ["1 process, 1 thread", "1 process, 2 threads", "2 processes, 1 thread each"]
    return table(["field, M samples/s", *heads], rows)
