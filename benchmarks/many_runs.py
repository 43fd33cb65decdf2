"""How long ``python -m nerfkit runs`` takes for a thousand runs, made from one run's own small files."""

import argparse
import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import measure
from nerfkit.runs.folder import find
from nerfkit.runs_command import main as list_runs

SMALL = ("config.yaml", "overrides.yaml", "environment.yaml", "metrics.json", "log.txt")


def main(argv: list[str]) -> int:
    """Measure and save ``results/many_runs.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks many_runs", description=__doc__)
    parser.add_argument("run", help="OUTPUT/SCENE/DATE_TIME or OUTPUT/SCENE/latest")
    parser.add_argument("--runs", type=int, default=1000)
    asked = parser.parse_args(argv)
    source = find(asked.run)
    with tempfile.TemporaryDirectory() as output:
        for number in range(asked.runs):
            folder = Path(output) / f"scene_{number % 10}" / f"2026-01-01_{number // 60:02d}-{number % 60:02d}-00"
            (folder / "checkpoints").mkdir(parents=True)
            (folder / "checkpoints" / "step_00004000.pt").touch()
            for name in SMALL:
                shutil.copy(source / name, folder / name)
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()) as said:
            list_runs([output])
        listed = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "nerfkit", "runs", output], check=True, capture_output=True)
        command = time.perf_counter() - start
    rows = len(said.getvalue().splitlines()) - 2
    results = {"runs": rows, "seconds": round(listed, 3), "command_seconds": round(command, 3)}
    print(f"{rows} runs in {listed:.2f} s; the whole command, with its imports, {command:.2f} s")
    print(f"saved {measure.save('many_runs', results)}")
    return 0
