"""What of the color layer is constant along a ray: u = W_v sh(d) + b_c, block of rays by block."""

import numba
import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ..elementary import rowwise
from ..jit import jit

BLOCK = 256  # rays that a thread takes at a time
PARTS = 16  # of the rays at most, each with sums of its own: so sums do not depend on threads


@rowwise
def _of_rays(sh, transposed, bias, u):
    for ray in range(u.shape[0]):
        row = u[ray]
        row[:] = bias
        for k in range(transposed.shape[0]):
            factor, column = sh[ray, k], transposed[k]
            for j in range(row.shape[0]):
                row[j] += factor * column[j]


@rowwise
def _of_rays_backward(sh, du, transposed, bias):
    for ray in range(du.shape[0]):
        row = du[ray]
        for j in range(row.shape[0]):
            bias[j] += row[j]
        for k in range(transposed.shape[0]):
            factor, column = sh[ray, k], transposed[k]
            for j in range(row.shape[0]):
                column[j] += factor * row[j]


@jit
def _forward(sh, transposed, bias, u):
    for index in numba.prange((len(u) + BLOCK - 1) // BLOCK):
        first = int(np.int64(index)) * BLOCK
        _of_rays(sh[first : first + BLOCK], transposed, bias, u[first : first + BLOCK])


@jit
def _backward(sh, du, transposed, bias):
    parts, rays = len(bias), len(du)
    for index in numba.prange(parts):
        part = int(np.int64(index))
        first, end = rays * part // parts, rays * (part + 1) // parts
        _of_rays_backward(sh[first:end], du[first:end], transposed[part], bias[part])


class OfRays(torch.autograd.Function):
    """u (R, w) from sh (R, k), W_v (w, k) and b_c (w,)."""

    @staticmethod
    def forward(ctx, sh, matrix, bias):
        u = torch.empty(len(sh), len(bias))
        transposed = matrix.detach().t().contiguous()
        _forward(sh.detach().contiguous().numpy(), transposed.numpy(), bias.detach().contiguous().numpy(), u.numpy())
        ctx.save_for_backward(sh, matrix)
        return u

    @staticmethod
    @once_differentiable
    def backward(ctx, du):
        sh, matrix = ctx.saved_tensors
        parts = max(1, min(PARTS, len(sh) // BLOCK))
        transposed, bias = torch.zeros(parts, *matrix.shape[::-1]), torch.zeros(parts, len(matrix))
        _backward(sh.contiguous().numpy(), du.contiguous().numpy(), transposed.numpy(), bias.numpy())
        by_sh = du @ matrix if ctx.needs_input_grad[0] else None
        return by_sh, transposed.sum(0).t().contiguous(), bias.sum(0)
