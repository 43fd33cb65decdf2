"""What a picture of a view may show, whatever it is of."""

from collections.abc import Sequence

CHANNELS = ("rgb", "depth", "normal", "alpha")


def check_channels(channels: Sequence[str]) -> None:
    """Raises ValueError where one is none of ``CHANNELS``."""
    unknown = [name for name in channels if name not in CHANNELS]
    if unknown:
        raise ValueError(f"unknown channel {unknown[0]!r}; expected some of {', '.join(CHANNELS)}")
