"""Photos without masks: ``train.py`` on real data, with budgets of steps, so that results do not depend on the machine.

The object's mesh is made, too, and seen from six sides in docs/pictures. With the ending ``prepared``, the cameras are
those that ``prepare`` finds, not the data's own, and a turntable is filmed. With another ending, the field alone is
trained: with the photos as they are, with each photo's exposure learned, or with exposure and cameras learned.
Real data is looked for in the folder that NERFKIT_DATA names; a scene that is not there is left out and said so.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pictures import FOLDER, six_sides
from benchmarks.runs import ROOT, metrics_in, python, record, with_data

SIZES = {"fox": 480, "cup": 400, "mouse": 400}  # longer side in pixels
PREPARED = "prepared"
PICTURED = {"cup": "cup", "mouse_prepared": "mouse"}  # which docs/pictures/NAME.png it is
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
    folder = f"{scene}/images" if way == PREPARED else scene
    common = ["scene.root={data}/" + folder, f"scene.resolution={SIZES[scene]}", "scene.holdout=8"]
    if way in WAYS:
        return [*common, f"trainer.max_steps={FIELD_STEPS}", "stages=[field]", *WAYS[way]]
    stages = "field,extract,refine,export" + (",video" if way == PREPARED else "")
    return [*common, f"trainer.max_steps={STEPS}", f"stages=[{stages}]"]


NAMES = [
    *SIZES,
    *(f"{scene}_{PREPARED}" for scene in ("fox", "mouse")),
    *(f"{scene}_{way}" for scene in ("cup", "mouse") for way in WAYS),
]


def main(argv: list[str]) -> int:
    """Run the named scenes (all by default); each leaves ``results/photo_NAME.json``."""
    return record("photos", __doc__, NAMES, run, argv)


def run(name: str) -> dict[str, Any]:
    """The command, without this machine's paths, the seconds that it took, and its metrics."""
    with tempfile.TemporaryDirectory() as output:
        seconds = python(str(ROOT / "train.py"), *with_data(words(name)), f"output={output}")
        if name in PICTURED:
            six_sides(next(Path(output).glob("*/2*")), FOLDER / f"{PICTURED[name]}.png")
        shown = [word for word in words(name) if "{data}" not in word]
        return {"command": ["python", "train.py", *shown], "seconds": seconds, **metrics_in(Path(output))}
