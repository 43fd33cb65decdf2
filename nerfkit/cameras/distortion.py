"""How a lens bends its image: a smooth map of the plane, its Jacobian, and its inverse around the center.

Symbols: u (...,2) is where a perfect lens would put a point, in units of the focal length: (x/z, y/z) for perspective
lenses; for fisheye lenses the same direction with the angle theta to the axis as its length. s = |u|^2. Then

    q = u g(s),   d = q + P(q or u),   pixel = f d + c

with g the radial factor, which differs from model to model, and P the terms that are not symmetric about the axis:

    P_x = 2 p1 x y + p2 (3 x^2 + y^2) + a0 r^2 + a1 r^4        tangential (Brown, Conrady) and thin prism (Weng 1992)
    P_y = 2 p2 x y + p1 (x^2 + 3 y^2) + b0 r^2 + b1 r^4

All in float64 NumPy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial.polynomial import polyder, polyval

# s (...) -> g and dg/ds, both (...).
Radial = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

ANGLES = 1025  # samples from the axis to the widest angle, in search of a fold
WIDEST_FLAT = np.radians(89.9)  # a plane image has no place for more
WIDEST_FISHEYE = np.pi


def rational(over: tuple[float, ...], under: tuple[float, ...] = ()) -> Radial:
    """g = (1 + k1 s + k2 s^2 + ...) / (1 + l1 s + ...), the polynomials of COLMAP and OpenCV."""
    above, below = np.array((1.0, *over)), np.array((1.0, *under))

    def radial(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        denominator = polyval(s, below)
        g = polyval(s, above) / denominator
        return g, (polyval(s, polyder(above)) - g * polyval(s, polyder(below))) / denominator

    return radial


def field_of_view(omega: float) -> Radial:
    """g = arctan(2 r tan(omega / 2)) / (omega r) with r^2 = s (Devernay and Faugeras 2001); omega 0 is no distortion.

    COLMAP replaces the formula by a series below omega = 0.01, whose signs are those of the inverse: this one does not.
    """
    center = np.tan(omega / 2) / (omega / 2) if omega else 1.0  # g(0)
    scale = 4 * np.tan(omega / 2) ** 2

    def radial(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z2 = scale * s  # g / g(0) = arctan(z) / z
        small = z2 < 1e-4  # there the series is exact and the formula is 0 / 0
        safe = np.where(small, 1.0, z2)
        z = np.sqrt(safe)
        ratio = np.where(small, 1 - z2 * (1 / 3 - z2 * (1 / 5 - z2 / 7)), np.arctan(z) / z)
        slope = np.where(small, -1 / 3 + z2 * (2 / 5 - z2 * 3 / 7), (1 / (1 + safe) - ratio) / (2 * safe))
        return center * ratio, center * scale * slope

    return radial


def division(k: float) -> Radial:
    """g = 2 / (1 + sqrt(1 - 4 k s)), so that u = d / (1 + k |d|^2) (Fitzgibbon 2001)."""

    def radial(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        root = np.sqrt(1 - 4 * k * s)
        g = 2 / (1 + root)
        return g, k * g**2 / root

    return radial


def unified(alpha: float, beta: float) -> Radial:
    """g = 1 / (alpha sqrt(1 + beta s) + 1 - alpha), the enhanced unified camera model (Khomutenko et al. 2016)."""

    def radial(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        root = np.sqrt(1 + beta * s)
        g = 1 / (alpha * root + 1 - alpha)
        return g, -(g**2) * alpha * beta / (2 * root)

    return radial


@dataclass(frozen=True)
class Distortion:
    """The map u -> d of the module's docstring.

    Attributes:
        fisheye: what u means.
        radial: s -> g, dg/ds.
        tangential: p1, p2 as OpenCV numbers them.
        prism: a0, a1, b0, b1.
        in_turn: whether P is taken at q rather than at u.
    """

    fisheye: bool
    radial: Radial
    tangential: tuple[float, ...] = (0.0, 0.0)
    prism: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    in_turn: bool = False

    @property
    def symmetric(self) -> bool:
        """Whether P is zero."""
        return not any((*self.tangential, *self.prism))

    def bend(self, u: np.ndarray) -> np.ndarray:
        """d (...,2) of u (...,2)."""
        q = u * self.radial(u[..., 0] ** 2 + u[..., 1] ** 2)[0][..., None]
        return q if self.symmetric else q + self._asymmetric(q if self.in_turn else u)

    def slope(self, u: np.ndarray) -> np.ndarray:
        """The Jacobian dd/du, (...,2,2)."""
        g, dg = self.radial(u[..., 0] ** 2 + u[..., 1] ** 2)
        slope = g[..., None, None] * np.eye(2) + 2 * dg[..., None, None] * u[..., :, None] * u[..., None, :]
        if self.symmetric:
            return slope
        if self.in_turn:
            return slope + self._asymmetric_slope(u * g[..., None]) @ slope
        return slope + self._asymmetric_slope(u)

    def _asymmetric(self, q: np.ndarray) -> np.ndarray:
        """P (...,2)."""
        (p1, p2), (a0, a1, b0, b1) = self.tangential, self.prism
        x, y = q[..., 0], q[..., 1]
        r2 = x**2 + y**2
        return np.stack(
            [
                2 * p1 * x * y + p2 * (r2 + 2 * x**2) + r2 * (a0 + a1 * r2),
                2 * p2 * x * y + p1 * (r2 + 2 * y**2) + r2 * (b0 + b1 * r2),
            ],
            -1,
        )

    def _asymmetric_slope(self, q: np.ndarray) -> np.ndarray:
        """dP/dq (...,2,2)."""
        (p1, p2), (a0, a1, b0, b1) = self.tangential, self.prism
        x, y = q[..., 0], q[..., 1]
        r2 = x**2 + y**2
        a, b = 2 * a0 + 4 * a1 * r2, 2 * b0 + 4 * b1 * r2
        mixed = 2 * (p1 * x + p2 * y)
        rows = [2 * p1 * y + 6 * p2 * x + a * x, mixed + a * y, mixed + b * x, 2 * p2 * x + 6 * p1 * y + b * y]
        return np.stack(rows, -1).reshape(*x.shape, 2, 2)

    def _unfolded(self, radius: np.ndarray) -> np.ndarray:
        """Whether the map keeps its orientation all around the circles |u| = radius (R,): (R,) bool."""
        turn = np.linspace(0, 2 * np.pi, 1 if self.symmetric else 24, endpoint=False)
        circle = np.stack([np.cos(turn), np.sin(turn)], -1)  # (T, 2)
        slope = self.slope(radius[:, None, None] * circle)  # (R, T, 2, 2)
        determinant = slope[..., 0, 0] * slope[..., 1, 1] - slope[..., 0, 1] * slope[..., 1, 0]
        return (determinant > 0).all(-1)  # NaN, beyond the end of a square root, is folded too

    @cached_property
    def _branch(self) -> tuple[float, np.ndarray, np.ndarray]:
        """The fold's |u|; samples of the angle up to it and of |q| there, which grows with the angle."""
        angles = np.linspace(0, WIDEST_FISHEYE if self.fisheye else WIDEST_FLAT, ANGLES)
        with np.errstate(all="ignore"):
            unfolded = self._unfolded(self._radius(angles))
            if not unfolded.all():
                first = int(np.argmin(unfolded))
                inner, outer = angles[max(first - 1, 0)], angles[first]
                for _ in range(50):
                    middle = (inner + outer) / 2
                    inside = self._unfolded(self._radius(np.array([middle])))[0]
                    inner, outer = (middle, outer) if inside else (inner, middle)
                angles = np.append(angles[:first], inner)
            radii = self._radius(angles)
            return float(radii[-1]), angles, radii * self.radial(radii**2)[0]

    def _radius(self, angle: np.ndarray) -> np.ndarray:
        """|u| at an angle to the axis."""
        return angle if self.fisheye else np.tan(angle)

    @property
    def limit(self) -> float:
        """The map is one to one on |u| < limit: the radius of the largest disc around the center without a fold.

        A fold is where the Jacobian's determinant reaches zero: farther out the image runs back over itself. Lenses
        without one end at 89.9 degrees from the axis, fisheye lenses at 180.
        """
        return self._branch[0]

    def unbend(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u (...,2) with bend(u) = d and |u| < limit, and whether there is one, (...) bool.

        Newton's method from the inverse of the radial factor alone. A step that would raise the error is halved.
        """
        limit, angles, heights = self._branch
        shape, d = d.shape, d.reshape(-1, 2)
        length = np.hypot(d[:, 0], d[:, 1])
        u = d * (self._radius(np.interp(length, heights, angles)) / np.maximum(length, 1e-300))[:, None]
        error = np.full(length.shape, np.inf)
        damping = np.ones(length.shape)
        step = np.zeros_like(u)
        todo = np.arange(len(d))
        with np.errstate(all="ignore"):
            for _ in range(60):
                trial = u[todo] - damping[todo, None] * step[todo]
                over = np.hypot(trial[:, 0], trial[:, 1]) / limit
                trial /= np.maximum(over, 1)[:, None]
                off = self.bend(trial) - d[todo]
                size = np.hypot(off[:, 0], off[:, 1])
                better = size < error[todo]
                damping[todo] = np.where(better, 1.0, damping[todo] / 2)
                won = todo[better]
                u[won], error[won] = trial[better], size[better]
                step[won] = _solve(self.slope(trial[better]), off[better])
                todo = todo[~(error[todo] <= 1e-14 * (1 + length[todo]))]
                if not len(todo):
                    break
        found = (error < 1e-10 * (1 + length)) & (np.hypot(u[:, 0], u[:, 1]) < limit)
        return u.reshape(shape), found.reshape(shape[:-1])


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """x (N,2) of matrix (N,2,2) x = right; not finite where the matrix is singular."""
    (a, b), (c, d) = matrix[:, 0].T, matrix[:, 1].T
    x, y = right.T
    return np.stack([d * x - b * y, a * y - c * x], -1) / (a * d - b * c)[:, None]
