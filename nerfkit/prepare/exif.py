"""What a photo's EXIF says of how it was taken: which way up, through what lens, when. All of it is untrusted."""

import math
from typing import Any, NamedTuple

from PIL import Image

MAKE, MODEL, ORIENTATION, EXIF_IFD = 271, 272, 274, 0x8769
TAKEN, FOCAL, WIDTH, PLANE_RESOLUTION, PLANE_UNIT, SUBSECOND, FOCAL_35 = 36867, 37386, 40962, 41486, 41488, 37521, 41989
DIAGONAL_35 = math.hypot(36, 24)  # of the film that "35 mm equivalent" refers to, in millimeters
UNITS = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}  # millimeters

# Orientation -> what turns the stored pixels upright (EXIF 2.32, section 4.6.4).
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Exif(NamedTuple):
    """``orientation`` 1 to 8; ``focal`` in pixels of the stored photo, or None; ``device`` make, model and focal length
    as one text, "" if unknown; ``taken``, a text that sorts by time, or None.
    """

    orientation: int
    focal: float | None
    device: str
    taken: str | None


def read_exif(image: Image.Image) -> Exif:
    """The EXIF of an opened photo; what is absent or makes no sense is as if it were absent."""
    try:
        main = image.getexif()
        inner = dict(main.get_ifd(EXIF_IFD))
        tags: dict[int, Any] = dict(main) | inner
    except Exception:  # Pillow raises what the damaged block makes it raise
        return Exif(1, None, "", None)
    orientation = tags.get(ORIENTATION)
    focal = focal_in_pixels(tags, image.size)
    device = " ".join(_text(tags.get(tag)) for tag in (MAKE, MODEL)).strip()
    length = next((number for tag in (FOCAL, FOCAL_35) if (number := _number(tags.get(tag)))), None)
    taken = _text(tags.get(TAKEN))
    return Exif(
        orientation if orientation in TURNS else 1,
        focal,
        f"{device} {length:g} mm".strip() if length else device,
        f"{taken}.{_text(tags.get(SUBSECOND))}" if taken else None,
    )


def focal_in_pixels(tags: dict[int, Any], size: tuple[int, int]) -> float | None:
    """The focal length in pixels of a photo of ``size``.

    From the 35 mm equivalent f35: f = f35 diagonal / 43.27 mm (CIPA DC-008 compares diagonals). Without one, from the
    focal length and the sensor's pixels a millimeter. None where neither is stated, or the result is absurd.
    """
    longer = max(size)
    focal = 0.0
    if equivalent := _number(tags.get(FOCAL_35)):
        focal = equivalent * math.hypot(*size) / DIAGONAL_35
    elif (length := _number(tags.get(FOCAL))) and (resolution := _number(tags.get(PLANE_RESOLUTION))):
        focal = length * resolution / UNITS.get(int(_number(tags.get(PLANE_UNIT)) or 2), 25.4)
        focal *= longer / (_number(tags.get(WIDTH)) or longer)  # the photo may have been made smaller since
    return focal if 0.2 * longer < focal < 20 * longer else None


def _number(value: Any) -> float | None:
    """A positive, finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if 0 < number < 1e9 else None


def _text(value: Any) -> str:
    return value.strip("\0 ")[:80] if isinstance(value, str) else ""
