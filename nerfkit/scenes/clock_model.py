"""The project's own alarm clock: twin brass bells, teal enamel, a cream dial at nine minutes past ten.

Scene units are like centimetres: y up, the dial faces +z, everything within +-48. The parts are closed solids that reach into
one another. ``surface`` holds them all for the renderer; ``truth`` is what a scanner could see of them: the faces, or the pieces
of faces, that lie inside no other part.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from nerfkit.scenes.clock_dial import draw_back, draw_dial
from nerfkit.scenes.occlusion import cone_directions, sphere_directions, visibility
from nerfkit.scenes.solids import Solid, axes, ellipse, fillet, hand, revolve, tube
from nerfkit.scenes.synthesis import Lights, Surface, vertex_normals

VERSION = 1  # part of the cache's key: raise it whenever the model, its look, the lights or the cameras change
LIGHTS = Lights()
CENTRE = np.array([0.0, -9.0, 0.0])  # of the case
DIAL_RADIUS, BACK_RADIUS, TEXTURE_SIZE = 27.6, 22.0, 1024
TIME = (10, 9)
ALARM_HOUR = 7.0
TILT = np.radians(32)  # of the bells, from upright


@dataclass(frozen=True)
class Finish:
    """How a part looks: base colour, highlight colour and its exponent."""

    colour: tuple[float, float, float]
    specular: tuple[float, float, float]
    shininess: float


ENAMEL = Finish((0.060, 0.470, 0.480), (0.50, 0.55, 0.55), 60)
BRASS = Finish((0.830, 0.610, 0.250), (0.75, 0.62, 0.35), 28)
STEEL = Finish((0.600, 0.610, 0.620), (0.55, 0.55, 0.55), 36)
LACQUER = Finish((0.075, 0.078, 0.090), (0.35, 0.35, 0.36), 40)
SIGNAL = Finish((0.780, 0.205, 0.130), (0.30, 0.26, 0.25), 40)
PAPER = Finish((1.0, 1.0, 1.0), (0.04, 0.04, 0.04), 20)


@dataclass(frozen=True)
class Part:
    """A solid with its finish; ``print`` names the picture on its flat front, if it has one: 0 the dial, 1 the back plate."""

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
    place = axes((0, 0, 1), tuple(CENTRE))
    body = fillet(
        [(0, -14.5, 0), (23, -14.5, 3), (26, -12.6, 4), (33, -9.5, 7), (33.4, 0, 60), (32.6, 10.8, 2), (29, 11, 0), (0, 11, 0)], 1.2
    )
    bezel = fillet(
        [(27.2, 10, 0), (27.2, 12.2, 0.5), (29.2, 15.6, 1.2), (32.2, 15.6, 1.8), (34, 12.6, 1.4), (34, 9.6, 1.2), (31, 9.2, 0)], 1.0, True
    )
    dial = fillet([(0, 10, 0), (DIAL_RADIUS, 10, 0), (DIAL_RADIUS, 11.6, 0), (0, 11.6, 0)], 0.6)
    back = fillet([(0, -13, 0), (BACK_RADIUS, -13, 0), (BACK_RADIUS, -15.1, 0.4), (0, -15.1, 0)], 0.8)
    return [
        Part(revolve(*body, 192).moved(place), ENAMEL),
        Part(revolve(*bezel, 192).moved(place), BRASS),
        Part(revolve(*dial, 192).moved(place), PAPER, 0),
        Part(revolve(*back, 128).moved(place), PAPER, 1),
    ]


def _hands() -> list[Part]:
    def turned(solid: Solid, turns: float) -> Solid:
        c, s = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)
        return solid.moved(np.array([[c, s, 0, CENTRE[0]], [-s, c, 0, CENTRE[1]], [0, 0, 1, CENTRE[2]]]))

    hour, minute = TIME
    long = _subdivided([(-5.5, 0.75), (-5.0, 1.0), (0, 0.9), (4, 0.75), (19.5, 1.25), (23.6, 0.1)])
    short = _subdivided([(-4.0, 0.95), (-3.5, 1.2), (0, 1.2), (3, 0.9), (11.0, 1.75), (14.6, 0.1)])
    alarm = _subdivided([(-3.0, 0.6), (0, 0.7), (7.6, 0.45), (9.2, 1.1), (10.8, 0.1)])
    boss = fillet([(0, 11, 0), (1.9, 11, 0), (1.9, 15.6, 0.8), (0, 15.6, 0)], 0.6)
    return [
        Part(turned(hand(short, 13.2, 0.8), (hour + minute / 60) / 12), LACQUER),
        Part(turned(hand(long, 14.3, 0.7), minute / 60), LACQUER),
        Part(turned(hand(alarm, 12.3, 0.5), ALARM_HOUR / 12), SIGNAL),
        Part(revolve(*boss, 32).moved(axes((0, 0, 1), tuple(CENTRE))), BRASS),
    ]


def _subdivided(outline: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same outline with stations at most one unit apart, so that baked shadows have vertices to sit on."""
    points = fillet([(y, w, 0) for y, w in outline], 1.0)[0]
    return [(float(y), float(w)) for y, w in points]


def _back() -> list[Part]:
    """Two knurled setting knobs and a wing key; the plate they turn in looks along -z."""
    knob_profile = fillet([(0, -2, 0), (1.0, -2, 0), (1.0, 1.6, 0), (2.7, 1.6, 0.3), (2.9, 4.4, 0.7), (0, 4.4, 0)], 0.6)
    stem = fillet([(0, -2, 0), (1.1, -2, 0), (1.1, 4.2, 0.5), (0, 4.2, 0)], 0.6)
    wing = revolve(ellipse((0, 0), (1, 1), -90, 90, 25), segments=40)
    parts = []
    for x in (-0.47, 0.47):
        origin = CENTRE + np.array([x * BACK_RADIUS, 0.36 * BACK_RADIUS, -15.0])
        parts.append(Part(_knurled(revolve(*knob_profile, 80), 2.0, 20).moved(axes((0, 0, -1), tuple(origin))), BRASS))
    origin = CENTRE + np.array([0, -0.34 * BACK_RADIUS, -15.0])
    parts.append(Part(revolve(*stem, 32).moved(axes((0, 0, -1), tuple(origin))), STEEL))
    for side in (-1.0, 1.0):
        shift = origin + np.array([side * 2.9, side * 0.9, -4.4])
        c, s = np.cos(0.3), np.sin(0.3)
        spread = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ np.diag([3.2, 2.1, 0.75])
        parts.append(Part(wing.moved(np.concatenate([spread, shift[:, None]], 1)), STEEL))
    return parts


def _knurled(solid: Solid, core: float, teeth: int) -> Solid:
    """Waves of ``teeth`` crests in the part beyond radius ``core``; the change is too small for the inside test to matter."""
    v = solid.vertices.copy()
    radius, angle = np.hypot(v[:, 0], v[:, 1]), np.arctan2(v[:, 1], v[:, 0])
    v[:, :2] *= (1 + np.where(radius > core, 0.05 * np.cos(teeth * angle), 0))[:, None]
    return replace(solid, vertices=v)


def _radial(angle: float, distance: float, z: float = 0.0) -> tuple[tuple[float, float, float], np.ndarray]:
    """The direction at ``angle`` clockwise from the top of the case, and the point that far from its centre."""
    direction = (float(np.sin(angle)), float(np.cos(angle)), 0.0)
    return direction, CENTRE + distance * np.array(direction) + np.array([0, 0, z])


def _bell(side: float) -> list[Part]:
    """A thin shell, open below, on a post that ends in a round nut."""
    radius, height, wall = 12.2, 10.2, 0.9
    outer = ellipse((0, 0), (radius, height), 0, 90, 26)[::-1]
    inner = ellipse((0, 0), (radius - wall, height - wall), 0, 90, 24)
    lip = np.array([[radius + 0.55, -0.55], [radius + 0.5, -1.15], [radius - 0.35, -1.15]])
    profile = np.concatenate([outer, lip, inner])
    profile[np.abs(profile) < 1e-9] = 0
    creases = np.zeros(len(profile), bool)
    creases[len(outer) : len(outer) + 3] = True
    direction, rim = _radial(side * TILT, 37.0)
    place = axes(direction, tuple(rim))
    post = fillet([(0, -6, 0), (1.5, -6, 0), (1.5, height + 0.4, 0), (0, height + 0.4, 0)], 1.0)
    nut = fillet([(0, height - 1, 0), (2.6, height - 1, 0), (2.6, height + 0.7, 0.5), (1.7, height + 0.9, 0.2), (1.9, height + 2.6, 0.9), (0, height + 2.6, 0)], 0.6)
    return [
        Part(revolve(profile, creases, 112).moved(place), BRASS),
        Part(revolve(*post, 32).moved(place), STEEL),
        Part(revolve(*nut, 40).moved(place), STEEL),
    ]


def _foot(side: float) -> Part:
    """A turned leg that ends in a ball."""
    direction, hip = _radial(np.pi - side * np.radians(33), 30.0)
    ball = ellipse((0, 13.2), (3.5, 3.5), -52, 90, 22)
    profile = np.concatenate([[[0.0, 0.0], [4.3, 0.0]], np.linspace([4.3, 2.6], [1.75, 9.4], 8), ball])
    profile[np.abs(profile) < 1e-9] = 0
    creases = np.zeros(len(profile), bool)
    creases[[1, 9]] = True
    return Part(revolve(profile, creases, 56).moved(axes(direction, tuple(hip))), BRASS)


def _hammer() -> list[Part]:
    stem = fillet([(0, 0, 0), (0.95, 0, 0), (0.95, 13, 0), (0, 13, 0)], 1.0)
    head = fillet([(0, -4.6, 0), (1.9, -4.6, 0.6), (1.9, -1.6, 0.3), (1.35, -1.2, 0.3), (1.35, 1.2, 0.3), (1.9, 1.6, 0.3), (1.9, 4.6, 0.6), (0, 4.6, 0)], 0.6)
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


@cache
def surface() -> Surface:
    """All parts as one mesh with colours, texture and baked light (how much of the sky and of the key light each vertex sees)."""
    parts = build_parts()
    starts = np.cumsum([0] + [len(part.solid.vertices) for part in parts[:-1]])
    vertices = np.concatenate([part.solid.vertices for part in parts])
    faces = np.concatenate([part.solid.faces + start for part, start in zip(parts, starts, strict=True)])
    normals = vertex_normals(vertices, faces)

    def spread(values: list[tuple[float, float, float]]) -> np.ndarray:
        return np.concatenate([np.tile(v, (len(part.solid.vertices), 1)) for part, v in zip(parts, values, strict=True)])

    uvs = np.zeros((len(vertices), 2))
    uvs[:] = (0.002, 0.004)  # a white corner of the dial's picture
    for part, start in zip(parts, starts, strict=True):
        if part.print is not None:
            own = slice(start, start + len(part.solid.vertices))
            uvs[own] = _print_uvs(part.print, vertices[own], normals[own], uvs[own])
    sky = visibility(vertices, faces, normals, sphere_directions(160), offset=0.7)
    key = visibility(vertices, faces, normals, cone_directions(np.array(LIGHTS.key_direction), 4.0, 24), offset=0.7)
    return Surface(
        vertices,
        faces,
        spread([part.finish.colour for part in parts]),
        normals,
        uvs,
        _texture(),
        spread([part.finish.specular for part in parts]),
        np.concatenate([np.full(len(part.solid.vertices), part.finish.shininess) for part in parts]),
        sky,
        key,
    )


def _print_uvs(number: int, vertices: np.ndarray, normals: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Texture coordinates of a disc's flat front; the dial's picture is the left half of the texture, the back plate's the right."""
    radius, facing = ((DIAL_RADIUS, 1.0), (BACK_RADIUS, -1.0))[number]
    x, y = (vertices[:, :2] - CENTRE[:2]).T / radius
    uvs = np.stack([(facing * x + 1) / 4 + 0.5 * number, (y + 1) / 2], -1)
    return np.where(normals[:, 2:] * facing > 0.99, uvs, blank)


def _texture() -> np.ndarray:
    """(1024,2048,3) uint8: dial and back plate side by side; the dial's bottom left corner is left white for unprinted parts."""
    dial, back = draw_dial(DIAL_RADIUS, TEXTURE_SIZE), draw_back(BACK_RADIUS, TEXTURE_SIZE)
    dial[-16:, :16] = 255
    return np.concatenate([dial, back], 1)


def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The true surface: vertices (V,3), faces (F,3) outwards, and colours (V,3) in [0,1] without light.

    A face is kept if its centre lies inside no other part. Where parts meet, faces are first split into quarters three times, so
    that the cut follows the seam to an eighth of an edge; the pieces leave T-junctions, so this mesh is for measuring
    distances to, not watertight.
    """
    parts, whole = build_parts(), surface()
    colours = _vertex_colours(whole)
    kept = []
    start = 0
    for part in parts:
        count = len(part.solid.vertices)
        corners = np.concatenate(
            [part.solid.vertices, colours[start : start + count]], -1
        )[part.solid.faces]  # (F, 3, 6): position, colour
        start += count
        others = [other.solid for other in parts if other is not part]
        for _ in range(3):
            hidden = _inside_any(corners[..., :3].reshape(-1, 3), others).reshape(-1, 3).sum(-1)
            kept.append(corners[hidden == 0])
            corners = _quartered(corners[(hidden > 0) & (hidden < 3)])
        kept.append(corners[~_inside_any(corners[..., :3].mean(1), others)])
    triangles = np.concatenate(kept).reshape(-1, 6)
    unique, faces = np.unique(np.round(triangles, 9), axis=0, return_inverse=True)
    return unique[:, :3], faces.reshape(-1, 3), unique[:, 3:]


def _inside_any(points: np.ndarray, solids: list[Solid]) -> np.ndarray:
    result = np.zeros(len(points), bool)
    for solid in solids:
        low, high = solid.vertices.min(0), solid.vertices.max(0)
        near = np.flatnonzero(((points > low) & (points < high)).all(-1) & ~result)
        result[near] = solid.inside(points[near])
    return result


def _quartered(corners: np.ndarray) -> np.ndarray:
    """Each triangle (F,3,A) as four (4F,3,A)."""
    a, b, c = corners.swapaxes(0, 1)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    return np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1).reshape(-1, 3, corners.shape[-1])


def _vertex_colours(whole: Surface) -> np.ndarray:
    assert whole.texture is not None and whole.uvs is not None and whole.colours is not None
    height, width = whole.texture.shape[:2]
    column = np.clip(whole.uvs[:, 0] * width, 0, width - 1).astype(int)
    row = np.clip((1 - whole.uvs[:, 1]) * height, 0, height - 1).astype(int)
    return whole.colours * whole.texture[row, column] / 255
