"""Which photo saw which of the points: COLMAP's tracks, or pixels of known depth."""

from dataclasses import dataclass, field, replace

import numpy as np


def _none(kind: type) -> np.ndarray:
    return field(default_factory=lambda: np.empty(0, kind))


@dataclass(frozen=True)
class Sightings:
    """M times that a photo saw a point.

    Attributes:
        view: (M,) int32, numbers of the photos.
        point: (M,) int32, numbers of the points.
        weight: (M,) float32 in [0,1], how well the point is known.
    """

    view: np.ndarray = _none(np.int32)
    point: np.ndarray = _none(np.int32)
    weight: np.ndarray = _none(np.float32)

    def __len__(self) -> int:
        return len(self.view)

    def after(self, count: int) -> "Sightings":
        """The same of points before which ``count`` others stand."""
        return replace(self, point=self.point + np.int32(count))


def sightings(photos: list[int], seen_by: np.ndarray, point: np.ndarray, error: np.ndarray) -> Sightings:
    """The sightings of tracks.

    A point's weight is exp(-(e / mean e)^2) for the reprojection error e, as the code of Deng et al., "Depth-supervised
    NeRF", 2022 has it, and 1 where nobody measured e: files have what is not positive there, or not finite.

    Args:
        photos: the id of each photo, in the order of the views; ids of no photo may occur in ``seen_by``.
        seen_by: (M,) ids.
        point: (M,) numbers of points.
        error: (P,) mean reprojection error of the points in pixels.
    """
    ids = np.array(photos)
    order = ids.argsort()
    place = np.searchsorted(ids[order], seen_by).clip(max=len(ids) - 1)
    view = order[place]
    here = ids[view] == seen_by
    measured = (error > 0) & np.isfinite(error)
    mean = error[measured].mean() if measured.any() else 1.0
    weight = np.exp(-((np.where(measured, error, 0.0) / mean) ** 2))
    view, point = view[here].astype(np.int32), point[here].astype(np.int32)
    return Sightings(view, point, weight[point].astype(np.float32))
