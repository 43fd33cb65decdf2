"""Lenses that bend light: the camera models of COLMAP and OpenCV, forward and backward.

Names, order of parameters and formulas are those of COLMAP's src/colmap/sensor/models.h (4.x); OPENCV, FULL_OPENCV and
OPENCV_FISHEYE are OpenCV's own. Axes of the camera here are theirs too: x to the right, y DOWN, z FORWARD; ``Cameras``
and the poses of nerfkit have y up and look along -z. The top left corner of a picture is (0, 0), the center of its
first pixel (0.5, 0.5). Everything is float64 NumPy.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nerfkit.cameras.distortion import Distortion, division, field_of_view, rational, unified
from nerfkit.errors import did_you_mean

_ONE, _TWO = ("f", "cx", "cy"), ("fx", "fy", "cx", "cy")

# Name -> its parameters, in the order in which COLMAP stores them.
MODELS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": _ONE,
    "PINHOLE": _TWO,
    "SIMPLE_RADIAL": (*_ONE, "k"),
    "RADIAL": (*_ONE, "k1", "k2"),
    "OPENCV": (*_TWO, "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": (*_TWO, "k1", "k2", "k3", "k4"),
    "FULL_OPENCV": (*_TWO, "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "FOV": (*_TWO, "omega"),
    "SIMPLE_RADIAL_FISHEYE": (*_ONE, "k"),
    "RADIAL_FISHEYE": (*_ONE, "k1", "k2"),
    "THIN_PRISM_FISHEYE": (*_TWO, "k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1"),
    "RAD_TAN_THIN_PRISM_FISHEYE": (*(*_TWO, "k0", "k1", "k2", "k3", "k4", "k5"), *("p0", "p1", "s0", "s1", "s2", "s3")),
    "SIMPLE_DIVISION": (*_ONE, "k"),
    "DIVISION": (*_TWO, "k"),
    "SIMPLE_FISHEYE": _ONE,
    "FISHEYE": _TWO,
    "EUCM": (*_TWO, "alpha", "beta"),
}

# What binary files call them. EQUIRECTANGULAR has no focal length: a Lens refuses it by name.
MODEL_IDS: dict[int, str] = dict(enumerate((*MODELS, "EQUIRECTANGULAR")))

# The model with two focal lengths that continues each one with one; coefficients that it has besides are zero.
_TWO_FOCAL_LENGTHS = {
    "SIMPLE_PINHOLE": "PINHOLE",
    "SIMPLE_RADIAL": "OPENCV",
    "RADIAL": "OPENCV",
    "SIMPLE_RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "SIMPLE_DIVISION": "DIVISION",
    "SIMPLE_FISHEYE": "FISHEYE",
}


def _check(model: str, width: int, height: int, params: tuple[float, ...]) -> None:
    """Raises the ValueErrors of ``Lens``."""
    if model == "EQUIRECTANGULAR":
        raise ValueError("camera model EQUIRECTANGULAR: a panorama of the whole sphere has no pinhole picture")
    if model not in MODELS:
        raise ValueError(f"camera model {model}: unknown{did_you_mean(model, MODELS)}")
    names = MODELS[model]
    if len(params) != len(names):
        raise ValueError(
            f"camera model {model}: expected {len(names)} parameters ({', '.join(names)}), got {len(params)}"
        )
    if not np.isfinite(params).all():
        raise ValueError(f"camera model {model}: the parameters are not all finite: {params}")
    named = dict(zip(names, params, strict=True))
    for name in ("f", "fx", "fy"):
        if named.get(name, 1) <= 0:
            raise ValueError(f"camera model {model}: {name} must be positive, got {named[name]}")
    if model == "EUCM" and not (0 <= named["alpha"] <= 1 and named["beta"] > 0):
        raise ValueError(f"camera model EUCM: expected 0 <= alpha <= 1 and beta > 0, got {params[4:]}")
    if width < 1 or height < 1:
        raise ValueError(f"camera model {model}: a picture of {width}x{height} pixels")


@dataclass(frozen=True)
class Lens:
    """One camera's lens and the size of its pictures.

    Attributes:
        model: a key of ``MODELS``.
        width, height: of the pictures that ``params`` refer to, in pixels.
        params: as the model lists them; lengths in pixels, the top left corner of the picture at (0, 0).

    Raises:
        ValueError: on creation: a model that is unknown or EQUIRECTANGULAR, another number of parameters, one that is
            not finite, a focal length or a size that is not positive, EUCM's alpha or beta out of range.
    """

    model: str
    width: int
    height: int
    params: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", tuple(float(value) for value in self.params))
        _check(self.model, self.width, self.height, self.params)

    @property
    def intrinsics(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels, as stored: of the center, but for the factor ``magnification``."""
        first, second, *rest = self.params
        return (first, first, second, rest[0]) if MODELS[self.model][0] == "f" else (first, second, rest[0], rest[1])

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The parameters that follow focal lengths and principal point: no lengths, so no picture's size is in them."""
        return self.params[len(_ONE if MODELS[self.model][0] == "f" else _TWO) :]

    @property
    def fisheye(self) -> bool:
        """Whether the undistorted image is the equidistant one, radius = f theta, rather than f tan(theta)."""
        return "FISHEYE" in self.model

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines stay straight, by the model or because its coefficients are all zero."""
        bending = self.coefficients[:1] if self.model == "EUCM" else self.coefficients
        return not self.fisheye and not any(bending)

    @cached_property
    def distortion(self) -> Distortion:
        """The map between the ideal image plane and this lens's, in units of the focal length."""
        return _distortion(self.model, self.fisheye, self.coefficients)

    @property
    def magnification(self) -> float:
        """How much larger than f says the center's image is: 1 but for FOV, where it is tan(omega/2) / (omega/2)."""
        return float(self.distortion.radial(np.zeros(1))[0][0])

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points are seen.

        Args:
            points: (...,3) in the camera's frame: x right, y down, z forward; any unit.

        Returns:
            pixels (...,2), x and y, NaN where not valid; valid (...) bool: before the fold of the distortion
            (``Distortion.limit``) and, unless a fisheye lens, in front of the camera. Not whether the picture, which
            ends somewhere, holds the pixel.
        """
        points = np.asarray(points, np.float64)
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        with np.errstate(all="ignore"):
            if self.fisheye:
                across = np.hypot(x, y)
                radius = np.arctan2(across, z)
                scale = radius / np.where(across > 0, across, 1.0)
            else:
                scale = np.where(z > 0, 1 / z, np.nan)
                radius = np.hypot(x, y) * scale
            valid = radius < self.distortion.limit
            u = points[..., :2] * np.where(valid, scale, np.nan)[..., None]
            fx, fy, cx, cy = self.intrinsics
            return self.distortion.bend(u) * (fx, fy) + (cx, cy), valid

    def unproject(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The exact inverse of ``project``.

        Args:
            pixels: (...,2), x and y; not necessarily in the picture.

        Returns:
            directions (...,3) of unit length in the camera's frame: x right, y down, z forward; NaN where not valid.
            valid (...) bool: whether some direction before the fold of the distortion is seen there.
        """
        fx, fy, cx, cy = self.intrinsics
        u, valid = self.distortion.unbend((np.asarray(pixels, np.float64) - (cx, cy)) / (fx, fy))
        radius = np.hypot(u[..., 0], u[..., 1])
        if self.fisheye:
            directions = np.stack([*np.moveaxis(u * np.sinc(radius / np.pi)[..., None], -1, 0), np.cos(radius)], -1)
        else:
            directions = np.stack([u[..., 0], u[..., 1], np.ones_like(radius)], -1) / np.hypot(radius, 1)[..., None]
        return np.where(valid[..., None], directions, np.nan), valid

    def resized(self, width: int, height: int) -> "Lens":
        """The same lens with pictures of another size.

        Where the two sides scale differently, a model with one focal length becomes the one with two that equals it.
        """
        across, down = width / self.width, height / self.height
        fx, fy, cx, cy = self.intrinsics
        lengths: tuple[float, ...] = (fx * across, fy * down, cx * across, cy * down)
        model, rest = self.model, self.coefficients
        if model in _TWO_FOCAL_LENGTHS and across == down:
            lengths = lengths[1:]
        elif model in _TWO_FOCAL_LENGTHS:
            model = _TWO_FOCAL_LENGTHS[model]
            rest += (0.0,) * (len(MODELS[model]) - len(_TWO) - len(rest))
        return Lens(model, width, height, lengths + rest)

    def outline(self) -> np.ndarray:
        """Directions (B,3) along the edge of what the picture shows, unit length.

        The picture's border where it is valid and, where the fold of the distortion lies in the picture, the fold.
        """
        side = np.linspace(0, 1, 513)
        zero, one = np.zeros_like(side), np.ones_like(side)
        border = np.concatenate([np.stack(edge, -1) for edge in ((side, zero), (side, one), (zero, side), (one, side))])
        seen, valid = self.unproject(border * (self.width, self.height))
        if valid.all():
            return seen
        limit = self.distortion.limit * (1 - 1e-9)
        angle = limit if self.fisheye else np.arctan(limit)
        turn = np.linspace(0, 2 * np.pi, 1024, endpoint=False)
        ring = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.full(1024, np.cos(angle))], -1)
        pixels = self.project(ring)[0]
        inside = ((pixels >= 0) & (pixels <= (self.width, self.height))).all(-1)
        return np.concatenate([seen[valid], ring[inside]])

    @property
    def field_of_view(self) -> float:
        """Twice the largest angle between the axis and what the picture shows, in degrees; 360 at most."""
        edge = self.outline()
        across = np.hypot(edge[:, 0], edge[:, 1])
        return float(2 * np.degrees(np.arctan2(across, edge[:, 2]).max(initial=0.0)))


def _distortion(model: str, fisheye: bool, c: tuple[float, ...]) -> Distortion:
    """The map of a model with coefficients ``c``, as ``MODELS`` orders them."""
    if model == "FOV":
        return Distortion(fisheye, field_of_view(*c))
    if model in ("SIMPLE_DIVISION", "DIVISION"):
        return Distortion(fisheye, division(*c))
    if model == "EUCM":
        return Distortion(fisheye, unified(*c))
    if model == "OPENCV":
        return Distortion(fisheye, rational(c[:2]), c[2:])
    if model == "FULL_OPENCV":
        return Distortion(fisheye, rational((*c[:2], c[4]), c[5:]), c[2:4])
    if model == "THIN_PRISM_FISHEYE":
        return Distortion(fisheye, rational((*c[:2], *c[4:6])), c[2:4], (c[6], 0, c[7], 0))
    if model == "RAD_TAN_THIN_PRISM_FISHEYE":  # its p0 is OpenCV's p2
        return Distortion(fisheye, rational(c[:6]), (c[7], c[6]), c[8:], in_turn=True)
    return Distortion(fisheye, rational(c))
