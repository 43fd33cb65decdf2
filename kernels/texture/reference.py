"""The oracle, in plain PyTorch: area means by matrices, and the 3 x 3 texels nearest to every sample, weighed."""

import torch
from torch import Tensor


def halve(texture: Tensor) -> Tensor:
    """The next level (N,A',B',C) of a texture (N,A,B,C)."""
    rows, columns = (_overlaps(size).to(texture) for size in texture.shape[1:3])
    return torch.einsum("ia,nabc,jb->nijc", rows, texture, columns)


def _overlaps(size: int) -> Tensor:
    """The share (m,n) that each of n equal parts of a line has in each of m = max(1, n // 2) equal parts of it."""
    half = max(1, size // 2)
    edges = torch.arange(size + 1, dtype=torch.float64)
    coarse = torch.arange(half + 1, dtype=torch.float64) * size / half
    right = torch.minimum(edges[1:], coarse[1:, None])
    left = torch.maximum(edges[:-1], coarse[:-1, None])
    return (right - left).clamp(min=0) * half / size


def sample_texture(texture: Tensor, uv: Tensor, covered: Tensor, level: Tensor | None) -> Tensor:
    """See ``nerfkit.kernels.texture.sample_texture``; texture (N,A,B,C), uv (P,2), covered and level (P,)."""
    dtype = torch.promote_types(texture.dtype, uv.dtype)
    texture, uv = texture.to(dtype), uv.to(dtype)
    number = torch.arange(len(uv), device=uv.device) // max(len(uv) // max(len(texture), 1), 1)  # (P,), the texture's
    levels = [texture]
    while level is not None and max(levels[-1].shape[1:3]) > 1:
        levels.append(halve(levels[-1]))
    texels = torch.cat([x.reshape(-1, x.shape[-1]) for x in levels])  # (T, C)
    first = torch.tensor([0, *(x[..., 0].numel() for x in levels)], device=uv.device).cumsum(0)
    sizes = torch.tensor([x.shape[1:3] for x in levels], device=uv.device)

    def bilinear(k: Tensor) -> Tensor:
        height, width = sizes[k].unbind(-1)  # (P,)
        columns, in_row = _nearest(uv[:, 0] * width - 0.5, width)  # (P, 3)
        rows, in_column = _nearest((1 - uv[:, 1]) * height - 0.5, height)
        row = first[k][:, None] + (number * height)[:, None] * width[:, None] + rows * width[:, None]
        values = texels[row[:, :, None] + columns[:, None, :]]  # (P, 3, 3, C)
        return torch.einsum("pi,pj,pijc->pc", in_column, in_row, values)

    if level is None:
        value = bilinear(torch.zeros_like(number))
    else:
        top = len(levels) - 1
        place = torch.nan_to_num(level, nan=0.0).clamp(0, top)
        k = place.detach().long().clamp(max=max(top - 1, 0))
        f = (place - k)[:, None]
        value = bilinear(k) * (1 - f) + bilinear((k + 1).clamp(max=top)) * f
    return torch.where(covered[:, None], value, 0.0)


def _nearest(position: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """The three texels (P,3) nearest to a position (P,) on an axis of ``size``, and their hats' weights (P,3).

    The positive part is written with |z|, whose derivative at 0 is 0 in PyTorch: the mean of both sides at every kink.
    """
    position = torch.minimum(torch.nan_to_num(position, nan=-1.0).clamp(min=-1), size.to(position))[:, None]
    texel = position.detach().round().long() + torch.arange(-1, 2, device=position.device)
    slack = 1 - (position - texel).abs()
    return torch.minimum(texel.clamp(min=0), size[:, None] - 1), (slack + slack.abs()) / 2
