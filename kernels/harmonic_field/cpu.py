"""The harmonic field on a CPU: chunks of a few thousand samples stay in the cache from the embedding to the colours.

Matrix products go to oneDNN (with ReLU folded into the product) or, where torch lacks it, to ``linear``; the embedding
and both heads are Numba. A chunk ends where a ray ends, so that the per-ray direction term can be summed without
atomics.
"""

import functools
import math
from itertools import pairwise

import numba
import numpy as np
import torch
from torch import Tensor

from ..jit import jit
from . import octaves, reference
from .spec import FieldSpec, FieldWeights

CHUNK = 8192  # samples: at 64 to 128 columns a layer's activations are 2 to 4 MB
BLOCK = 512  # samples a thread takes at once; partial sums are kept per block, so threads do not change results
ROWS = 512  # matrices are padded to a multiple of this: oneDNN compiles a product anew for every height it meets

# sin(2 pi t) = t * P(t^2) on |t| <= 1/4: least-squares fit at Chebyshev nodes, error below 1e-7.
_nodes = np.cos((np.arange(64) + 0.5) * np.pi / 64) * 0.25
_P = tuple(
    float(c)
    for c in np.linalg.lstsq(_nodes[:, None] ** (2 * np.arange(6) + 1), np.sin(2 * np.pi * _nodes), rcond=None)[0]
)
SINE = np.array(_P, np.float32)
P0, P1, P2, P3, P4, P5 = SINE
QUARTER, HALF = np.float32(0.25), np.float32(0.5)


@jit(fastmath=True)
def _embed(x, half_octave, offset, append_input, out):
    """out[s, j] = sin(2 pi (x . half_octave[:, j] + offset[j])); only one axis of a column of half_octave is not 0."""
    count, waves = x.shape[0], offset.shape[0]
    for block in numba.prange((count + BLOCK - 1) // BLOCK):
        for s in range(block * BLOCK, min(count, (block + 1) * BLOCK)):
            x0, x1, x2 = x[s, 0], x[s, 1], x[s, 2]
            for j in range(waves):
                t = x0 * half_octave[0, j] + x1 * half_octave[1, j] + x2 * half_octave[2, j]
                t -= np.rint(t)  # exact: whole turns removed from a number that is x times a power of two
                t += offset[j]
                t -= np.rint(t)
                t = (HALF - t) if t > QUARTER else t
                t = (-HALF - t) if t < -QUARTER else t
                q = t * t
                out[s, j] = t * (P0 + q * (P1 + q * (P2 + q * (P3 + q * (P4 + q * P5)))))
            if append_input:
                out[s, waves], out[s, waves + 1], out[s, waves + 2] = x0, x1, x2


@jit(fastmath=True)
def _heads(h, z, u, offsets, first_ray, first_sample, w_density, b_density, w_colour, b_colour, relu, raw, logits):
    """z += u_ray (and ReLU), raw = w_d . h + b_d, logits = W_o z + b_o, for the whole rays of one chunk."""
    rays, width, columns = offsets.shape[0] - 1, h.shape[1], z.shape[1]
    for block in numba.prange((rays + 63) // 64):
        for r in range(block * 64, min(rays, (block + 1) * 64)):
            ray = first_ray + r
            for s in range(offsets[r] - first_sample, offsets[r + 1] - first_sample):
                a = np.float32(0)
                for j in range(width):
                    a += h[s, j] * w_density[j]
                raw[s] = a + b_density
                c0, c1, c2 = np.float32(0), np.float32(0), np.float32(0)
                for j in range(columns):
                    v = z[s, j] + u[ray, j]
                    if relu:
                        v = max(v, np.float32(0))
                    z[s, j] = v
                    c0 += v * w_colour[0, j]
                    c1 += v * w_colour[1, j]
                    c2 += v * w_colour[2, j]
                logits[s, 0], logits[s, 1], logits[s, 2] = c0 + b_colour[0], c1 + b_colour[1], c2 + b_colour[2]


@jit(fastmath=True)
def _heads_backward(h, z, g_raw, g_logits, w_colour, relu, dz, partial_density, partial_colour):
    """dz = g_logits W_o (times ReLU' where ``relu``), and per block the sums g_raw h and g_logits z^T.

    The last column of the sums takes g_raw and g_logits themselves, for the biases.
    """
    count, width, columns = h.shape[0], h.shape[1], z.shape[1]
    for block in numba.prange((count + BLOCK - 1) // BLOCK):
        of_density, of_colour = partial_density[block], partial_colour[block]
        of_density[:] = 0
        of_colour[:] = 0
        of_red, of_green, of_blue = of_colour[0], of_colour[1], of_colour[2]
        red, green, blue = w_colour[0], w_colour[1], w_colour[2]
        for s in range(block * BLOCK, min(count, (block + 1) * BLOCK)):
            g, features = g_raw[s], h[s]
            for j in range(width):
                of_density[j] += g * features[j]
            of_density[width] += g
            g0, g1, g2 = g_logits[s, 0], g_logits[s, 1], g_logits[s, 2]
            hidden, out = z[s], dz[s]
            for j in range(columns):
                v = hidden[j]
                of_red[j] += g0 * v
                of_green[j] += g1 * v
                of_blue[j] += g2 * v
            for j in range(columns):
                d = g0 * red[j] + g1 * green[j] + g2 * blue[j]
                out[j] = d if (hidden[j] > 0 or not relu) else np.float32(0)
            of_red[columns] += g0
            of_green[columns] += g1
            of_blue[columns] += g2


@jit(fastmath=True)
def _sum_rays(dz, offsets, first_ray, first_sample, du):
    """du[ray] = sum of dz over the ray's samples."""
    rays, columns = offsets.shape[0] - 1, dz.shape[1]
    for block in numba.prange((rays + 63) // 64):
        for r in range(block * 64, min(rays, (block + 1) * 64)):
            for j in range(columns):
                du[first_ray + r, j] = 0
            for s in range(offsets[r] - first_sample, offsets[r + 1] - first_sample):
                for j in range(columns):
                    du[first_ray + r, j] += dz[s, j]


def _linear(x: Tensor, matrix: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """x W^T + b and, for "relu", its positive part, in one pass where oneDNN is there."""
    if torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(x, matrix, bias, activation, [], "")
    y = torch.nn.functional.linear(x, matrix, bias)
    return y.relu_() if activation == "relu" else y


@functools.cache
def _wave_table(spec: FieldSpec) -> tuple[np.ndarray, np.ndarray]:
    """half_octave (3, 6K) and offset (6K,) of ``_embed``: axis by axis, sines then cosines (a quarter turn ahead)."""
    table = np.zeros((3, 6 * spec.octaves), np.float32)
    for axis in range(3):
        for part in range(2):
            start = (2 * axis + part) * spec.octaves
            table[axis, start : start + spec.octaves] = 0.5 * 2.0 ** np.arange(spec.octaves)
    offset = np.tile(np.repeat(np.array([0.0, 0.25], np.float32), spec.octaves), 3).astype(np.float32)
    return table, offset


def _embedding(x: Tensor, spec: FieldSpec) -> Tensor:
    """e(x) of one chunk, with rows of zeros up to a multiple of ``ROWS``."""
    count = x.shape[0]
    out = torch.empty(-(-count // ROWS) * ROWS, spec.position_size)
    out[count:] = 0
    if spec.omega0 == math.pi:
        _embed(x.numpy(), *_wave_table(spec), spec.append_input, out.numpy())
    elif spec.octaves <= octaves.MOST_OCTAVES:
        omega0 = np.float32(spec.omega0)
        octaves.embed(x.numpy(), omega0, spec.octaves, spec.append_input, octaves.INVERSE_TURN, SINE, out.numpy())
    else:
        out[:count] = reference.embed(x, spec.octaves, spec.omega0, spec.append_input)
    return out


def _trunk(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> list[Tensor]:
    """[e(x), h_1, ..., h_n] for one chunk, padded as the embedding is."""
    layers = [_embedding(x, spec)]
    for number, (matrix, bias) in enumerate(weights.hidden):
        if number and number == spec.skip:  # W [h, e] = W_h h + W_e e
            width = layers[-1].shape[1]
            z = _linear(layers[-1], matrix[:, :width], bias, "none")
            z.addmm_(layers[0], matrix[:, width:].t())
            layers.append(z.relu_() if spec.activation == "relu" else torch.nn.functional.softplus(z, spec.beta))
        elif spec.activation == "relu":
            layers.append(_linear(layers[-1], matrix, bias, "relu"))
        else:
            layers.append(torch.nn.functional.softplus(_linear(layers[-1], matrix, bias, "none"), spec.beta))
    return layers


def _softplus_slope(h: Tensor, beta: float) -> Tensor:
    """Softplus' derivative from its output h: 1 - exp(-beta h)."""
    return torch.expm1(h * -beta).neg_()


def _chunks(offsets: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of rays of about CHUNK samples each."""
    total = int(offsets[-1])
    count = max(1, round(total / CHUNK))
    marks = np.searchsorted(offsets, np.arange(count) * total // count, side="left")
    marks = np.unique(np.append(marks, len(offsets) - 1))
    return [(int(a), int(b)) for a, b in pairwise(marks)]


def harmonic_density(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """sigma(x) without a graph, (S,3) -> (S,)."""
    out = torch.empty(x.shape[0])
    with torch.no_grad():
        for start in range(0, x.shape[0], CHUNK):
            h = _trunk(x[start : start + CHUNK], weights, spec)[-1]
            raw = torch.addmv(weights.density[1], h, weights.density[0][0])
            piece = out[start : start + CHUNK]
            piece.copy_(reference.density_of(raw[: len(piece)], spec))
    return out


class _HarmonicField(torch.autograd.Function):
    """Gradients to the weights only: other requests go to the reference. ``keep``: a backward may follow."""

    @staticmethod
    def forward(ctx, x, offsets, directions, spec, keep, *tensors):
        weights = FieldWeights.unflatten(tensors)
        count = x.shape[0]
        e_d = reference.embed(directions, spec.direction_octaves, spec.omega0, spec.append_input)
        u = torch.addmm(weights.feature[1], e_d, weights.direction.t())  # (R, c)
        raw, logits = torch.empty(count), torch.empty(count, 3)
        ray_offsets = offsets.numpy()
        relu = spec.activation == "relu"
        saved = []
        for a, b in _chunks(ray_offsets):
            first, last = int(ray_offsets[a]), int(ray_offsets[b])
            layers = _trunk(x[first:last], weights, spec)
            z = _linear(layers[-1], weights.feature[0], None, "none")
            _heads(
                layers[-1].numpy(), z.numpy(), u.numpy(), ray_offsets[a : b + 1], a, first,
                weights.density[0][0].numpy(), weights.density[1].numpy()[0],
                weights.colour[0].numpy(), weights.colour[1].numpy(), relu,
                raw[first:last].numpy(), logits[first:last].numpy(),
            )  # fmt: skip
            if not relu:
                z = torch.nn.functional.softplus(z, spec.beta)
                torch.addmm(weights.colour[1], z[: last - first], weights.colour[0].t(), out=logits[first:last])
            if keep:
                saved.append((a, b, layers, z))
        ctx.saved, ctx.spec, ctx.weights, ctx.offsets, ctx.e_d = saved, spec, weights, ray_offsets, e_d
        sigma, rgb = reference.density_of(raw, spec), logits.sigmoid_()
        # Detached: an output kept as it is would hold its own graph node, and the node the output, until the collector
        # runs.
        ctx.raw, ctx.sigma, ctx.rgb = raw, sigma.detach(), rgb.detach()
        return sigma, rgb

    @staticmethod
    def backward(ctx, g_sigma, g_rgb):
        spec, weights, offsets = ctx.spec, ctx.weights, ctx.offsets
        if spec.density_activation == "exp":
            g_raw = g_sigma * ctx.sigma * (ctx.raw <= 15.0)
        else:
            g_raw = g_sigma * (ctx.raw * spec.beta).sigmoid()
        g_logits = g_rgb * ctx.rgb * (1 - ctx.rgb)
        grads = FieldWeights.unflatten(tuple(torch.zeros_like(t) for t in weights.flat()))
        width, columns = weights.feature[0].shape[1], weights.feature[0].shape[0]
        du = torch.zeros(len(offsets) - 1, columns)
        w_density, w_feature_t = weights.density[0], weights.feature[0].t().contiguous()
        backward_matrices = [matrix[:, :width].t().contiguous() for matrix, _ in weights.hidden]  # of h alone
        relu = spec.activation == "relu"
        for a, b, layers, z in ctx.saved:
            first, last = int(offsets[a]), int(offsets[b])
            h, count = layers[-1], last - first
            blocks = (count + BLOCK - 1) // BLOCK
            dz = torch.empty_like(z)
            dz[count:] = 0
            of_density, of_colour = torch.empty(blocks, width + 1), torch.empty(blocks, 3, columns + 1)
            _heads_backward(
                h[:count].numpy(), z.numpy(), g_raw[first:last].numpy(), g_logits[first:last].numpy(),
                weights.colour[0].numpy(), relu, dz.numpy(), of_density.numpy(), of_colour.numpy(),
            )  # fmt: skip
            if not relu:
                dz *= _softplus_slope(z, spec.beta)
            _sum_rays(dz.numpy(), offsets[a : b + 1], a, first, du.numpy())
            of_density, of_colour = of_density.sum(0), of_colour.sum(0)
            grads.density[0][0] += of_density[:-1]
            grads.density[1][0] += of_density[-1]
            grads.colour[0].add_(of_colour[:, :-1])
            grads.colour[1].add_(of_colour[:, -1])
            grads.feature[0].addmm_(dz.t(), h)
            dh = _linear(dz, w_feature_t, None, "none")
            dh[:count].addr_(g_raw[first:last], w_density[0])
            for i in reversed(range(len(layers) - 1)):
                if relu:
                    dh = torch.ops.aten.threshold_backward(dh, layers[i + 1], 0)
                else:
                    dh *= _softplus_slope(layers[i + 1], spec.beta)
                of_matrix = grads.hidden[i][0]
                of_matrix[:, : layers[i].shape[1]].addmm_(dh.t(), layers[i])
                if i and i == spec.skip:
                    of_matrix[:, width:].addmm_(dh.t(), layers[0])
                grads.hidden[i][1].add_(dh.sum(0))
                if i > 0:
                    dh = _linear(dh, backward_matrices[i], None, "none")
        grads.feature[1].copy_(du.sum(0))
        torch.mm(du.t(), ctx.e_d, out=grads.direction)
        return None, None, None, None, None, *grads.flat()


def harmonic_field(
    x: Tensor, offsets: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec
) -> tuple[Tensor, Tensor]:
    """sigma (S,) and c (S,3) of packed samples; gradients to all weights."""
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in weights.flat())
    return _HarmonicField.apply(x, offsets, directions, spec, keep, *weights.flat())
