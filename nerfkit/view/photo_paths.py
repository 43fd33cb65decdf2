"""Camera paths where the photos were taken: through their places in order, and an ellipse fitted to these."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.cameras import Cameras, look_at
from nerfkit.view.reference import Point, offsets, with_lens
from nerfkit.view.spline import Spline

FLAT = 0.5  # the least spread of the photos, as a share of the next one, up to which they span a plane of their own
FARTHER = 2  # times the median distance to the nearest photo: steps between photos that are in no order


def photos(reference: Cameras, frames: int, **_: object) -> Cameras:
    """Through the places of the reference cameras in order, at constant speed, turned as they are between them.

    It begins at the first one and ends at the last one. Other arguments of ``orbit`` are ignored.
    """
    poses = reference.camera_to_world.detach().cpu().double().numpy()
    if len(poses) == 1:
        return with_lens(reference, reference.camera_to_world.detach().cpu().float().expand(frames, 3, 4))
    way = Spline(poses)
    return with_lens(reference, torch.from_numpy(way.at(way.evenly(frames))[0]).float())


def out_of_order(cameras: Cameras) -> bool:
    """Whether a way through the cameras in order jumps about: its median step is far longer than to the nearest one."""
    at = cameras.positions.detach().cpu().double()
    if len(at) < 3:
        return False
    away = torch.cdist(at, at)
    away.fill_diagonal_(float("inf"))
    return bool(away.diagonal(1).median() > FARTHER * away.amin(0).median())


def ellipse(
    reference: Cameras,
    frames: int,
    up: Point = (0.0, 1.0, 0.0),
    center: Point | None = None,
    points: Tensor | None = None,
    **_: object,
) -> Cameras:
    """Once around an ellipse fitted to the reference cameras' positions in their plane, looking at ``center``.

    The plane is that of the positions' two greatest spreads, or perpendicular to ``up`` where the third is not much
    less; it passes through their mean. Steps are as long as one another, counterclockwise seen from the side of ``up``
    (or, of a plane that stands upright, from the side of the cameras), from the point nearest to the first camera's
    direction. Other arguments of ``orbit`` are ignored.
    """
    away, up, center = offsets(reference, up, center, points)
    at = away.double().numpy()
    mean = at.mean(0)
    spread, axes = np.linalg.svd(at - mean, full_matrices=False)[1:]
    level = up.double().numpy()
    flat = len(at) > 2 and spread[2] < FLAT * spread[1]
    normal = axes[2] if flat else level
    side = normal @ level if abs(normal @ level) > 0.2 else normal @ mean
    normal = normal if side >= 0 else -normal
    right = np.cross(np.eye(3)[np.abs(normal).argmin()], normal)
    right /= np.linalg.norm(right)
    plane = np.stack([right, np.cross(normal, right)])  # (2, 3)
    middle, half = fitted_ellipse((at - mean) @ plane.T)
    first = np.linalg.lstsq(half, (at[0] - mean) @ plane.T - middle, rcond=1e-9)[0]
    start = np.arctan2(first[1], first[0])
    turn = start + np.linspace(0, 2 * np.pi, 64 * 64 + 1)
    ring = middle + np.stack([np.cos(turn), np.sin(turn)], 1) @ half.T  # (T, 2)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(ring, axis=0), axis=1))])
    even = np.interp(np.linspace(0, length[-1], frames, endpoint=False), length, turn)
    ring = middle + np.stack([np.cos(even), np.sin(even)], 1) @ half.T
    position = center + torch.from_numpy(mean + ring @ plane).float()
    return with_lens(reference, look_at(position, center, normalize(up, dim=0)))


def fitted_ellipse(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ellipse middle + half (cos t, sin t) nearest to points (N,2): its middle (2,), and half (2,2), det half >= 0.

    The conic of least algebraic distance that is an ellipse (Fitzgibbon, Pilu and Fisher 1999, in the stable form of
    Halir and Flusser 1998). Where that is no use, as of fewer than six points, of a line or a short arc, it is the
    ellipse with the points' own mean and twice their covariance.
    """
    mean = points.mean(0)
    size = np.abs(points - mean).max()
    own = _root(2 * np.cov(points.T, bias=True)) if len(points) > 1 else np.zeros((2, 2))
    if len(points) < 6 or size < 1e-9:
        return mean, own
    x, y = ((points - mean) / size).T
    quadratic, linear = np.stack([x * x, x * y, y * y], 1), np.stack([x, y, np.ones_like(x)], 1)
    try:
        onto = -np.linalg.solve(linear.T @ linear, linear.T @ quadratic)  # (3, 3)
        reduced = quadratic.T @ quadratic + quadratic.T @ linear @ onto
        vectors = np.linalg.eig(np.stack([reduced[2] / 2, -reduced[1], reduced[0] / 2]))[1].real
    except np.linalg.LinAlgError:
        return mean, own
    a, b, c = vectors[:, (4 * vectors[0] * vectors[2] - vectors[1] ** 2).argmax()]
    d, e, f = onto @ (a, b, c)
    form = np.array([[a, b / 2], [b / 2, c]])
    if np.linalg.det(form) <= 1e-9 * np.trace(form) ** 2:
        return mean, own
    middle = -np.linalg.solve(form, (d, e)) / 2
    half = _root(np.linalg.inv(form / (middle @ form @ middle - f)))
    if np.abs(middle).max() > 1 or np.linalg.norm(half, 2) > 2 or np.linalg.det(half) <= 0:
        return mean, own
    return mean + size * middle, size * half


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root (2,2) of a symmetric matrix; what is negative by rounding counts as 0."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T
