"""The page: numbers, the mesh to turn, held-out pictures, curves, and how to repeat what made them."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from nerfkit.errors import UserError, command
from nerfkit.report.figures import line_chart, parts, strips
from nerfkit.report.model import packed
from nerfkit.runs.configs import load_config
from nerfkit.runs.curves import Points, losses, scalars
from nerfkit.runs.files import write_text
from nerfkit.runs.fingerprint import SECTION
from nerfkit.runs.folder import Run
from nerfkit.runs.report import table as plain
from nerfkit.scenes.record import recorded

NAME, PHOTO = "report.html", "photo"
SHORT = ("loss", "color")  # terms that are compared between runs
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
    "genus": ("genus", "{}"),
    "self_intersections": ("self-intersections", "{}"),
    "vertices": ("vertices", "{:,}"),
    "faces": ("faces", "{:,}"),
    "steps": ("steps", "{:,}"),
    "seconds": ("seconds", "{:.0f}"),
}
LARGEST = 1e300  # of a number that is shown
TILES = (("field", "psnr"), ("mesh", "psnr_specular"), ("mesh", "psnr"), ("mesh", "chamfer"), ("mesh", "faces"))


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
        config = _yaml(record.folder / "config.yaml")
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


def write_report(record: Run) -> Path:
    """Writes ``report.html`` into the run's folder, whole or not at all, and returns its path."""
    path = record.folder / NAME
    write_text(path, page([record]))
    return path


def page(records: Sequence[Run]) -> str:
    """The HTML of one run, or of several side by side."""
    runs = [Reported(record) for record in records]
    views, sources = _views(runs)
    models = [{"name": run.name, "of": run.of, "scene": run.model} for run in runs if run.model is not None]
    data = {"models": models, "views": views, "sources": sources}
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    body = [f"<h1>{escape(title)}</h1>", _about(runs)]
    if len(runs) == 1:
        body.append(_tiles(runs[0]))
    if models:
        body.append(_static("mesh.html"))
    if views:
        body.append(_static("pictures.html"))
    body += [_charts(runs), "<h2>Numbers</h2>", _numbers(runs), "<h2>Stages</h2>", _stages(runs)]
    body += [_differences(runs), _repeat(runs)]
    script = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - nerfkit</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_static("page.css")}</style></head><body>'
        f'{"".join(body)}<script id="data" type="application/json">{script}</script>'
        f"<script>{_static('viewer.js')}</script><script>{_static('page.js')}</script></body></html>\n"
    )


def text(records: Sequence[Run]) -> str:
    """The numbers of runs and the options that differ, as plain tables."""
    runs = [Reported(record, pictures=False) for record in records]
    tables = [plain(rows[0], rows[1:]) for rows in (numbers(runs), differences(runs)) if len(rows) > 1]
    return "\n\n".join([*tables, *evaluations(runs)]) or "Nothing was measured."


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as ``a.b``."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """HTML of a table; its texts are escaped."""
    cells = ["".join(f"<th>{escape(text)}</th>" for text in header)]
    cells += ["".join(f"<td>{escape(text)}</td>" for text in row) for row in rows]
    return f"<div class=wide><table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table></div>"


def _numbers_of(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if isinstance(value, int | float) and abs(value) < LARGEST}


def _about(runs: list[Reported]) -> str:
    return "".join(f"<p class=about><code>{escape(_started(run))}</code></p>" for run in runs)


def _tiles(run: Reported) -> str:
    tiles = []
    for section, key in TILES:
        value = run.section(section).get(key)
        if value is not None and not (key == "psnr" and section == "mesh" and "psnr_specular" in run.section("mesh")):
            label, style = MEASURES[key]
            tiles.append((style.format(value), f"{KINDS[section]}: {label}"))
    if seconds := sum(stage.get("seconds", 0) for stage in run.stages().values()):
        tiles.append((f"{seconds:.0f} s", "all stages"))
    inner = "".join(f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in tiles)
    return f"<div class=tiles>{inner}</div>" if tiles else ""


def _views(runs: list[Reported]) -> tuple[list[dict[str, Any]], list[str]]:
    """The held-out views of each scene with their pictures by number of source; sources' names, the photo first."""
    sources, several = [PHOTO], len({run.of for run in runs}) > 1
    views: dict[tuple[str, int], dict[str, Any]] = {}
    for run in runs:
        for view, kind, path in run.strips:
            name = kind if len(runs) == 1 else f"{run.name} {kind}"
            if name not in sources:
                sources.append(name)
            predicted, true, shape = parts(path)
            title = f"{run.of} photo {view}" if several else f"photo {view}"
            new = {"view": view, "of": run.of, "title": title, "pictures": {0: true}, "said": []}
            entry = views.setdefault((run.of, view), new | {"shape": round(shape, 4)})
            entry["pictures"][sources.index(name)] = predicted
            measured = run.views(kind).get(view, {})
            key = "psnr_specular" if "psnr_specular" in measured else "psnr"
            if key in measured:
                entry["said"].append(f"{name} {measured[key]:.2f} dB")
    return [views[view] for view in sorted(views)], sources


def _charts(runs: list[Reported]) -> str:
    charts: dict[str, tuple[bool, dict[str, Points]]] = {}
    for run in runs:
        before = "" if len(runs) == 1 else f"{run.name} "
        for title, terms in losses(run.curves):
            kept = terms if len(runs) == 1 else {name: terms[name] for name in SHORT if name in terms}
            charts.setdefault(f"{title}: loss", (True, {}))[1].update(
                {before + name: points for name, points in kept.items()}
            )
        quality = {
            tag.replace("/", ": ").replace("_", "-"): run.curves[tag] for tag in run.curves if tag.endswith("psnr")
        }
        charts.setdefault("PSNR, dB", (False, {}))[1].update(
            {before + name: points for name, points in quality.items() if len(points) > 1}
        )
    drawn = "".join(line_chart(title, lines, log) for title, (log, lines) in charts.items() if lines)
    return f"<h2>Curves over steps</h2><div class=charts>{drawn}</div>" if drawn else ""


def _numbers(runs: list[Reported]) -> str:
    rows = numbers(runs)
    drawn = table(rows[0], rows[1:]) if len(rows) > 1 else "<p>Nothing was measured.</p>"
    return drawn + "".join(f"<p>{escape(line)}</p>" for line in evaluations(runs))


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


def _stages(runs: list[Reported]) -> str:
    rows = [
        [
            stage if len(runs) == 1 else f"{run.name} {stage}",
            f"{found.get('seconds', 0):.1f}",
            f"{found['peak_memory_bytes'] / 1e9:.2f}" if "peak_memory_bytes" in found else "",
        ]
        for run in runs
        for stage, found in run.stages().items()
    ]
    return table(["", "seconds", "peak memory, GB"], rows)


def _differences(runs: list[Reported]) -> str:
    rows = differences(runs)
    return "<h2>Options that differ</h2>" + table(rows[0], rows[1:]) if rows else ""


def _repeat(runs: list[Reported]) -> str:
    found = ["<h2>To repeat it</h2>"]
    for run in runs:
        lines = [_started(run), f"python -m nerfkit verify {shlex.quote(str(run.folder))} --all"]
        found.append(f"<pre>{escape(chr(10).join(lines))}</pre>")
        for name in ("environment.yaml", "config.yaml", "log.txt"):
            path = run.folder / name
            if path.exists():
                content = path.read_text(encoding="utf-8", errors="replace")
                label = name if len(runs) == 1 else f"{run.name}: {name}"
                found.append(f"<details><summary>{escape(label)}</summary><pre>{escape(content)}</pre></details>")
    return "".join(found)


def _started(run: Reported) -> str:
    """The command that the run was started with, its folder left out."""
    words = _yaml(run.folder / "overrides.yaml")
    kept = [str(word) for word in words if not str(word).startswith("output=")] if isinstance(words, list) else []
    return shlex.join([*command("train").split(), *kept])


def _yaml(path: Path) -> Any:
    """A YAML file of the run as plain values; empty where it is damaged or not there."""
    try:
        return OmegaConf.to_container(load_config(path))
    except (UserError, OSError, ValueError):
        return {}


def _static(name: str) -> str:
    return files("nerfkit.report").joinpath(name).read_text(encoding="utf-8")
