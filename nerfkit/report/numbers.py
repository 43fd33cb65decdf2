"""What was measured of runs, side by side, and the options that differ: as rows, and as plain tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from nerfkit.errors import UserError
from nerfkit.report.figures import strips
from nerfkit.report.model import packed
from nerfkit.runs.configs import load_config
from nerfkit.runs.curves import scalars
from nerfkit.runs.fingerprint import SECTION
from nerfkit.runs.folder import Run
from nerfkit.runs.table import table
from nerfkit.scenes.record import recorded

EVALUATED = ("eval.field", "eval.mesh")  # what ``python -m nerfkit eval`` has measured
KINDS = {"field": "field", "mesh.coarse": "coarse mesh", "mesh": "mesh"}  # section of metrics.json -> its name
KINDS |= {section: section.replace(".", ": ") for section in EVALUATED}
MEASURES = {
    "psnr": ("PSNR, dB", "{:.2f}"),
    "psnr_specular": ("with highlights", "{:.2f}"),
    "psnr_inside": ("inside the masks", "{:.2f}"),
    "psnr_aligned": ("with each photo's exposure", "{:.2f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "lpips": ("LPIPS", "{:.4f}"),
    "mask_iou": ("mask IoU", "{:.4f}"),
    "depth_error": ("depth, units", "{:.4g}"),
    "depth_error_share": ("depth, % of it", "{:.3%}"),
    "depth_missing": ("pixels without depth", "{:.2%}"),
    "angle_error": ("normals of pixels, degrees", "{:.2f}"),
    "chamfer": ("chamfer, % of the diagonal", "{:.3%}"),
    "normal_error": ("normals, degrees", "{:.1f}"),
    "f_score": ("F-score at 0.5 %", "{:.3f}"),
    "dtu_accuracy": ("DTU accuracy, mm", "{:.3f}"),
    "dtu_completeness": ("DTU completeness, mm", "{:.3f}"),
    "dtu_overall": ("DTU overall, mm", "{:.3f}"),
    "dtu_f_score": ("F-score at 1 mm", "{:.3f}"),
    "genus": ("genus", "{}"),
    "self_intersections": ("self-intersections", "{}"),
    "vertices": ("vertices", "{:,}"),
    "faces": ("faces", "{:,}"),
    "steps": ("steps", "{:,}"),
    "seconds": ("seconds", "{:.0f}"),
}
LARGEST = 1e300  # of a number that is shown


class Reported:
    """What a page says of one run.

    Args:
        record: the run.
        pictures: whether its mesh and its curves are shown.

    Raises:
        CheckpointError: its metrics.json or scene.json is damaged.
    """

    def __init__(self, record: Run, pictures: bool = True) -> None:
        self.record, self.folder = record, record.folder
        self.of = record.folder.parent.name  # its scene
        self.name = f"{self.of}/{record.folder.name}"
        self.metrics, measured = record.metrics(), record.evaluation()
        of, now = measured.get(SECTION, {}), self.metrics.get(SECTION, {})
        self.outdated = any(now.get(stage, {}) != found for stage, found in of.items())  # what ``eval`` measured
        self.metrics["eval"] = {} if self.outdated else measured
        self.scene = recorded(record.folder)
        self.strips = strips(record.folder) if pictures else []
        seen = {view for view, _, _ in self.strips}
        self.model = packed(record, self.scene, seen) if self.scene is not None and pictures else None
        self.curves = scalars(record.folder) if pictures else {}
        config = plain(record.folder / "config.yaml")
        self.config = flat(config) if isinstance(config, dict) else {}

    def section(self, name: str) -> dict[str, Any]:
        """The numbers of a section of metrics.json, ``a.b`` being b in a; empty where it is not there."""
        return _numbers_of(self._within(name))

    def views(self, name: str) -> dict[int, dict[str, Any]]:
        """The numbers of each view of a section."""
        rows = self._within(name).get("views")
        found = [_numbers_of(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return {row["view"]: row for row in found if "view" in row}

    def stages(self) -> dict[str, dict[str, Any]]:
        """Seconds and memory by stage."""
        return {name: _numbers_of(row) for name, row in self.metrics.get("stages", {}).items()}

    def _within(self, name: str) -> dict[str, Any]:
        found: Any = self.metrics
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}


def text(records: Sequence[Run]) -> str:
    """The numbers of runs and the options that differ, as plain tables."""
    runs = [Reported(record, pictures=False) for record in records]
    tables = [table(rows[0], rows[1:]) for rows in (numbers(runs), differences(runs)) if len(rows) > 1]
    return "\n\n".join([*tables, *evaluations(runs)]) or "Nothing was measured."


def numbers(runs: list[Reported]) -> list[list[str]]:
    """A table of what was measured, a column for each field and mesh; its first row names them."""
    columns = [
        (run, name, run.section(section)) for run in runs for section, name in KINDS.items() if run.section(section)
    ]
    rows = [["", *(name if len(runs) == 1 else f"{run.name} {name}" for run, name, _ in columns)]]
    for key, (label, style) in MEASURES.items():
        values = [found.get(key) for _, _, found in columns]
        if any(value is not None for value in values):
            rows.append([label, *("" if value is None else style.format(value) for value in values)])
    return rows


def evaluations(runs: list[Reported]) -> list[str]:
    """Of what views ``eval`` says what it says, or that it is out of date, a line a run."""
    old = "eval.json is of an earlier state of the run and not shown; measure again: python -m nerfkit eval RUN"
    found = [(run.name, old if run.outdated else run.metrics["eval"].get("about")) for run in runs]
    return [f"{name} eval: {about[:200]}" for name, about in found if isinstance(about, str)]


def differences(runs: list[Reported]) -> list[list[str]]:
    """A table of the options that differ; its first row names the runs. Empty where none does."""
    keys = sorted(set().union(*(run.config for run in runs)))
    unlike = [key for key in keys if len({repr(run.config.get(key)) for run in runs}) > 1]
    rows = [[key, *(str(run.config.get(key, "")) for run in runs)] for key in unlike]
    return [["", *(run.name for run in runs)], *rows] if rows else []


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as ``a.b``."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def _numbers_of(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if isinstance(value, int | float) and abs(value) < LARGEST}


def plain(path: Path) -> Any:
    """A YAML file of the run as plain values; empty where it is damaged or not there."""
    try:
        return OmegaConf.to_container(load_config(path))
    except (UserError, OSError, ValueError):
        return {}
