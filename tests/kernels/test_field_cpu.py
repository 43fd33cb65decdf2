"""The CPU's field beyond its values: its parts, runs that repeat to the bit, and input that nobody wants."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import numba
import numpy as np
import pytest
import torch

from nerfkit.kernels import elementary
from nerfkit.kernels.harmonic_field import FieldSpec, FieldWeights, cpu, harmonic_field
from nerfkit.kernels.harmonic_field.layout import layout_of, padded
from nerfkit.kernels.harmonic_field.sine import sine_of_turns
from nerfkit.kernels.products import COLUMNS, DEPTH, ROWS, multiply

from .test_harmonic_field import make_samples, make_weights

SPEC = FieldSpec(octaves=3, skip=1)
Gradients = tuple[torch.Tensor, ...]


@numba.njit
def apply(number: int, x: np.ndarray, out: np.ndarray) -> None:
    beta = np.float32(10)
    for i in range(len(x)):
        if number == 0:
            out[i] = elementary.exp(x[i])
        elif number == 1:
            out[i] = elementary.softplus(x[i], beta)
        elif number == 2:
            out[i] = elementary.softplus_slope(x[i], beta)
        elif number == 3:
            out[i] = elementary.sigmoid(x[i])
        else:
            out[i] = sine_of_turns(x[i])


FUNCTIONS: list[tuple[float, float, Callable[[np.ndarray], np.ndarray]]] = [
    (-80, 80, np.exp),
    (-1, 8, lambda x: np.logaddexp(0, 10 * x) / 10),
    (0, 8, lambda h: -np.expm1(-10 * h)),
    (-80, 80, lambda x: 1 / (1 + np.exp(-x))),
    (-0.5, 0.5, lambda t: np.sin(2 * math.pi * t)),
]


@pytest.mark.parametrize(
    ("number", "case"), list(enumerate(FUNCTIONS)), ids=["exp", "softplus", "slope", "sigmoid", "sine"]
)
def test_elementary_functions(number: int, case: tuple[float, float, Callable]) -> None:
    low, high, function = case
    x = np.linspace(low, high, 200_001).astype(np.float32)
    found = np.empty_like(x)
    apply(number, x, found)
    expected = function(x.astype(np.float64))
    # The product beta x is rounded once before its exponential: ten half units in the last place.
    error = np.abs(found - expected) if number == 4 else np.abs(found - expected) / np.maximum(expected, 1e-35)
    assert error.max() < (1.2e-6 if number == 1 else 2e-7)
    edge = np.array([np.nan, np.inf, -np.inf], np.float32)
    if number < 4:
        apply(number, edge, edge)
        assert np.isnan(edge[0])


@numba.njit
def apply_expm1(x: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(x)):
        out[i] = elementary.expm1(x[i])


def test_expm1_in_float64() -> None:
    x = np.concatenate([-(10 ** np.linspace(-300, 3, 100_001)), np.linspace(-1, 1, 100_001), np.linspace(0, 700, 101)])
    found = np.empty_like(x)
    apply_expm1(x, found)
    np.testing.assert_allclose(found, np.expm1(x), rtol=2e-15)
    edge = np.array([0.0, -np.inf, np.nan])
    apply_expm1(edge.copy(), edge)
    np.testing.assert_array_equal(edge, [0, -1, np.nan])


@pytest.mark.parametrize("depth", [1, 7, DEPTH, 2 * DEPTH + 3])
def test_panels_of_products(depth: int) -> None:
    """Both uses: x W^T from rows, and dz^T h from columns, each into a stretch of a larger array."""
    rng = np.random.default_rng(0)
    rows = 3 * ROWS
    x = rng.standard_normal((rows, depth + 5)).astype(np.float32)
    w = rng.standard_normal((depth, COLUMNS + 3)).astype(np.float32)
    y = rng.standard_normal((rows, COLUMNS + 7)).astype(np.float32)
    before = y.copy()
    expected = x[:, 2 : 2 + depth].astype(np.float64) @ w[:, 1 : 1 + COLUMNS]
    for rows_first in (True, False):
        flat, strides = (x.ravel(), (depth + 5, 1)) if rows_first else (x.T.ravel().copy(), (1, rows))
        y[:] = before
        multiply(flat, 2 * strides[1], *strides, w.ravel(), 1, COLUMNS + 3, y.ravel(), 4, COLUMNS + 7, rows, depth)
        np.testing.assert_allclose(y[:, 4:-3], before[:, 4:-3] + expected, rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(np.delete(y, np.s_[4:-3], 1), np.delete(before, np.s_[4:-3], 1))


@pytest.mark.slow
def test_the_tile_is_that_of_the_processor_that_numba_compiles_for() -> None:
    """Machines that share a cache of kernels for any processor must cut up their arrays alike."""
    code = "from nerfkit.kernels.products import LANES; print(LANES)"
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == "4"


def test_layout_has_room_for_whole_tiles() -> None:
    """Tiles write padded rows and columns: what they write for one tensor ends before the next one begins."""
    weights = make_weights(SPEC, 3, 3, columns=2)
    layout = layout_of(weights, SPEC)
    slots, products = layout.tables.slots, layout.tables.products
    starts, sizes = [], []
    for number, (*_, first, end) in enumerate(layout.tables.layers):
        for product in products[first:end]:
            starts.append(int(product[-1]))
            sizes.append(int(slots[number + 1, -1] * slots[product[0], -1]))
        starts.append(int(layout.tables.layers[number, 1]))
        sizes.append(int(slots[number + 1, -1]))
    heads = layout.tables.heads[1].tolist()
    direction = int(slots[-1, -1]) * padded(SPEC.direction_size + 1)
    starts += heads[:-1]
    sizes += [int(slots[-2, -1]), 1, 3 * int(slots[-1, -1]), 3, direction]
    order = sorted(zip(starts, sizes, strict=True))
    ends = [start + size for start, size in order]
    assert ends == [start for start, _ in order[1:]] + [layout.sums]
    assert len(set(layout.gradients.tolist())) == sum(t.numel() for t in weights.flat())


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads; undone after the test."""
    before = (numba.get_num_threads(), torch.get_num_threads())

    def use_threads(count: int) -> None:
        numba.set_num_threads(count)
        torch.set_num_threads(count)

    yield use_threads
    numba.set_num_threads(before[0])
    torch.set_num_threads(before[1])


def run(spec: FieldSpec, weights: FieldWeights, counts: list[int]) -> Gradients:
    """Density, color and the gradients of their weighted sum."""
    x, offsets, directions = make_samples(counts)
    density, color = harmonic_field(x, offsets, directions, weights, spec)
    weigh = torch.randn(len(x), 4, generator=torch.Generator().manual_seed(9))
    loss = (density * weigh[:, 0]).sum() + (color * weigh[:, 1:]).sum()
    return density, color, *torch.autograd.grad(loss, weights.flat())


@pytest.mark.usefixtures("all_threads")
def test_runs_repeat_to_the_bit(threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice, with one thread, and cut into other chunks; rays begin and end in blocks, groups and chunks."""
    weights, counts = make_weights(SPEC, 24, 2), [5, 0, 1500, 3, 4000, 1, 2047, 0]
    first = run(SPEC, weights, counts)
    threads(1)
    again = run(SPEC, weights, counts)
    monkeypatch.setattr(cpu, "CHUNK_BYTES", 0)
    assert len(cpu._chunks(sum(counts), 1 << 20)) > 3
    other_chunks = run(SPEC, weights, counts)
    for a, b, c in zip(first, again, other_chunks, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_one_ray_of_three_hundred_thousand_samples() -> None:
    """Its gradient is that of the same samples on many rays of the same direction."""
    count = 300_000
    weights = make_weights(SPEC, 16, 2)
    x = torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    direction = torch.tensor([[0.6, 0.0, 0.8]])

    def gradients(rays: int) -> Gradients:
        offsets = torch.arange(rays + 1) * (count // rays)
        density, color = harmonic_field(x, offsets, direction.expand(rays, 3), weights, SPEC)
        return torch.autograd.grad(density.mean() + color.mean(), weights.flat())

    for one, many in zip(gradients(1), gradients(1000), strict=True):
        torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-6)


def with_density_bias(weights: FieldWeights, bias: float) -> FieldWeights:
    return weights._replace(density=(weights.density[0], torch.tensor([bias], requires_grad=True)))


def test_densities_that_saturate() -> None:
    """exp(15) at most, without a gradient beyond; and at least a denormal's neighbor, never infinity or NaN."""
    weights = make_weights(SPEC, 16, 2)
    highest = run(SPEC, with_density_bias(weights, 300.0), [70])
    assert torch.all(highest[0] == highest[0][0])
    assert highest[0][0].item() == pytest.approx(math.exp(15), rel=1e-6)
    density_gradients = highest[2 + 2 * len(weights.hidden) :][:2]
    assert not any(gradient.any() for gradient in density_gradients)
    lowest = run(SPEC, with_density_bias(weights, -300.0), [70])
    assert lowest[0].max() < 1e-37
    for bias, gradients in ((300.0, highest), (-300.0, lowest)):
        assert all(torch.isfinite(t).all() for t in gradients), bias
    softplus = SPEC._replace(density_activation="softplus")
    assert run(softplus, with_density_bias(weights, 1e6), [70])[0].min() > 9e5
    assert run(softplus, with_density_bias(weights, -1e6), [70])[0].max() < 1e-37


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("tensor", range(11))
def test_nan_weights_come_out(tensor: int, activation: str) -> None:
    """NaN in any tensor of weights makes a density or a color NaN, and reaches a gradient; nothing crashes."""
    spec = SPEC._replace(activation=activation)
    tensors = [t.detach().clone() for t in make_weights(spec, 16, 2).flat()]
    tensors[tensor].view(-1)[0] = math.nan
    found = run(spec, FieldWeights.unflatten(tuple(t.requires_grad_() for t in tensors)), [5, 0, 200])
    assert found[0].isnan().any() or found[1].isnan().any()
    assert any(gradient.isnan().any() for gradient in found[2:])


def test_nan_positions_stay_with_their_sample() -> None:
    weights = make_weights(SPEC, 16, 2)
    x, offsets, directions = make_samples([3, 4])
    x[2, 1] = math.nan
    for spec in (SPEC, SPEC._replace(omega0=0.1)):
        density, color = harmonic_field(x, offsets, directions, weights, spec)
        assert density.isnan().tolist() == color.isnan().any(1).tolist() == [i == 2 for i in range(7)]
