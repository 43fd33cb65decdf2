"""How large a picture may be so that it comes in time: sizes by level, from measured seconds.

Level 0 is the whole picture; each further level has 1/sqrt(2) of the sides, so half the pixels.
"""

import math

COARSEST = 10  # 1/32 of the sides
BUDGET = 0.06  # seconds of the first picture after a move: less than a tenth with a band that is under way, and the way
FINER = 2  # levels from one picture of a camera that stands still to the next: twice the sides


def size_at(level: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the picture of a level, of which ``size`` is level 0; each at least 1."""
    shrunk = 2 ** (-level / 2)
    return max(round(size[0] * shrunk), 1), max(round(size[1] * shrunk), 1)


def following(level: int) -> int | None:
    """The level after ``level`` while the camera stands still; None: that was the last one."""
    return max(level - FINER, 0) if level else None


class Pace:
    """Seconds a pixel of one kind of picture, by level: small pictures take more a pixel than large ones."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def record(self, level: int, pixels: int, seconds: float) -> None:
        """A picture of ``level`` with so many pixels took so long; it counts as much as all before."""
        new = seconds / max(pixels, 1)
        self._seconds[level] = (self._seconds.get(level, new) + new) / 2

    def expected(self, level: int, pixels: int) -> float:
        """Seconds of a picture of ``level``, by the nearest coarser level that is known, else the nearest finer one.

        A coarser level's are an upper bound, if what a picture takes is a constant and a share of its pixels.
        Infinite where nothing is known.
        """
        coarser = [known for known in self._seconds if known >= level]
        if not self._seconds:
            return math.inf
        return pixels * self._seconds[min(coarser) if coarser else max(self._seconds)]

    def first(self, size: tuple[int, int]) -> int:
        """The finest level whose picture takes ``BUDGET`` at most, of level 0's height and width; else the coarsest."""
        for level in range(COARSEST):
            if self.expected(level, math.prod(size_at(level, size))) <= BUDGET:
                return level
        return COARSEST
