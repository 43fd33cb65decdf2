"""Charts as SVG, and the pictures of held-out views, small enough for a page."""

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from nerfkit.errors import CheckpointError
from nerfkit.report.model import data_url, reduced
from nerfkit.runs.curves import Points
from nerfkit.runs.pictures import decode_picture, reason
from nerfkit.runs.plot import COLORS, ticks
from nerfkit.runs.untrusted import read_file

VIEWS, SIDE = 12, 560  # held-out views that are shown of a run, and the longer side of their pictures
WIDTH, HEIGHT, LEFT, BELOW = 520, 240, 52, 26  # of a chart, and what its axes take
MOST, MARKS = 600, 8  # points of a line, numbers at its side
DEEP = 1e5  # what a logarithmic axis spans at most
SOURCES = ("mesh", "field")  # ``images/SOURCE_VIEW.png``


def line_chart(title: str, lines: Mapping[str, Points], log: bool) -> str:
    """An SVG of (step, value) points joined, a line for each name; values are positive where ``log``."""
    lines = dict(list(lines.items())[: len(COLORS)])
    points = [point for line in lines.values() for point in line]
    scaled = math.log10 if log else float
    right = max(x for x, _ in points)
    high = max(y for _, y in points)
    low = max(min(y for _, y in points), high / DEEP if log else -math.inf)
    bottom, top = scaled(low), scaled(high)
    margin = 0.05 * (top - bottom) or 0.5
    bottom, top = bottom - margin, top + margin

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - 8) * x / (right or 1)
        return round(across, 1), round(8 + (HEIGHT - BELOW - 8) * (top - scaled(max(y, low))) / (top - bottom), 1)

    drawn = []
    marks = ticks(low, high) if low > 0 and high > low else [low]
    if len(marks) > MARKS:  # powers of ten, some of them
        tens = [y for y in marks if math.log10(y) % 1 < 1e-9]
        marks = tens[:: math.ceil(len(tens) / MARKS)]
    for y in marks:
        height = place(0, y)[1]
        drawn.append(f'<path class="grid" d="M{LEFT} {height}H{WIDTH - 8}"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{height + 4}" text-anchor="end">{y:g}</text>')
    for x in (0, right / 2, right):
        anchor = "end" if x == right else "middle"
        drawn.append(f'<text x="{place(x, high)[0]}" y="{HEIGHT - 8}" text-anchor="{anchor}">{x:,.0f}</text>')
    for color, line in zip(COLORS, lines.values(), strict=False):
        joined = " ".join(f"{x},{y}" for x, y in (place(*point) for point in _thinned(line)))
        drawn.append(f'<polyline style="stroke:{color}" points="{joined}"/>')
    names = "".join(
        f'<span><i style="background:{color}"></i>{escape(name)}</span>'
        for color, name in zip(COLORS, lines, strict=False)
    )
    chart = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(drawn)}</svg>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{chart}<p class=names>{names}</p></figure>"


def strips(folder: Path) -> list[tuple[int, str, Path]]:
    """View, source and file of the held-out pictures of a run that a page shows, in order."""
    found = [
        (int(name[1]), source, path)
        for source in SOURCES
        for path in sorted((folder / "images").glob(f"{source}_*.png"))
        if (name := re.fullmatch(rf"{source}_(\d+)", path.stem)) is not None
    ]
    views = sorted({view for view, _, _ in found})
    chosen = {views[i] for i in np.linspace(0, len(views) - 1, min(len(views), VIEWS)).round().astype(int)}
    return [strip for strip in found if strip[0] in chosen]


def parts(path: Path) -> tuple[str, str, float]:
    """The predicted and the true picture of a strip ``predicted | true | error``, as ``data:`` URLs; width by height.

    Raises:
        CheckpointError: it is no picture.
    """
    predicted, true = halves(path)
    shape = true.shape[1] / true.shape[0]
    return data_url(reduced(predicted, SIDE)), data_url(reduced(true, SIDE)), shape


def halves(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The predicted and the true picture of such a strip, (H,W,3) uint8.

    Raises:
        CheckpointError: it is no picture.
    """
    try:
        strip = decode_picture(read_file(path))
    except Exception as error:  # decoders raise a dozen unrelated types
        raise CheckpointError(f"{path}: damaged ({reason(error)}); delete it to go on without it") from None
    width = max(strip.shape[1] // 3, 1)
    return strip[:, :width], strip[:, width : 2 * width]


def _thinned(line: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """No more than ``MOST`` points: means of neighbors, the last one as it is."""
    group = math.ceil(len(line) / MOST)
    if group < 2:
        return line
    means = [np.mean(line[k : k + group], axis=0).tolist() for k in range(0, len(line) - group, group)]
    return [*((x, y) for x, y in means), line[-1]]
