"""A line chart as a PNG, for results that a run folder should show without TensorBoard."""

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from nerfkit.runs.files import write_bytes

WIDTH, HEIGHT, MARGIN, SCALE = 760, 440, 60, 2
DOT = 3 * SCALE  # radius
COLORS = ("#1b6ca8", "#d1495b", "#2e933c", "#edae49", "#66439b", "#e377c2", "#7a5c3e", "#000000")
SOURCE = "source"  # key of the PNG's text that tells what it was drawn from


Lines = Mapping[str, Sequence[tuple[float, float]]]


def line_chart(path: Path, title: str, x_label: str, y_label: str, lines: Lines, log_x: bool = False) -> Path:
    """Writes ``path``: each of ``lines`` as (x, y) points joined, over a logarithmic y axis.

    Args:
        lines: name -> points; y must be positive, and so x where ``log_x``.
        log_x: a logarithmic x axis, too, and a dot for each point.

    Raises:
        ValueError: no points, or one that a logarithmic axis does not have.
    """
    points = [point for line in lines.values() for point in line]
    if not points or min(y for _, y in points) <= 0 or (log_x and min(x for x, _ in points) <= 0):
        raise ValueError("a chart needs points, and a logarithmic axis positive values")
    scaled: Callable[[float], float] = math.log10 if log_x else float
    first, last = (bound(x for x, _ in points) for bound in (min, max))
    x_low, x_high = scaled(first), scaled(last)
    y_low, y_high = (math.log10(bound(y for _, y in points)) for bound in (min, max))
    y_low, y_high = y_low - 0.05, max(y_high + 0.05, y_low + 0.1)
    font = ImageFont.load_default(size=13 * SCALE)
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    draw = ImageDraw.Draw(image)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (scaled(x) - x_low) / ((x_high - x_low) or 1) * (WIDTH - 3.2 * MARGIN) + MARGIN
        up = HEIGHT - MARGIN - (math.log10(y) - y_low) / (y_high - y_low) * (HEIGHT - 2 * MARGIN)
        return across * SCALE, up * SCALE

    for y in ticks(10**y_low, 10**y_high):
        left, height = place(first, y)
        draw.line([(left, height), place(last, y)], fill="#dddddd", width=SCALE)
        draw.text((left - 6 * SCALE, height), f"{y:g}", fill="black", font=font, anchor="rm")
    for x in ticks(first, last) if log_x else [first + k / 4 * (last - first) for k in range(5)]:
        draw.text(
            (place(x, 10**y_low)[0], (HEIGHT - MARGIN + 8) * SCALE), f"{x:g}", fill="black", font=font, anchor="mt"
        )
    for k, (name, line) in enumerate(lines.items()):
        color = COLORS[k % len(COLORS)]
        places = [place(x, y) for x, y in line]
        draw.line(places, fill=color, width=2 * SCALE, joint="curve")
        for across, up in places if log_x else ():
            draw.ellipse([across - DOT, up - DOT, across + DOT, up + DOT], fill=color)
        height = (MARGIN + 22 * k) * SCALE
        left = (WIDTH - 2 * MARGIN) * SCALE
        draw.line([(left, height), (left + 18 * SCALE, height)], fill=color, width=3 * SCALE)
        draw.text((left + 24 * SCALE, height), name, fill="black", font=font, anchor="lm")
    draw.text((MARGIN * SCALE, 14 * SCALE), title, fill="black", font=font)
    draw.text((WIDTH / 2 * SCALE, (HEIGHT - 16) * SCALE), x_label, fill="black", font=font, anchor="mm")
    draw.text((MARGIN * SCALE, 36 * SCALE), y_label, fill="#666666", font=font)
    content, about = io.BytesIO(), PngInfo()
    about.add_text(SOURCE, _digest(title, x_label, y_label, lines, log_x))
    image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(content, "PNG", pnginfo=about)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())
    return path


def shows(path: Path, title: str, x_label: str, y_label: str, lines: Lines, log_x: bool = False) -> bool:
    """Whether ``path`` is what ``line_chart`` made of these very words and points."""
    if not path.exists():
        return False
    with Image.open(path) as image:
        return image.info.get(SOURCE) == _digest(title, x_label, y_label, lines, log_x)


def _digest(*drawn: object) -> str:
    return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()


def ticks(low: float, high: float) -> list[float]:
    """Round numbers in [low, high], both above 0: 1, 2 and 5 times powers of ten, or evenly spaced ones if few fit."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [y for k in exponents for digit in (1, 2, 5) if low <= (y := digit * 10.0**k) <= high]
    if len(found) >= 3:
        return found
    power = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next(digit for digit in (5, 2, 1) if digit * power <= (high - low) / 3) * power
    return [round(k * step, 12) for k in range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)]
