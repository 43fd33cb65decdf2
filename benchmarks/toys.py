"""Objects made by code for benchmarks of surfaces: thin parts, holes, highlights. ``photograph`` makes photos of one.

Lengths are like centimeters, y up; everything lies within some 50 of the origin.
"""

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks import excavator
from nerfkit.mesh.mesh import Mesh
from nerfkit.scenes.files import TRUTH
from nerfkit.studio.output import write_truth
from nerfkit.studio.solids import axes, ellipse, outward, revolve
from nerfkit.studio.synthesize import SynthesisOptions, synthesize
from nerfkit.studio.union import joined, outside

Color = tuple[float, float, float]
VIOLET, LIME, CHROME = (0.45, 0.30, 0.62), (0.62, 0.78, 0.25), (0.62, 0.64, 0.67)


class Toy(NamedTuple):
    """The parts of an object with their colors, and how bright and how sharp its highlights are."""

    parts: Callable[[], list[excavator.Part]]
    specular: float
    shininess: float


def lattice(nodes: int = 3, pitch: float = 24.0) -> list[excavator.Part]:
    """A cube of ``nodes``^3 balls, joined by thin rods: 20 windows in its faces, and as many inside."""
    parts = []
    ball = revolve(ellipse((0, 0), (3.2, 3.2), -90, 90, 17), segments=28)
    places = [pitch * (np.array(i) - (nodes - 1) / 2) for i in product(range(nodes), repeat=3)]
    for place in places:
        parts.append(excavator.Part(ball.moved(axes((0, 0, 1), tuple(place))), VIOLET))
        for end in place + pitch * np.eye(3):
            if end.max() < pitch * nodes / 2:
                parts.append(excavator.Part(excavator.rod(tuple(place), tuple(end), 1.1), LIME))
    return parts


def knot(p: int = 2, q: int = 3, radius: float = 6.0, sides: int = 48, stations: int = 480) -> list[excavator.Part]:
    """A torus knot: one closed tube around a curve that goes ``p`` times around the axis, ``q`` times through it."""

    def curve(t: np.ndarray) -> np.ndarray:
        reach = 28 + 13 * np.cos(q * t)
        return np.stack([reach * np.cos(p * t), reach * np.sin(p * t), 16 * np.sin(q * t)], -1)

    t = np.arange(stations) * 2 * math.pi / stations
    path, along = curve(t), curve(t + 1e-4) - curve(t - 1e-4)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    outward_of_axis = np.stack([np.cos(p * t), np.sin(p * t), 0 * t], -1)
    side = np.cross(along, outward_of_axis)
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    turns = (np.arange(sides) * 2 * math.pi / sides)[:, None]
    rings = path[:, None] + radius * (np.cos(turns) * side[:, None] + np.sin(turns) * np.cross(side, along)[:, None])
    numbers = np.arange(stations * sides).reshape(stations, sides)
    a, b = numbers, np.roll(numbers, -1, 0)
    a1, b1 = np.roll(a, -1, 1), np.roll(b, -1, 1)
    faces = np.concatenate([np.stack([a, a1, b1], -1).reshape(-1, 3), np.stack([a, b1, b], -1).reshape(-1, 3)])
    solid = outward(rings.reshape(-1, 3), faces, lambda points: np.zeros(len(points), bool))
    return [excavator.Part(solid, CHROME)]


TOYS = {"excavator": Toy(excavator.build, 0.3, 32), "lattice": Toy(lattice, 0.0, 32), "knot": Toy(knot, 0.9, 120)}


def mesh_of(parts: list[excavator.Part]) -> Mesh:
    """All parts as one mesh with vertex colors, faces inside other parts too."""
    vertices, faces = joined([part.solid for part in parts])
    colors = torch.from_numpy(_colors(parts)).float()
    return Mesh(torch.from_numpy(vertices).float(), torch.from_numpy(faces.copy()), colors=colors)


def photograph(name: str, folder: Path, views: int = 100, size: int = 400) -> Path:
    """Photos of a toy in Kaolin's format, in the folder that is returned, with the surface that can be seen as truth.

    Raises:
        SceneError: ``folder`` is not empty or cannot be written.
    """
    toy = TOYS[name]
    parts = toy.parts()
    options = SynthesisOptions(
        views=views, size=size, light="studio", specular=toy.specular, shininess=toy.shininess, format="kaolin"
    )
    made = synthesize(mesh_of(parts), folder, options)["kaolin"]
    vertices, colors, faces = outside([part.solid for part in parts], _colors(parts))
    write_truth(made / TRUTH, vertices, faces, colors)
    return made


def _colors(parts: list[excavator.Part]) -> np.ndarray:
    return np.concatenate([np.tile(part.color, (len(part.solid.vertices), 1)) for part in parts])
