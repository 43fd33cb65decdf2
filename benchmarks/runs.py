"""The recorded runs: ``train.py`` as a user starts it, on the project's clock and on real data; keeps metrics.json.

Real data is looked for in the folder that NERFKIT_DATA names; a scene that is not there is left out and said so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import measure

ROOT = Path(__file__).parent.parent
BUDGET = "trainer.max_seconds=150"
# name -> words of the command, and the file that must be there.
RUNS: dict[str, tuple[list[str], str | None]] = {
    "clock": (["scene=clock"], None),
    "kaolin": (["scene=kaolin", "scene.resolution=256", BUDGET], "kaolin_clock/rendered_clock.zip"),
    "mic": (["scene=blender", "scene.resolution=200", BUDGET], "nerf_mic"),
    "mic_400": (["scene=blender", "scene.resolution=400", BUDGET], "nerf_mic"),
}


def data_folder() -> Path | None:
    """``$NERFKIT_DATA``, or None where it is not set."""
    return Path(os.environ["NERFKIT_DATA"]) if os.environ.get("NERFKIT_DATA") else None


def main(argv: list[str]) -> int:
    """Run the named scenes (all by default); each leaves ``results/run_NAME.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks runs", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(RUNS)}")
    names = parser.parse_args(argv).names or list(RUNS)
    if unknown := set(names) - set(RUNS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected of {', '.join(RUNS)}")
    for name in names:
        words, needed = RUNS[name]
        if needed is not None:
            folder = data_folder()
            if folder is None or not (folder / needed).exists():
                print(f"{name}: not run: {needed} not found (set NERFKIT_DATA to the folder that holds it)")
                continue
            words = [*words, f"scene.root={folder / needed}"]
        with tempfile.TemporaryDirectory() as output:
            command = [sys.executable, str(ROOT / "train.py"), *words, f"output={output}"]
            subprocess.run(command, cwd=ROOT, check=True)
            metrics = next(Path(output).glob("*/*/metrics.json"))
            results = json.loads(metrics.read_text())
        results["scene"].pop("path", None)  # a path of this machine says nothing elsewhere
        shown = [word for word in words if not word.startswith("scene.root=")]
        print(f"saved {measure.save(f'run_{name}', {'command': ['python', 'train.py', *shown], **results})}")
    return 0
