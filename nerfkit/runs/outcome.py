"""What a run was asked and what came of it, in short: for sweeps and for TensorBoard's tab HPARAMS."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

OTHERS = ("scene", "stages", "export")  # sections of metrics.json that are no results
ELSEWHERE = ("output", "resume", "viewer", "viewer_port")  # options that the result does not depend on


def asked(words: Sequence[str], config: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """The options that the words of a command set; the last word of a key counts.

    Args:
        words: ``KEY=VALUE``, with Hydra's ``+`` or not; others are left out.
        config: what they led to, plain: numbers and texts are taken from there, and all else as the words have it.
    """
    found: dict[str, bool | float | str] = {}
    for word in words:
        key, sign, text = word.lstrip("+").partition("=")
        if sign and key not in ELSEWHERE:
            value: Any = config
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            found[key] = value if isinstance(value, bool | int | float | str) else text
    return found


def figures(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Section, key and value of the measurements in metrics.json: numbers that are no counts and no times."""
    for section, values in metrics.items():
        for key, value in values.items() if isinstance(values, dict) and section not in OTHERS else ():
            if isinstance(value, float) and key != "seconds":
                yield section, key, value
