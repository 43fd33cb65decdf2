"""Keyframes of a camera, and the frames between them: a path that somebody else has drawn."""

from dataclasses import dataclass, field

import numpy as np

from nerfkit.errors import SceneError
from nerfkit.view.spline import Spline

SHORTEST, LONGEST = 1e-6, 1e9  # seconds: between two keyframes, and of a path
EASINGS = ("linear", "in", "out", "in_out")
"""How a stretch between two keyframes is gone through: evenly, from rest, to rest, from rest to rest."""


@dataclass(frozen=True)
class Keyframes:
    """A camera at K >= 2 moments, in the units and axes of its file.

    Attributes:
        times: (K,) float64, increasing, from 0, in seconds where ``timed``, else in stretches.
        poses: (K,3,4) float64, camera to world, OpenGL's axes.
        focal: (K,2) fx, fy as shares of the picture's height; None: the photos' lens.
        closed: the first keyframe comes again at ``end``; else ``end`` is the last one's time.
        end: when the path is over.
        timed: whether the file says how long that takes.
        size: height and width of the pictures that the file asks for.
        aspect: width by height of the picture that shows all that is to be seen; None: whatever is as high.
        easing: of the K - 1 stretches (K where closed), of ``EASINGS``; none: all are linear.
        y_up: whether the axes are glTF's, y up, as of an exported mesh; else they are the scene's.

    Raises:
        SceneError: on creation, for moments less than ``SHORTEST`` apart or an end after ``LONGEST``.
    """

    times: np.ndarray
    poses: np.ndarray
    focal: np.ndarray | None
    closed: bool
    end: float
    timed: bool = False
    size: tuple[int, int] | None = None
    aspect: float | None = None
    easing: list[str] = field(default_factory=list)
    y_up: bool = False

    def __post_init__(self) -> None:
        steps = np.diff(np.append(self.times, self.end) if self.closed else self.times)
        if not ((steps >= SHORTEST).all() and self.end <= LONGEST):
            raise SceneError(
                f"its keyframes are {steps.min():g} s apart at least and end at {self.end:g} s; expected "
                f"{SHORTEST:g} s or more, and an end of at most {LONGEST:g} s; correct the times or the rate"
            )

    def count(self, fps: float) -> int:
        """Frames that last as long as the path at ``fps``."""
        return max(round(self.end * fps) + (not self.closed), 1)

    def frames(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Poses (N,3,4) and focal lengths (N,2) of ``count`` moments from 0 to ``end``, or to one step before it.

        The way is the keyframes' ``Spline``. Its speed changes smoothly: time leads along it monotonically (Fritsch and
        Carlson 1980), as it does from 0 to 1 within a stretch that is eased, u -> u^2 (in), u (2 - u) (out) or
        u^2 (3 - 2 u) (in_out).
        """
        from scipy.interpolate import PchipInterpolator  # a fifth of a second

        way = Spline(self.poses, self.focal, self.closed)
        times, knots = self.times, way.knots
        if self.closed:
            times = np.append(times, self.end)
            round_, whole = times[-1], knots[-1]
            pace = PchipInterpolator(
                np.concatenate([times[-3:-1] - round_, times, times[1:3] + round_]),
                np.concatenate([knots[-3:-1] - whole, knots, knots[1:3] + whole]),
            )
        else:
            pace = PchipInterpolator(times, knots)
        at = np.linspace(0, self.end, count, endpoint=not self.closed)
        return way.at(pace(self._eased(at, times)))

    def _eased(self, at: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Moments (N,) with each stretch's easing."""
        if not self.easing:
            return at
        stretch = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
        first, last = times[stretch], times[stretch + 1]
        u = (at - first) / (last - first)
        curves = np.stack([u, u * u, u * (2 - u), u * u * (3 - 2 * u)])  # as EASINGS
        which = np.array([EASINGS.index(name) for name in self.easing])[stretch]
        return first + (last - first) * curves[which, np.arange(len(at))]


def focal_of(fov: np.ndarray) -> np.ndarray:
    """Focal lengths (K,2), as shares of the picture's height, of vertical fields of view (K,) in degrees."""
    focal = 0.5 / np.tan(np.deg2rad(fov) / 2)
    return np.stack([focal, focal], axis=1)
