"""The oracle: plain PyTorch, any float dtype."""

import torch
from torch import Tensor

from . import Lists

FLAT = 8
"""Roundings of a face's longest side: the normal of a face that is lower would be chance."""


def shape_terms(vertices: Tensor, lists: Lists, around: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See the package."""
    count = lists.neighbors.diff()  # (V,)
    vertex = torch.arange(len(vertices), device=vertices.device).repeat_interleave(count)  # (2E,)
    toward = vertices[lists.neighbor] - vertices[vertex]
    bend = torch.zeros_like(vertices).index_add(0, vertex, toward) / count.clamp(min=1)[:, None] / around[:, None]
    stretch = toward.norm(dim=-1) / length[lists.edge] - 1  # (2E,), each edge twice
    normals = face_normals(vertices, lists.faces)
    face = torch.arange(len(normals), device=vertices.device).repeat_interleave(lists.pairs.diff())  # (2P,)
    turn = 1 - lists.sign.to(vertices) * (normals[face] * normals[lists.beside]).sum(-1)
    return _mean(bend.square().sum(-1)), _mean(turn), _mean(stretch.square())


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (F,3); 0, with a zero gradient, for flat faces."""
    a, b, c = vertices[faces].unbind(1)
    along, across = b - a, c - a
    scale = torch.maximum(along.detach().abs(), across.detach().abs()).amax(-1, keepdim=True)  # (F, 1)
    scale = torch.where(scale > 0, scale, 1)
    cross = torch.linalg.cross(along / scale, across / scale)
    height = cross.norm(dim=-1, keepdim=True)
    tall = height > FLAT * torch.finfo(vertices.dtype).eps
    return torch.where(tall, cross / torch.where(tall, height, 1), 0)


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(len(values), 1)
