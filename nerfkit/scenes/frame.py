"""What the user says of a scene's region and axes, and the region of interest in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nerfkit.errors import ConfigError
from nerfkit.scenes.normalize import Box
from nerfkit.schema import shown

Point = tuple[float, float, float]
Corners = tuple[Point, Point]
"""The least and the largest coordinates of a box."""

AXES: dict[str, Point] = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
AXES |= {f"-{name}": (-x, -y, -z) for name, (x, y, z) in AXES.items()}


DIGITS = 5  # of the radius, in the sentence that says what the region is


@dataclass(frozen=True)
class Frame:
    """What the user says of a scene instead of what is found in it, in the scene's own units.

    ``center`` of the region of interest and its ``radius``, half the side of the cube; ``up``, a unit vector. With a
    ``box``, the cube is the smallest one around that, and the mesh is cropped to it.
    """

    center: Point | None = None
    radius: float | None = None
    up: Point | None = None
    box: Corners | None = None

    @classmethod
    def of(cls, center: Any = None, radius: float | None = None, up: Any = None, box: Any = None) -> "Frame":
        """From the options ``scene.center``, ``scene.radius``, ``scene.up`` and ``scene.box``.

        Raises:
            ConfigError: no point, no direction, no box, or a box together with a center or a radius.
        """
        if isinstance(up, str) and up in AXES:
            up = AXES[up]
        axis = None if up is None else _three(up, "scene.up", "x, -x, y, -y, z, -z or three numbers, such as [0,0,1]")
        if axis is not None:
            length = math.hypot(*axis)
            if length == 0:
                raise ConfigError("scene.up=[0,0,0]: expected a direction")
            axis = (axis[0] / length, axis[1] / length, axis[2] / length)
        if box is not None and (center is not None or radius is not None):
            given = {"scene.center": center, "scene.radius": radius}
            other = " and ".join(key for key, value in given.items() if value is not None)
            raise ConfigError(
                f"scene.box={shown(box)}: it says where the region is, and so does {other}; expected one of the two. "
                "Leave the other out; extract.box crops the mesh alone"
            )
        if box is not None:
            low, high = corners = corners_of(box, "scene.box")
            x, y, z = ((a + b) / 2 for a, b in zip(low, high, strict=True))
            return cls((x, y, z), max(b - a for a, b in zip(low, high, strict=True)) / 2, axis, corners)
        middle = None if center is None else _three(center, "scene.center", "three numbers, such as [0,0,0.5]")
        return cls(middle, radius, axis)

    def applied(self, box: Box) -> Box:
        """The box, or the cube that the user asks for."""
        if self.center is None and self.radius is None:
            return box
        low, high = box
        center = (low + high) / 2 if self.center is None else np.array(self.center)
        radius = float((high - low).max()) / 2 if self.radius is None else self.radius
        return center - radius, center + radius


def corners_of(value: Any, key: str) -> Corners:
    """From an option with two opposite corners of a box, in any order.

    Raises:
        ConfigError: no two points, or of equal coordinates.
    """
    expected = "two opposite corners that differ in x, y and z, such as [[-1,-1,0],[1,1,2]]"
    listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(listed) != 2:
        raise ConfigError(f"{key}={shown(value)}: expected {expected}")
    first, second = (_three(corner, key, expected, value) for corner in listed)
    if any(a == b for a, b in zip(first, second, strict=True)):
        raise ConfigError(f"{key}={shown(value)}: it is flat; expected {expected}")
    (x, X), (y, Y), (z, Z) = (sorted(pair) for pair in zip(first, second, strict=True))
    return (x, y, z), (X, Y, Z)


def region_note(box: Box, up: Point, how: str) -> str:
    """The region of interest in one sentence, in words that can be copied into a command."""
    low, high = box
    center, radius = (low + high) / 2, float((high - low).max()) / 2
    decimals = max(0, DIGITS - math.ceil(math.log10(radius)))  # on a map, a center has more digits than a radius
    return (
        f"the region of interest is {how}: scene.center={_words(center, decimals)} "
        f"scene.radius={_number(radius, decimals)} scene.up={_words(up, DIGITS)}; "
        "say otherwise with these, or scene.box"
    )


def _words(point: Sequence[float] | np.ndarray, decimals: int) -> str:
    return f"[{','.join(_number(value, decimals) for value in point)}]"


def _number(value: float, decimals: int) -> str:
    text = f"{round(float(value), decimals) + 0.0:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _three(value: Any, key: str, expected: str, whole: Any = None) -> Point:
    listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    numbers = [float(v) for v in listed if isinstance(v, int | float) and math.isfinite(v)]
    if len(listed) != 3 or len(numbers) != 3:
        raise ConfigError(f"{key}={shown(whole or listed or value)}: expected {expected}")
    return numbers[0], numbers[1], numbers[2]
