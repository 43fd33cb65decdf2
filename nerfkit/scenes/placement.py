"""Where a file's numbers lie in a scene: its units and its axes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nerfkit.scenes.scene import Scene, Similarity

INCHES = 1 / 0.0254  # in a meter
UNITS = {"m": 1.0, "cm": 100.0, "mm": 1000.0, "in": INCHES}
"""How many of a unit are a meter."""

Rows = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
SAME: Rows = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Placement:
    """p_file = R u^-1(p_normalized), with a similarity u from the scene's axes in the file's units, and a rotation R.

    Attributes:
        units: u.
        turn: the rows of R.
    """

    units: Similarity = Similarity()
    turn: Rows = SAME

    def apply(self, points: Tensor) -> Tensor:
        """Normalized points (N,3) from those of the file."""
        return self.units.apply(points if self.turn == SAME else points @ points.new_tensor(self.turn))

    def invert(self, points: Tensor) -> Tensor:
        """Points of the file (N,3) from normalized ones."""
        found = self.units.invert(points)
        return found if self.turn == SAME else found @ found.new_tensor(self.turn).T

    def turned(self, vectors: np.ndarray) -> np.ndarray:
        """Directions (N,3) in the file's axes from those of the scene."""
        return vectors if self.turn == SAME else vectors @ np.array(self.turn).T

    def poses(self, camera_to_world: Tensor) -> np.ndarray:
        """Normalized poses (N,3,4), camera to world, as (N,3,4) float64 in the file's units and axes.

        The rotation is made orthonormal to float64's last digits: far from the origin, as on a map, its inverse must be
        so.
        """
        poses = camera_to_world.detach().cpu().double()
        left, _, right = torch.linalg.svd(poses[:, :, :3])
        axes = poses.new_tensor(self.turn) @ (left @ right)
        return torch.cat([axes, self.invert(poses[:, :, 3])[..., None]], -1).numpy()

    def of_scene(self, points: np.ndarray, scene: Scene) -> np.ndarray:
        """Points (P,3) float64 of the file from those in the scene's own units."""
        return self.turned(points) * (scene.normalization.scale / self.units.scale)

    def turned_up(self, start: Sequence[float], end: Sequence[float]) -> "Placement":
        """The same, with the file's axes turned by the shortest rotation of the unit vector ``start`` to ``end``."""
        return replace(self, turn=shortest_turn(start, end))


def own_units(scene: Scene) -> Placement:
    """The scene's own units and axes."""
    return Placement(scene.normalization)


def shortest_turn(start: Sequence[float], end: Sequence[float]) -> Rows:
    """The rows of R = I + [v] + [v]^2 / (1 + c), v = a x b, c = a . b, which takes the unit vector a to b.

    Of opposite vectors it is half a turn about some axis at right angles to them.
    """
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    c = float(a @ b)
    if c < -1 + 1e-9:
        axis = np.cross(a, np.eye(3)[np.abs(a).argmin()])
        axis /= np.linalg.norm(axis)
        matrix = 2 * np.outer(axis, axis) - np.eye(3)
    else:
        x, y, z = np.cross(a, b)
        v = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        matrix = np.eye(3) + v + v @ v / (1 + c)
    first, second, third = matrix.tolist()
    return tuple(first), tuple(second), tuple(third)
