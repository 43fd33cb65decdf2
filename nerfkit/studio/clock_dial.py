"""The clock's printed face and back, drawn as distance fields: rings, and strokes of our own numerals and letters."""

from itertools import pairwise

import numpy as np

from nerfkit.studio.solids import ellipse

CREAM = (0.965, 0.935, 0.860)
INK = (0.090, 0.095, 0.110)
ACCENT = (0.780, 0.205, 0.130)
PLATE = (0.800, 0.775, 0.720)

Strokes = list[np.ndarray]


def _line(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, float)


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> np.ndarray:
    return ellipse((x, y), (rx, ry), start, end, 33)


def _join(*lines: np.ndarray) -> np.ndarray:
    return np.concatenate(lines)


# Strokes in a box of height 1, baseline at 0; the number beside them is the advance width.
_SIX = [_arc(0.30, 0.29, 0.27, 0.29, 0, 360), _join(_arc(0.47, 0.32, 0.44, 0.69, 96, 180))]
GLYPHS: dict[str, tuple[float, Strokes]] = {
    "0": (0.60, [_arc(0.30, 0.50, 0.27, 0.50, 0, 360)]),
    "1": (0.42, [_line((0.04, 0.78), (0.26, 1.0), (0.26, 0.0))]),
    "2": (0.60, [_join(_arc(0.30, 0.72, 0.26, 0.28, 168, -38), _line((0.04, 0.0), (0.58, 0.0)))]),
    "3": (0.58, [_join(_arc(0.28, 0.755, 0.23, 0.245, 155, -90), _arc(0.27, 0.265, 0.28, 0.265, 90, -155))]),
    "4": (0.64, [_line((0.45, 0.0), (0.45, 1.0), (0.02, 0.28), (0.62, 0.28))]),
    "5": (0.58, [_join(_line((0.52, 1.0), (0.12, 1.0), (0.08, 0.56)), _arc(0.27, 0.32, 0.28, 0.32, 120, -150))]),
    "6": (0.60, _SIX),
    "7": (0.58, [_line((0.03, 1.0), (0.56, 1.0), (0.20, 0.0))]),
    "8": (0.60, [_arc(0.30, 0.755, 0.22, 0.245, 0, 360), _arc(0.30, 0.265, 0.27, 0.265, 0, 360)]),
    "9": (0.60, [np.array([0.60, 1.0]) - stroke for stroke in _SIX]),
    "n": (0.60, [_line((0.06, 0.0), (0.06, 0.62)), _join(_arc(0.27, 0.38, 0.21, 0.24, 180, 0), _line((0.48, 0.0)))]),
    "e": (0.60, [_join(_line((0.08, 0.31)), _arc(0.30, 0.31, 0.24, 0.31, 0, 318))]),
    "r": (0.42, [_line((0.06, 0.0), (0.06, 0.62)), _arc(0.27, 0.36, 0.21, 0.26, 180, 65)]),
    "f": (0.40, [_join(_arc(0.32, 0.80, 0.19, 0.20, 70, 180), _line((0.13, 0.0))), _line((0.0, 0.60), (0.31, 0.60))]),
    "k": (0.52, [_line((0.06, 0.0), (0.06, 1.0)), _line((0.42, 0.62), (0.06, 0.25)), _line((0.19, 0.38), (0.45, 0.0))]),
    "i": (0.22, [_line((0.08, 0.0), (0.08, 0.62)), _line((0.08, 0.86), (0.08, 0.88))]),
    "t": (0.40, [_join(_line((0.13, 0.86)), _arc(0.30, 0.18, 0.17, 0.18, 180, 290)), _line((0.0, 0.60), (0.31, 0.60))]),
    "T": (0.66, [_line((0.02, 1.0), (0.62, 1.0)), _line((0.32, 1.0), (0.32, 0.0))]),
    "I": (0.26, [_line((0.10, 0.0), (0.10, 1.0))]),
    "M": (0.86, [_line((0.06, 0.0), (0.06, 1.0), (0.40, 0.25), (0.74, 1.0), (0.74, 0.0))]),
    "E": (0.60, [_line((0.54, 1.0), (0.08, 1.0), (0.08, 0.0), (0.54, 0.0)), _line((0.08, 0.52), (0.46, 0.52))]),
    "A": (0.74, [_line((0.02, 0.0), (0.35, 1.0), (0.68, 0.0)), _line((0.13, 0.33), (0.57, 0.33))]),
    "L": (0.56, [_line((0.08, 1.0), (0.08, 0.0), (0.52, 0.0))]),
    "R": (0.66, [_join(_line((0.08, 0.0), (0.08, 1.0)), _arc(0.32, 0.75, 0.25, 0.25, 90, -90), _line((0.08, 0.5))),
                 _line((0.32, 0.5), (0.60, 0.0))]),
}  # fmt: skip


class Canvas:
    """A square picture, ``size`` pixels wide, of a disc of ``radius`` around the origin; x rightwards, y upward."""

    def __init__(self, radius: float, size: int, paper: tuple[float, float, float]) -> None:
        self.radius = radius
        self.scale = size / (2 * radius)  # pixels a unit
        offset = (np.arange(size) + 0.5) / self.scale - radius
        offset = offset.astype(np.float32)
        self.x, self.y = offset[None, :].repeat(size, 0), -offset[:, None].repeat(size, 1)
        self.picture = np.empty((size, size, 3), np.float32)
        self.picture[:] = paper

    def fill(
        self, distance: np.ndarray, color: tuple[float, float, float], where: tuple[slice, slice] = np.s_[:, :]
    ) -> None:
        """Fills where the signed distance (in units) is negative, antialiased over one pixel."""
        share = np.clip(0.5 - distance * self.scale, 0, 1)[..., None]
        self.picture[where] += share * (np.array(color, np.float32) - self.picture[where])

    def stroke(self, line: np.ndarray, width: float, color: tuple[float, float, float]) -> None:
        """Draws a polyline (P,2) with round ends."""
        margin = width / 2 + 2 / self.scale
        (left, low), (right, high) = line.min(0) - margin, line.max(0) + margin
        size = len(self.x)
        columns = slice(*(np.clip((np.array([left, right]) * self.scale + size / 2).astype(int), 0, size)))
        rows = slice(*(np.clip((size / 2 - np.array([high, low]) * self.scale).astype(int), 0, size)))
        x, y = self.x[rows, columns], self.y[rows, columns]
        distance = np.full(x.shape, np.inf)
        for (x0, y0), (x1, y1) in pairwise(line):
            dx, dy = x1 - x0, y1 - y0
            t = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
            distance = np.minimum(distance, np.hypot(x - x0 - t * dx, y - y0 - t * dy))
        self.fill(distance - width / 2, color, (rows, columns))

    def text(
        self, text: str, center: tuple[float, float], height: float, width: float, color: tuple[float, float, float]
    ) -> None:
        """Writes ``text`` around ``center`` with strokes of ``width``."""
        gap = 0.16
        length = sum(GLYPHS[letter][0] + gap for letter in text) - gap
        pen = np.array([center[0] - length * height / 2, center[1] - height / 2])
        for letter in text:
            advance, strokes = GLYPHS[letter]
            for stroke in strokes:
                self.stroke(stroke * height + pen, width, color)
            pen[0] += (advance + gap) * height

    def bytes(self) -> np.ndarray:
        return np.round(self.picture * 255).astype(np.uint8)


def draw_dial(radius: float, size: int) -> np.ndarray:
    """The face (size,size,3) uint8: minute track, hour marks, numerals 1 to 12, an inner ring and the maker's name."""
    canvas = Canvas(radius, size, CREAM)
    r, angle = np.hypot(canvas.x, canvas.y) / radius, np.arctan2(canvas.x, canvas.y)
    canvas.picture *= (1 - 0.10 * np.clip((r - 0.55) / 0.45, 0, 1) ** 2)[..., None]  # aged toward the rim
    canvas.fill((np.abs(r - 0.955) - 0.0045) * radius, INK)
    for count, inner, half in ((60, 0.905, 0.0058), (12, 0.860, 0.0165)):
        turn = 2 * np.pi / count
        across = r * np.sin((angle + turn / 2) % turn - turn / 2)
        canvas.fill(
            np.maximum(np.abs(across) - half, np.abs(r - (inner + 0.955) / 2) - (0.955 - inner) / 2) * radius, INK
        )
    for hour in range(1, 13):
        a = 2 * np.pi * hour / 12
        center = (0.685 * radius * np.sin(a), 0.685 * radius * np.cos(a))
        canvas.text(str(hour), center, 0.205 * radius, 0.036 * radius, INK)
    canvas.fill((np.abs(r - 0.475) - 0.003) * radius, (0.62, 0.58, 0.50))
    canvas.text("nerfkit", (0.0, 0.325 * radius), 0.115 * radius, 0.0165 * radius, INK)
    canvas.text("ALARM", (0.0, -0.335 * radius), 0.062 * radius, 0.0125 * radius, ACCENT)
    return canvas.bytes()


def _turning_arrow(
    canvas: Canvas,
    center: tuple[float, float],
    radius: float,
    degrees: tuple[float, float],
    color: tuple[float, float, float],
) -> None:
    """An arrow along an arc, its head where the arc ends."""
    arc = ellipse(center, (radius, radius), *degrees, 33)
    width = 0.024 * canvas.radius
    canvas.stroke(arc, width, color)
    ahead = (arc[-1] - arc[-2]) / np.linalg.norm(arc[-1] - arc[-2])
    across = np.array([-ahead[1], ahead[0]])
    head = 0.075 * canvas.radius
    canvas.stroke(
        np.stack([arc[-1] + head * (across - ahead), arc[-1], arc[-1] - head * (across + ahead)]), width, color
    )


def draw_back(radius: float, size: int) -> np.ndarray:
    """The back plate (size,size,3) uint8: turned rings, and labels with arrows at the two setting knobs and the key."""
    canvas = Canvas(radius, size, PLATE)
    r = np.hypot(canvas.x, canvas.y) / radius
    canvas.picture *= (1 + 0.025 * np.sin(r * 120))[..., None]
    canvas.fill((np.abs(r - 0.945) - 0.006) * radius, INK)
    for x, label in ((-0.43, "TIME"), (0.43, "ALARM")):
        _turning_arrow(canvas, (x * radius, -0.40 * radius), 0.24 * radius, (160, 20), INK)
        canvas.text(label, (x * radius, -0.66 * radius), 0.08 * radius, 0.018 * radius, INK)
    _turning_arrow(canvas, (0.0, 0.26 * radius), 0.42 * radius, (150, 30), ACCENT)
    canvas.text("nerfkit", (0.0, -0.83 * radius), 0.085 * radius, 0.014 * radius, INK)
    return canvas.bytes()
