"""How far two surfaces lie apart."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.mesh.mesh import Mesh, face_normals
from nerfkit.mesh.sampling import sample_surface
from nerfkit.mesh.tree import closest_points


class SurfaceDistance(NamedTuple):
    """How far two surfaces lie apart, lengths in units of the second (true) mesh's bounding-box diagonal.

    Attributes:
        chamfer: (accuracy + completeness) / 2.
        accuracy: mean distance from the first surface to the second.
        completeness: mean distance from the second surface to the first.
        f_score: harmonic mean of the shares of either surface that lie within the (first) threshold of the other.
        f_scores: the same for every threshold asked for.
        normal_error: mean angle in degrees between the normals at the points of either surface and at the nearest
            points of the other, the mean of both directions; 180 for surfaces that look opposite ways.
        hausdorff: the largest distance of a sampled point from the other surface.
    """

    chamfer: float
    accuracy: float
    completeness: float
    f_score: float
    f_scores: dict[float, float]
    normal_error: float
    hausdorff: float


def surface_distance(
    mesh: Mesh, true: Mesh, count: int = 100_000, threshold: float | Sequence[float] = 0.005, seed: int = 0
) -> SurfaceDistance:
    """Compare two surfaces through ``count`` points sampled on each, and the exact nearest point of the other surface.

    Equal surfaces have distance 0 up to float32's rounding, about 1e-7 of their coordinates. (From sampled point to
    sampled point they would be 0.5 sqrt(area / count) apart, which hides what is finer.) The figures are means over
    samples: they vary by about their spread over sqrt(count) from seed to seed.

    Args:
        threshold: for the F-score, one or more fractions of the true mesh's diagonal.

    Raises:
        ValueError: a mesh without area.
    """
    thresholds = [threshold] if isinstance(threshold, float | int) else list(threshold)
    mesh = mesh.about(true.origin)
    forward, forward_angle = _distances(mesh, true, count, seed)
    backward, backward_angle = _distances(true, mesh, count, seed + 1)
    diagonal = true.diagonal()
    forward, backward = forward / diagonal, backward / diagonal
    f_scores = {}
    for limit in thresholds:
        precision, recall = float((forward < limit).double().mean()), float((backward < limit).double().mean())
        f_scores[limit] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    accuracy, completeness = float(forward.mean()), float(backward.mean())
    return SurfaceDistance(
        chamfer=(accuracy + completeness) / 2,
        accuracy=accuracy,
        completeness=completeness,
        f_score=f_scores[thresholds[0]],
        f_scores=f_scores,
        normal_error=(forward_angle + backward_angle) / 2,
        hausdorff=max(float(forward.max()), float(backward.max())),
    )


def _distances(mesh: Mesh, other: Mesh, count: int, seed: int) -> tuple[Tensor, float]:
    """Distances (count,) of points on ``mesh`` from ``other``, and the mean angle there between their normals."""
    samples = sample_surface(mesh.vertices.detach().cpu(), mesh.faces.cpu(), count, seed)
    closest = closest_points(samples.points, other)
    normals = face_normals(other.vertices.detach().cpu(), other.faces.cpu())[closest.face].double()
    cosine = (samples.normals.double() * normals).sum(-1)
    sine = torch.linalg.cross(samples.normals.double(), normals).norm(dim=-1)  # the arc cosine is coarse near 0
    known = (normals != 0).any(-1)  # a face without area has no normal
    angle = torch.atan2(sine, cosine)[known]
    return closest.distance, math.degrees(float(angle.mean())) if len(angle) else math.nan
