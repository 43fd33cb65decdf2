"""The harmonic field on a GPU: launches of the kernels, and their autograd Functions.

The forward keeps 20 bytes a sample for compositing's backward (less than a sample's own position, ends and ray), and
the layers' outputs only where asked to ``store``. The backward goes over the samples a chunk at a time: the layers'
outputs again, gradients through the layers, products over the samples.
"""

import functools
import math
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..composite import triton as composite
from ..march import Samples
from . import reference
from .packing import DTYPES, HEADS, Packing, inverse_turn, pack, packing_of, unpack, wave_table
from .spec import FieldSpec, FieldWeights
from .triton_backward import (
    backward_kernel,
    embedded_kernel,
    heads_kernel,
    positions_kernel,
    ray_sums_kernel,
    squares_kernel,
)
from .triton_forward import field_kernel, render_kernel, starts_kernel

STARTS = 128  # spans that a program finds the first rays of
SPAN = 8  # tiles of samples that a program of ``render_kernel`` starts rays in
CHUNK_BYTES = 256 << 20  # of layers' outputs and gradients that the backward holds at a time
SHARE = 2048  # samples that a program sums a weight's gradient over, at least
MOST_PARTS = 64
MOST_ELEMENTS = 2**31 - 1  # of what ``render_kernel`` counts rays' features with
SCALED_TO = 64.0  # float16: what the largest gradient of a pixel is scaled to


class Tile(NamedTuple):
    """Shape of a program: ``samples`` a tile, ``block`` columns at a time, warps, stages of the loads' pipeline."""

    samples: int
    block: int
    warps: int
    stages: int


_TILES = {32: Tile(128, 32, 4, 2), 64: Tile(128, 64, 8, 2), 128: Tile(64, 64, 8, 2), 256: Tile(64, 32, 8, 2)}
_TILES_HIP = {32: Tile(128, 32, 4, 1), 64: Tile(128, 64, 4, 1), 128: Tile(64, 64, 4, 1), 256: Tile(32, 32, 4, 1)}


def tile_of(width: int, precision: str, hip: bool = torch.version.hip is not None) -> Tile:
    """The largest tile whose kernels compile without spilling, found by compiling; four-byte operands get less."""
    if DTYPES[precision].itemsize == 4:
        return Tile(32, 32, 4 if width <= 64 else 8, 1 if hip else 2)
    return (_TILES_HIP if hip else _TILES)[width]


def _precision(spec: FieldSpec) -> str:
    """As ``tl.dot`` takes it; AMD's float32 products are exact."""
    return "tf32" if spec.precision == "tf32" and torch.version.hip is None else "ieee"


class _Field(NamedTuple):
    """What every launch needs of a field: its weights as the kernels see them."""

    weights: FieldWeights
    spec: FieldSpec
    packing: Packing
    tile: Tile
    matrices: Tensor
    small: Tensor

    @staticmethod
    def of(weights: FieldWeights, spec: FieldSpec) -> "_Field":
        packing = packing_of(weights.feature[0].shape[1], len(weights.hidden), spec)
        packed = pack(weights, spec, packing, _precision(spec) == "tf32")
        return _Field(weights, spec, packing, tile_of(packing.width, spec.precision), *packed)

    @property
    def tables(self) -> tuple[Tensor, Tensor]:
        device = self.matrices.device
        return wave_table(self.spec, self.packing, device), inverse_turn(device)

    @property
    def precision(self) -> str:
        return _precision(self.spec)

    @property
    def embedding(self) -> dict[str, Any]:
        """Constants of a kernel that forms the embedding."""
        spec, packing = self.spec, self.packing
        exact = spec.omega0 != math.pi and spec.octaves > 0
        sizes = {"OCTAVES": spec.octaves, "EXACT": exact, "CHUNKS": packing.chunks, "CHUNK": packing.chunk}
        return {"OMEGA": float(spec.omega0), **sizes}

    @property
    def layers(self) -> dict[str, Any]:
        """Constants of a kernel that goes through the layers, a tile of samples at a time."""
        spec, packing, tile = self.spec, self.packing, self.tile
        return {
            "W": packing.width, "D": packing.depth, "M": tile.samples, "BN": tile.block, "PRECISION": self.precision,
            "SOFTPLUS": spec.activation == "softplus", "BETA": float(spec.beta),
            "EXP_DENSITY": spec.density_activation == "exp", "num_warps": tile.warps, "num_stages": tile.stages,
        }  # fmt: skip

    @property
    def forward(self) -> dict[str, Any]:
        return {**self.layers, **self.embedding, "SKIP": self.packing.skip}

    @property
    def backward(self) -> dict[str, Any]:
        return {**self.layers, "E": self.packing.columns, "HEADS": HEADS}

    @property
    def products(self) -> dict[str, Any]:
        """Constants of a kernel that sums products over samples."""
        tile = {"B": min(self.packing.width, 64), "BS": 32, "num_warps": 4, "num_stages": 2}
        return {"W": self.packing.width, "PRECISION": self.precision, **tile}

    @property
    def positions(self) -> dict[str, Any]:
        packing = self.packing
        sizes = {"W": packing.width, "D": packing.depth, "SKIP": packing.skip, "M": 64, "BN": min(packing.width, 32)}
        return {**sizes, **self.embedding, "PRECISION": self.precision, "num_warps": 4, "num_stages": 1}


class _Saved(NamedTuple):
    """What a backward needs of its forward, the field aside. ``layers`` is None where they were not stored."""

    x: Tensor
    u: Tensor
    ray_index: Tensor
    offsets: Tensor
    density: Tensor
    color: Tensor
    layers: Tensor | None = None


def _layers(field: _Field, rows: int) -> Tensor:
    shape = field.packing.depth + 1, rows, field.packing.width
    return torch.empty(shape, dtype=field.matrices.dtype, device=field.matrices.device)


def _evaluate(
    field: _Field, x: Tensor, u: Tensor | None, ray_index: Tensor | None, first: int, count: int,
    density: Tensor | None, color: Tensor | None, layers: Tensor | None,
) -> None:  # fmt: skip
    """Samples ``first`` to ``first + count``, into whichever of the last three is given."""
    if count == 0:
        return
    nothing = field.small  # a pointer must point somewhere
    field_kernel[(triton.cdiv(count, field.tile.samples),)](
        x, nothing if ray_index is None else ray_index, nothing if u is None else u, field.matrices, field.small,
        *field.tables, first, count, nothing if density is None else density, nothing if color is None else color,
        nothing if layers is None else layers, 0 if layers is None else layers.shape[1],
        COLOR=u is not None, SAVE=density is not None, STORE=layers is not None, **field.forward,
    )  # fmt: skip


def _per_ray(directions: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """u (R, w): the direction's share of the color layer and its bias, differentiable."""
    e = reference.embed(directions, spec.direction_octaves, spec.omega0, spec.append_input)
    return torch.nn.functional.linear(e, weights.direction, weights.feature[1])


def _zeros(device: torch.device, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Float32 zeros of these shapes, of one fill; each begins at a multiple of 16 bytes, as compiled kernels expect."""
    sizes = [math.prod(shape) for shape in shapes]
    parts = torch.zeros(sum(-(-size // 4) * 4 for size in sizes), device=device).split([-(-n // 4) * 4 for n in sizes])
    return [part[:size].view(shape) for part, size, shape in zip(parts, sizes, shapes, strict=True)]


@functools.lru_cache(maxsize=16)
def _one(device: torch.device) -> Tensor:
    return torch.ones((), device=device)


def _scale(spec: FieldSpec, *gradients: Tensor) -> Tensor:
    """What gradients are multiplied by on their way: 1, or for float16 a power of two that fits their size."""
    one = _one(gradients[0].device)
    if spec.precision != "fp16":
        return one
    largest = torch.stack([g.abs().max() if g.numel() else one * 0 for g in gradients]).max()
    scale = torch.exp2(torch.floor(torch.log2(SCALED_TO / largest)))
    return torch.where((largest > 0) & (scale > 0) & scale.isfinite(), scale, one)


def _gradients(
    field: _Field, saved: _Saved, d_density: Tensor, d_color: Tensor, scale: Tensor, to_positions: bool
) -> tuple[Tensor | None, Tensor, tuple[Tensor | None, ...]]:
    """dL/dx, dL/du and those of the flat weights from dL/ddensity (S,) and dL/dcolor (S,3)."""
    packing, tile = field.packing, field.tile
    w, d, device = packing.width, packing.depth, saved.x.device
    total = saved.x.shape[0]
    d_u = torch.zeros(saved.u.shape, device=device)
    d_x = torch.empty_like(saved.x) if to_positions else None
    flat = torch.zeros(packing.gradients, device=device) if total == 0 else None
    chunk = max(1, CHUNK_BYTES // (2 * (d + 1) * w * field.matrices.element_size()))
    chunk = min(total, triton.cdiv(chunk, tile.samples) * tile.samples)
    if flat is not None:
        return d_x, d_u, unpack(flat, field.weights, field.spec, packing)
    d_layers, d_heads = _layers(field, chunk), field.matrices.new_empty(chunk, HEADS)
    layers = _layers(field, chunk) if saved.layers is None else saved.layers
    step = field.products["BS"]
    share = triton.cdiv(max(SHARE, triton.cdiv(chunk, MOST_PARTS)), step) * step  # parts begin where a step does
    partial = torch.empty(triton.cdiv(chunk, share), packing.gradients, device=device)
    products, side = field.products, w // field.products["B"]
    places = [0, packing.again] if packing.skip else [0]
    for first in range(0, total, chunk):
        count = min(chunk, total - first)
        parts = triton.cdiv(count, share)
        layers_first = 0
        if saved.layers is None:
            layers_first = first
            _evaluate(field, saved.x, saved.u, saved.ray_index, first, count, None, None, layers)
        stored = layers, layers.shape[1], layers_first
        backward_kernel[(triton.cdiv(count, tile.samples),)](
            d_density, d_color, saved.density, saved.color, scale, field.matrices, field.small,
            *stored, d_layers, d_heads, chunk, first, count, **field.backward,
        )  # fmt: skip
        squares_kernel[(side * side, d, parts)](
            d_layers, chunk, *stored, partial, packing.gradients, packing.matrices, first, count, share,
            D=d, E=packing.columns, **products,
        )  # fmt: skip
        for place in places:
            embedded_kernel[(side * packing.chunks, parts)](
                d_layers[packing.skip - 1 if place else 0], saved.x, *field.tables, partial, packing.gradients, place,
                packing.matrices, first, count, share, BIAS=place == 0, **field.embedding, **products,
            )  # fmt: skip
        heads_kernel[(side, 2, parts)](
            d_heads, *stored, partial, packing.gradients, packing.matrices + d * w, first, count, share,
            D=d, HEADS=HEADS, **products,
        )  # fmt: skip
        ray_sums_kernel[(d_u.shape[0],)](d_layers[d], saved.offsets, d_u, first, count, W=w, BS=16, num_warps=1)
        if d_x is not None:
            positions_kernel[(triton.cdiv(count, field.positions["M"]),)](
                d_layers, chunk, saved.x, field.matrices, *field.tables, d_x, first, count, **field.positions
            )
        found = partial[:parts].sum(0)
        flat = found if flat is None else flat + found
    assert flat is not None
    if field.spec.precision == "fp16":
        d_x, d_u, flat = None if d_x is None else d_x / scale, d_u / scale, flat / scale
    return d_x, d_u, unpack(flat, field.weights, field.spec, packing)


class _HarmonicField(torch.autograd.Function):
    """(x, u, ray_index, offsets, spec, keep, *weights) -> density (S,), color (S,3)."""

    @staticmethod
    def forward(ctx, x, u, ray_index, offsets, spec, keep, *tensors):
        field = _Field.of(FieldWeights.unflatten(tensors), spec)
        count, u = x.shape[0], u.to(field.matrices.dtype)
        density, color = torch.empty(count, device=x.device), torch.empty(count, 3, device=x.device)
        _evaluate(field, x, u, ray_index, 0, count, density, color, None)
        if keep:
            ctx.field = field
            ctx.save_for_backward(x, u, ray_index, offsets, density, color)
        return density, color

    @staticmethod
    @once_differentiable
    def backward(ctx, d_density, d_color):
        d_density, d_color = d_density.contiguous(), d_color.contiguous()
        scale = _scale(ctx.field.spec, d_density, d_color)
        saved = _Saved(*ctx.saved_tensors)
        d_x, d_u, grads = _gradients(ctx.field, saved, d_density, d_color, scale, ctx.needs_input_grad[0])
        return d_x, d_u, None, None, None, None, *grads


class _HarmonicRender(torch.autograd.Function):
    """(x, u, samples, spec, by_length, early_stop, keep, store, *weights) -> color (R,3), opacity (R,), depth (R,)."""

    @staticmethod
    def forward(ctx, x, u, samples, spec, by_length, early_stop, keep, store, *tensors):
        field = _Field.of(FieldWeights.unflatten(tensors), spec)
        count, rays, device, u = x.shape[0], u.shape[0], x.device, u.to(field.matrices.dtype)
        # Zeros: nothing is written behind an early stop, nor of rays without samples.
        pixel, opacity, depth = _zeros(device, (rays, 3), (rays,), (rays,))
        density, color, weights, behind, used, layers = pixel, pixel, pixel, pixel, pixel, None
        if keep:
            density, color, weights, used = _zeros(device, (count,), (count, 3), (count,), (rays,))
            behind, used = torch.ones(rays, device=device), used.view(torch.int32)
            if store:
                layers = _layers(field, count).zero_() if early_stop > 0 else _layers(field, count)
        if count:
            span = SPAN * field.tile.samples
            programs = triton.cdiv(count, span)
            starts = torch.empty(programs + 1, dtype=torch.int64, device=device)
            starts_kernel[(triton.cdiv(programs + 1, STARTS),)](
                samples.offsets, starts, rays, programs + 1, count, SPAN=span, BLOCK=STARTS
            )
            render_kernel[(programs,)](
                x, samples.ray_index, u, field.matrices, field.small, *field.tables, starts, samples.offsets,
                samples.t_start, samples.t_end, early_stop, pixel, opacity, depth, behind, used,
                density, color, weights, pixel if layers is None else layers, 0 if layers is None else count,
                BY_LENGTH=by_length, SAVE=keep, STORE=layers is not None, **field.forward,
            )  # fmt: skip
        if keep:
            ctx.field, ctx.by_length = field, by_length
            ctx.save_for_backward(
                x, u, samples.ray_index, samples.offsets, density, color, layers,
                samples.t_start, samples.t_end, weights, behind, used,
            )  # fmt: skip
        return pixel, opacity, depth

    @staticmethod
    @once_differentiable
    def backward(ctx, d_pixel, d_opacity, d_depth):
        *saved, t_start, t_end, weights, behind, used = ctx.saved_tensors
        state = _Saved(*saved)
        d_density, d_color = composite.backward(
            state.color,
            t_start,
            t_end,
            state.offsets,
            weights,
            behind,
            used,
            ctx.by_length,
            d_pixel,
            d_opacity,
            d_depth,
        )
        scale = _scale(ctx.field.spec, d_pixel, d_opacity, d_depth)
        d_x, d_u, grads = _gradients(ctx.field, state, d_density, d_color, scale, ctx.needs_input_grad[0])
        return d_x, d_u, None, None, None, None, None, None, *grads


def harmonic_density(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """sigma(x) (S,). Without a graph; where one is wanted, by the reference."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *weights.flat())):
        return reference.harmonic_density(x, weights, spec)
    with torch.no_grad():
        density = torch.empty(x.shape[0], device=x.device)
        _evaluate(_Field.of(weights, spec), x.contiguous(), None, None, 0, x.shape[0], density, None, None)
    return density


def _keep(x: Tensor, u: Tensor, weights: FieldWeights) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in (x, u, *weights.flat()))


def packed_field(
    x: Tensor, offsets: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec
) -> tuple[Tensor, Tensor]:
    """sigma (S,) and c (S,3) of packed samples."""
    u = _per_ray(directions, weights, spec)
    x, offsets, ray_index = x.contiguous(), offsets.contiguous(), reference.ray_index(offsets, len(x))
    return _HarmonicField.apply(x, u, ray_index, offsets, spec, _keep(x, u, weights), *weights.flat())


def harmonic_render(
    x: Tensor, samples: Samples, directions: Tensor, weights: FieldWeights, spec: FieldSpec,
    by_length: bool, early_stop: float, store: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Color (R,3), opacity (R,) and depth (R,) of rays."""
    u = _per_ray(directions, weights, spec)
    if u.numel() > MOST_ELEMENTS:
        most = MOST_ELEMENTS // u.shape[1]
        raise ValueError(f"the triton kernels render {most} rays of width {u.shape[1]} at once, not {u.shape[0]}")
    samples = Samples(*(t.contiguous() for t in samples))
    keep = _keep(x, u, weights)
    return _HarmonicRender.apply(x.contiguous(), u, samples, spec, by_length, early_stop, keep, store, *weights.flat())
