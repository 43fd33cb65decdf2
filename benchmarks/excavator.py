"""A toy excavator of thin and thick parts: tracks with links, house, cab frame, boom, arm, bucket with teeth, hoses.

It drives along +x; y is up, the left side is +z. Lengths are like centimeters.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from nerfkit.studio.solids import Solid, axes, faceted, fillet, in_polygon, loft, revolve

Point = tuple[float, float, float]
YELLOW, DARK, RUBBER = (0.93, 0.66, 0.10), (0.22, 0.22, 0.24), (0.13, 0.13, 0.14)
STEEL, GRAY, RED, SKY = (0.66, 0.67, 0.70), (0.42, 0.43, 0.45), (0.75, 0.16, 0.12), (0.35, 0.55, 0.70)
STEP = 1.5  # between the stations along a part: where it enters another one, the truth is cut there
LINKS = 26  # of a track


class Part(NamedTuple):
    """A solid and its color."""

    solid: Solid
    color: Point


def rod(start: Point, end: Point, radius: float, sides: int = 16) -> Solid:
    """A round bar from point to point."""
    along = np.subtract(end, start)
    length = float(np.linalg.norm(along))
    profile = fillet([(0, 0, 0), (radius, 0, 0), (radius, length, 0), (0, length, 0)], STEP)
    return revolve(*profile, sides).moved(axes(tuple(along), start))


def slab(outline: Sequence[tuple[float, float]], low: float, high: float) -> Solid:
    """A plate between z = ``low`` and ``high``; its outline in x, y is seen whole from its middle."""
    ring = np.concatenate([_stations(a, b) for a, b in pairwise([*outline, outline[0]])])  # (P, 2)
    count = max(1, int(np.ceil((high - low) / STEP)))
    levels = np.linspace(low, high, count + 1)
    rings = np.stack([np.column_stack([ring, np.full(len(ring), level)]) for level in levels])
    polygon = np.array([*outline, outline[0]])

    def inside(points: np.ndarray) -> np.ndarray:
        return (points[:, 2] > low) & (points[:, 2] < high) & in_polygon(points[:, :2], polygon)

    return faceted(loft(rings, inside))


def bar(start: tuple[float, float], end: tuple[float, float], width: float, low: float, high: float) -> Solid:
    """A straight plate in x, y between two points, ``width`` wide, from z = ``low`` to ``high``."""
    along = np.subtract(end, start)
    across = width / 2 * np.array([-along[1], along[0]]) / np.linalg.norm(along)
    corners = [start - across, end - across, end + across, start + across]
    return slab([tuple(corner) for corner in corners], low, high)


def block(low: Point, high: Point) -> Solid:
    """A box with sides along the axes."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    return slab([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], z0, z1)


def _stations(a: tuple[float, float], b: tuple[float, float]) -> np.ndarray:
    """Points from ``a`` on, without ``b``, at most ``STEP`` apart."""
    count = max(1, int(np.ceil(np.hypot(*np.subtract(b, a)) / STEP)))
    return np.linspace(a, b, count + 1)[:-1]


def build() -> list[Part]:
    """All parts of the excavator, in place."""
    return [*_track(-15.0), *_track(15.0), *_house(), *_cab(), *_boom(), *_bucket(), *_railing(), *_hoses()]


def _track(z: float) -> list[Part]:
    """Links around two sprockets and three wheels, on a frame that reaches to the middle."""
    half, radius, width = 20.0, 6.5, 4.0
    straight, turn = 2 * half, np.pi * radius
    parts = [Part(bar((-half, -24.0), (half, -24.0), 3.6, z - 2.2, z + 2.2), GRAY)]
    for x, size in ((-half, 5.2), (half, 5.2), (-10.0, 3.6), (0.0, 3.6), (10.0, 3.6)):
        y = -24.0 if size > 4 else -26.2
        parts.append(Part(rod((x, y, z - 3.2), (x, y, z + 3.2), size, 28), DARK))
    parts.append(Part(block((-6, -25, min(0, z)), (6, -22, max(0, z))), GRAY))
    for link in range(LINKS):
        s = (link / LINKS) * 2 * (straight + turn)
        if s < straight:
            x, y, angle = -half + s, radius, 0.0
        elif s < straight + turn:
            angle = -(s - straight) / radius
            x, y = half - radius * np.sin(angle), radius * np.cos(angle)
        elif s < 2 * straight + turn:
            x, y, angle = half - (s - straight - turn), -radius, np.pi
        else:
            angle = np.pi - (s - 2 * straight - turn) / radius
            x, y = -half - radius * np.sin(angle), radius * np.cos(angle)
        plate = slab(
            [(-2.0, -0.5), (2.0, -0.5), (1.6, 0.7), (0.4, 0.5), (0.3, 1.3), (-0.3, 1.3), (-0.4, 0.5), (-1.6, 0.7)],
            -width,
            width,
        )
        c, n = np.cos(angle), np.sin(angle)
        place = np.array([[c, -n, 0, x], [n, c, 0, y - 24.0], [0, 0, 1, z]])
        parts.append(Part(plate.moved(place), RUBBER))
    return parts


def _house() -> list[Part]:
    """Turntable, deck, engine hood, counterweight, exhaust."""
    return [
        Part(rod((0, -23, 0), (0, -15, 0), 8.5, 48), DARK),
        Part(block((-22, -16, -15), (16, -13, 15)), YELLOW),
        Part(slab([(-20, -13.5), (2, -13.5), (2, -2), (-16, -2), (-20, -5)], -14, 14), YELLOW),
        Part(slab([(-27, -15), (-19, -15.5), (-19, -4), (-24, -5.5), (-27, -9)], -15, 15), GRAY),
        Part(rod((-9, -3, -8), (-9, 5, -8), 1.1), STEEL),
        Part(rod((-9, 5, -8), (-10.5, 6.6, -8), 1.1), STEEL),
        *(Part(block((-15 + 3 * i, -2.4, -6), (-14 + 3 * i, -1.6, 6)), DARK) for i in range(4)),
    ]


def _cab() -> list[Part]:
    """A frame of thin bars with a roof, a seat and a lever inside."""
    x0, x1, z0, z1, floor, roof = 4.0, 15.0, 3.0, 14.0, -13.0, 8.0
    posts = [
        Part(rod((x, floor, z), (x - (1.5 if x == x1 else 0), roof, z), 0.6), DARK) for x in (x0, x1) for z in (z0, z1)
    ]
    rails = [Part(rod((x0, -4, z), (x1 - 0.6, -4, z), 0.45), DARK) for z in (z0, z1)]
    return [
        *posts,
        *rails,
        Part(rod((x1 - 0.6, -4, z0), (x1 - 0.6, -4, z1), 0.45), DARK),
        Part(block((x0 - 1, roof - 0.4, z0 - 1), (x1, roof + 0.9, z1 + 1)), YELLOW),
        Part(block((5.5, -13.4, 6), (9.5, -8.5, 11)), RED),
        Part(block((5, -9, 6), (6.2, -2, 11)), RED),
        Part(rod((12, -13, 8.5), (11.3, -6.5, 8.5), 0.35), STEEL),
    ]


def _boom() -> list[Part]:
    """Boom of two plates' width, arm, and three cylinders with their rods."""
    foot, knee, tip, wrist = (10.0, -12.0), (24.0, 16.0), (40.0, 18.0), (46.0, -8.0)
    parts = [
        Part(bar(foot, knee, 5.0, -2.6, 0.6), YELLOW),
        Part(bar((22.6, 14.2), tip, 4.2, -2.6, 0.6), YELLOW),
        Part(bar((37.0, 22.5), (39.6, 16.5), 3.0, -2.0, 0.0), YELLOW),
        Part(bar((39.2, 20.0), wrist, 3.2, -2.2, 0.2), YELLOW),
    ]
    cylinders = [
        ((15.0, -13.5, -1.0), (24.0, 12.0, -1.0), 1.5),
        ((25.5, 16.5, -1.0), (38.0, 21.6, -1.0), 1.2),
        ((41.4, 17.0, -1.0), (47.2, -7.0, -1.0), 0.9),
    ]
    for start, end, radius in cylinders:
        middle = tuple(0.4 * np.array(start) + 0.6 * np.array(end))
        parts += [Part(rod(start, middle, radius), DARK), Part(rod(start, end, 0.45 * radius), STEEL)]
    for x, y in (foot, knee, tip, wrist):
        parts.append(Part(rod((x, y, -3.4), (x, y, 1.4), 1.2, 24), STEEL))
    return parts


def _bucket() -> list[Part]:
    """A shell of three plates and two cheeks, with five teeth."""
    outline = [(47.5, -9.0), (49.0, -17.0), (44.0, -22.0), (36.0, -21.0)]
    sides = [bar(a, b, 0.9, -8.0, 6.0) for a, b in pairwise(outline)]
    cheek = [*outline, (38.0, -12.0)][::-1]
    parts = [Part(solid, GRAY) for solid in sides]
    parts += [Part(slab(cheek, z, z + 0.9), GRAY) for z in (-8.4, 5.5)]
    parts.append(Part(bar((44.5, -11.5), (47.5, -6.5), 2.4, -3.2, 1.2), GRAY))
    for tooth in range(5):
        z = -7.6 + 3.0 * tooth
        parts.append(Part(slab([(36.8, -21.6), (36.6, -20.2), (32.0, -19.6)], z, z + 1.2), STEEL))
    return parts


def _railing() -> list[Part]:
    """Thin posts and rails around the hood, and a ladder on the left side."""
    posts = [(-16.0, -13.0), (-7.0, -13.0), (1.0, -13.0), (1.0, -4.0)]
    parts = [Part(rod((x, -2.5, z), (x, 3.5, z), 0.35, 12), RED) for x, z in posts]
    for height in (3.4, 0.6):
        parts += [Part(rod((a[0], height, a[1]), (b[0], height, b[1]), 0.35, 12), RED) for a, b in pairwise(posts)]
    parts += [Part(rod((x, -24, 19.8), (x, -14, 15.0), 0.4, 12), STEEL) for x in (-4.0, 1.0)]
    parts += [
        Part(rod((-4, y, 19.8 - 0.48 * (y + 24)), (1, y, 19.8 - 0.48 * (y + 24)), 0.35, 12), STEEL)
        for y in (-22.0, -19.5, -17.0)
    ]
    return parts


def _hoses() -> list[Part]:
    """Two hoses that sag from boom to arm, as short rods, and a mirror on a stalk."""
    t = np.linspace(0, 1, 13)
    parts = []
    for z, low in ((-3.2, 4.5), (1.2, 6.0)):
        x, y = 20.0 + 21.0 * t, 13.0 + 2.0 * t - 4 * low * t * (1 - t)
        points = [tuple(p) for p in np.stack([x, y, np.full(len(t), z)], -1)]
        parts += [Part(rod(a, b, 0.55, 12), RUBBER) for a, b in pairwise(points)]
    parts.append(Part(rod((13.6, 6, 14), (17.5, 4.5, 18.5), 0.3, 12), STEEL))
    parts.append(Part(block((17.2, 1.5, 17.2), (17.8, 6.0, 20.0)), SKY))
    return parts
