"""The page: numbers, the mesh to turn, held-out pictures, curves, and how to repeat what made them."""

import json
import shlex
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from nerfkit.config import FINISHING, STAGES, TrainOptions
from nerfkit.errors import ConfigError, command
from nerfkit.report.figures import line_chart, parts
from nerfkit.report.numbers import MEASURES, Reported, differences, evaluations, numbers, plain
from nerfkit.runs.curves import Points, losses
from nerfkit.runs.files import write_text
from nerfkit.runs.fingerprint import finished
from nerfkit.runs.folder import Run

NAME, PHOTO = "report.html", "photo"
SCRIPTS = ("webgl.js", "viewer.js", "page.js")
SHORT = ("loss", "color")  # terms that are compared between runs
TILES = {
    ("field", "psnr"): "field: PSNR, dB",
    ("mesh", "psnr_specular"): "mesh with highlights: PSNR, dB",
    ("mesh", "psnr"): "mesh: PSNR, dB",
    ("mesh", "chamfer"): "mesh: chamfer, % of the diagonal",
    ("mesh", "faces"): "mesh: faces",
}
QUALITY = {
    "train/psnr": "field, training photos",
    "held_out/psnr": "field, one held-out photo",
    "refine/held_out_psnr": "mesh, one held-out photo",
}


def write_report(record: Run) -> Path:
    """Writes ``report.html`` into the run's folder, whole or not at all, and returns its path."""
    path = record.folder / NAME
    write_text(path, page([record]))
    return path


def write_page(records: Sequence[Run], path: Path) -> None:
    """Writes the page of several runs, or of one, to ``path``, whole or not at all.

    Raises:
        ConfigError: the path is a folder, or lies in none.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"--output {path}: expected a file in a folder that is there")
    write_text(path, page(records))


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
        f"{''.join(f'<script>{_static(name)}</script>' for name in SCRIPTS)}</body></html>\n"
    )


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """HTML of a table; its texts are escaped."""
    cells = ["".join(f"<th>{escape(text)}</th>" for text in header)]
    cells += ["".join(f"<td>{escape(text)}</td>" for text in row) for row in rows]
    return f"<div class=wide><table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table></div>"


def _about(runs: list[Reported]) -> str:
    return "".join(f"<p class=about><code>{escape(_started(run))}</code></p>" for run in runs)


def _tiles(run: Reported) -> str:
    tiles = []
    for (section, key), label in TILES.items():
        value = run.section(section).get(key)
        if value is not None and not (key == "psnr" and section == "mesh" and "psnr_specular" in run.section("mesh")):
            tiles.append((MEASURES[key][1].format(value), label))
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
        quality = {QUALITY.get(tag, tag): points for tag, points in run.curves.items() if tag.endswith("psnr")}
        charts.setdefault("PSNR, dB", (False, {}))[1].update(
            {before + name: points for name, points in quality.items() if len(points) > 1}
        )
    drawn = "".join(line_chart(title, lines, log) for title, (log, lines) in charts.items() if lines)
    return f"<h2>Curves over steps</h2><div class=charts>{drawn}</div>" if drawn else ""


def _numbers(runs: list[Reported]) -> str:
    rows = numbers(runs)
    drawn = table(rows[0], rows[1:]) if len(rows) > 1 else "<p>Nothing was measured.</p>"
    return drawn + "".join(f"<p>{escape(line)}</p>" for line in evaluations(runs))


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
    """The command that makes the run anew, its folder left out; where it was resumed, with every stage of its parts."""
    words = plain(run.folder / "overrides.yaml")
    said = [str(word) for word in words] if isinstance(words, list) else []
    resumed = any(word.startswith("resume=") for word in said)
    aside = ("output=", "resume=", "stages=") if resumed else ("output=",)
    kept = [word for word in said if not word.startswith(aside)]
    return shlex.join([*command("train").split(), *kept, *(_all_stages(run) if resumed else ())])


def _all_stages(run: Reported) -> list[str]:
    """The word for the stages of all parts of a resumed run; none where it is not needed.

    The words of its parts do not tell: overrides.yaml has what a part changed in the order of the options, ``stages``
    before ``resume``.
    """
    given, listed = run.config.get("mesh") is not None, run.config.get("stages")
    asked = {str(stage) for stage in listed} if isinstance(listed, list) else set()
    before = finished(run.metrics) - ({*FINISHING} if asked & {*FINISHING} else set())
    every = asked | before | (set() if given else {"field"})
    usual = [stage for stage in TrainOptions().stages if not (given and stage in ("field", "extract"))]
    stages = [stage for stage in STAGES if stage in every]
    return [] if stages == usual else [f"stages=[{','.join(stages)}]"]


def _static(name: str) -> str:
    return files("nerfkit.report").joinpath(name).read_text(encoding="utf-8")
