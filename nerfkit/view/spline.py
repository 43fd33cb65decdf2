"""A smooth way through poses.

A cubic Hermite spline through rows of numbers (position, quaternion, logarithms of the focal lengths), over centripetal
knots: where a pose is as far from its neighbor as d, by place and by angle together, the knots are sqrt(d) apart. With
the tangents of the parabola through three neighbors that is the centripetal Catmull-Rom spline (Yuksel, Schaefer and
Keyser 2011), which has neither loops nor cusps between neighbors, however unevenly they stand. Quaternions are made
unit after interpolation; neighbors are taken on the same half of their sphere, so that every turn is the shorter one.
"""

import numpy as np

from nerfkit.cameras.poses import same_half

SAMPLES = 64  # of a stretch between two poses, for its length
STILL = 1e-3  # the knots of equal poses are apart by this share of the mean, so that the way rests there


class Spline:
    """The way through poses.

    Attributes:
        knots: where it passes them, increasing, from 0: (K,) float64, or (K+1,) of a closed way, whose last knot is the
            first pose again.

    Args:
        poses: (K,3,4) float64, K >= 2, camera to world.
        focal: (K,2) focal lengths, above 0; None where they play no part.
        closed: the first pose follows the last one.
    """

    def __init__(self, poses: np.ndarray, focal: np.ndarray | None = None, closed: bool = False) -> None:
        from scipy.interpolate import CubicHermiteSpline  # scipy.interpolate takes a fifth of a second
        from scipy.spatial.transform import Rotation

        count = len(poses)
        # A closed way is continued by two poses at either end, so that it is as smooth where it closes as elsewhere.
        order = np.arange(-2, count + 3) % count if closed else np.arange(count)
        quaternions = same_half(Rotation.from_matrix(poses[:, :, :3]).as_quat()[order])
        positions = poses[order, :, 3]
        moved = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        turned = np.arccos((quaternions[1:] * quaternions[:-1]).sum(1).clip(0, 1))
        apart = np.sqrt(sum(part / part.mean() for part in (moved, turned) if part.mean() > 1e-9))
        steps = np.maximum(apart, STILL * np.mean(apart)) if np.mean(apart) > 0 else np.ones(len(order) - 1)
        knots = np.concatenate([[0.0], np.cumsum(steps)])
        rows = [positions, quaternions] + ([] if focal is None else [np.log(focal)[order]])
        values = np.concatenate(rows, axis=1)  # (K, 7 or 9)
        if closed:
            knots -= knots[2]
        self._spline = CubicHermiteSpline(knots, values, np.gradient(values, knots, axis=0))
        self.knots = knots[2:-2] if closed else knots

    def at(self, knots: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Poses (N,3,4) at places (N,) between the knots, and focal lengths (N,2) where the way has some."""
        from scipy.spatial.transform import Rotation

        values = self._spline(np.clip(knots, 0, self.knots[-1]))
        rotation = Rotation.from_quat(values[:, 3:7]).as_matrix()
        focal = np.exp(values[:, 7:]) if values.shape[1] > 7 else None
        return np.concatenate([rotation, values[:, :3, None]], axis=2), focal

    def evenly(self, count: int, closed: bool = False) -> np.ndarray:
        """Places (count,) as far from one another along the way, from its first to its last knot.

        Of a ``closed`` way the last place is one step before the last knot. Where nothing moves they are even by knots.
        """
        stretch = np.linspace(0, 1, SAMPLES, endpoint=False)
        fine = (self.knots[:-1, None] + np.diff(self.knots)[:, None] * stretch).reshape(-1)
        fine = np.append(fine, self.knots[-1])
        length = np.cumsum(np.linalg.norm(np.diff(self._spline(fine)[:, :3], axis=0), axis=1))
        length = np.concatenate([[0.0], length]) if length[-1] > 1e-9 else fine
        return np.interp(np.linspace(0, length[-1], count, endpoint=not closed), length, fine)
