"""Held-out pictures of the default field and of field=auto after equal times of training, over seeds.

Nothing else should run beside it. Each scene, time and field leaves ``results/time_SCENE_SECONDS_FIELD.json``. Real
data is looked for in the folder that NERFKIT_DATA names; the excavator's photos are made first.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.photos import SIZES
from benchmarks.results import NOT_KNOWN, NOT_RUN, load, table
from benchmarks.runs import NOT_THERE, ROOT, SCENES as RECORDED, metrics_in, named, python, with_data
from benchmarks.surfaces import spread, words_of

SIDE, VIEWS = 400, 100  # of the photos of toys
BUDGETS = {
    **{"clock": (20, 60), "kaolin": (20, 60), "mic": (25,), "mic_400": (300,), "excavator": (600,)},
    **dict.fromkeys(SIZES, (60,)),
}  # seconds
FIELDS = {"default": [], "auto": ["field=auto"]}
KEYS = ("psnr", "psnr_inside", "psnr_aligned", "steps", "seconds", "samples")


def main(argv: list[str]) -> int:
    """Run the named scenes with the named fields (all by default); what needs data that is not there is left out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks equal_time", description=__doc__)
    parser.add_argument("scenes", nargs="*", help=f"of {', '.join(BUDGETS)}")
    parser.add_argument("--fields", nargs="+", choices=FIELDS, default=list(FIELDS), help="default: both")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    asked = parser.parse_args(argv)
    for scene in named(parser, asked.scenes, BUDGETS):
        with tempfile.TemporaryDirectory() as folder:
            try:
                words = scene_words(scene, Path(folder) / "photos")
            except FileNotFoundError as missing:
                print(f"{scene}: not run: {missing} {NOT_THERE}")
                continue
            for seconds in BUDGETS[scene]:
                for field in asked.fields:
                    budget = [
                        *words,
                        *FIELDS[field],
                        f"trainer.max_seconds={seconds}",
                        "trainer.max_steps=null",
                        "stages=[field]",
                    ]
                    runs = [run([*budget, f"seed={seed}"]) for seed in range(asked.seeds)]
                    print(f"saved {measure.save(f'time_{scene}_{seconds}_{field}', {'runs': runs})}")
    return 0


def scene_words(scene: str, folder: Path) -> list[str]:
    """The command's words for a scene; a toy's photos are made in ``folder``.

    Raises:
        FileNotFoundError: data that is not there.
    """
    if scene in RECORDED:
        return with_data(RECORDED[scene])
    if scene in SIZES:
        return with_data(["scene.root={data}/" + scene, f"scene.resolution={SIZES[scene]}", "scene.holdout=8"])
    return words_of(scene, folder, VIEWS, SIDE)


def run(words: list[str]) -> dict[str, Any]:
    """What one run's field reached."""
    with tempfile.TemporaryDirectory() as output:
        python(str(ROOT / "train.py"), *words, f"output={output}")
        metrics = metrics_in(Path(output))
        return {"size": metrics["scene"]["size"]} | {k: metrics["field"][k] for k in KEYS if k in metrics["field"]}


def time_table(folder: Path) -> list[str]:
    """A row for each scene, time and field that was run: means over the seeds, and half of how far they vary."""
    made = []
    for scene, budgets in BUDGETS.items():
        for seconds in budgets:
            for field in FIELDS:
                found = load(f"time_{scene}_{seconds}_{field}", folder)
                if found is None:
                    continue
                runs = found["results"]["runs"]
                width, height = runs[0]["size"]
                made.append([f"{scene}, {width}x{height}", f"{seconds} s", field, f"{len(runs)}"])
                for key, style in (("steps", "{:.0f}"), *((key, "{:.2f}") for key in KEYS[:3])):
                    values = [one[key] for one in runs if one.get(key) is not None]
                    made[-1].append(spread(values, style) if values else NOT_KNOWN)
    header = [
        "scene", "training", "field", "seeds", "steps", "held-out PSNR", "inside the masks",
        "with each photo's exposure",
    ]  # fmt: skip
    return table(header, made or [[NOT_RUN] * len(header)])
