"""The ranges of ``conf/rasterizer``: what can be known to be wrong before a picture is made."""

import math
from collections.abc import Mapping
from typing import Any

from nerfkit.errors import ConfigError
from nerfkit.raster.visibility import VISIBILITIES

ABOVE_0 = {
    "dibr": ("sigmainv",),
    "softras": ("sigma", "gamma", "eps", "near", "far", "dist_eps"),
    "nmr": ("eps",),
}


def check_rasterizer(options: Mapping[str, Any]) -> None:
    """Checks the visibility gradient's name, and the settings of all of them.

    Args:
        options: the config's group ``rasterizer``.

    Raises:
        ConfigError: a value that cannot be used; the message names the key and says which values can.
    """
    if options["visibility"] not in VISIBILITIES:
        raise ConfigError(f"rasterizer.visibility={options['visibility']}: expected one of {', '.join(VISIBILITIES)}")
    for name, keys in ABOVE_0.items():
        for key in keys:
            value = options[name][key]
            _expect(f"{name}.{key}", value, math.isfinite(value) and value > 0, "a number above 0")
    dibr, softras = options["dibr"], options["softras"]
    length = dibr["boxlen"]
    _expect("dibr.boxlen", length, math.isfinite(length) and length >= 0, "a length in halves of the picture, from 0")
    _expect("dibr.knum", dibr["knum"], dibr["knum"] >= 1, "a whole number of faces, at least 1")
    near, far, least = softras["near"], softras["far"], softras["dist_eps"]
    _expect("softras.near", near, near < far, f"less than rasterizer.softras.far={far}")
    _expect("softras.dist_eps", least, least < 0.5, "a coverage above 0 and below 0.5")


def _expect(key: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"rasterizer.{key}={value}: expected {expected}")
