"""A length that the user knows, which makes the scene metric: between two points or two cameras."""

import math
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from nerfkit.errors import ConfigError
from nerfkit.scenes.scene import Scene
from nerfkit.schema import shown

End = tuple[float, float, float] | str | int

EXPECTED = (
    "two points in the scene's own units or two photos, by name or number from 0, and the meters between them, "
    "such as [[0,0,0],[1,0,0],0.35] or [IMG_1.jpg,IMG_9.jpg,0.5]"
)


class Length(NamedTuple):
    """``meters`` from ``first`` to ``second``, each a point or a photo, which stands for its camera's position."""

    first: End
    second: End
    meters: float

    @classmethod
    def of(cls, value: Any) -> "Length | None":
        """From the option ``scene.length``.

        Raises:
            ConfigError: anything but two ends and a positive number, or equal ends.
        """
        if value is None:
            return None
        listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
        ends = [_end(end) for end in listed[:2]]
        meters: Any = listed[2] if len(listed) == 3 else None
        if not (_is_number(meters) and meters > 0 and None not in ends):
            raise ConfigError(f"scene.length={shown(value)}: expected {EXPECTED}")
        if ends[0] == ends[1]:
            raise ConfigError(f"scene.length={shown(value)}: both ends are the same; expected two places")
        return cls(ends[0], ends[1], float(meters))  # type: ignore[arg-type]

    def meters_per_unit(self, scene: Scene) -> float:
        """How long the scene's own unit is.

        Raises:
            ConfigError: a photo that the scene does not have, or two of one place.
        """
        distance = float(np.linalg.norm(_place(self.first, scene) - _place(self.second, scene)))
        if not distance * scene.normalization.scale > 1e-6:  # a camera's position has no more digits
            raise ConfigError(f"scene.length={shown(self)}: both ends are in one place; expected two")
        return self.meters / distance


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _end(value: Any) -> End | None:
    """A point, or a photo's name or number; None for anything else."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(float, value)) if len(value) == 3 and all(map(_is_number, value)) else None  # type: ignore[return-value]
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def _place(end: End, scene: Scene) -> np.ndarray:
    """Where it is, (3,) float64 in the scene's own units."""
    if isinstance(end, tuple):
        return np.array(end)
    position: np.ndarray = scene.normalization.invert(scene.cameras.positions[_view(end, scene)].double()).cpu().numpy()
    return position


def _view(end: str | int, scene: Scene) -> int:
    """The view that a file's path, name or name without extension stands for, else a number."""
    paths = [PurePosixPath(name) for name in scene.provenance["views"]]
    for names in ([str(path) for path in paths], [path.name for path in paths], [path.stem for path in paths]):
        if names.count(str(end)) == 1:
            return names.index(str(end))
    if isinstance(end, int) and 0 <= end < len(paths):
        return end
    names = [path.name for path in paths]
    near = "".join(f"; did you mean {name}?" for name in get_close_matches(str(end), names, n=1))
    span = f"{names[0]} (0) to {names[-1]} ({len(names) - 1})"
    raise ConfigError(f"scene.length: {end} is no photo's number, or name of one photo; expected one of {span}{near}")
