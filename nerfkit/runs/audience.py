"""Who looks at a run while it is made."""

from collections.abc import Callable
from typing import Any


class Audience:
    """Nobody. ``viewer.live.Onlookers`` is somebody: browsers that are shown what fits have made so far."""

    def shows(self, name: str, made: Callable[[], Any], seen_from: Any = None) -> None:
        """There is something to be seen from now on.

        Args:
            name: ``field`` or ``mesh``.
            made: the ``RadianceModel`` or, in normalized units, ``Mesh`` as it is now; called between two steps.
            seen_from: the ``Scene``, or ``Cameras`` where there are no photos; None: that of before.
        """

    def turn(self, title: str, step: int) -> bool:
        """Between two steps of the fit ``title``, ``step`` of which are done: whether this took time."""
        return False
