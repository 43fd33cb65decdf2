"""Gradients to positions and directions through the CPU's field: rung 2 of the ladder, and what may not change."""

import math

import numba
import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.harmonic_field import FieldSpec, FieldWeights, cpu, harmonic_density, harmonic_field
from tests.kernels.harmonic_cases import SPECS, assert_same, evaluate
from tests.kernels.test_harmonic_field import make_samples, make_weights, oracle_dtype

Tensors = tuple[torch.Tensor, ...]
COUNTS = [5, 0, 1500, 3, 2000, 1, 40, 0]  # rays that begin and end in blocks and groups, and one that fills a group


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("counts", [[1], [70, 1, 0, 300, 40, 2, 0], COUNTS, [0, 0], []], ids=str)
@pytest.mark.parametrize("composited", [False, True], ids=["field", "render"])
def test_every_gradient_equals_the_reference(name: str, counts: list[int], composited: bool) -> None:
    spec = SPECS[name]
    case = {"width": 24, "depth": 3, "counts": counts, "composited": composited}
    # A ReLU whose input rounds to the other side of zero moves a position's gradient by a layer's share.
    found, expected = evaluate("cpu", spec, **case), evaluate("reference", spec, dtype=oracle_dtype(spec), **case)
    assert_same(found, expected, tolerance=3e-5)


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (32, 1), (37, 2), (64, 3), (130, 4), (256, 2)])
def test_every_gradient_at_any_width(width: int, depth: int) -> None:
    spec = FieldSpec(octaves=5, activation="softplus", skip=depth - 1 if depth > 2 else None)
    case = {"width": width, "depth": depth, "counts": [130, 0, 1, 125, 300], "composited": False}
    assert_same(evaluate("cpu", spec, **case), evaluate("reference", spec, dtype=torch.float64, **case), tolerance=1e-5)


def density_gradients(backend: str, spec: FieldSpec, weights: FieldWeights, x: torch.Tensor) -> Tensors:
    """Density and the gradients of its weighted sum, by x and by the weights that it has."""
    x, tensors = x.clone().requires_grad_(), [t.detach().to(x.dtype).requires_grad_() for t in weights.flat()]
    with use(backend):
        density = harmonic_density(x, FieldWeights.unflatten(tuple(tensors)), spec)
    weigh = torch.randn(len(x), generator=torch.Generator().manual_seed(4)).to(x.dtype)
    return density, *torch.autograd.grad((density * weigh).sum(), (x, *tensors[:-5]))


@pytest.mark.parametrize("name", SPECS)
def test_gradients_of_the_density_alone(name: str) -> None:
    spec = SPECS[name]
    weights, x = make_weights(spec, 24, 3), make_samples([1300])[0]
    found = density_gradients("cpu", spec, weights, x)
    expected = density_gradients("reference", spec, weights, x.to(oracle_dtype(spec)))
    for one, other in zip(found, expected, strict=True):
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=3e-5 * scale)


def run(spec: FieldSpec, weights: FieldWeights, wanted: str) -> dict[str, Tensors]:
    """Outputs, and the gradients by what is ``wanted``: "x", "d", "w"."""
    x, offsets, directions = make_samples(COUNTS)
    inputs = {"x": (x,), "d": (directions,), "w": tuple(t.detach().clone() for t in weights.flat())}
    for name in wanted:
        inputs[name] = tuple(t.requires_grad_() for t in inputs[name])
    field = FieldWeights.unflatten(inputs["w"])
    density, color = harmonic_field(inputs["x"][0], offsets, inputs["d"][0], field, spec)
    weigh = torch.randn(len(x), 4, generator=torch.Generator().manual_seed(9))
    loss = (density * weigh[:, 0]).sum() + (color * weigh[:, 1:]).sum()
    gradients = iter(torch.autograd.grad(loss, [t for name in wanted for t in inputs[name]]))
    return {"out": (density, color)} | {name: tuple(next(gradients) for _ in inputs[name]) for name in wanted}


@pytest.mark.usefixtures("all_threads")
def test_what_is_wanted_does_not_change_the_bits() -> None:
    """The same numbers whatever else has a gradient, in chunks of any size and with any number of threads."""
    spec = FieldSpec(octaves=3, skip=1)
    weights = make_weights(spec, 24, 2)
    everything = run(spec, weights, "xdw")
    for wanted in ("x", "d", "w", "xd", "dw"):
        for name, tensors in run(spec, weights, wanted).items():
            assert all(torch.equal(a, b) for a, b in zip(tensors, everything[name], strict=True)), (wanted, name)
    threads = numba.get_num_threads()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cpu, "CHUNK_BYTES", 0)
            for count in {1, threads}:
                numba.set_num_threads(count)
                for name, tensors in run(spec, weights, "xdw").items():
                    assert all(torch.equal(a, b) for a, b in zip(tensors, everything[name], strict=True)), (count, name)
    finally:
        numba.set_num_threads(threads)


def test_weights_cost_nothing_where_only_positions_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, x = make_weights(FieldSpec(), 16, 2), make_samples([9])[0].requires_grad_()
    monkeypatch.setattr(cpu._Weights, "backward", staticmethod(lambda ctx, _: pytest.fail("the weights were asked")))
    density = harmonic_density(x, weights, FieldSpec())
    (gradient,) = torch.autograd.grad(density.sum(), x, retain_graph=True)
    assert gradient.abs().min() > 0
    with pytest.raises(pytest.fail.Exception, match="the weights were asked"):
        torch.autograd.grad(density.sum(), weights.hidden[0][0])


def test_a_graph_may_be_walked_twice_but_not_differentiated() -> None:
    """A second derivative that were left out in silence would be a wrong gradient."""
    weights, x = make_weights(FieldSpec(), 16, 2), make_samples([9])[0].requires_grad_()
    density = harmonic_density(x, weights, FieldSpec())
    first, again = (torch.autograd.grad(density.sum(), (x, weights.density[0]), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with pytest.raises(RuntimeError, match="not differentiable again"):
        torch.autograd.grad(density.sum(), x, create_graph=True)
    with use("reference"):
        density = harmonic_density(x, weights, FieldSpec())
    (by_x,) = torch.autograd.grad(density.sum(), x, create_graph=True)
    assert torch.autograd.grad(by_x.square().sum(), weights.density[0])[0].any()


def test_more_octaves_than_the_integers_hold() -> None:
    spec = FieldSpec(octaves=66, direction_octaves=2, omega0=0.1)
    case = {"width": 8, "depth": 2, "counts": [3, 4], "composited": False}
    assert_same(evaluate("cpu", spec, **case), evaluate("reference", spec, **case))


def test_nan_stays_with_its_sample() -> None:
    weights, (x, offsets, directions) = make_weights(FieldSpec(), 16, 2), make_samples([3, 4])
    x[2, 1] = math.nan
    x.requires_grad_()
    directions.requires_grad_()
    density, color = harmonic_field(x, offsets, directions, weights, FieldSpec())
    by_x, by_directions = torch.autograd.grad(density.sum() + color.sum(), (x, directions))
    assert by_x.isnan().any(1).tolist() == [i == 2 for i in range(7)]
    assert by_directions.isnan().any(1).tolist() == [True, False]
