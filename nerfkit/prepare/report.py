"""The capture doctor's report: report.json for programs, report.md and coverage.png for people."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from nerfkit.prepare.coverage import Coverage, draw_coverage
from nerfkit.prepare.doctor import MANY_PARTNERS, Facts
from nerfkit.prepare.mapping import Center
from nerfkit.runs.files import write_text

JSON, MARKDOWN, PICTURE = "report.json", "report.md", "coverage.png"
COLUMNS = ("photo", "placed", "sharpness", "exposure, stops", "matches", "with", "error, px", "azimuth, elevation")
LEGEND = (
    "Sharpness and exposure are relative to the photos taken before and after; matches are those that one motion "
    "explains; error is the mean reprojection error in pixels."
)

Angles = Mapping[str, tuple[float, float]]


@dataclass
class Report:
    """What a finished preparation has to say.

    Attributes:
        source: the folder or video.
        fingerprint: of the source's files and the options, to know them again.
        options: name and value of each.
        facts: of every photo, in their order.
        cameras: model, size, parameters and number of placed photos of each.
        error: mean reprojection error in pixels.
        center: what freeing the principal points did.
        coverage: from where the placed photos look.
        notes: what was passed over or changed.
        advice: what to do better.
        seconds: that each step took, in the last start.
    """

    source: str
    fingerprint: str
    options: dict[str, Any]
    facts: list[Facts]
    cameras: list[dict[str, Any]]
    error: float
    center: Center | None
    coverage: Coverage
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def placed(self) -> int:
        return sum(fact.placed for fact in self.facts)


def write_report(folder: Path, report: Report) -> None:
    """Writes the three files into ``folder``."""
    draw_coverage(folder / PICTURE, report.coverage)
    write_text(folder / MARKDOWN, markdown(report))
    write_text(folder / JSON, json.dumps(_content(report), indent=1, ensure_ascii=False) + "\n")


def center_sentence(center: Center) -> str:
    """What freeing the principal points did, with the numbers."""
    moves = ", ".join(f"camera {number} by ({x:+.1f}, {y:+.1f}) px" for number, (x, y) in center.moves.items())
    numbers = f"{center.before:.3f} to {center.after:.3f} px"
    if center.kept:
        return f"The principal point was estimated, which took the reprojection error from {numbers}: {moves}."
    return (
        f"The principal point stays in the middle: estimating it took the reprojection error from {numbers} ({moves})."
    )


def markdown(report: Report) -> str:
    """The report as a page."""
    widest = report.coverage
    lines = [
        f"# {report.placed} of {len(report.facts)} photos placed",
        "",
        f"Source: `{report.source}`. Mean reprojection error {report.error:.2f} px. Widest gap in azimuth "
        f"{widest.gap_width:.0f} degrees; {widest.seen:.0%} of all directions are within 15 degrees of a photo.",
        "",
        "## What to do",
        "",
        *(f"- {escaped(sentence)}" for sentence in report.advice or ["Nothing: the capture is good."]),
        "",
        f"![where the photos were taken from]({PICTURE})",
        "",
        "## What was done",
        "",
        *(f"- {escaped(note)}" for note in report.notes),
        *(f"- {_camera(camera)}" for camera in report.cameras),
        f"- Seconds: {', '.join(f'{name} {seconds:.0f}' for name, seconds in report.seconds.items())}.",
        "",
        "## Photos",
        "",
        LEGEND,
        "",
        *rows(COLUMNS, (photo_cells(fact, report.coverage.angles) for fact in report.facts)),
        "",
    ]
    return "\n".join(lines)


def rows(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *cells)]


def photo_cells(fact: Facts, angles: Angles) -> list[str]:
    """What stands under ``COLUMNS`` for a photo; ``angles``: azimuth and elevation of the placed ones in degrees."""
    partners = list(fact.partners.items())
    few = ", ".join(f"{escaped(name)} {count}" for name, count in partners[: MANY_PARTNERS // 2])
    more = f", {len(partners) - MANY_PARTNERS // 2} more" if len(partners) > MANY_PARTNERS // 2 else ""
    seen = angles.get(fact.name)
    where = f"{seen[0]:.0f}, {seen[1]:.0f}" if seen else ""
    placed = "yes" if fact.placed else "no" if fact.model is None else f"in part {fact.model + 1}"
    sharp, exposure, error = shown(fact.sharpness, ".2f"), shown(fact.exposure, "+.1f"), shown(fact.error, ".2f")
    return [escaped(fact.name), placed, sharp, exposure, str(fact.matches), few + more, error, where]


def _camera(camera: dict[str, Any]) -> str:
    values = ", ".join(f"{value:.4g}" if abs(value) < 1 else f"{value:.1f}" for value in camera["params"])
    return (
        f"Camera {camera['id']}: {camera['photos']} photos of {camera['width']}x{camera['height']}, "
        f"{camera['model']} ({camera['names']}) = {values}."
    )


def _content(report: Report) -> dict[str, Any]:
    """report.json; what is not known is null."""
    seen = report.coverage
    return {
        "placed": report.placed,
        "total": len(report.facts),
        "source": report.source,
        "fingerprint": report.fingerprint,
        "options": report.options,
        "reprojection_error": report.error,
        "principal_point": None if report.center is None else report.center._asdict(),
        "cameras": report.cameras,
        "notes": report.notes,
        "advice": report.advice,
        "coverage": {"inward": seen.inward, "gap": seen.gap, "gap_between": seen.gap_between, "share_seen": seen.seen},
        "seconds": {name: round(seconds, 2) for name, seconds in report.seconds.items()},
        "photos": [_photo(fact, seen) for fact in report.facts],
    }


def _photo(fact: Facts, seen: Coverage) -> dict[str, Any]:
    values = {
        key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(fact).items()
    }
    azimuth, elevation = seen.angles.get(fact.name, (None, None))
    return values | {"placed": fact.placed, "matches": fact.matches, "azimuth": azimuth, "elevation": elevation}


def read_photos(content: Mapping[str, Any]) -> tuple[list[Facts], dict[str, tuple[float, float]]] | None:
    """Facts and angles of all photos in a report.json; None where another version wrote it that knew others."""
    names = [each.name for each in fields(Facts)]
    try:
        photos = content["photos"]
        facts = [Facts(**{key: _known(key, photo[key]) for key in names}) for photo in photos]
        seen = {photo["name"]: (photo["azimuth"], photo["elevation"]) for photo in photos}
    except (KeyError, TypeError):
        return None
    return facts, {name: angles for name, angles in seen.items() if None not in angles}


def _known(key: str, value: Any) -> Any:
    return math.nan if value is None and key != "model" else value


def shown(value: float, form: str) -> str:
    """A number as text; nothing where it is not known."""
    return "" if math.isnan(value) else format(value, form)


def escaped(text: str) -> str:
    """A text as Markdown shows it."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
