"""``python -m nerfkit eval RUN``: a run's field and mesh against the photos, at any size, and against what is true."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nerfkit.errors import ConfigError
from nerfkit.evaluation import BACKGROUNDS, DTU, NATIVE, SOURCES, SPLITS, SYNTHETIC, Protocol, evaluated
from nerfkit.report.numbers import MEASURES
from nerfkit.runs.checkpoints import KINDS
from nerfkit.runs.files import write_text
from nerfkit.runs.folder import EVALUATION, Run
from nerfkit.runs.plain import measured
from nerfkit.runs.table import table


def main(words: Sequence[str]) -> None:
    """Runs the command with the words that follow its name; prints a table and the path of the numbers.

    Raises:
        CheckpointError: no run folder, or one without what is to be measured.
        ConfigError, SceneError: a size that the photos have not, a file that cannot be written, photos that are gone.
    """
    parser = argparse.ArgumentParser(prog="python -m nerfkit eval", description=__doc__)
    parser.add_argument("run", help="OUTPUT/SCENE/DATE_TIME or OUTPUT/SCENE/latest")
    parser.add_argument("--protocol", choices=(SYNTHETIC.name, DTU), help="of a published benchmark")
    parser.add_argument("--truth", help=f"of {DTU}: the folder with Points and ObsMask, or a scan's file in it")
    parser.add_argument("--split", choices=SPLITS, help="which views; test by default")
    parser.add_argument("--size", help=f"of pictures, {NATIVE} or WIDTHxHEIGHT; as the run was trained by default")
    parser.add_argument("--background", choices=BACKGROUNDS, help="scene, the run's own, by default")
    parser.add_argument("--source", choices=(*SOURCES, "both"), default="both", help="both by default")
    parser.add_argument("--checkpoint", choices=tuple(KINDS), default="last", help="of the field; last by default")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th of the views alone")
    parser.add_argument("--output", help=f"the numbers; RUN/{EVALUATION}, or eval_best.json, by default")
    parser.add_argument("--pictures", metavar="FOLDER", help="where predicted | true | error of each view go")
    parser.add_argument("--lpips", action="append", default=[], metavar="FILE", help="weights of VGG-16, and of LPIPS")
    asked = parser.parse_args(words)
    record, protocol = Run.open(asked.run), _protocol(asked)
    name = EVALUATION if asked.checkpoint == "last" else f"eval_{asked.checkpoint}.json"  # reports show the last's
    path = record.folder / name if asked.output is None else Path(asked.output).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"--output {path}: expected a file in a folder that is there")
    pictures = None if asked.pictures is None else Path(asked.pictures).expanduser()
    if pictures is not None and pictures.exists() and not pictures.is_dir():
        raise ConfigError(f"--pictures {pictures}: expected a folder")
    sources = SOURCES if asked.source == "both" else (asked.source,)
    found = measured(evaluated(record, protocol, sources, pictures, asked.lpips))
    write_text(path, json.dumps(found, indent=2, allow_nan=False) + "\n")
    print(shown(found))
    print(path)


def shown(found: Mapping[str, Any]) -> str:
    """Field and mesh side by side, each number with its standard deviation over the views, and what is missing."""
    names = [name for name in SOURCES if name in found]
    columns = [column for name in names for column in (found[name], found[name]["spread"])]
    rows = []
    for key, (label, style) in MEASURES.items():
        values = [column.get(key) for column in columns]
        if any(value is not None for value in values):
            rows.append([label, *(None if value is None else style.format(value) for value in values)])
    missing = [f"{name}: not measured: {why}" for name, why in found["not_measured"].items()]
    head = [word for name in names for word in (name, "+-")]
    return "\n".join([found["about"], table(["", *head], rows), *missing])


def _protocol(asked: argparse.Namespace) -> Protocol:
    """What the words say is to be measured."""
    stated = {key: getattr(asked, key) for key in ("split", "size", "background") if getattr(asked, key) is not None}
    common: dict[str, Any] = {"every": asked.every, "truth": asked.truth, "checkpoint": asked.checkpoint}
    if asked.protocol != SYNTHETIC.name:
        return Protocol(**stated, **common, name=asked.protocol)
    if stated:
        raise ConfigError(f"--{next(iter(stated))}: --protocol {asked.protocol} says that already; leave one out")
    return replace(SYNTHETIC, **common)
