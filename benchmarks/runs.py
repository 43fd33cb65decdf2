"""The recorded runs: ``train.py`` as a user starts it, on the project's clock and on real data; keeps metrics.json.

Real data is looked for in the folder that NERFKIT_DATA names; a scene that is not there is left out and said so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import measure

ROOT = Path(__file__).parent.parent
NOT_THERE = "not found (set NERFKIT_DATA to the folder that holds it)"
SCENES = {  # words of the command, with {data} for the data's folder
    "clock": ["scene=clock"],
    "kaolin": ["scene=kaolin", "scene.root={data}/kaolin_clock/rendered_clock.zip", "scene.resolution=256"],
    "mic": ["scene=blender", "scene.root={data}/nerf_mic", "scene.resolution=200"],
    "mic_400": ["scene=blender", "scene.root={data}/nerf_mic", "scene.resolution=400"],
}
PRESETS = {"fast": tuple(SCENES), "minute": tuple(SCENES), "best": ("clock",)}
RUNS = SCENES | {f"{name}_{way}": [*SCENES[name], f"preset={way}"] for way, names in PRESETS.items() for name in names}


def main(argv: list[str]) -> int:
    """Run the named scenes (all by default); each leaves ``results/run_NAME.json``."""
    return record("runs", __doc__, RUNS, run, argv)


def run(name: str) -> dict[str, Any]:
    """The command, without this machine's paths, and its metrics."""
    with tempfile.TemporaryDirectory() as output:
        python(str(ROOT / "train.py"), *with_data(RUNS[name]), f"output={output}")
        shown = [word for word in RUNS[name] if "{data}" not in word]
        return {"command": ["python", "train.py", *shown], **metrics_in(Path(output))}


def record(
    kind: str, about: str | None, known: Iterable[str], run: Callable[[str], dict[str, Any]], argv: list[str]
) -> int:
    """A benchmark of commands: what ``run`` returns of each name in ``argv``, all by default, saved by kind and name.

    What needs data that is not there is left out and said so.
    """
    names = list(known)
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {kind}", description=about)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(names)}")
    for name in named(parser, parser.parse_args(argv).names, names):
        try:
            print(f"saved {measure.save(f'{kind[:-1]}_{name}', run(name))}")
        except FileNotFoundError as missing:
            print(f"{name}: not run: {missing} {NOT_THERE}")
    return 0


def named(parser: argparse.ArgumentParser, asked: list[str], known: Iterable[str]) -> list[str]:
    """What was asked for, all that is ``known`` by default; the parser ends the program where it is something else."""
    names = list(known)
    if unknown := set(asked) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected of {', '.join(names)}")
    return asked or names


def with_data(words: list[str]) -> list[str]:
    """The words with the data's folder in the place of ``{data}``.

    Raises:
        FileNotFoundError: the data is not there.
    """
    folder = os.environ.get("NERFKIT_DATA", "")
    for path in (word.rpartition("=")[2] for word in words if "{data}" in word):
        if not folder or not Path(path.format(data=folder)).exists():
            raise FileNotFoundError(path.format(data="$NERFKIT_DATA"))
    return [word.format(data=folder) for word in words]


def metrics_in(output: Path) -> dict[str, Any]:
    """The metrics of the only run in a folder of runs; a path of this machine says nothing elsewhere."""
    metrics: dict[str, Any] = json.loads(next(output.glob("*/*/metrics.json")).read_text())
    metrics.get("scene", {}).pop("path", None)
    return metrics


def python(*words: str) -> float:
    """Runs Python with these words; the seconds it took."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    return round(time.perf_counter() - begin, 1)
