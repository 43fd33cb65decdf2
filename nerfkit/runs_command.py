"""``python -m nerfkit runs [FOLDER]``: the runs below a folder, how far each has come, and how good it is."""

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nerfkit.config import STAGES, TrainOptions
from nerfkit.errors import CheckpointError, escaped
from nerfkit.runs.checkpoints import steps
from nerfkit.runs.configs import texts_by_key
from nerfkit.runs.files import followed
from nerfkit.runs.fingerprint import finished
from nerfkit.runs.folder import Run, being_written
from nerfkit.runs.table import table

ABOUT = """The runs below a folder, newest first: done; being written; unfinished, which resume=RUN goes on with;
stopped before anything was saved; or broken."""
REMAINS = ("metrics.json", "log.txt", "checkpoints")  # of a run whose config.yaml is gone
DATE = "%Y-%m-%d_%H-%M-%S"  # of a run's folder


@dataclass
class Row:
    """What is shown of a run; None is not known. ``why`` says what is wrong with a broken one."""

    run: str
    date: str
    scene: str
    preset: str | None = None
    field: str | None = None
    state: str = "broken"
    stage: str | None = None
    step: int | None = None
    steps: int | None = None
    psnr: float | None = None
    mesh_psnr: float | None = None
    faces: int | None = None
    seconds: float | None = None
    why: str | None = None

    def cells(self) -> list[str | int | None]:
        """Its line of the table."""
        psnr, mesh = (None if value is None else f"{value:.2f}" for value in (self.psnr, self.mesh_psnr))
        made_by = "/".join(filter(None, (self.preset, self.field))) or None
        seconds = None if self.seconds is None else round(self.seconds)
        return [escaped(self.run), self.scene, made_by, self._state(), psnr, mesh, self.faces, seconds, self.date]

    def _state(self) -> str:
        if self.state == "done" or self.stage is None:
            return self.state
        of = "" if self.steps is None else f" of {self.steps}"
        return f"{self.state}: " + (f"step {self.step}{of}" if self.stage == "field" and self.step else self.stage)


HEADER = ("run", "scene", "preset/field", "state", "PSNR", "mesh PSNR", "faces", "seconds", "date")


def main(words: Sequence[str]) -> None:
    """Runs the command with the words that follow its name.

    Raises:
        CheckpointError: no such folder.
    """
    parser = argparse.ArgumentParser(prog="python -m nerfkit runs", description=ABOUT)
    parser.add_argument("folder", nargs="?", default=TrainOptions.output, help="of runs; %(default)s by default")
    parser.add_argument("--json", action="store_true", help="all that is known, as JSON")
    asked = parser.parse_args(words)
    root = followed(asked.folder)
    if not root.is_dir():
        raise CheckpointError(f"{asked.folder}: no such folder; expected one that holds runs, as output=FOLDER made it")
    rows = sorted((_row(folder, root) for folder in _run_folders(root)), key=lambda row: row.date, reverse=True)
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print(table(HEADER, [row.cells() for row in rows]) if rows else f"no runs below {asked.folder}")
    for row in rows:
        if row.why is not None:
            print(f"{escaped(row.run)}: {escaped(row.why)}")


def _run_folders(root: Path) -> Iterator[Path]:
    """The run folders at and below ``root``, broken ones too, links not followed."""
    for entry, folders, files in os.walk(root):
        folder, below = Path(entry), list[Path]()
        if "config.yaml" not in files:
            if not any(name in files or name in folders for name in REMAINS):
                continue
            if _made_at(folder) is None:  # a stray log beside runs makes no run of their folder
                own = [folder / name for name in folders if not (folder / name).is_symlink()]
                below = [found for inner in own for found in _run_folders(inner)]
        folders.clear()
        yield from below or [folder]


def _made_at(folder: Path) -> datetime | None:
    """What the name of a run's folder says; None where it is no run's name."""
    with contextlib.suppress(ValueError):
        return datetime.strptime("_".join(folder.name.split("_")[:2]), DATE)
    return None


def _row(folder: Path, root: Path) -> Row:
    date = _made_at(folder) or datetime.fromtimestamp(folder.stat().st_mtime)
    row = Row(str(folder.relative_to(root)), str(date.replace(microsecond=0)), escaped(folder.parent.name))
    try:
        _look(folder, row)
    except (CheckpointError, OSError, ValueError, TypeError, AttributeError) as error:  # a value of another kind
        row.why = f"no {Path(error.filename).name}" if isinstance(error, FileNotFoundError) else str(error)
    return row


def _look(folder: Path, row: Row) -> None:
    """Puts what the run's small files say into ``row``; its state last, as it is broken until then."""
    config, words = texts_by_key(folder / "config.yaml"), texts_by_key(folder / "overrides.yaml").get("", [])
    metrics, saved = Run(folder).metrics(), steps(folder)
    stages = [stage for stage in STAGES if stage in config.get("stages", [])]
    recipe = config.get("recipe.name", [None])[0]
    if not stages and recipe is None:
        raise ValueError("config.yaml names no stages")
    row.preset = next((word.partition("=")[2] for word in words if word.startswith("preset=")), None)
    row.field = recipe or config.get("field.name", [None])[0]
    budget = config.get("trainer.max_steps", ["null"])[0]
    row.steps = int(budget) if recipe is None and budget != "null" else None
    row.scene = escaped(str(metrics.get("scene", {}).get("name", row.scene)))
    field, mesh = metrics.get("field", {}), metrics.get("mesh", {})
    row.step = field.get("steps", saved[0] if saved else None)
    row.psnr, row.mesh_psnr = _number(field.get("psnr")), _number(mesh.get("psnr"))
    row.faces = mesh.get("faces")
    row.seconds = sum(_number(stage.get("seconds")) or 0.0 for stage in metrics.get("stages", {}).values())
    if recipe is None:
        row.stage = next((stage for stage in stages if stage not in finished(metrics)), None)
    else:
        row.stage = None if recipe in metrics else recipe
    if row.stage is None:
        row.state = "done"
    elif being_written(folder):
        row.state = "being written"
    else:
        row.state = "unfinished" if saved and recipe is None else "stopped"


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
