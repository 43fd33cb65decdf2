"""The oracle: shifted pictures for ``edge_grad``, a walk in Python for ``neural_renderer``. For small sizes."""

import math

import torch
from torch import Tensor

from .corners import face_vertices, pixel_positions, seen_faces, to_points

ON_CENTER = 1e-9
"""An edge that passes a pixel's center by less, in pixels, goes through it: else rounding would choose a side."""


def edge_grad(
    image: Tensor,
    grad: Tensor,
    points: Tensor,
    faces: Tensor,
    face: Tensor,
    barycentrics: Tensor,
    near: float,
    max_dp_dr: float,
) -> Tensor:
    """Gradient (N,V,3) to the points of ``nerfkit.kernels.edge_gradient.edge_grad``."""
    if faces.shape[-2] == 0:
        return torch.zeros_like(points)
    view = torch.arange(face.shape[0], device=face.device)[:, None, None].expand(face.shape)
    vertices = face_vertices(faces, view, face.clamp(min=0).long())  # (N, H, W, 3)
    covered = face >= 0
    whole = torch.where(covered[..., None, None], points[view[..., None], vertices], torch.eye(3).to(points))
    edges = torch.linalg.cross(whole.roll(-1, -2), whole.roll(-2, -2), dim=-1)  # (N, H, W, 3, 3), of each corner
    edges = edges * (edges[..., 0, :] * whole[..., 0, :]).sum(-1).sign()[..., None, None]
    y, x = torch.meshgrid(*(torch.arange(n).to(points) + 0.5 for n in face.shape[1:]), indexing="ij")
    center = torch.stack([x, y, torch.ones_like(x)], -1).expand(*face.shape, 3)
    ahead = covered & (whole[..., 2] >= near).all(-1)
    corners = torch.where(ahead[..., None, None], whole, torch.ones(3, 3).to(points))
    position = torch.cat([pixel_positions(corners), corners[..., 2:]], -1)  # (N, H, W, 3, 3): x, y, w
    normal = torch.linalg.cross(position[..., 0, :] - position[..., 2, :], position[..., 1, :] - position[..., 0, :])

    fragment = torch.zeros_like(center)  # gradient by each pixel's fragment
    for dim, along, step in ((2, 0, 1), (2, 0, -1), (1, 1, 1), (1, 1, -1)):

        def other(values: Tensor, dim: int = dim, step: int = step) -> Tensor:
            return values.roll(-step, dim)

        place = center[..., along] + step
        inside = (place > 0) & (place < face.shape[dim])
        pair = inside & ahead & (other(face) != face)
        moved = -step * ((other(image) - image) * (other(grad) + grad)).sum(-1).to(points) / 2
        own_in_other = ((other(edges) * center[..., None, :]).sum(-1) > 0).all(-1) & other(covered)
        other_in_own = ((edges * other(center)[..., None, :]).sum(-1) > 0).all(-1)
        ends = pair & (~other(covered) | (own_in_other & ~other_in_own))
        crossing = pair & own_in_other & other_in_own & other(ahead)
        plane = [along, 2]
        slide = slide_of(normal[..., plane], other(normal)[..., plane], max_dp_dr)  # (N, H, W, 2)
        slide = torch.where(crossing[..., None], slide, 0.0)
        fragment[..., along] += torch.where(ends | crossing, moved, 0.0) * torch.where(ends, 1.0, slide[..., 0])
        fragment[..., 2] += torch.where(crossing, moved, 0.0) * slide[..., 1]

    spread = barycentrics.to(points)[..., None] * fragment[..., None, :]  # (N, H, W, 3, 3), by x, y and w
    rows = to_points(spread[..., :2], corners)
    rows[..., 2] += spread[..., 2]
    keys = view[..., None] * points.shape[1] + vertices
    flat = torch.zeros_like(points).reshape(-1, 3)
    return flat.index_add(0, keys[ahead].reshape(-1), rows[ahead].reshape(-1, 3)).view(points.shape)


def slide_of(moving: Tensor, fixed: Tensor, max_dp_dr: float) -> Tensor:
    """dp/dr (...,2) of two faces' normals (...,2) in the plane of a pair and the depth."""
    moving, fixed = (torch.nn.functional.normalize(n, dim=-1, eps=1e-30) for n in (moving, fixed))
    first = -fixed[..., 1]
    sine = first * moving[..., 0] + fixed[..., 0] * moving[..., 1]
    least = first.abs() / max_dp_dr if max_dp_dr > 0 else torch.zeros_like(first)
    size = torch.maximum(sine.abs(), least).clamp(min=1e-8)
    return (first / torch.where(sine < 0, -size, size))[..., None] * moving


def neural_renderer(
    image: Tensor, grad: Tensor, points: Tensor, faces: Tensor, face: Tensor, near: float, eps: float
) -> Tensor:
    """Gradient (N,V,3) to the points of ``nerfkit.kernels.edge_gradient.neural_renderer``."""
    seen = seen_faces(points, faces, face, near)
    corners = torch.zeros_like(seen.corners[..., :2])  # gradient by x and y
    for k, position in enumerate(pixel_positions(seen.corners) - 0.5):
        picture = image[seen.view[k]], grad[seen.view[k]], face[seen.view[k]] == seen.number[k]
        for start, end in ((0, 1), (1, 2), (2, 0)):
            for along in (0, 1):  # what moves: x, on lines that are rows; or y, on columns
                colors, weights, own = (x if along == 0 else x.transpose(0, 1) for x in picture)
                ends = position[[start, end]].flip(-1) if along == 0 else position[[start, end]]  # (2, 2): line, place
                moves = walk(colors, weights, own, ends.tolist(), 1 - 2 * along, eps)
                corners[k, start, along] += moves[0]
                corners[k, end, along] += moves[1]
    rows = to_points(corners, seen.corners)
    keys = seen.view[:, None] * points.shape[1] + seen.vertices
    flat = torch.zeros_like(points).reshape(-1, 3)
    return flat.index_add(0, keys.reshape(-1), rows.reshape(-1, 3)).view(points.shape)


def walk(
    image: Tensor, grad: Tensor, own: Tensor, ends: list[list[float]], rising: int, eps: float
) -> tuple[float, float]:
    """Moves of both ends of an edge across the lines of a picture (L,P,C), in places.

    Args:
        image, grad: (L,P,C).
        own: (L,P), whether a pixel shows the edge's face.
        ends: line and place of both ends.
        rising: side of an edge with growing line on which the face is not: 1 where places grow, -1 where they shrink.
        eps: added to distances, in halves of the number of places.
    """
    (line0, place0), (line1, place1) = ends
    lines, places = own.shape
    moves = [0.0, 0.0]
    if line0 == line1:
        return 0.0, 0.0
    out = rising if line0 < line1 else -rising
    place = torch.arange(places, dtype=torch.float64)
    for line in range(max(math.ceil(min(line0, line1)), 0), min(math.floor(max(line0, line1)), lines - 1) + 1):
        share = (line - line0) / (line1 - line0)
        cross = place0 + share * (place1 - place0)
        cross = round(cross) if abs(cross - round(cross)) < ON_CENTER else cross
        inner = math.floor(cross) if out > 0 else math.ceil(cross)
        outer = inner + out
        if min(inner, outer) < 0 or max(inner, outer) >= places:
            continue
        outward = (place - inner) * out > 0
        counts = torch.where(outward, own[line, inner], own[line])
        new = torch.where(outward[:, None], image[line, inner], image[line, outer])  # (P, C)
        gain = ((image[line] - new) * grad[line]).sum(-1).double().clamp(min=0) * counts
        side = torch.where(outward, -out, out)
        for end, weight in ((0, 1 - share), (1, share)):
            if weight > 0:
                distance = (place - cross).abs() / weight + eps * places / 2
                moves[end] += float((side * gain / distance).sum())
    return moves[0], moves[1]
