"""The field of features: rungs 1 and 2 of the ladder, and what its grids are."""

import math
from typing import Any

import numba
import numpy as np
import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.composite import composite
from nerfkit.kernels.feature_field import (
    FeatureSpec,
    FeatureWeights,
    PlaneSpec,
    Spec,
    cpu,
    feature_density,
    feature_field,
    feature_render,
    reference,
)
from nerfkit.kernels.feature_field.encoding import owned_by
from nerfkit.kernels.feature_field.harmonics import _coefficients, harmonics
from nerfkit.kernels.feature_field.spec import grids, planes
from nerfkit.kernels.march import Samples
from tests.kernels.test_harmonic_field import make_samples

Tensors = tuple[torch.Tensor, ...]
SPECS: dict[str, tuple[Spec, int]] = {
    "default": (FeatureSpec(), 32),
    "padded": (FeatureSpec(levels=3, features=4, log2_table=8, coarsest=3, finest=20), 13),
    "one dense level": (FeatureSpec(levels=1, features=8, log2_table=12, coarsest=5, finest=7), 64),
    "one cell": (FeatureSpec(levels=2, features=2, log2_table=4, coarsest=1, finest=1), 1),
    "planes": (PlaneSpec(), 32),
    "wide planes": (PlaneSpec(levels=2, features=32, coarsest=3, finest=20), 13),
    "few cells of planes": (PlaneSpec(levels=2, features=16, coarsest=1, finest=3), 5),
}
COUNTS = [5, 0, 1500, 3, 900, 1, 40, 0]  # rays within groups and tiles, and one that fills some
MODES = ("render", "field", "density")
MIRRORED = ("padded", "wide planes")  # cases in which samples have directions of their own


def make_weights(spec: Spec, width: int, dtype: torch.dtype = torch.float32, mirrors: bool = False) -> FeatureWeights:
    generator = torch.Generator().manual_seed(3)

    def matrix(outputs: int, inputs: int) -> torch.Tensor:
        return torch.randn(outputs, inputs, generator=generator, dtype=dtype) / math.sqrt(inputs)

    def layer(outputs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
        return matrix(outputs, inputs), 0.1 * torch.randn(outputs, generator=generator, dtype=dtype)

    table = torch.randn(spec.rows, spec.features, generator=generator, dtype=dtype)
    heads = layer(1, width), layer(width, width), matrix(width, 16 * (1 + mirrors)), layer(3, width)
    return FeatureWeights(table, layer(width, spec.size), *heads)


def mirrors_at(x: torch.Tensor) -> torch.Tensor:
    """A direction for each position."""
    return torch.nn.functional.normalize(x.roll(1, -1) + 0.1, dim=-1)


def make_intervals(offsets: torch.Tensor) -> Samples:
    generator = torch.Generator().manual_seed(11)
    near = torch.rand(int(offsets[-1]), generator=generator)
    far = near + 0.1 * torch.rand(len(near), generator=generator)
    return Samples(torch.repeat_interleave(offsets.diff(), output_size=len(near)), near, far, offsets)


def run(
    backend: str,
    case: str,
    mode: str,
    counts: list[int],
    dtype: torch.dtype = torch.float32,
    wanted: str = "xdw",
    change: Any = None,
    device: str = "cpu",
    **options: Any,
) -> dict[str, Tensors]:
    """Outputs, and the gradients of a fixed random loss by what is ``wanted``: "x", "d", "w"."""
    spec, width = SPECS[case]
    x, offsets, directions = make_samples(counts)
    x, weights = 1.05 * x, make_weights(spec, width, mirrors=case in MIRRORED)  # some are outside of the box
    mirrors = mirrors_at(x) if case in MIRRORED else None
    if change is not None:
        change(x, weights)
    samples = make_intervals(offsets)
    samples = Samples(*(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in samples))
    tensors = {"x": (x,), "d": (directions,) if mirrors is None else (directions, mirrors), "w": weights.flat()}
    tensors = {
        k: tuple(t.to(device, dtype, copy=True).requires_grad_(k in wanted) for t in ts) for k, ts in tensors.items()
    }
    (x,), (directions, *own), weights = tensors["x"], tensors["d"], FeatureWeights.unflatten(tensors["w"])
    with use(backend):
        if mode == "render":
            outputs = tuple(feature_render(x, samples, directions, weights, spec, *own, **options))
        elif mode == "field":
            outputs = feature_field(x, samples.offsets, directions, weights, spec, *own)
        else:
            outputs = (feature_density(x, weights, spec),)
    generator = torch.Generator().manual_seed(13)
    loss = sum((output * torch.randn(output.shape, generator=generator).to(device)).sum() for output in outputs)
    inputs = [t for name in wanted for t in tensors[name]]
    found = iter(torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True))  # type: ignore[arg-type]
    return {"out": outputs} | {name: tuple(next(found) for _ in tensors[name]) for name in wanted}


def assert_same(found: dict[str, Tensors], expected: dict[str, Tensors], tolerance: float) -> None:
    for name, tensors in found.items():
        for one, other in zip(tensors, expected[name], strict=True):
            scale = max(float(other.detach().abs().max()), 1.0 if name == "out" else 0.0) if other.numel() else 0.0
            torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=tolerance * scale + 1e-30)


def test_harmonics_are_orthonormal() -> None:
    """The mean of y_i y_j over the sphere, by Gauss' rule in z and evenly around it, is 1 / (4 pi) or 0."""
    z, weight = np.polynomial.legendre.leggauss(8)
    angle = np.arange(16) * 2 * math.pi / 16
    z, angle = (torch.from_numpy(t).flatten() for t in np.meshgrid(z, angle, indexing="ij"))
    side = (1 - z * z).sqrt()
    y = harmonics(torch.stack([side * angle.cos(), side * angle.sin(), z], -1))
    share = torch.from_numpy(weight).repeat_interleave(16) * 2 * math.pi / 16
    torch.testing.assert_close(y.T @ (share[:, None] * y), torch.eye(16, dtype=torch.float64), rtol=0, atol=1e-12)


def test_levels_and_rows_by_hand() -> None:
    spec = FeatureSpec(levels=3, features=2, log2_table=8, coarsest=3, finest=12)
    assert [tuple(level) for level in grids(spec)] == [(3, 0, 64, False), (6, 64, 256, True), (12, 320, 256, True)]
    assert spec.rows == 576
    node = torch.tensor([1, 2, 3])
    assert reference.rows_of(node, grids(spec)[0]) == 1 + 4 * (2 + 4 * 3)
    assert reference.rows_of(node, grids(spec)[2]) == 320 + (1 ^ (2 * 2654435761) ^ (3 * 805459861)) % 256


def test_encoding_is_linear_between_the_nodes() -> None:
    """A table that holds a linear function of its node's position gives that function, and at the border its end."""
    spec = FeatureSpec(levels=1, features=2, log2_table=12, coarsest=5, finest=5)
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, 6, dtype=torch.float64)] * 3, indexing="ij")
    table = torch.stack([x + 2 * y - 3 * z, x * y * z], -1).view(-1, 2)
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 - 1.5
    inside = points.clamp(-1, 1)
    expected = inside @ torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    torch.testing.assert_close(reference.encode(points, table, spec)[:, 0], expected)


def test_planes_by_hand() -> None:
    spec = PlaneSpec(levels=2, features=16, coarsest=3, finest=6)
    axes = [(0, 1), (0, 2), (1, 2)]
    assert [tuple(plane) for plane in planes(spec)] == [
        *((3, 16 * i, axes[i]) for i in range(3)),
        *((6, 48 + 49 * i, axes[i]) for i in range(3)),
    ]
    assert (spec.rows, spec.size) == (48 + 3 * 49, 32)


def test_planes_give_the_product_of_what_they_hold() -> None:
    """Planes that hold linear functions of their two coordinates give those functions' product."""
    spec = PlaneSpec(levels=1, features=16, coarsest=5, finest=5)
    second, first = torch.meshgrid(*[torch.linspace(-1, 1, 6, dtype=torch.float64)] * 2, indexing="ij")
    held = [1 + first + 2 * second, 2 - first + 3 * second, 5 * first - 3 * second]
    factors = torch.arange(1, 17, dtype=torch.float64)
    table = torch.cat([plane.reshape(-1, 1) for plane in held]) * factors
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 - 1.5
    x, y, z = points.clamp(-1, 1).unbind(1)
    expected = (1 + x + 2 * y) * (2 - x + 3 * z) * (5 * y - 3 * z)
    torch.testing.assert_close(reference.encode(points, table, spec), expected[:, None] * factors**3)


@pytest.mark.parametrize("case", ["padded", "one cell", "few cells of planes"])
def test_reference_gradients_against_finite_differences(case: str) -> None:
    spec, width = SPECS[case]
    if case == "padded":
        spec = spec._replace(
            log2_table=6
        )  # every number of the table is moved: a level that is dense, two that are not
    own = case in MIRRORED
    weights = tuple(t.double().requires_grad_() for t in make_weights(spec, width, mirrors=own).flat())
    x, offsets, directions = make_samples([2, 0, 3], torch.float64)
    mirrors = mirrors_at(x)
    x, directions, mirrors = (t.requires_grad_() for t in (x, directions, mirrors))

    def function(x: torch.Tensor, directions: torch.Tensor, mirrors: torch.Tensor, *tensors: torch.Tensor) -> Tensors:
        given = mirrors if own else None
        return feature_field(x, offsets, directions, FeatureWeights.unflatten(tensors), spec, given)

    # ReLU has kinks: a bias that keeps its inputs away from them.
    weights[2].data += 2
    torch.autograd.gradcheck(function, (x, directions, mirrors, *weights), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("case", SPECS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("counts", [[1], [70, 1, 0, 300, 40, 2, 0], COUNTS, [0, 0], []], ids=str)
@pytest.mark.usefixtures("poison")
def test_cpu_equals_reference(case: str, mode: str, counts: list[int]) -> None:
    found, expected = run("cpu", case, mode, counts), run("reference", case, mode, counts, torch.float64)
    # A ReLU whose input rounds to the other side of zero moves a gradient by a layer's share.
    assert_same(found, expected, 3e-5)


@pytest.mark.parametrize("opacity", ["density", "raw"])
@pytest.mark.parametrize("early_stop", [0.0, 0.3])
def test_rendering_is_compositing_the_field(opacity: Any, early_stop: float) -> None:
    spec, width = SPECS["default"]
    x, offsets, directions = make_samples(COUNTS)
    samples, weights = make_intervals(offsets), make_weights(spec, width)
    x.requires_grad_()  # without gradients the CPU composites as it goes, to rounding
    density, color = feature_field(x, offsets, directions, weights, spec)
    expected = composite(density, color, *samples[1:], opacity=opacity, early_stop=early_stop)
    found = feature_render(x, samples, directions, weights, spec, opacity=opacity, early_stop=early_stop)
    for one, other in zip(found, expected, strict=False):
        assert torch.equal(one, other)
    whole = run("reference", "default", "render", COUNTS, torch.float64, opacity=opacity, early_stop=early_stop)
    assert_same(run("cpu", "default", "render", COUNTS, opacity=opacity, early_stop=early_stop), whole, 2e-4)


@pytest.mark.parametrize("spec", [FeatureSpec(), PlaneSpec(), PlaneSpec(levels=1)], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 3, 4, 20])
def test_every_row_has_one_owner(spec: Spec, threads: int) -> None:
    owned = owned_by(spec, threads)
    assert owned.begin[0] == 0 and owned.begin[-1] == len(owned.units) and (np.diff(owned.begin) > 0).all()
    rows = np.concatenate([np.arange(first, first + count) for _, _, first, count in owned.units])
    assert (np.sort(rows) == np.arange(spec.rows)).all()


@pytest.mark.parametrize("threads", [1, 2, 20])
def test_who_owns_what_does_not_change_the_bits(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as a machine may have: levels are divided into their planes."""
    everything = run("cpu", "wide planes", "field", COUNTS, wanted="w")
    monkeypatch.setattr(cpu, "owned_by", lambda spec, _: owned_by(spec, threads))
    found = run("cpu", "wide planes", "field", COUNTS, wanted="w")
    assert all(torch.equal(a, b) for a, b in zip(found["w"], everything["w"], strict=True))


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("case", ["default", "padded", "planes"])
@pytest.mark.parametrize("mode", MODES)
def test_neither_threads_nor_what_is_wanted_change_the_bits(case: str, mode: str) -> None:
    counts = COUNTS * 5
    everything, threads = run("cpu", case, mode, counts), numba.get_num_threads()
    try:
        for count in {1, threads}:
            numba.set_num_threads(count)
            for wanted in ("xdw", "w", "xd" if mode != "density" else "x"):
                for name, tensors in run("cpu", case, mode, counts, wanted=wanted).items():
                    same = (torch.equal(a, b) for a, b in zip(tensors, everything[name], strict=True))
                    assert all(same), (count, wanted, name)
    finally:
        numba.set_num_threads(threads)


def test_harmonics_that_were_first_asked_for_in_inference_mode_can_be_trained_through() -> None:
    _coefficients.cache_clear()
    with torch.inference_mode():
        harmonics(torch.ones(1, 3))
    directions = torch.ones(1, 3, requires_grad=True)
    harmonics(directions).sum().backward()
    assert directions.grad is not None
