"""Photos without masks: ``train.py`` on real data, with budgets of steps, so that results do not depend on the machine.

The object's mesh is made, too, and seen from six sides in docs/pictures/NAME.png. Where NAME has an ending, the field
alone is trained: with the photos as they are, with each photo's exposure learned, or with exposure and cameras learned.
Real data is looked for in the folder that NERFKIT_DATA names; a scene that is not there is left out and said so.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pictures import FOLDER, six_sides
from benchmarks.runs import ROOT, metrics_in, python, record, with_data

SIZES = {"fox": 480, "cup": 400, "mouse": 400}  # longer side in pixels
PICTURED = ("cup", "mouse")
STEPS = 6000
WAYS = {
    "as_given": ["trainer.exposure=off"],
    "exposure": ["trainer.exposure=on"],
    "cameras": ["trainer.exposure=on", "trainer.poses=on"],
}
FIELD_STEPS = 3000


def words(name: str) -> list[str]:
    """The words of the command, with {data} for the data's folder."""
    scene, _, way = name.partition("_")
    common = ["scene.root={data}/" + scene, f"scene.resolution={SIZES[scene]}", "scene.holdout=8"]
    common += ["trainer.max_seconds=null", "refine.max_seconds=null"]
    if way:
        return [*common, f"trainer.max_steps={FIELD_STEPS}", "stages=[field]", *WAYS[way]]
    return [*common, f"trainer.max_steps={STEPS}", "stages=[field,extract,refine,export]"]


NAMES = [*SIZES, *(f"{scene}_{way}" for scene in PICTURED for way in WAYS)]


def main(argv: list[str]) -> int:
    """Run the named scenes (all by default); each leaves ``results/photo_NAME.json``."""
    return record("photos", __doc__, NAMES, run, argv)


def run(name: str) -> dict[str, Any]:
    """The command, without this machine's paths, and its metrics."""
    with tempfile.TemporaryDirectory() as output:
        python(str(ROOT / "train.py"), *with_data(words(name)), f"output={output}")
        if name in PICTURED:
            six_sides(next(Path(output).glob("*/2*")), FOLDER / f"{name}.png")
        shown = [word for word in words(name) if "{data}" not in word]
        return {"command": ["python", "train.py", *shown], **metrics_in(Path(output))}
