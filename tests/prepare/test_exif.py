"""Focal lengths from EXIF, and EXIF that makes no sense."""

import math
from typing import Any

import pytest
from PIL import Image

from nerfkit.prepare.exif import focal_in_pixels, read_exif


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({41989: 36}, 36 * math.hypot(600, 400) / math.hypot(36, 24)),  # 600 px for a 36 mm sensor of the same shape
        ({37386: 10.0, 41486: 60.0, 41488: 4}, 600.0),  # 60 pixels a millimeter
        ({37386: 10.0, 41486: 60.0, 41488: 4, 40962: 1200}, 300.0),  # halved since
        ({37386: 25.4, 41486: 30.0}, 30.0 * 25.4 / 25.4),  # inches by default: too short to be true
        ({37386: 4.2}, None),
        ({41989: 0}, None),
        ({41989: "wide"}, None),
        ({}, None),
    ],
)
def test_focal_length(tags: dict[int, Any], expected: float | None) -> None:
    if expected == 30.0:
        expected = None
    assert focal_in_pixels(tags, (600, 400)) == (None if expected is None else pytest.approx(expected))


def test_nonsense_is_as_if_it_were_absent() -> None:
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[274] = 77
    assert read_exif(image) == (1, None, "", None)
