"""The field of features at its edges: numbers out of bounds, rays without gradients, and arguments that do not fit."""

import math
import re
from typing import Any

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.feature_field import FeatureWeights, PlaneSpec, feature_density, feature_field, feature_render
from tests.kernels.test_feature_field import (
    COUNTS,
    MIRRORED,
    MODES,
    SPECS,
    assert_same,
    make_intervals,
    make_weights,
    mirrors_at,
    run,
)
from tests.kernels.test_harmonic_field import make_samples

ENCODINGS = pytest.mark.parametrize("case", ["padded", "few cells of planes"])
FEW = 9  # samples, where the interpreter takes seconds for hundreds
COMPILED = ["cpu", pytest.param("triton", marks=pytest.mark.interpreted)]


@ENCODINGS
@pytest.mark.parametrize("backend", COMPILED)
def test_densities_that_saturate(backend: str, case: str) -> None:
    """exp(15) at most, without a gradient beyond; never infinity or NaN."""
    count = FEW if backend == "triton" else 70
    for bias, density in ((300.0, math.exp(15)), (-300.0, 0.0)):

        def change(x: torch.Tensor, weights: FeatureWeights, bias: float = bias) -> None:
            weights.density[1].fill_(bias)

        for mode in MODES:
            found = run(backend, case, mode, [count], change=change)
            assert all(torch.isfinite(t).all() for tensors in found.values() for t in tensors), (bias, mode)
            if mode == "density":
                torch.testing.assert_close(found["out"][0], torch.full((count,), density), rtol=1e-6, atol=1e-37)
            assert not found["w"][3].any() if bias > 0 else True


@ENCODINGS
@pytest.mark.parametrize("backend", COMPILED)
def test_huge_features_and_positions(backend: str, case: str) -> None:
    """A position beyond any float's cells is that at the border; features near the largest numbers do not crash."""

    def change(x: torch.Tensor, weights: FeatureWeights) -> None:
        x[0], x[1] = 1e38, -math.inf

    found, expected = (
        run(backend, case, "field", [3], change=change),
        run("reference", case, "field", [3], change=change),
    )
    assert_same(found, expected, 1e-4)
    assert not found["x"][0][:2].any()


@ENCODINGS
@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("tensor", range(10))
def test_nan_weights_come_out(backend: str, tensor: int, case: str) -> None:
    def change(x: torch.Tensor, weights: FeatureWeights) -> None:
        weights.flat()[tensor].fill_(math.nan)

    found = run(backend, case, "field", [5, 0, FEW if backend == "triton" else 200], change=change)
    assert found["out"][0].isnan().any() or found["out"][1].isnan().any()
    assert any(gradient.isnan().any() for gradient in found["w"])


@ENCODINGS
@pytest.mark.parametrize("backend", COMPILED)
def test_nan_positions_stay_with_their_sample(backend: str, case: str) -> None:
    def change(x: torch.Tensor, weights: FeatureWeights) -> None:
        x[2, 1] = math.nan

    found = run(backend, case, "field", [3, 4], change=change)
    density, color = found["out"]
    assert density.isnan().tolist() == color.isnan().any(1).tolist() == [i == 2 for i in range(7)]
    assert found["x"][0].isnan().any(1).tolist() == [i == 2 for i in range(7)]
    assert found["d"][0].isnan().any(1).tolist() == [True, False]


@pytest.mark.parametrize("opacity", ["density", "raw"])
@pytest.mark.parametrize("early_stop", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("case", SPECS)
def test_pixels_without_gradients(case: str, early_stop: float, opacity: Any) -> None:
    """Front to back in tiles, or all samples composited: the same pixels."""
    spec, width = SPECS[case]
    x, offsets, directions = make_samples([*COUNTS, *[7, 0, 19] * 50])
    weights, samples = make_weights(spec, width, mirrors=case in MIRRORED), make_intervals(offsets)
    samples = samples._replace(t_end=samples.t_start + 3 * (samples.t_end - samples.t_start))
    call = x, samples, directions, weights, spec, mirrors_at(x) if case in MIRRORED else None
    with use("reference"):
        expected = feature_render(*call, opacity=opacity, early_stop=early_stop)
    with torch.no_grad():
        found = feature_render(*call, opacity=opacity, early_stop=early_stop)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-6 * max(1.0, float(other.abs().max())))


@torch.no_grad()
def test_nothing_behind_the_stop_is_seen_and_nan_stays_in_its_ray() -> None:
    spec, width = SPECS["padded"]
    x, offsets, directions = make_samples([30, 30, 30])
    weights, samples = make_weights(spec, width), make_intervals(offsets)
    long = samples._replace(t_end=samples.t_start + 1e6)  # the first sample of a ray is opaque
    clean = feature_render(x, long, directions, weights, spec, early_stop=1e-3)
    x[1], x[20], x[59] = math.nan, math.nan, math.nan
    behind = feature_render(x, long, directions, weights, spec, early_stop=1e-3)
    assert all(torch.equal(one, other) for one, other in zip(clean, behind, strict=True))
    x[60] = math.nan
    spoiled = feature_render(x, long, directions, weights, spec, early_stop=1e-3)
    assert [t.reshape(3, -1).isnan().any(1).tolist() for t in spoiled] == [[False, False, True]] * 3


@pytest.mark.parametrize("backend", COMPILED)
def test_a_graph_is_not_differentiable_again(backend: str) -> None:
    """A second derivative that were left out in silence would be a wrong gradient."""
    spec, width = SPECS["padded"]
    x, weights = make_samples([9])[0].requires_grad_(), make_weights(spec, width)
    with use(backend):
        density = feature_density(x, weights, spec)
    first, again = (torch.autograd.grad(density.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, again)
    with pytest.raises(RuntimeError, match="not differentiable again"):
        torch.autograd.grad(density.sum(), x, create_graph=True)


NO_BIAS = torch.zeros(13, 12), torch.zeros(13, 1)
WRONG = {
    "x": ("x", lambda call: call.update(x=call["x"][:, :2])),
    "x's dtype": ("x", lambda call: call.update(x=call["x"].long())),
    "offsets": ("offsets", lambda call: call.update(offsets=call["offsets"] + 1)),
    "mirrors": ("mirrors: expected (S,3)", lambda call: call.pop("mirrors")),
    "mirrors' shape": ("mirrors", lambda call: call.update(mirrors=call["mirrors"][:3])),
    "no mirrors": ("mirrors: expected None", lambda call: call.update(weights=make_weights(*SPECS["padded"]))),
    "directions": ("directions", lambda call: call.update(directions=call["directions"][:, :2])),
    "table": ("weights.table", lambda call: call.update(weights=call["weights"]._replace(table=torch.zeros(5, 2)))),
    "bias": ("weights.hidden[1]", lambda call: call.update(weights=call["weights"]._replace(hidden=NO_BIAS))),
    "levels": ("spec.levels", lambda call: call.update(spec=call["spec"]._replace(levels=0))),
    "features": ("spec.features", lambda call: call.update(spec=call["spec"]._replace(features=3))),
    "log2_table": ("spec.log2_table", lambda call: call.update(spec=call["spec"]._replace(log2_table=31))),
    "planes' levels": ("spec.levels", lambda call: call.update(spec=PlaneSpec(levels=9))),
    "planes' features": ("spec.features", lambda call: call.update(spec=PlaneSpec(features=8))),
    "planes' table": ("weights.table", lambda call: call.update(spec=PlaneSpec(coarsest=3, finest=4))),
    "finest": ("spec.finest", lambda call: call.update(spec=call["spec"]._replace(finest=2))),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named(name: str) -> None:
    spec, width = SPECS["padded"]
    x, offsets, directions = make_samples([3, 4])
    given = {"x": x, "offsets": offsets, "directions": directions, "mirrors": mirrors_at(x)}
    call = given | {"weights": make_weights(spec, width, mirrors=True), "spec": spec}
    argument, change = WRONG[name]
    change(call)
    with pytest.raises(ValueError, match=f"^{re.escape(argument)}"):
        feature_field(**call)  # type: ignore[arg-type]
