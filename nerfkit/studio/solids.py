"""Closed solids to build models from: turned profiles, tubes and lofts, each with a test of which points lie inside it.

Lengths are in the model's own units. Every solid is a closed triangle surface oriented outward; along creases vertices
are split, so that smooth normals can be taken from the faces that share a vertex.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

Inside = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Solid:
    """``vertices`` (V,3) float64, ``faces`` (F,3) outward; ``inside`` maps points (P,3) to (P,) bool."""

    vertices: np.ndarray
    faces: np.ndarray
    inside: Inside

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner, (3,) each, of the axis-aligned box around the solid."""
        return self.vertices.min(0), self.vertices.max(0)

    def moved(self, matrix: np.ndarray) -> "Solid":
        """The solid under an affine map (3,4); one that mirrors turns the faces over to keep them outward."""
        linear, shift = matrix[:, :3], matrix[:, 3]
        inverse = np.linalg.inv(linear)
        inside = self.inside
        return replace(
            self,
            vertices=self.vertices @ linear.T + shift,
            faces=self.faces if np.linalg.det(linear) > 0 else self.faces[:, ::-1],
            inside=lambda points: inside((points - shift) @ inverse.T),
        )


def axes(z_axis: tuple[float, float, float], origin: tuple[float, float, float]) -> np.ndarray:
    """The rigid map (3,4) that takes the local z axis to ``z_axis`` and the local origin to ``origin``."""
    z = np.asarray(z_axis, float) / np.linalg.norm(z_axis)
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [0.0, 0.0, 1.0], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z, np.asarray(origin, float)], -1)


def ellipse(center: tuple[float, float], radii: tuple[float, float], start: float, end: float, n: int) -> np.ndarray:
    """``n`` points (n,2) on an ellipse from angle ``start`` to ``end`` in degrees."""
    angles = np.radians(np.linspace(start, end, n))
    return np.stack([center[0] + radii[0] * np.cos(angles), center[1] + radii[1] * np.sin(angles)], -1)


def fillet(
    corners: list[tuple[float, float, float]], step: float, closed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A polyline with rounded corners, as points (P,2) at most ``step`` apart and which of them are creases (P,) bool.

    Each corner is (x, y, radius): an arc of that radius is tangent to both its sides; radius 0 leaves a crease. The
    ends of an open line stay as they are.
    """
    xy = np.array([corner[:2] for corner in corners])
    pieces: list[np.ndarray] = []
    creases: list[np.ndarray] = []
    for i, (x, y, radius) in enumerate(corners):
        if radius == 0 or (not closed and i in (0, len(corners) - 1)):
            pieces.append(np.array([[x, y]]))
            creases.append(np.array([True]))
            continue
        back, ahead = xy[i - 1] - xy[i], xy[(i + 1) % len(xy)] - xy[i]
        back, ahead = back / np.linalg.norm(back), ahead / np.linalg.norm(ahead)
        half = np.arccos(np.clip(back @ ahead, -1, 1)) / 2
        center = xy[i] + (back + ahead) / np.linalg.norm(back + ahead) * radius / np.sin(half)
        first, last = xy[i] + back * radius / np.tan(half) - center, xy[i] + ahead * radius / np.tan(half) - center
        turn = np.arctan2(first[0] * last[1] - first[1] * last[0], first @ last)
        t = np.linspace(0, turn, max(3, int(np.ceil(abs(turn) / np.radians(12))) + 1))[:, None]
        perpendicular = np.array([-first[1], first[0]])
        pieces.append(center + first * np.cos(t) + perpendicular * np.sin(t))
        creases.append(np.zeros(len(t), bool))
    points, crease = np.concatenate(pieces), np.concatenate(creases)
    if closed:
        points, crease = np.concatenate([points, points[:1]]), np.concatenate([crease, crease[:1]])
    result, flags = [points[:1]], [crease[:1]]
    for a, b, flag in zip(points[:-1], points[1:], crease[1:], strict=True):
        n = max(1, int(np.ceil(np.linalg.norm(b - a) / step)))
        result.append(a + (b - a) * np.arange(1, n + 1)[:, None] / n)
        flags.append(np.array([False] * (n - 1) + [flag]))
    return np.concatenate(result), np.concatenate(flags)


def revolve(profile: np.ndarray, creases: np.ndarray | None = None, segments: int = 64) -> Solid:
    """Turns a profile (P,2) of (radius, height) about the z axis.

    The profile is closed (its last point is its first) or begins and ends on the axis; it does not cross itself.
    ``creases`` (P,) marks the points where the surface has an edge.
    """
    creases = np.zeros(len(profile), bool) if creases is None else creases
    turns = np.arange(segments) * 2 * np.pi / segments
    ring = np.stack([np.cos(turns), np.sin(turns)], -1)
    closed = bool(np.allclose(profile[0], profile[-1]))
    vertices: list[np.ndarray] = []
    runs: list[np.ndarray] = []  # vertex numbers (segments,) of both ends of each band
    count = 0

    def add(point: np.ndarray) -> np.ndarray:
        nonlocal count
        if point[0] < 1e-9:
            vertices.append(np.array([[0.0, 0.0, point[1]]]))
            numbers = np.full(segments, count)
            count += 1
        else:
            vertices.append(np.concatenate([ring * point[0], np.full((segments, 1), point[1])], -1))
            numbers = count + np.arange(segments)
            count += segments
        return numbers

    start = previous = add(profile[0])
    for i in range(1, len(profile)):
        current = start if closed and i == len(profile) - 1 and not creases[0] else add(profile[i])
        runs.append(np.stack([previous, current]))
        previous = add(profile[i]) if creases[i] and i < len(profile) - 1 else current
    bands = np.stack(runs)  # (bands, 2, segments)
    a, b = bands[:, 0], bands[:, 1]  # (bands, segments)
    a1, b1 = np.roll(a, -1, 1), np.roll(b, -1, 1)
    faces = np.concatenate([np.stack([a, a1, b1], -1).reshape(-1, 3), np.stack([a, b1, b], -1).reshape(-1, 3)])
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    polygon = profile if closed else np.concatenate([profile, profile[:1]])

    def inside(points: np.ndarray) -> np.ndarray:
        return in_polygon(np.stack([np.hypot(points[:, 0], points[:, 1]), points[:, 2]], -1), polygon)

    return outward(np.concatenate(vertices), faces, inside)


def tube(path: np.ndarray, radii: np.ndarray, sides: int = 20) -> Solid:
    """A tube of varying radius (P,) around a path (P,3) in the plane z = 0, closed by flat caps."""
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=-1, keepdims=True)
    side = np.cross(tangents, [0.0, 0.0, 1.0])  # (P, 3)
    angles = np.arange(sides) * 2 * np.pi / sides
    rings = path[:, None] + radii[:, None, None] * (
        np.cos(angles)[:, None] * side[:, None] + np.sin(angles)[:, None] * np.array([0.0, 0.0, 1.0])
    )  # (P, sides, 3)

    def inside(points: np.ndarray) -> np.ndarray:
        result = np.zeros(len(points), bool)
        for a, b, r0, r1 in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
            t = ((points - a) @ (b - a)) / ((b - a) @ (b - a))
            t = np.clip(t, 0, 1)
            result |= np.linalg.norm(points - a - t[:, None] * (b - a), axis=-1) < r0 + (r1 - r0) * t
        return result

    return loft(rings, inside)


def hand(outline: list[tuple[float, float]], bottom: float, height: float) -> Solid:
    """A clock hand along +y, lying at z = ``bottom``: (y, half width) stations, ``height`` thick, sides beveled."""
    y, w = np.array(outline).T
    half = np.maximum(w, 1e-3)
    section = np.stack([[-1.0, 0.0], [-0.55, 1.0], [0.55, 1.0], [1.0, 0.0]])  # (4, 2): across, up
    rings = np.stack(
        [
            half[:, None] * section[:, 0],
            np.broadcast_to(y[:, None], (len(y), 4)),
            bottom + height * np.broadcast_to(section[:, 1], (len(y), 4)),
        ],
        -1,
    )  # (stations, 4, 3)

    def inside(points: np.ndarray) -> np.ndarray:
        reach = np.interp(points[:, 1], y, half, left=0, right=0)
        up = (points[:, 2] - bottom) / height
        return (up > 0) & (up < 1) & (np.abs(points[:, 0]) < reach * (1 - 0.45 * up))

    return faceted(loft(rings, inside))


def loft(rings: np.ndarray, inside: Inside) -> Solid:
    """Skins closed rings (P,S,3) of S points each one after the other and closes both ends with fans."""
    p, s = rings.shape[:2]
    numbers = np.arange(p * s).reshape(p, s)
    a, b = numbers[:-1], numbers[1:]
    a1, b1 = np.roll(a, -1, 1), np.roll(b, -1, 1)
    skin = [np.stack([a, a1, b1], -1).reshape(-1, 3), np.stack([a, b1, b], -1).reshape(-1, 3)]
    caps = p * s + np.arange(2 * s).reshape(2, s)
    vertices = np.concatenate([rings.reshape(-1, 3), rings[0], rings[-1], rings[[0, -1]].mean(1)])
    first, last = p * s + 2 * s, p * s + 2 * s + 1
    skin.append(np.stack([np.full(s, first), np.roll(caps[0], -1), caps[0]], -1))
    skin.append(np.stack([np.full(s, last), caps[1], np.roll(caps[1], -1)], -1))
    return outward(vertices, np.concatenate(skin), inside)


def faceted(solid: Solid) -> Solid:
    """The same solid with every vertex split, so that each face is flat."""
    return replace(
        solid, vertices=solid.vertices[solid.faces].reshape(-1, 3), faces=np.arange(3 * len(solid.faces)).reshape(-1, 3)
    )


def outward(vertices: np.ndarray, faces: np.ndarray, inside: Inside) -> Solid:
    """A solid from a consistently oriented closed surface, turned over if its signed volume is negative."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6
    return Solid(vertices, faces if volume > 0 else faces[:, ::-1], inside)


def in_polygon(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Which points (P,2) lie inside a closed polygon (E+1,2), by the parity of crossings of a ray along +x."""
    result = np.zeros(len(points), bool)
    low, high = polygon.min(0), polygon.max(0)
    near = np.flatnonzero(((points >= low) & (points <= high)).all(-1))
    x, y = points[near].T
    parity = np.zeros(len(near), bool)
    for (x0, y0), (x1, y1) in pairwise(polygon):
        if y0 != y1:
            parity ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    result[near] = parity
    return result
