"""What the readers of photo formats return: which photos there are, taken from where and through what lens."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nerfkit.cameras.lens import Lens
from nerfkit.scenes.sightings import Sightings


class Photo(NamedTuple):
    """One photo as its format describes it.

    ``name`` of the file in the source; ``pose`` (3,4) float64, camera to world in the format's own units, OpenGL camera
    axes (x right, y up, looks along -z); ``lens``; ``ignore``, the file of a mask whose black pixels teach nothing;
    ``alpha``, the file whose brightness is the photo's alpha: where it is black, there is nothing; ``moving``, the file
    of a mask whose pixels teach nothing unless they are black, the opposite of ``ignore``.
    """

    name: str
    pose: np.ndarray
    lens: Lens
    ignore: str | None = None
    alpha: str | None = None
    moving: str | None = None


@dataclass
class Capture:
    """The photos of one format.

    Attributes:
        photos: sorted by name; no file is missing.
        points: (P,3) float64 on what the photos show, in the poses' units: those that the poses were found with, or of
            depth files; (0,3) where there are none.
        sightings: which photo saw which of the points, where the format says so.
        split: training and test photos; None where the format has none. A photo may be in neither.
        up: the world's up axis where the format fixes it; else it is found from the cameras.
        notes: what a user should know of how it was read, a line each.
        sphere: center and radius, in the poses' units, of the ball around the object where the format states one.
    """

    photos: list[Photo]
    points: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    sightings: Sightings = field(default_factory=Sightings)
    split: tuple[list[int], list[int]] | None = None
    up: tuple[float, float, float] | None = None
    notes: list[str] = field(default_factory=list)
    sphere: tuple[tuple[float, float, float], float] | None = None
