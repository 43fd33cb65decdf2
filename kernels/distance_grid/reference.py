"""The oracle of the distance grid: plain PyTorch, any float dtype."""

import torch
from torch import Tensor
from torch.nn import functional

FLOOR = 1e-12  # under the root of |q|: where the distance is flat, it has a slope


def _interpolated(x: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """s (S,) and its gradient (S,3) at positions x (S,3)."""
    cells = len(nodes) - 1
    scaled = ((x + 1) / 2).clamp(0, 1) * cells  # (S, 3)
    cell = scaled.detach().nan_to_num().floor().clamp(max=cells - 1)
    corners = torch.cartesian_prod(*[torch.arange(2, device=x.device)] * 3)  # (8, 3)
    inside = (scaled - cell)[:, None]  # (S, 1, 3)
    shares = torch.where(corners == 1, inside, 1 - inside)  # (S, 8, 3)
    found = nodes[(cell.long()[:, None] + corners).unbind(-1)]  # (S, 8)
    sign, others = 2 * corners - 1, torch.stack([shares[..., [1, 2]], shares[..., [0, 2]], shares[..., [0, 1]]], 2)
    gradient = cells / 2 * (found[..., None] * sign * others.prod(-1)).sum(1)
    return (found * shares.prod(-1)).sum(-1), torch.where(x.abs() > 1, 0, gradient)


def distance_density(x: Tensor, nodes: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """sigma (S,) and the gradient (S,3) of s."""
    s, gradient = _interpolated(x, nodes)
    return _laplace(s, beta), gradient.detach()


def _laplace(s: Tensor, beta: float) -> Tensor:
    e = torch.exp(-s.abs() / beta) / 2
    return torch.where(s > 0, e, 1 - e) / beta


def distance_roughness(nodes: Tensor, band: float) -> tuple[Tensor, Tensor]:
    """The means of (|q| - 1)^2 and of the squared Laplacian."""
    h, count = 2 / (len(nodes) - 1), len(nodes) - 2
    middle = nodes[1:-1, 1:-1, 1:-1]
    lower = [nodes.narrow(axis, 0, count) for axis in range(3)]
    upper = [nodes.narrow(axis, 2, count) for axis in range(3)]
    inner = [tuple(slice(None) if i == axis else slice(1, -1) for i in range(3)) for axis in range(3)]
    lower, upper = ([t[cut] for t, cut in zip(side, inner, strict=True)] for side in (lower, upper))
    near = ~(middle.detach().abs() >= band)  # what is not a number counts
    number = near.sum().clamp_min(1)
    slope = (torch.stack(upper) - torch.stack(lower)) / (2 * h)
    off = (slope.square().sum(0) + FLOOR).sqrt() - 1
    curved = (torch.stack([*lower, *upper]).sum(0) - 6 * middle) / h
    return (off**2 * near).sum() / number, (curved**2 * near).sum() / number


def distance_bounds(nodes: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The densities of each cell's farthest and nearest node."""
    grid = nodes[None, None]
    nearest, farthest = -functional.max_pool3d(-grid, 2, stride=1), functional.max_pool3d(grid, 2, stride=1)
    return _laplace(farthest[0, 0], beta), _laplace(nearest[0, 0], beta)


def nested_nodes(coarse: Tensor, fine: Tensor) -> Tensor:
    """fine + coarse, interpolated along one axis after the other."""
    for axis in range(3):
        count = coarse.shape[axis] - 1
        low, high = coarse.narrow(axis, 0, count), coarse.narrow(axis, 1, count)
        pairs = torch.stack([low, (low + high) / 2], axis + 1).flatten(axis, axis + 1)
        coarse = torch.cat([pairs, coarse.narrow(axis, count, 1)], axis)
    return fine + coarse
