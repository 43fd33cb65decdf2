"""The harmonic field with bfloat16 operands on a CPU: rung 2 of the ladder, and where it is float32 instead."""

import math
from collections.abc import Callable

import numba
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nerfkit.kernels import halves, use
from nerfkit.kernels.harmonic_field import FieldSpec, FieldWeights, harmonic_density, harmonic_field
from nerfkit.kernels.harmonic_field.reference import activate, density_of, embed, ray_index
from tests.kernels.harmonic_cases import SPECS
from tests.kernels.test_harmonic_field import make_samples, make_weights

needs_halves = pytest.mark.skipif(not halves.AVAILABLE, reason="the processor has no AVX512-BF16")
RELUS = [name for name, spec in SPECS.items() if spec.activation == "relu"]
COUNTS = [5, 0, 1500, 3, 2000, 1, 40, 0]
Found = tuple[Tensor, ...]


def rounded(x: Tensor) -> Tensor:
    return x.float().bfloat16().to(x.dtype)


class Product(torch.autograd.Function):
    """x W^T whose operands, also those of its gradients, are rounded to bfloat16; its sums are not."""

    @staticmethod
    def forward(ctx, x, matrix):
        ctx.save_for_backward(rounded(x), rounded(matrix))
        return rounded(x) @ rounded(matrix).T

    @staticmethod
    def backward(ctx, g):
        x, matrix = ctx.saved_tensors
        return rounded(g) @ matrix, rounded(g).T @ x


class Embedding(torch.autograd.Function):
    """``embed``, in whose gradient the sines and cosines are rounded to bfloat16."""

    @staticmethod
    def forward(ctx, x, octaves, omega0, append_input):
        e = embed(x, octaves, omega0, append_input)
        ctx.save_for_backward(rounded(e))
        ctx.octaves, ctx.omega0 = octaves, omega0
        return e

    @staticmethod
    def backward(ctx, g):
        (e,), waves = ctx.saved_tensors, 6 * ctx.octaves
        sine, cosine = e[:, :waves].unflatten(1, (3, 2, ctx.octaves)).unbind(2)  # (S, 3, K)
        by_sine, by_cosine = g[:, :waves].unflatten(1, (3, 2, ctx.octaves)).unbind(2)
        slope = ctx.omega0 * 2.0 ** torch.arange(ctx.octaves, dtype=g.dtype)
        by_x = ((by_sine * cosine - by_cosine * sine) * slope).sum(-1)
        return by_x + g[:, waves:] if g.shape[1] > waves else by_x, None, None, None


class RoundedGradient(torch.autograd.Function):
    """The identity, whose gradient is rounded to bfloat16."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return rounded(g)


def by_halves(x: Tensor, owners: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec) -> Found:
    """``reference.harmonic_field`` with ``Product`` for every product of samples."""
    h = e = Embedding.apply(x, spec.octaves, spec.omega0, spec.append_input)
    for number, (matrix, bias) in enumerate(weights.hidden):
        h = activate(Product.apply(torch.cat([h, e], -1) if number and number == spec.skip else h, matrix) + bias, spec)
    sigma = density_of((Product.apply(h, weights.density[0]) + weights.density[1])[:, 0], spec)
    e_d = embed(directions, spec.direction_octaves, spec.omega0, spec.append_input)
    of_rays = functional.linear(e_d, weights.direction).index_select(0, owners)
    z = Product.apply(h, weights.feature[0]) + weights.feature[1] + RoundedGradient.apply(of_rays)
    return sigma, (Product.apply(activate(z, spec), weights.color[0]) + weights.color[1]).sigmoid()


def results(field: Callable[..., Found], weights: FieldWeights, counts: list[int], dtype: torch.dtype) -> Found:
    """Outputs of ``field(x, offsets, directions, weights)`` and all gradients of a fixed random loss."""
    x, offsets, directions = make_samples(counts)
    x, directions = (t.to(dtype).requires_grad_() for t in (x, directions))
    tensors = [t.detach().to(dtype).requires_grad_() for t in weights.flat()]
    density, color = field(x, offsets, directions, FieldWeights.unflatten(tuple(tensors)))
    weigh = torch.randn(len(x), 4, generator=torch.Generator().manual_seed(9)).to(dtype)
    loss = (density * weigh[:, 0]).sum() + (color * weigh[:, 1:]).sum()
    return density.detach(), color.detach(), *torch.autograd.grad(loss, (x, directions, *tensors))


def rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt()) if x.numel() else 0.0


def assert_close(found: Found, expected: Found, exact: Found, samples: int) -> None:
    """``found`` is nearer to what rounds where the kernels do than half of what that is off float64.

    A sum in float32 may round to the other side. Where there are few samples, one such operand, 2^-8 off, is a good
    part of all that rounding does.
    """
    for number, (a, b, c) in enumerate(zip(found, expected, exact, strict=True)):
        share, single = (0.5, 1e-6) if samples > 100 else (1.0, 2**-8)
        assert rms(a - b) <= share * rms(b - c) + single * rms(c), (number, rms(a - b), rms(b - c), rms(c))


def assert_close_to_oracle(weights: FieldWeights, spec: FieldSpec, counts: list[int]) -> None:
    half = spec._replace(precision="bf16")
    found = results(lambda *case: harmonic_field(*case, half), weights, counts, torch.float32)

    def oracle(x: Tensor, offsets: Tensor, directions: Tensor, cast: FieldWeights) -> Found:
        return by_halves(x, ray_index(offsets, len(x)), directions, cast, spec)

    expected = results(oracle, weights, counts, torch.float64)
    with use("reference"):
        exact = results(lambda *case: harmonic_field(*case, spec), weights, counts, torch.float64)
    assert_close(found, expected, exact, sum(counts))


@needs_halves
@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("name", RELUS)
@pytest.mark.parametrize("counts", [[1], [3, 0, 6, 0], COUNTS, [0, 0], []], ids=str)
def test_cpu_equals_the_rounding_reference(name: str, counts: list[int]) -> None:
    assert_close_to_oracle(make_weights(SPECS[name], 64, 3), SPECS[name], counts)


@needs_halves
@pytest.mark.parametrize(
    ("width", "depth", "columns"), [(1, 1, 1), (32, 1, 64), (37, 2, 5), (64, 3, 64), (130, 4, 33), (256, 2, 256)]
)
def test_any_width(width: int, depth: int, columns: int) -> None:
    spec = FieldSpec(octaves=5, skip=depth - 1 if depth > 2 else None, density_activation="softplus")
    assert_close_to_oracle(make_weights(spec, width, depth, columns=columns), spec, [130, 0, 1, 125, 300])


@needs_halves
def test_runs_repeat_to_the_bit() -> None:
    spec = SPECS["default"]._replace(precision="bf16")
    weights, before = make_weights(spec, 64, 3), numba.get_num_threads()
    first = results(lambda *case: harmonic_field(*case, spec), weights, COUNTS, torch.float32)
    numba.set_num_threads(1)
    try:
        again = results(lambda *case: harmonic_field(*case, spec), weights, COUNTS, torch.float32)
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@needs_halves
def test_density_alone_is_the_density() -> None:
    """The same bits as beside a color, and the gradients of the rounding reference."""
    spec = SPECS["default"]._replace(precision="bf16")
    weights, (x, offsets, directions) = make_weights(spec, 64, 3), make_samples([700, 1, 30])
    weigh = torch.randn(len(x), generator=torch.Generator().manual_seed(4))

    def gradients(density: Callable[[Tensor, FieldWeights], Tensor], dtype: torch.dtype) -> Found:
        own = x.to(dtype).requires_grad_()
        tensors = tuple(t.detach().to(dtype).requires_grad_() for t in weights.flat())
        found = density(own, FieldWeights.unflatten(tensors))
        return torch.autograd.grad((found * weigh.to(dtype)).sum(), (own, *tensors[:-5]))

    density = harmonic_density(x, weights, spec)
    assert torch.equal(density, harmonic_field(x, offsets, directions, weights, spec)[0])
    owners, doubled = ray_index(offsets, len(x)), directions.double()
    assert_close(
        gradients(lambda own, cast: harmonic_density(own, cast, spec), torch.float32),
        gradients(lambda own, cast: by_halves(own, owners, doubled, cast, spec)[0], torch.float64),
        gradients(lambda own, cast: harmonic_density(own, cast, spec), torch.float64),
        len(x),
    )


@needs_halves
@pytest.mark.parametrize("tensor", range(13))
def test_nan_weights_come_out(tensor: int) -> None:
    spec = FieldSpec(octaves=3, precision="bf16")
    weights = make_weights(spec, 16, 3)
    with torch.no_grad():
        weights.flat()[tensor].view(-1)[0] = math.nan
    found = results(lambda *case: harmonic_field(*case, spec), weights, [5, 0, 200], torch.float32)
    assert found[0].isnan().any() or found[1].isnan().any()
    assert any(gradient.isnan().any() for gradient in found[4:])


@needs_halves
def test_nan_positions_stay_with_their_sample() -> None:
    spec = FieldSpec(octaves=3, precision="bf16")
    x, offsets, directions = make_samples([3, 4])
    x[2, 1] = math.nan
    density, color = harmonic_field(x, offsets, directions, make_weights(spec, 16, 2), spec)
    assert density.isnan().tolist() == color.isnan().any(1).tolist() == [i == 2 for i in range(7)]


@pytest.mark.parametrize("lacking", ["the instruction", "ReLU"])
def test_float32_where_there_is_no_kernel(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS["softplus" if lacking == "ReLU" else "default"]
    if lacking == "the instruction":
        monkeypatch.setattr(halves, "AVAILABLE", False)
    weights = make_weights(spec, 16, 2)
    found, expected = (
        results(lambda *case, s=s: harmonic_field(*case, s), weights, [5, 0, 200], torch.float32)
        for s in (spec._replace(precision="bf16"), spec)
    )
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
