"""The lens of a frame of ``transforms.json``, which stands in the frame, at the top of the file, or partly in both.

What the frame says goes before what the top says. In pixels of a picture of ``w`` x ``h``, the top left corner at
(0, 0), the center of the first pixel at (0.5, 0.5):

    f_x = fl_x, or w / 2 / tan(x_fov / 2) in degrees, or w / 2 / tan(camera_angle_x / 2) in radians, or f_y
    f_y likewise from h, or f_x                                c_x, c_y = cx, cy, or the picture's center

Distortion is that of nerfstudio's rays, with coefficients k1 k2 k3 k4 p1 p2, by name or in this order as
``distortion_params``. ``camera_model`` only tells perspective from fisheye lenses. With u the ideal point,

    d = u (1 + k1 |u|^2 + k2 |u|^4 + k3 |u|^6 + k4 |u|^8) + tangential(p1, p2, u)

where u is (x/z, y/z), or for a fisheye the direction with its angle to the axis as length; instant-ngp's lenses are the
same without k3, k4 and, for a fisheye, without p1, p2. So k3 is OpenCV's, but OpenCV's k4 is a term of the denominator:
k4 of a perspective lens is refused unless ``camera_model`` is FULL_OPENCV, whose k4 k5 k6 are OpenCV's.
Source: nerfstudio, cameras/camera_utils.py and cameras.py; instant-ngp, src/nerf_loader.cu, common_device.cuh.
"""

import math
from collections.abc import Callable
from reprlib import repr as brief
from typing import Any

from nerfkit.cameras.lens import Lens
from nerfkit.errors import problem

POLYNOMIAL = ("k1", "k2", "k3", "k4", "p1", "p2")  # the order of distortion_params
PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV")
FISHEYE = ("OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
OTHER_KINDS = ("latlong", "equirectangular", "orthographic", *(f"ftheta_p{order}" for order in range(5)))
KEYS = frozenset(
    [f"{stem}_{axis}" for stem in ("fl", "camera_angle") for axis in "xy"]
    + ["x_fov", "y_fov", "cx", "cy", "w", "h", "distortion_params", "is_fisheye", "camera_model"]
    + [*POLYNOMIAL, "k5", "k6", *OTHER_KINDS]
)

Keys = dict[str, Any]
_REMEDY = "Export it again or correct the value."


def read_lens(top: Keys, frame: Keys, stored: Callable[[], tuple[int, int]], where: str) -> Lens:
    """The lens of a frame, for pictures of the size that the file states.

    Args:
        top, frame: what the file and what the frame say; keys with the value null are left out.
        stored: gives width and height of the frame's picture, asked where ``w`` or ``h`` is missing.
        where: how a message names the frame.

    Raises:
        SceneError: no focal length, a value out of its range, a camera model that is not perspective or fisheye.
    """
    both = top | frame
    fisheye = _is_fisheye(both, where)
    width, height = _size(both, stored, where)
    x, y = (_focal(top, frame, axis, size, where) for axis, size in (("x", width), ("y", height)))
    fx, fy = x or y, y or x
    if fx is None or fy is None:
        raise problem(where, "no focal length: neither fl_x nor camera_angle_x", "one of them", "Add fl_x, in pixels.")
    cx, cy = (_number(both, key, where, size / 2) for key, size in (("cx", width), ("cy", height)))
    given = _coefficients(top, where) | _coefficients(frame, where)
    k1, k2, k3, k4, p1, p2, k5, k6 = (given.get(key, 0.0) for key in (*POLYNOMIAL, "k5", "k6"))
    full = str(both.get("camera_model", "")).upper() == "FULL_OPENCV"
    if ((k4 and not fisheye) or k5 or k6) and not full:
        key = next(key for key in ("k4", "k5", "k6") if given.get(key))
        raise problem(
            where,
            f"{key} is {given[key]:g}: nerfstudio's k4 is the factor of r^8, which no lens model here has",
            "k1, k2, k3, p1 and p2 for a perspective lens, k1 to k4 for a fisheye",
            'Calibrate without it; if k4 is that of OpenCV, write "camera_model": "FULL_OPENCV".',
        )
    bent: tuple[float, ...] = ()
    if fisheye and (p1 or p2):
        model, bent = "THIN_PRISM_FISHEYE", (k1, k2, p1, p2, k3, k4, 0.0, 0.0)
    elif fisheye:
        model, bent = "OPENCV_FISHEYE", (k1, k2, k3, k4)
    elif k3 or k4 or k5 or k6:
        model, bent = "FULL_OPENCV", (k1, k2, p1, p2, k3, k4, k5, k6)
    elif k1 or k2 or p1 or p2:
        model, bent = "OPENCV", (k1, k2, p1, p2)
    else:
        model = "PINHOLE"
    return Lens(model, width, height, (fx, fy, cx, cy, *bent))


def _is_fisheye(both: Keys, where: str) -> bool:
    """Whether it is a fisheye lens, by ``camera_model`` or, where that is missing, ``is_fisheye``."""
    other = next((key for key in OTHER_KINDS if both.get(key) not in (None, False)), None)
    if other is not None:
        raise problem(
            where, f"the camera is {other}", "a perspective or fisheye camera", "Render perspective pictures of it."
        )
    flag = both.get("is_fisheye")
    if flag not in (None, False, True):
        raise problem(where, f"is_fisheye is {brief(flag)}", "true or false", _REMEDY)
    stated = both.get("camera_model")
    if stated is None:
        return bool(flag)
    model = stated.upper() if isinstance(stated, str) else stated
    if model not in [*PERSPECTIVE, *FISHEYE]:
        expected = f"one of {', '.join((*PERSPECTIVE, *FISHEYE))}"
        raise problem(where, f"camera_model is {brief(stated)}", expected, "Export pictures of such a camera.")
    if flag is not None and bool(flag) != (model in FISHEYE):
        raise problem(
            where, f"camera_model is {model}, is_fisheye {str(bool(flag)).lower()}", "the same of both", "Remove one."
        )
    return model in FISHEYE


def _number(content: Keys, key: str, where: str, default: float) -> float:
    value = content.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e100:
        raise problem(where, f"{key} is {brief(value)}", "a finite number", _REMEDY)
    return float(value)


def _size(both: Keys, stored: Callable[[], tuple[int, int]], where: str) -> tuple[int, int]:
    """Width and height; where one is missing, it follows from the other and the picture."""
    stated = [_number(both, key, where, 0.0) if key in both else None for key in ("w", "h")]
    for key, value in zip("wh", stated, strict=True):
        if value is not None and not 1 <= value < 1e6:
            raise problem(where, f"{key} is {value:g}", "the picture's size in pixels", _REMEDY)
    w, h = stated
    if w is None or h is None:
        across, down = stored()
        w, h = w or (h * across / down if h else across), h or (w * down / across if w else down)
    return max(1, round(w)), max(1, round(h))


def _focal(top: Keys, frame: Keys, axis: str, size: int, where: str) -> float | None:
    """The focal length along an axis, in pixels."""
    angles = ((f"{axis}_fov", math.pi / 180, "degrees below 180"), (f"camera_angle_{axis}", 1, "radians below pi"))
    for level in (frame, top):
        if f"fl_{axis}" in level:
            length = _number(level, f"fl_{axis}", where, 0.0)
            if not length > 1e-6:
                raise problem(where, f"fl_{axis} is {length:g}", "a positive number of pixels", _REMEDY)
            return length
        for key, unit, expected in angles:
            if key in level:
                angle = _number(level, key, where, 0.0) * unit
                if not 1e-6 < angle < math.pi - 1e-6:
                    raise problem(where, f"{key} is {brief(level[key])}", f"an angle in {expected}", _REMEDY)
                return size / 2 / math.tan(angle / 2)
    return None


def _coefficients(level: Keys, where: str) -> dict[str, float]:
    """The distortion that the frame or the top states."""
    listed = level.get("distortion_params")
    if listed is None:
        return {key: _number(level, key, where, 0.0) for key in (*POLYNOMIAL, "k5", "k6") if key in level}
    if not isinstance(listed, list) or len(listed) != len(POLYNOMIAL):
        raise problem(where, f"distortion_params is {brief(listed)}", f"the list [{', '.join(POLYNOMIAL)}]", _REMEDY)
    named = {f"distortion_params, {key}": value for key, value in zip(POLYNOMIAL, listed, strict=True)}
    return {key: _number(named, f"distortion_params, {key}", where, 0.0) for key in POLYNOMIAL}
