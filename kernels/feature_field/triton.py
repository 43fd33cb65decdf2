"""The feature field on a GPU: launches of the kernels, and their autograd Function.

The forward keeps features, density and color, 80 bytes a sample of the default field. Everything else lives for a chunk
of the samples: the features, where no backward is to follow; the layers again, their derivatives, and what the table's
gradient is sorted in.
"""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ..checks import refuse_again
from ..harmonic_field.reference import ray_index
from ..harmonic_field.triton_backward import ray_sums_kernel
from ..segments import segment_sum
from .harmonics import harmonics
from .spec import MOST_WIDTH, FeatureWeights, Spec
from .triton_backward import derivatives_kernel, products_kernel
from .triton_encodings import BLOCK, ENCODINGS, Encoding, columns_of, padded
from .triton_forward import layers_kernel

LOOKUPS = 32  # samples of a program that looks up the table: few, so that there are many to wait for it
SAMPLES = 64  # of one that goes through the layers
HEADS = 16  # rows that the four outputs take in a product over samples: its least
SHARE = 256  # samples that a program sums a product over, at least
MOST_PARTS = 512
MOST_ENTRIES = 1 << 24  # of the table's gradient that are sorted at once: 8 or 12 for each sample and level
FEW = 8  # numbers of such an entry; where there are more, as many entries less


class _Field(NamedTuple):
    """A field as its kernels take it."""

    spec: Spec
    color: bool
    table: Tensor
    hidden: Tensor
    hidden_bias: Tensor
    density: Tensor
    density_bias: Tensor
    feature: Tensor
    rgb: Tensor
    rgb_bias: Tensor

    @property
    def width(self) -> int:
        return len(self.hidden_bias)

    @property
    def encoding(self) -> Encoding:
        return ENCODINGS[type(self.spec)]

    @property
    def columns(self) -> Tensor:
        return columns_of(self.spec, self.table.device)

    @property
    def chunk(self) -> int:
        """Samples, whole tiles, so that what belongs to a chunk begins at a multiple of 16 bytes."""
        entries = self.encoding.nodes * self.spec.levels * triton.cdiv(self.spec.features, FEW)
        return max(1, MOST_ENTRIES // entries // SAMPLES) * SAMPLES

    @property
    def lookups(self) -> dict[str, Any]:
        """Constants of a kernel that looks up the table."""
        spec = self.spec
        sizes = {"SIZE": spec.size, "F": spec.features, "E": padded(spec.size)}
        return {**sizes, "M": LOOKUPS, "BLOCK": BLOCK, "num_warps": 4}

    @property
    def layers(self) -> dict[str, Any]:
        """Constants of a kernel that goes through the layers."""
        size, width = self.spec.size, self.width
        sizes = {"WIDTH": width, "SIZE": size, "W": padded(width), "E": padded(size), "COLOR": self.color}
        return {**sizes, "M": SAMPLES, "BLOCK": BLOCK, "num_warps": 4}

    @property
    def derivatives(self) -> dict[str, Any]:
        """Constants of ``derivatives_kernel``."""
        return {**self.layers, "HEADS": HEADS}

    @property
    def blocks(self) -> int:
        """Of the features' columns."""
        return padded(self.spec.size) // BLOCK

    def new(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.table.device)

    def encode(self, x: Tensor, features: Tensor) -> None:
        """Fill features (S,E)."""
        grid = triton.cdiv(len(x), LOOKUPS), self.blocks
        self.encoding.encode[grid](x, self.table, self.columns, features, len(x), **self.lookups)

    def evaluate(self, features: Tensor, ray: Tensor, u: Tensor, results: tuple[Tensor, Tensor], store: bool) -> None:
        """Fill sigma and rgb; or where they are to ``store``, z and h."""
        outputs = (*results, *results)  # a pointer must point somewhere
        layers_kernel[(triton.cdiv(len(features), SAMPLES),)](
            features, ray, u, *self[3:], *outputs, len(features), STORE=store, **self.layers
        )


def product_constants(a: int, b: int) -> dict[str, int]:
    """Of ``products_kernel``, for rows of ``a`` and ``b`` numbers."""
    return {"A": a, "B": b, "ROWS": min(a, 32), "COLUMNS": min(b, 32), "STEP": BLOCK, "num_warps": 4}


class _Products:
    """Sums over the samples of products of what is there for each of them, parts of the samples apart.

    pairs: names of two rows of numbers a sample, and how many they are; the sum of the first goes behind the product.
    """

    def __init__(self, pairs: dict[tuple[str, str], tuple[int, int]], count: int, device: torch.device) -> None:
        self.pairs = pairs
        self.samples = max(SHARE, triton.cdiv(triton.cdiv(count, MOST_PARTS), BLOCK) * BLOCK)
        self.numbers = sum(a * b + a for a, b in pairs.values())
        self.partial = torch.empty(triton.cdiv(count, self.samples), self.numbers, device=device)

    def of(self, rows: dict[str, Tensor], count: int) -> Tensor:
        """The sums (numbers,) over ``count`` samples, at most as many as were foreseen."""
        parts, place = triton.cdiv(count, self.samples), 0
        for (one, other), (a, b) in self.pairs.items():
            constants = product_constants(a, b)
            tiles = a // constants["ROWS"] * (b // constants["COLUMNS"])
            products_kernel[(tiles, parts)](
                rows[one], rows[other], self.partial, self.numbers, place, count, self.samples, **constants
            )
            place += a * b + a
        return self.partial[:parts].sum(0)

    def split(self, sums: Tensor) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
        """Of each pair the product (a, b) and the sum (a,)."""
        shapes = self.pairs.values()
        parts = iter(sums.split([size for a, b in shapes for size in (a * b, a)]))
        return {pair: (next(parts).view(shape), next(parts)) for pair, shape in self.pairs.items()}


def _gradients(
    field: _Field, saved: list[Tensor], d_sigma: Tensor, d_rgb: Tensor, to_x: bool, to_table: bool
) -> tuple[Tensor | None, Tensor, list[Tensor | None]]:
    """dL/dx, dL/du, and those of the field's tensors."""
    x, u, ray, offsets, features, sigma, rgb = saved
    width, size = field.width, field.spec.size
    wide, total, chunk = padded(width), len(x), min(field.chunk, len(x))
    pairs = {("d_z", "features"): (wide, padded(size)), ("d_heads", "z"): (HEADS, wide)}
    if field.color:
        pairs |= {("d_h", "z"): (wide, wide), ("d_heads", "h"): (HEADS, wide)}
    products = _Products(pairs, chunk, x.device)
    rows = {name: field.new(chunk, wide) for name in ("z", "h", "d_z", "d_h")}
    rows |= {"d_heads": field.new(chunk, HEADS), "d_features": field.new(chunk, padded(size))}
    d_x, d_u = torch.empty_like(x) if to_x else None, torch.zeros(len(u), wide, device=x.device)
    sums = torch.zeros(products.numbers, device=x.device)
    of_table = torch.zeros_like(field.table) if to_table and total == 0 else None
    for first in range(0, total, field.chunk):
        here = slice(first, min(first + chunk, total))
        count = here.stop - first
        rows["features"] = features[here]
        colors = (ray[here], rgb[here], d_rgb[here]) if field.color else (ray, rgb, d_rgb)
        field.evaluate(features[here], colors[0], u, (rows["z"], rows["h"]), store=True)
        derivatives_kernel[(triton.cdiv(count, SAMPLES), field.blocks)](
            d_sigma[here], colors[2], sigma[here], colors[1], rows["z"], rows["h"],
            field.hidden, field.density, field.feature, field.rgb,
            rows["d_heads"], rows["d_h"], rows["d_z"], rows["d_features"], count, **field.derivatives,
        )  # fmt: skip
        sums += products.of(rows, count)
        if field.color:
            ray_sums_kernel[(len(u),)](rows["d_h"], offsets, d_u, first, count, W=wide, BS=16, num_warps=1)
        if to_table:
            found = _by_table(field, x[here], rows["d_features"])
            of_table = found if of_table is None else of_table + found
        if d_x is not None:
            field.encoding.positions[(triton.cdiv(count, LOOKUPS),)](
                x[here], field.table, field.columns, rows["d_features"], d_x[here], count, **field.lookups
            )
    split = products.split(sums)
    (hidden, bias), (of_z, heads) = split["d_z", "features"], split["d_heads", "z"]
    layers: list[Tensor | None] = [hidden[:width, :size], bias[:width], of_z[:1, :width], heads[:1], None, None, None]
    if field.color:
        layers[4] = split["d_h", "z"][0][:width, :width]
        layers[5:] = split["d_heads", "h"][0][1:4, :width], heads[1:4]
    return d_x, d_u[:, :width], [of_table, *layers]


def _by_table(field: _Field, x: Tensor, d_features: Tensor) -> Tensor:
    """The table's gradient from that of the features (S,E)."""
    spec, encoding, count = field.spec, field.encoding, len(x)
    entries = encoding.nodes * spec.levels * count
    rows = torch.empty(entries, dtype=torch.int32, device=x.device)
    values = field.new(entries, spec.features)
    grid = triton.cdiv(count, LOOKUPS), field.blocks
    table = (field.table,) if encoding.tables else ()
    encoding.entries[grid](x, *table, field.columns, d_features, rows, values, count, **field.lookups)
    return segment_sum(values, rows, len(field.table))


class _FeatureField(torch.autograd.Function):
    """(spec, color, keep, inputs, x, u, ray, offsets, table and layers) -> sigma (S,), rgb (S,3) or (0,3)."""

    @staticmethod
    def forward(ctx, spec, color, keep, inputs, x, u, ray, offsets, *tensors):
        field = _Field(spec, color, *(t.contiguous() for t in tensors))
        count = len(x)
        step = count if keep else min(field.chunk, count)
        sigma, rgb = field.new(count), field.new(count if color else 0, 3)
        features = field.new(step, padded(spec.size))
        for first in range(0, count, max(step, 1)):
            here = slice(first, min(first + step, count))
            rows = features[: here.stop - first]
            field.encode(x[here], rows)
            field.evaluate(rows, ray[here], u, (sigma[here], rgb[here]), store=False)
        if keep:
            ctx.call = spec, color, inputs
            ctx.save_for_backward(x, u, ray, offsets, features, sigma, rgb, *field[2:])
        return sigma, rgb

    @staticmethod
    def backward(ctx, d_sigma, d_rgb):
        refuse_again("feature field", ctx.call[2])
        return _FeatureField._backward(ctx, d_sigma, d_rgb)

    @staticmethod
    @once_differentiable
    def _backward(ctx, d_sigma, d_rgb):
        saved, tensors = ctx.saved_tensors[:7], ctx.saved_tensors[7:]
        to_x, to_table = ctx.needs_input_grad[4], ctx.needs_input_grad[8]
        field = _Field(*ctx.call[:2], *tensors)
        d_x, d_u, found = _gradients(field, saved, d_sigma.contiguous(), d_rgb.contiguous(), to_x, to_table)
        return None, None, None, None, d_x, d_u if field.color else None, None, None, *found


def _evaluate(
    x: Tensor,
    offsets: Tensor,
    directions: Tensor,
    mirrors: Tensor | None,
    weights: FeatureWeights,
    spec: Spec,
    color: bool,
) -> tuple[Tensor, Tensor]:
    width = len(weights.hidden[1])
    if width > MOST_WIDTH:
        raise ValueError(
            f"weights.hidden[1]: expected {MOST_WIDTH} columns at most for the triton backend, got {width}"
        )
    u, ray = directions[:0], offsets
    if color:
        ray = ray_index(offsets, len(x))
        if mirrors is not None:  # then every sample is a ray of its own, of two directions
            directions = torch.cat([directions.index_select(0, ray), mirrors], 1).view(-1, 3)  # (2 S, 3)
            offsets = torch.arange(len(x) + 1, device=x.device)
            ray = offsets[:-1]
        found = harmonics(directions).view(-1, weights.direction.shape[1])
        u = functional.linear(found, weights.direction, weights.feature[1]).to(x.dtype)  # (R, w)
    tensors = (weights.table, *weights.hidden, *weights.density, weights.feature[0], *weights.color)
    graph = torch.is_grad_enabled()
    keep = graph and any(t.requires_grad for t in (x, u, *tensors))
    inputs = graph and any(t.requires_grad for t in (x, directions, mirrors) if t is not None)
    return _FeatureField.apply(spec, color, keep, inputs, x.contiguous(), u, ray, offsets.contiguous(), *tensors)


def feature_density(x: Tensor, weights: FeatureWeights, spec: Spec) -> Tensor:
    """sigma(x), (S,3) -> (S,)."""
    return _evaluate(x, x.new_zeros(1, dtype=torch.int64), x.detach()[:0], None, weights, spec, color=False)[0]


def packed_field(
    x: Tensor, offsets: Tensor, directions: Tensor, mirrors: Tensor | None, weights: FeatureWeights, spec: Spec
) -> tuple[Tensor, Tensor]:
    """sigma (S,) and c (S,3) of samples that are packed ray after ray."""
    return _evaluate(x, offsets, directions, mirrors, weights, spec, color=True)
