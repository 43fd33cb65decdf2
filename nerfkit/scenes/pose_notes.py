"""What poses say of themselves: the wrong convention, photos of one place and direction."""

from collections.abc import Sequence

import numpy as np

from nerfkit.errors import problem
from nerfkit.scenes.normalize import focus_of

NEAR = 0.7  # cosine between a camera's view and the direction of what it looks at: 45 degrees
FEW, MANY = 0.25, 0.9  # shares of cameras: too few look there, and nearly all would
SOME = 10  # points whose middle tells where the object is
ALIKE = 0.9  # length of the mean view: such cameras look in one direction, and where their axes meet says nothing
EQUAL = 1e-6  # difference of two poses, of positions in units of their extent

_TURNED = np.diag([1.0, -1.0, -1.0, 1.0])


def convention_note(poses: np.ndarray, points: np.ndarray, center: Sequence[float] | None, where: str) -> list[str]:
    """A line if the cameras look away from what they should look at, and another convention would turn them there.

    Cameras around something that photos were taken of outward from its middle look like that, too, and are right.

    Args:
        poses: camera to world (N,3,4), OpenGL axes.
        points: (P,3) on what they look at; of less than ``SOME``, the point nearest to all axes stands for them.
        center: (3,) of what they look at, if the user says so.
        where: how a message names the data set.
    """
    target = np.median(points, axis=0) if len(points) >= SOME else None
    target = target if center is None else np.array(center)
    now = float((_cosines(poses, target) > NEAR).mean())
    if now > FEW:
        return []
    square = np.concatenate([poses, np.broadcast_to([[0.0, 0, 0, 1]], (len(poses), 1, 4))], 1)
    back = np.linalg.inv(square)
    turned = _fit([square @ _TURNED], target)
    inverted = _fit([back, back @ _TURNED, _TURNED @ back, _TURNED @ back @ _TURNED], target)  # the world may turn, too
    if not turned and not inverted:
        return []
    seems = "matrices seem to be world to camera in place of camera to world, or the reverse: write their inverses"
    if turned > inverted:
        seems = "axes seem to be OpenCV's (y down, view along +z) in place of OpenGL's (y up, view along -z), or the "
        seems += "reverse: negate the second and third column of each camera-to-world matrix"
    thing = "where their axes meet" if target is None else "the object"
    return [f"{where}: {round((1 - now) * len(poses))} of {len(poses)} cameras do not look at {thing}; their {seems}"]


def _cosines(poses: np.ndarray, target: np.ndarray | None) -> np.ndarray:
    """Between each camera's view and the direction of the target, or of where the axes meet; 0 there."""
    toward = (focus_of(poses) if target is None else target) - poses[:, :, 3]
    there = EQUAL * (1 + np.abs(poses[:, :, 3]).max())
    return -np.einsum("ni,ni->n", poses[:, :, 2], toward) / (np.linalg.norm(toward, axis=1) + there)


def _fit(candidates: list[np.ndarray], target: np.ndarray | None) -> float:
    """The mean cosine of the best of the candidates (N,4,4) whose cameras nearly all look there; 0 for none."""
    if target is None:
        candidates = [each for each in candidates if np.linalg.norm(each[:, :3, 2].mean(0)) < ALIKE]
    cosines = [_cosines(each[:, :3], target) for each in candidates]
    return max((float(each.mean()) for each in cosines if (each > NEAR).mean() > MANY), default=0.0)


def repeated_note(poses: np.ndarray, names: list[str], where: str) -> list[str]:
    """A line if some photos have another one's place and direction.

    Raises:
        SceneError: all have the same.
    """
    position = poses[:, :, 3] - poses[:, :, 3].mean(0)
    extent = max(float(np.abs(position).max()), EQUAL * (1 + float(np.abs(poses[:, :, 3]).max())))
    rounded = np.concatenate([poses[:, :, :3].reshape(-1, 9), position / extent], 1) / EQUAL
    _, first = np.unique(np.round(rounded), axis=0, return_index=True)
    repeats = sorted({*range(len(poses))} - {*first.tolist()})
    if len(first) == 1 and len(poses) > 1:
        raise problem(
            where,
            f"all {len(poses)} photos have the same pose",
            "photos from around the object",
            "Export the poses again: each photo has its own.",
        )
    if not repeats:
        return []
    return [f"{where}: {len(repeats)} photos have the pose of an earlier one, the first is {names[repeats[0]]}"]
