"""What a command with ``-m`` says of a sweep: which run has which values, and at its end a table of what came of each.

Hydra's launchers may run the jobs in other processes, or on other machines of a shared file system: each leaves a file
with its outcome. The table begins with the best run: by the PSNR of the mesh, else of the field, else of a recipe;
without any it has the jobs' order.
"""

import csv
import io
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nerfkit.errors import told
from nerfkit.runs.files import write_text
from nerfkit.runs.outcome import figures
from nerfkit.runs.table import table

MEASURES = {"psnr": "PSNR", "psnr_specular": "PSNR with highlights", "mask_iou": "mask IoU", "chamfer": "chamfer"}
BEST_BY = ("mesh PSNR", "field PSNR")
WORDS = 80  # characters of an error in the table


class Sweep:
    """The jobs of a sweep, in their order.

    Args:
        jobs: the words of each job.
        output: the table is kept there, as ``sweep_DATE_TIME.txt`` to read and ``.csv`` to plot.
    """

    def __init__(self, jobs: Sequence[Sequence[str]], output: str | Path) -> None:
        self.output = Path(output).expanduser()
        common = set.intersection(*map(set, jobs))
        pairs = [[word.lstrip("+").split("=", 1) for word in job if word not in common] for job in jobs]
        self.values = [{key: value.strip("'") for key, value in job} for job in pairs]  # paths are quoted for Hydra
        self.output.mkdir(parents=True, exist_ok=True)
        self.outcomes = Path(tempfile.mkdtemp(prefix=".sweep_", dir=self.output.absolute()))

    def run(self, number: int, job: Callable[[], Path | None]) -> None:
        """Says what job ``number`` is, does it, and keeps its run folder, or why it has none.

        What the user can fix, too little memory, or a fit that diverged, is printed and leaves the other jobs alone. So
        does a bug, but that is raised: Hydra shows its traceback after the other jobs.
        """
        pairs = " ".join(f"{key}={value}" for key, value in self.values[number].items())
        print(f"\nrun {number + 1} of {len(self.values)}" + f": {pairs}" * bool(pairs))
        outcome: dict[str, Any] = {"code": 130, "error": "stopped"}
        try:
            outcome = {"code": 0, "folder": job()}
        except Exception as error:
            code, said = told(error) or (1, f"{type(error).__name__}: {error}")
            outcome = {"code": code, "error": said}
            if code == 1:
                raise
            print(f"error: {said}", file=sys.stderr)
        finally:
            write_text(self.outcomes / f"{number}.json", json.dumps(outcome, default=str))

    def end(self) -> int:
        """Prints and keeps the table of the jobs that were begun; returns the exit code of the first that failed."""
        paths = {int(path.stem): path for path in self.outcomes.glob("[0-9]*.json")}
        found = {number: json.loads(path.read_text(encoding="utf-8")) for number, path in sorted(paths.items())}
        shutil.rmtree(self.outcomes)
        listed = {number: outcome for number, outcome in found.items() if outcome.get("folder", "") is not None}
        if listed:
            self._say(listed)
        return next((outcome["code"] for outcome in found.values() if outcome["code"]), 0)

    def _say(self, outcomes: dict[int, dict[str, Any]]) -> None:
        measured = {number: _measured(Path(o["folder"])) for number, o in outcomes.items() if "folder" in o}
        keys = list(dict.fromkeys(key for job in self.values for key in job))
        columns = list(dict.fromkeys(key for row in measured.values() for key in row))
        rows = [
            [
                *(self.values[number].get(key) for key in keys),
                *(measured.get(number, {}).get(name) for name in columns),
                outcome.get("folder", "failed: " + " ".join(outcome.get("error", "").split())[:WORDS]),
            ]
            for number, outcome in sorted(outcomes.items(), key=lambda job: _place(measured.get(job[0], {}), columns))
        ]
        header = (*keys, *columns, "run")
        text = table(header, rows)
        if not measured:  # nothing was made that is worth a file
            print(f"\n{text}")
            return
        path = self.output / f"sweep_{datetime.now().strftime('%Y-%m-%d_%H-%M-%S')}.txt"
        write_text(path, text + "\n")
        rows_of_csv = io.StringIO()
        csv.writer(rows_of_csv).writerows([header, *rows])
        write_text(path.with_suffix(".csv"), rows_of_csv.getvalue())
        print(f"\n{text}\nwrote {path} and .csv")


def _place(figures: dict[str, Any], columns: Sequence[str]) -> float:
    """Where a run stands: by its negated PSNR, the best known in ``columns``; behind all others without it."""
    named = next((name for name in (*BEST_BY, *columns) if name in columns and "psnr" in name.lower()), "")
    psnr = figures.get(named, math.nan)
    return -psnr if math.isfinite(psnr) else math.inf


def _measured(folder: Path) -> dict[str, Any]:
    """The figures of a run by their names in the table."""
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found: dict[str, Any] = {}
    for section, key, value in figures(metrics):
        known = MEASURES if section in ("field", "mesh") else {key: key}
        if key in known:
            found[f"{section} {known[key]}"] = value
    seconds = sum(stage.get("seconds", 0.0) for stage in metrics.get("stages", {}).values())
    return found | {"seconds": round(seconds)}
