"""Large pictures and fine meshes: peak memory and seconds of the commands, each a process of its own.

The clock, after a short training: a frame of its field and of its mesh, then the coarse mesh of a fine lattice. What is
counted is the whole command, from the start of the program to the file that it leaves, PNG and video included.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import measure
from benchmarks.runs import ROOT, python
from nerfkit.runs.folder import find
from nerfkit.runs.threads import set_threads

SIDE, RESOLUTION, STEPS = 4096, 1024, 300
TRAINED = ("scene=clock", "preset=fast", "refine.specular=false", "stages=[field,extract,refine,export]")


def commands(run: Path, side: int, resolution: int) -> dict[str, list[str]]:
    """What is measured by name, in an order in which each finds what it needs."""
    frame = [f"run={run}", f"width={side}", f"height={side}", "frames=1", "channels=[rgb]", "format=[png]"]
    return {
        "mesh": ["render.py", *frame, "source=mesh"],
        "field": ["render.py", *frame, "source=field"],
        "extract": ["train.py", f"resume={run}", "stages=[extract]", f"extract.resolution={resolution}"],
    }


def cost(words: list[str]) -> dict[str, float]:
    """``seconds`` and ``peak_gb`` (1e9 bytes resident) of Python with these words.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    begin = time.perf_counter()
    child = subprocess.Popen([sys.executable, *words], cwd=ROOT)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, words)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": round(time.perf_counter() - begin, 1), "peak_gb": round(used.ru_maxrss * unit / 1e9, 2)}


def main(argv: list[str]) -> int:
    """Train, measure, and save ``results/big.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks big", description=__doc__)
    parser.add_argument("--side", type=int, default=SIDE, help="of the frames, in pixels")
    parser.add_argument("--resolution", type=int, default=RESOLUTION, help="of the lattice")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the field's training")
    parser.add_argument("--folder", help="where the run is left, and found again")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        output = arguments.folder or temporary
        if not Path(output, "clock").exists():
            python("train.py", *TRAINED, f"trainer.max_steps={arguments.steps}", f"output={output}")
        run = find(f"{output}/clock/latest")
        asked = commands(run, arguments.side, arguments.resolution)
        rows = {name: cost(words) for name, words in asked.items()}
    asked_for = {"side": arguments.side, "resolution": arguments.resolution, "steps": arguments.steps}
    results = {"threads": set_threads(None), **asked_for, "rows": rows}
    for name, row in rows.items():
        print(f"{name}: {row}")
    print(f"saved {measure.save('big', results)}")
    return 0
