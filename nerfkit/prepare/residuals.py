"""The capture doctor after training: how far the field stays from each photo, against the photos beside it.

A field agrees with what most photos show. A photo that it cannot come near has a wrong pose, shows something that has
moved or changed since, or is blurred. PSNR itself also depends on what a photo shows; so each is compared with the
photos taken before and after, as its sharpness is. Photos that were held out are always farther off; that is taken out
first, by the medians of both kinds.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.prepare.coverage import listed
from nerfkit.prepare.doctor import Facts, faults
from nerfkit.prepare.folder import finished
from nerfkit.prepare.measures import beside
from nerfkit.prepare.report import COLUMNS, LEGEND, Angles, escaped, photo_cells, read_photos, rows, shown
from nerfkit.prepare.source import IMAGES
from nerfkit.runs.files import write_text

JSON, MARKDOWN = "capture.json", "capture.md"
BELOW = 3.0  # dB under its neighbors: twice their error
SCATTER = 4.0  # standard deviations that it is under them
GOOD = 40.0  # dB: what is better than that is as good as any
FEW = 3  # photos of a kind, of which no median says what is usual
AFTER = ("PSNR after training, dB", "against neighbors, dB")


@dataclass
class Residual:
    """How near the field comes to a photo.

    Attributes:
        name: of its file.
        held_out: whether it was kept from training.
        psnr: of the field's picture against it, small, in dB; NaN where no pixel of it counts.
        against: dB above its neighbors', held-out ones made comparable; NaN where that is not known.
    """

    name: str
    held_out: bool
    psnr: float
    against: float


def residuals(names: Sequence[str], psnr: Sequence[float], held_out: Sequence[bool]) -> list[Residual]:
    """What there is to say of photos in the order in which they were taken."""
    values, held = np.array(psnr, np.float64), np.array(held_out, bool)
    level = np.full(len(values), math.nan)  # (N,) dB above what is usual of its kind
    for kind in (held, ~held):
        of_kind = kind & np.isfinite(values)
        if of_kind.sum() >= FEW:
            capped = np.minimum(values[of_kind], GOOD)
            level[of_kind] = capped - np.median(capped)
    known = np.flatnonzero(np.isfinite(level))
    against = np.full(len(values), math.nan)
    against[known] = level[known] - beside(level[known].tolist())
    return [Residual(*row) for row in zip(names, held.tolist(), values.tolist(), against.tolist(), strict=True)]


def standing_out(found: Sequence[Residual]) -> list[Residual]:
    """Those far below their neighbors, the worst first."""
    against = np.array([one.against for one in found if math.isfinite(one.against)])
    if not len(against):
        return []
    deviation = 1.4826 * float(np.median(np.abs(against - np.median(against))))  # of a normal distribution
    limit = -max(BELOW, SCATTER * deviation)
    return sorted((one for one in found if one.against < limit), key=lambda one: one.against)


def sentence(found: Sequence[Residual], facts: Sequence[Facts] = ()) -> str | None:
    """The photos that stand out, and why as far as the report before training knows; None if there are none."""
    known = {fault.name: fault.why.split(":")[0] for fault in faults(facts)}
    out = [
        f"{one.name} ({one.psnr:.1f} dB, {-one.against:.1f} less than its neighbors"
        + (f"; {known[one.name]}" if one.name in known else "")
        + ")"
        for one in standing_out(found)
    ]
    if not out:
        return None
    why = "its pose is wrong, something in it moved or changed, or it is blurred"
    if len(out) > 1:
        why = "their poses are wrong, something in them moved or changed, or they are blurred"
    stands = "stands" if len(out) == 1 else "stand"
    return f"{listed(out)} {stands} out after training: {why}"


def write_capture(
    folder: Path, root: Path, names: Sequence[str], psnr: Sequence[float], held_out: Sequence[bool]
) -> str | None:
    """Writes ``capture.md`` and ``capture.json`` into a run's folder; returns the ``sentence``.

    Args:
        root: of the scene; where ``prepare`` has made it, the table is that of its report and has two more columns.
        names: of the photos' files in ``root``.
        psnr, held_out: of each, as ``Residual``.
    """
    prepared = finished(root)
    report = None if prepared is None else read_photos(prepared)
    facts, angles = ([], {}) if report is None else report
    if facts:
        names = [name.removeprefix(f"{IMAGES}/") for name in names]
    place = {fact.name: number for number, fact in enumerate(facts)}
    order = sorted(range(len(names)), key=lambda k: (place.get(names[k], len(place)), names[k]))
    found = residuals([names[k] for k in order], [psnr[k] for k in order], [held_out[k] for k in order])
    said = sentence(found, facts)
    write_text(folder / MARKDOWN, _markdown(found, facts, angles, said))
    content = {"source": str(root), "stand_out": [one.name for one in standing_out(found)], "photos": _rows(found)}
    write_text(folder / JSON, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return said


def _markdown(found: Sequence[Residual], facts: Sequence[Facts], angles: Angles, said: str | None) -> str:
    by_name = {one.name: one for one in found}
    after = {
        one.name: [shown(one.psnr, ".1f") + " held out" * one.held_out, shown(one.against, "+.1f")] for one in found
    }
    columns: tuple[str, ...] = ("photo", *AFTER)
    if facts:
        columns = (*COLUMNS, *AFTER)
        cells = [photo_cells(fact, angles) + after.get(fact.name, ["", ""]) for fact in facts]
        left = [one for one in by_name if one not in {fact.name for fact in facts}]
        cells += [[escaped(name), *[""] * (len(COLUMNS) - 1), *after[name]] for name in left]
    else:
        cells = [[escaped(name), *after[name]] for name in by_name]
    lines = [
        f"# {len(found)} photos after training",
        "",
        escaped(f"{said}." if said else "No photo stands out."),
        "",
        *([LEGEND] if facts else []),
        "PSNR is that of the field's small picture with the photo's exposure; against neighbors: less what the photos "
        "before and after have, once the usual distance between training photos and held-out ones is taken out.",
        "",
        *rows(columns, cells),
        "",
    ]
    return "\n".join(lines)


def _rows(found: Sequence[Residual]) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "held_out": one.held_out,
            "psnr": _number(one.psnr),
            "against_neighbors": _number(one.against),
        }
        for one in found
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)
