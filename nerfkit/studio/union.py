"""The outside of solids that reach into one another: what a scanner could see of them."""

from collections.abc import Sequence

import numpy as np

from nerfkit.studio.solids import Solid

SPLITS = 3  # times that a face at a seam is split into quarters


def joined(solids: Sequence[Solid]) -> tuple[np.ndarray, np.ndarray]:
    """All vertices (V,3) and faces (F,3) of the solids, one after the other, hidden ones too."""
    starts = np.cumsum([0, *(len(solid.vertices) for solid in solids)])
    vertices = np.concatenate([solid.vertices for solid in solids])
    return vertices, np.concatenate([solid.faces + start for solid, start in zip(solids, starts[:-1], strict=True)])


def outside(solids: Sequence[Solid], attributes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (P,3), their attributes (P,A) and faces (F,3) of what lies inside no other solid.

    A face is kept if none of its corners lies inside another solid. Faces with some corners inside are split into
    quarters ``SPLITS`` times, and of the last pieces those with their center outside are kept: the cut follows a seam
    to an eighth of an edge. It leaves T-junctions: this mesh is for measuring distances to, and not watertight.

    Args:
        attributes: (V,A) of the vertices of ``joined``, interpolated where a face is split.
    """
    vertices, faces = joined(solids)
    hidden = np.zeros(len(vertices), bool)
    start = 0
    for solid in solids:
        own = slice(start, start + len(solid.vertices))
        hidden[own] = _inside_any(vertices[own], [other for other in solids if other is not solid])
        start = own.stop
    points = np.concatenate([vertices, attributes], -1)  # (V, 3 + A)
    count = hidden[faces].sum(-1)
    at_seams = np.flatnonzero((count > 0) & (count < 3))
    owner = np.repeat(np.arange(len(solids)), [len(solid.faces) for solid in solids])
    pieces = [np.empty((0, 3, points.shape[1]))]
    for number in np.unique(owner[at_seams]):
        others = [solid for solid in solids if solid is not solids[number]]
        corners = points[faces[at_seams[owner[at_seams] == number]]]  # (F, 3, 3 + A)
        for _ in range(SPLITS):
            corners = _quartered(corners)
            inside = _inside_any(corners[..., :3].reshape(-1, 3), others).reshape(-1, 3).sum(-1)
            pieces.append(corners[inside == 0])
            corners = corners[(inside > 0) & (inside < 3)]
        pieces.append(corners[~_inside_any(corners[..., :3].mean(1), others)])
    seams = np.concatenate(pieces).reshape(-1, points.shape[1])
    kept = np.concatenate([faces[count == 0], len(points) + np.arange(len(seams)).reshape(-1, 3)])
    used, kept = np.unique(kept, return_inverse=True)
    points = np.concatenate([points, seams])[used]
    return points[:, :3], points[:, 3:], kept.reshape(-1, 3)


def _inside_any(points: np.ndarray, solids: list[Solid]) -> np.ndarray:
    result = np.zeros(len(points), bool)
    for solid in solids:
        maybe = ~result
        for x, low, high in zip(points.T, *solid.bounds, strict=True):
            maybe &= (x > low) & (x < high)
        near = np.flatnonzero(maybe)
        result[near] = solid.inside(points[near])
    return result


def _quartered(corners: np.ndarray) -> np.ndarray:
    """Each triangle (F,3,A) as four (4F,3,A)."""
    a, b, c = corners.swapaxes(0, 1)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    return np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1).reshape(-1, 3, corners.shape[-1])
