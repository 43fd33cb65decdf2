"""The parts of the project's own alarm clock: closed solids, each with its finish.

Scene units are like centimeters: y up, the dial faces +z, everything within +-49. The parts reach into one another.
"""

from dataclasses import dataclass, replace

import numpy as np

from nerfkit.studio.solids import Solid, axes, ellipse, fillet, hand, revolve, tube

CENTER = np.array([0.0, -9.0, 0.0])  # of the case
DIAL_RADIUS, BACK_RADIUS = 27.6, 22.0
TIME = (10, 9)
ALARM_HOUR = 7.0
TILT = np.radians(32)  # of the bells, from upright


@dataclass(frozen=True)
class Finish:
    """How a part looks: base color, highlight color and its exponent."""

    color: tuple[float, float, float]
    specular: tuple[float, float, float]
    shininess: float


ENAMEL = Finish((0.050, 0.500, 0.510), (0.55, 0.60, 0.60), 45)
BRASS = Finish((0.830, 0.610, 0.250), (0.75, 0.62, 0.35), 28)
STEEL = Finish((0.600, 0.610, 0.620), (0.55, 0.55, 0.55), 36)
LACQUER = Finish((0.075, 0.078, 0.090), (0.35, 0.35, 0.36), 40)
SIGNAL = Finish((0.780, 0.205, 0.130), (0.30, 0.26, 0.25), 40)
PAPER = Finish((1.0, 1.0, 1.0), (0.04, 0.04, 0.04), 20)


@dataclass(frozen=True)
class Part:
    """A solid with its finish; ``print`` is the picture on its flat front, if any: 0 the dial, 1 the back plate."""

    solid: Solid
    finish: Finish
    print: int | None = None


def build_parts() -> list[Part]:
    """Every part of the clock, in place."""
    parts = [*_case(), *_hands(), *_back()]
    for side in (-1.0, 1.0):
        parts += [*_bell(side), _foot(side)]
    return [*parts, *_hammer(), _handle()]


def _case() -> list[Part]:
    place = axes((0, 0, 1), tuple(CENTER))
    body = fillet(
        [
            (0, -14.5, 0), (22, -14.5, 0), (24.5, -13.8, 4), (33, -9, 9), (33.8, 0, 60),
            (33.6, 13.8, 2.2), (29, 13.8, 1), (28.4, 11, 0), (0, 11, 0),
        ],
        2.0,
    )  # fmt: skip
    bezel = fillet(
        [(27.2, 10, 0), (27.2, 12.4, 0.5), (28.3, 15.2, 1.0), (30.8, 15.2, 1.0), (31.4, 12.6, 0), (30.2, 10, 0)],
        1.2,
        True,
    )
    dial = fillet([(0, 10.4, 0), (DIAL_RADIUS, 10.4, 0), (DIAL_RADIUS, 11.6, 0), (0, 11.6, 0)], 0.8)
    back = fillet([(0, -14, 0), (BACK_RADIUS, -14, 0), (BACK_RADIUS, -15.1, 0.4), (0, -15.1, 0)], 1.2)
    return [
        Part(revolve(*body, 128).moved(place), ENAMEL),
        Part(revolve(*bezel, 128).moved(place), BRASS),
        Part(revolve(*dial, 160).moved(place), PAPER, 0),
        Part(revolve(*back, 96).moved(place), PAPER, 1),
    ]


def _hands() -> list[Part]:
    def turned(solid: Solid, turns: float) -> Solid:
        c, s = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)
        return solid.moved(np.array([[c, s, 0, CENTER[0]], [-s, c, 0, CENTER[1]], [0, 0, 1, CENTER[2]]]))

    hour, minute = TIME
    long = _subdivided([(-5.5, 0.75), (-5.0, 1.0), (0, 0.9), (4, 0.75), (19.5, 1.25), (23.6, 0.1)])
    short = _subdivided([(-4.0, 0.95), (-3.5, 1.2), (0, 1.2), (3, 0.9), (11.0, 1.75), (14.6, 0.1)])
    alarm = _subdivided([(-3.0, 0.6), (0, 0.7), (7.6, 0.45), (9.2, 1.1), (10.8, 0.1)])
    boss = fillet([(0, 11, 0), (1.9, 11, 0), (1.9, 15.6, 0.8), (0, 15.6, 0)], 0.6)
    return [
        Part(turned(hand(short, 13.2, 0.8), (hour + minute / 60) / 12), LACQUER),
        Part(turned(hand(long, 14.3, 0.7), minute / 60), LACQUER),
        Part(turned(hand(alarm, 12.3, 0.5), ALARM_HOUR / 12), SIGNAL),
        Part(revolve(*boss, 32).moved(axes((0, 0, 1), tuple(CENTER))), BRASS),
    ]


def _subdivided(outline: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same outline with stations at most one unit apart, so that baked shadows have vertices to sit on."""
    points = fillet([(y, w, 0) for y, w in outline], 1.0)[0]
    return [(float(y), float(w)) for y, w in points]


def _back() -> list[Part]:
    """Two knurled setting knobs and a wing key; the plate they turn in looks along -z."""
    knob_profile = fillet([(0, -2, 0), (1.0, -2, 0), (1.0, 1.6, 0), (2.7, 1.6, 0.3), (2.9, 4.4, 0.7), (0, 4.4, 0)], 0.6)
    stem = fillet([(0, -2, 0), (1.6, -2, 0), (1.6, 4.9, 0.7), (0, 4.9, 0)], 0.6)
    wing = revolve(ellipse((0, 0), (1, 1), -90, 90, 15), segments=28)
    parts = []
    for x in (-0.43, 0.43):
        origin = CENTER + np.array([x * BACK_RADIUS, -0.40 * BACK_RADIUS, -15.0])
        parts.append(Part(_knurled(revolve(*knob_profile, 60), 2.0, 15).moved(axes((0, 0, -1), tuple(origin))), BRASS))
    origin = CENTER + np.array([0, 0.26 * BACK_RADIUS, -15.0])
    parts.append(Part(revolve(*stem, 32).moved(axes((0, 0, -1), tuple(origin))), STEEL))
    for side in (-1.0, 1.0):
        shift = origin + np.array([side * 3.5, side * 1.0, -4.6])
        c, s = np.cos(0.3), np.sin(0.3)
        spread = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ np.diag([3.8, 2.4, 0.75])
        parts.append(Part(wing.moved(np.concatenate([spread, shift[:, None]], 1)), STEEL))
    return parts


def _knurled(solid: Solid, core: float, teeth: int) -> Solid:
    """Waves of ``teeth`` crests where the radius exceeds ``core``, too low for the inside test to care."""
    v = solid.vertices.copy()
    radius, angle = np.hypot(v[:, 0], v[:, 1]), np.arctan2(v[:, 1], v[:, 0])
    v[:, :2] *= (1 + np.where(radius > core, 0.05 * np.cos(teeth * angle), 0))[:, None]
    return replace(solid, vertices=v)


def _radial(angle: float, distance: float) -> tuple[tuple[float, float, float], np.ndarray]:
    """The direction at ``angle`` clockwise from the top of the case, and the point that far from its center."""
    direction = (float(np.sin(angle)), float(np.cos(angle)), 0.0)
    return direction, CENTER + distance * np.array(direction)


def _bell(side: float) -> list[Part]:
    """A thin shell, open below, on a post that ends in a round nut."""
    radius, height, wall = 12.2, 10.2, 0.9
    outer = ellipse((0, 0), (radius, height), 0, 90, 20)[::-1]
    inner = ellipse((0, 0), (radius - wall, height - wall), 0, 90, 14)
    lip = np.array([[radius + 0.55, -0.55], [radius + 0.5, -1.15], [radius - 0.35, -1.15]])
    profile = np.concatenate([outer, lip, inner])
    profile[np.abs(profile) < 1e-9] = 0
    creases = np.zeros(len(profile), bool)
    creases[len(outer) : len(outer) + 3] = True
    direction, rim = _radial(side * TILT, 37.0)
    place = axes(direction, tuple(rim))
    post = fillet([(0, -6, 0), (1.5, -6, 0), (1.5, height + 0.4, 0), (0, height + 0.4, 0)], 1.0)
    nut = fillet(
        [
            (0, height - 1, 0),
            (2.6, height - 1, 0),
            (2.6, height + 0.7, 0.5),
            (1.7, height + 0.9, 0.2),
            (1.9, height + 2.6, 0.9),
            (0, height + 2.6, 0),
        ],
        0.6,
    )
    return [
        Part(revolve(profile, creases, 64).moved(place), BRASS),
        Part(revolve(*post, 32).moved(place), STEEL),
        Part(revolve(*nut, 40).moved(place), STEEL),
    ]


def _foot(side: float) -> Part:
    """A turned leg that ends in a ball."""
    direction, hip = _radial(np.pi - side * np.radians(33), 30.0)
    ball = ellipse((0, 13.2), (3.5, 3.5), -52, 90, 16)
    profile = np.concatenate([[[0.0, 0.0], [4.3, 0.0]], np.linspace([4.3, 2.6], [1.75, 9.4], 8), ball])
    profile[np.abs(profile) < 1e-9] = 0
    creases = np.zeros(len(profile), bool)
    creases[[1, 9]] = True
    return Part(revolve(profile, creases, 40).moved(axes(direction, tuple(hip))), BRASS)


def _hammer() -> list[Part]:
    stem = fillet([(0, 0, 0), (0.95, 0, 0), (0.95, 13, 0), (0, 13, 0)], 1.0)
    head = fillet(
        [
            (0, -4.6, 0),
            (1.9, -4.6, 0.6),
            (1.9, -1.6, 0.3),
            (1.35, -1.2, 0.3),
            (1.35, 1.2, 0.3),
            (1.9, 1.6, 0.3),
            (1.9, 4.6, 0.6),
            (0, 4.6, 0),
        ],
        0.6,
    )
    return [
        Part(revolve(*stem, 28).moved(axes((0, 1, 0), (0.0, 22.0, 0.0))), STEEL),
        Part(revolve(*head, 40).moved(axes((1, 0, 0), (0.0, 35.4, 0.0))), STEEL),
    ]


def _handle() -> Part:
    """A bow from nut to nut, thickest where the fingers hold it."""
    _, nut = _radial(TILT, 48.6)
    path = ellipse((0.0, nut[1]), (nut[0], 46.2 - nut[1]), 180, 0, 72)
    middle = np.cos(np.linspace(-np.pi / 2, np.pi / 2, 72)) ** 2
    return Part(tube(np.pad(path, ((0, 0), (0, 1))), 1.25 + 0.85 * middle, 24), ENAMEL)
