"""What can be known to be wrong with a recipe's config before any work is done, and before a run folder exists."""

import math
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nerfkit.errors import ConfigError
from nerfkit.options import leaves
from nerfkit.raster.settings import check_rasterizer

# Key of ``recipe`` -> least and greatest whole number; of each element, for a list.
WHOLE = {
    "steps": (1, 10**8),
    "frames": (1, 100_000),
    "size": (8, 4096),
    "views": (1, 10_000),
    "views_per_step": (1, 1000),
    "points": (1, 10**7),
    "subdivisions": (0, 8),  # 1.3 million faces
    "texture": (8, 8192),
}
ABOVE_0 = ("rate", "vertex_rate", "texture_rate", "color_rate", "large_rate", "halve_every", "radius")
# Words for a value -> the keys, and whether a value is one.
OTHER: dict[str, tuple[tuple[str, ...], Callable[[float], bool]]] = {
    "a number from 0 to less than 1": (("momentum",), lambda x: 0 <= x < 1),
    "a share above 0 and at most 1": (("final_rate",), lambda x: 0 < x <= 1),
    "degrees from -90 to 90": (("elevation",), lambda x: -90 <= x <= 90),
}
LISTS = {
    "variants": ("none", "smooth", "area", "both", "large_steps"),
    "tasks": ("silhouette", "painted"),
}
MOST_SEEDS = 2**62  # recipes count on from the seed


def check_recipe(config: DictConfig) -> None:
    """Checks ``recipe``, ``budget``, ``timelapse``, ``seed`` and ``rasterizer``.

    Numbers of ``recipe`` without a range of their own are weights, which must not be negative.

    Raises:
        ConfigError: a value that cannot be used; the message names the key and says which values can.
    """
    name = config.recipe.name
    own = OmegaConf.create((files("nerfkit.conf") / "experiment" / f"{name}.yaml").read_text(encoding="utf-8"))
    if set(own.recipe) != set(config.recipe):
        raise ConfigError(f"recipe.name={name}: the other keys are not this recipe's; choose it with experiment={name}")
    if not math.isfinite(config.budget):
        raise ConfigError(f"budget={config.budget}: expected the share of the steps to do, a finite number above 0")
    if not 0 <= config.timelapse.snapshots <= 10_000:
        raise ConfigError(
            f"timelapse.snapshots={config.timelapse.snapshots}: expected a whole number from 0 (none) to 10000"
        )
    if not 0 <= config.seed < MOST_SEEDS:
        raise ConfigError(f"seed={config.seed}: expected a whole number from 0 to 2^62 - 1")
    check_rasterizer(config.rasterizer)
    for key, value in leaves(config.recipe):
        for reason in _problems(key, value):
            raise ConfigError(f"recipe.{key}={_show(value)}: expected {reason}")


def _problems(key: str, value: Any) -> Iterator[str]:
    """What was expected in place of a value that cannot be used; nothing where it can."""
    if key == "start":
        if len(value) != 3 or not all(math.isfinite(x) for x in value) or not any(value):
            yield "the camera's place, three finite numbers, not all 0, as in [6,10,14]"
    elif isinstance(value, list):
        known = (
            f"some of {', '.join(LISTS[key])}" if key in LISTS else "whole numbers from {} to {}".format(*WHOLE[key])
        )
        if not value or len(set(value)) < len(value):
            yield f"{known}, each once"
        if any(x not in LISTS[key] if key in LISTS else not _whole(key, x) for x in value):
            yield known
    elif key in WHOLE:
        if not _whole(key, value):
            yield "a whole number from {} to {}".format(*WHOLE[key])
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            yield "a finite number"
        if key in ABOVE_0 and not value > 0:
            yield "a number above 0"
        for words, (keys, holds) in OTHER.items():
            if key in keys and not holds(value):
                yield words
        if value < 0 and key != "elevation":
            yield "a number, not negative"


def _whole(key: str, value: Any) -> bool:
    least, most = WHOLE[key]
    return isinstance(value, int) and least <= value <= most


def _show(value: Any) -> str:
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, list) else str(value)
