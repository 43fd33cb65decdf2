"""The oracle of nvdiffrast's rule: all neighboring pixels at once, in plain PyTorch."""

import torch
from torch import Tensor

from . import pixels

REACH = 1 / 16
"""A crossing may lie this far off the segment between the two centers."""


def find_pairs(points: Tensor, faces: Tensor, opposite: Tensor, face: Tensor, depth: Tensor, near: float) -> Tensor:
    """See ``find_pixel_pairs``; faces and opposite are (M,F,3), M one or N. For small sizes: it keeps every pair."""
    views, height, width = face.shape
    if faces.shape[1] == 0 or points.shape[1] == 0:
        return faces.new_zeros(0, 4)
    number = torch.arange(views * height * width, device=face.device).view(face.shape)
    found = []
    for axis in (0, 1):  # 0: pairs in a row, 1: pairs in a column
        first = (slice(None), slice(None), slice(None, -1)) if axis == 0 else (slice(None), slice(None, -1))
        second = (slice(None), slice(None), slice(1, None)) if axis == 0 else (slice(None), slice(1, None))
        differ = (face[first] != face[second]).reshape(-1)
        a, b = number[first].reshape(-1)[differ], number[second].reshape(-1)[differ]  # (P,)
        found.append(pairs_along(points, faces, opposite, face.reshape(-1), depth.reshape(-1), near, a, b, width))
    return torch.cat(found)


def pairs_along(points, faces, opposite, face, depth, near, a, b, width):  # type: ignore[no-untyped-def]
    """Of the neighbors a and b (P,) those that blend, (P',4)."""
    face_a, face_b = face[a].long(), face[b].long()
    own_is_a = torch.where((face_a >= 0) & (face_b >= 0), depth[a] < depth[b], face_a >= 0)
    own, other = torch.where(own_is_a, a, b), torch.where(own_is_a, b, a)
    pixels_a_view = face.shape[0] // max(points.shape[0], 1)
    view = own // max(pixels_a_view, 1)
    mesh = view if faces.shape[0] > 1 else torch.zeros_like(view)
    shown = torch.where(own_is_a, face_a, face_b)
    corners, beyond = faces[mesh, shown], opposite[mesh, shown]  # (P, 3)
    p = points[view[:, None], corners].double()  # (P, 3 corners, 3)
    wings = torch.where(beyond[..., None] >= 0, points[view[:, None], beyond.clamp(min=0)].double(), p)
    p1, p2 = p.roll(-1, 1), p.roll(-2, 1)  # the ends of the side that faces each corner

    def turn(apex: Tensor) -> Tensor:
        return (torch.linalg.cross(p1, p2, dim=-1) * apex).sum(-1)

    silhouette = torch.signbit(turn(wings)) == torch.signbit(turn(p))  # (P, 3)
    in_row = (a // width == b // width)[:, None]
    center = torch.stack([own % width + 0.5, own % pixels_a_view // width + 0.5], -1)
    place = p[..., :2] / p[..., 2:] - center[:, None]  # (P, 3, 2) from the own pixel's center
    x, y = (torch.where(in_row, place[..., k], place[..., 1 - k]) for k in (0, 1))  # along the pair and across
    x1, x2, y1, y2 = x.roll(-1, 1), x.roll(-2, 1), y.roll(-1, 1), y.roll(-2, 1)
    dx, dy = x2 - x1, y2 - y1
    crossed = torch.signbit(y1) != torch.signbit(y2)
    at = (other - own).sign()[:, None] * (x1 * dy - y1 * dx) / torch.where(crossed, dy, 1.0)
    at = torch.where(crossed, at, -torch.inf)
    side = 2 - at.flip(1).argmax(1, keepdim=True)  # of two that meet there the later one
    at, steep = at.gather(1, side), (dy.abs() >= dx.abs()).gather(1, side)
    counts = silhouette.gather(1, side) & steep & (at > -REACH) & (at < 1 + REACH)
    counts = (counts & (p[..., 2] >= near).all(1, keepdim=True) & torch.isfinite(p).all(-1).all(1, keepdim=True))[:, 0]
    ends = [corners.gather(1, (side + k) % 3)[:, 0] for k in (1, 2)]
    return torch.stack([own, other, *ends], 1)[counts]


def crossing(points: Tensor, pairs: Tensor, height: int, width: int) -> Tensor:
    """Where each pair's side crosses, as the share of the way from the own center to the other's, (P,).

    Its derivative is that of the same quotient with ``SOFTENING`` added to the divisor.
    """
    own, other, v1, v2 = pairs.unbind(-1)
    view = own // (height * width)
    (x1, y1), (x2, y2) = ((p[:, :2] / p[:, 2:]).unbind(-1) for p in (points[view, v1], points[view, v2]))
    column, row = own % width + 0.5, own // width % height + 0.5
    x1, x2, y1, y2 = x1 - column, x2 - column, y1 - row, y2 - row
    in_row = own // width == other // width
    x1, y1 = torch.where(in_row, x1, y1), torch.where(in_row, y1, x1)
    x2, y2 = torch.where(in_row, x2, y2), torch.where(in_row, y2, x2)
    dx, dy = x2 - x1, y2 - y1
    area = x1 * dy - y1 * dx
    soft = area / (dy + pixels.SOFTENING * torch.where(torch.signbit(dy), -1.0, 1.0))
    return (other - own).sign() * (soft + (area / dy - soft).detach())


def blend(image: Tensor, points: Tensor, pairs: Tensor) -> Tensor:
    """See ``blend_pixels``."""
    _, height, width, _ = image.shape
    own, other = pairs[:, 0], pairs[:, 1]
    at = crossing(points.double(), pairs, height, width)
    weight = 0.5 - torch.where((at > 0) & (at < 1), at, at.detach().clamp(0, 1))  # (P,) above 0: own takes of other
    target, source = torch.where(weight > 0, own, other), torch.where(weight > 0, other, own)
    flat = image.flatten(0, 2)
    change = weight.abs()[:, None] * (flat[source] - flat[target])
    return flat.index_add(0, target, change.to(image.dtype)).reshape(image.shape)
