"""What a command with ``-m`` says of a sweep: which run has which values, and a table at the end."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nerfkit.runs.files import write_text
from nerfkit.runs.report import table

OTHERS = ("scene", "stages", "export")  # parts of metrics.json that are no results
MEASURES = {"psnr": "PSNR", "psnr_specular": "PSNR with highlights", "mask_iou": "mask IoU", "chamfer": "chamfer"}


class Sweep:
    """The jobs of a sweep, in their order.

    Attributes:
        folders: the run folders of those that ended.

    Args:
        jobs: the words of each job.
        output: the table is kept there, as ``sweep_DATE_TIME.txt``.
    """

    def __init__(self, jobs: Sequence[Sequence[str]], output: str | Path) -> None:
        self.output = Path(output).expanduser()
        common = set.intersection(*map(set, jobs))
        self.values = [" ".join(word for word in job if word not in common) for job in jobs]
        self.begun = 0
        self.folders: list[Path] = []

    def begin(self) -> None:
        """Says what the next job is."""
        print(f"\nrun {self.begun + 1} of {len(self.values)}: {self.values[self.begun]}")
        self.begun += 1

    def end(self) -> None:
        """Prints and keeps the table of the runs that ended."""
        if not self.folders:
            return
        found = [_measured(folder) for folder in self.folders]
        columns = list(dict.fromkeys(key for row in found for key in row))
        rows = [
            [values, *(row.get(name) for name in columns), str(folder)]
            for values, row, folder in zip(self.values, found, self.folders, strict=False)
        ]
        text = table(("values", *columns, "run"), rows)
        path = self.output / f"sweep_{datetime.now().strftime('%Y-%m-%d_%H-%M-%S')}.txt"
        write_text(path, text + "\n")
        print(f"\n{text}\nwrote {path}")


def _measured(folder: Path) -> dict[str, Any]:
    """The figures of a run by their names in the table."""
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found = {}
    for section, values in metrics.items():
        known = MEASURES if section in ("field", "mesh") else None
        for key, value in values.items() if isinstance(values, dict) and section not in OTHERS else ():
            if isinstance(value, float) and (known is None or key in known):
                found[f"{section} {key if known is None else known[key]}"] = value
    seconds = sum(stage.get("seconds", 0.0) for stage in metrics.get("stages", {}).values())
    return found | {"seconds": round(seconds)}
