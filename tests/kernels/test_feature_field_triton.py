"""The field of features in Triton: rungs 3 (interpreted), 4 (compiled without a GPU) and 5 (on one) of the ladder.

What every compiled backend must do with odd numbers stands in ``test_feature_field.py``.
"""

from typing import Any

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.feature_field import (
    MOST_WIDTH,
    FeatureSpec,
    FeatureWeights,
    PlaneSpec,
    Spec,
    feature_density,
    feature_field,
    feature_render,
)
from tests.dry_run import fewer
from tests.kernels import ladder
from tests.kernels.approximations import Approximated
from tests.kernels.harmonic_cases import Result, bits
from tests.kernels.test_feature_field import MODES, SPECS, assert_same, make_intervals, make_weights, mirrors_at, run
from tests.kernels.test_harmonic_field import make_samples
from tests.kernels.test_harmonic_field_triton import compare

# As the default, but for a table that the interpreter sums in seconds; and one whose features and layers take several
# blocks, hashed and not.
SMALL = {
    "default": (FeatureSpec(log2_table=7, coarsest=4, finest=64), 32),
    "several blocks": (FeatureSpec(levels=5, features=4, log2_table=7, coarsest=2, finest=30), 20),
    "planes": (PlaneSpec(coarsest=2, finest=9), 32),
}
FEW = [5, 0, 3]
PACKED = [40, 1, 0, 30, 2, 0]  # rays that share tiles and cross them
ENCODINGS = pytest.mark.parametrize("case", ["padded", "wide planes"])
CHEAP = pytest.mark.parametrize("case", ["padded", "few cells of planes"])  # the interpreter takes a third of the time

CASES = [*((case, "field") for case in SPECS | SMALL), *(("several blocks", mode) for mode in ("render", "density"))]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """``SMALL`` among the cases; on a GPU the default is as it is."""
    on_gpu = request.node.get_closest_marker("gpu") and not request.config.getoption("--gpu-dry")
    for name, case in SMALL.items():
        if not (on_gpu and name in SPECS):
            monkeypatch.setitem(SPECS, name, case)


@pytest.mark.interpreted
@pytest.mark.parametrize(("case", "mode"), CASES)
@pytest.mark.usefixtures("poison")
def test_interpreter_equals_reference(case: str, mode: str) -> None:
    found, expected = run("triton", case, mode, PACKED), run("reference", case, mode, PACKED, torch.float64)
    assert_same(found, expected, 3e-5)


@pytest.mark.interpreted
@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0], [1], [0, 65, 0]], ids=str)
@pytest.mark.parametrize(("case", "mode"), [("padded", "render"), ("padded", "density"), ("wide planes", "render")])
@pytest.mark.usefixtures("poison")
def test_odd_numbers_of_samples(case: str, mode: str, counts: list[int]) -> None:
    found, expected = run("triton", case, mode, counts), run("reference", case, mode, counts, torch.float64)
    assert_same(found, expected, 3e-5)


@pytest.mark.interpreted
@pytest.mark.parametrize("opacity", ["density", "raw"])
@pytest.mark.usefixtures("poison")
def test_interpreter_options(opacity: str) -> None:
    options: dict[str, Any] = {"opacity": opacity, "early_stop": 0.3}
    found = run("triton", "padded", "render", PACKED, **options)
    assert_same(found, run("reference", "padded", "render", PACKED, torch.float64, **options), 2e-4)


@pytest.mark.interpreted
@CHEAP
@pytest.mark.usefixtures("poison")
def test_chunks_and_parts_make_no_difference(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a tile, which end within rays; parts of 16 samples, and of the parts as few as 3."""
    from nerfkit.kernels.feature_field import triton

    whole = run("triton", case, "field", PACKED)
    monkeypatch.setattr(triton, "MOST_ENTRIES", 1)
    monkeypatch.setattr(triton, "SHARE", 1)
    assert_same(run("triton", case, "field", PACKED), whole, 2e-6)
    monkeypatch.setattr(triton, "MOST_PARTS", 3)
    assert_same(run("triton", case, "field", PACKED), whole, 2e-6)


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
def test_without_a_graph_and_in_chunks_the_values_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from nerfkit.kernels.feature_field import triton

    whole = run("triton", "padded", "field", PACKED)["out"]
    monkeypatch.setattr(triton, "MOST_ENTRIES", 1)
    with torch.no_grad():
        x, offsets, directions = make_samples(PACKED)
        weights, spec = make_weights(*SPECS["padded"], mirrors=True), SPECS["padded"][0]
        with use("triton"):
            found = feature_field(1.05 * x, offsets, directions, weights, spec, mirrors_at(1.05 * x))
    assert all(torch.equal(a, b) for a, b in zip(found, whole, strict=True))


@pytest.mark.interpreted
@CHEAP
@pytest.mark.usefixtures("poison")
def test_what_is_wanted_does_not_change_the_bits(case: str) -> None:
    everything = run("triton", case, "field", FEW)
    for wanted in ("xdw", "w", "xd", "x"):
        for name, tensors in run("triton", case, "field", FEW, wanted=wanted).items():
            assert all(torch.equal(a, b) for a, b in zip(tensors, everything[name], strict=True)), (wanted, name)


@pytest.mark.interpreted
def test_what_has_no_kernel_is_named() -> None:
    spec = SPECS["padded"][0]
    x, offsets, directions = make_samples([3])
    with use("triton"):
        with pytest.raises(ValueError, match=rf"weights.hidden\[1\]: expected {MOST_WIDTH} columns at most .* got 129"):
            feature_density(x, make_weights(spec, 129), spec)
        double = FeatureWeights.unflatten(tuple(t.double() for t in make_weights(spec, 8).flat()))
        with pytest.raises(ValueError, match=r"x: expected torch.float32 for the triton backend, got torch.float64"):
            feature_density(x.double(), double, spec)
        samples = make_intervals(offsets)
        with pytest.raises(ValueError, match=r"float32 .* got torch.float64"):
            feature_render(x, samples._replace(t_end=samples.t_end.double()), directions, make_weights(spec, 8), spec)


KERNELS = ("encode", "layers", "layers.again", "derivatives", "derivatives.density", "products", "entries", "positions")
SHAPES: dict[str, tuple[Spec, int]] = {
    "default": (FeatureSpec(), 32),
    "wide": (FeatureSpec(levels=16, features=4, log2_table=19), MOST_WIDTH),
    "planes": (PlaneSpec(), 32),
    "wide.planes": (PlaneSpec(levels=8, features=32), MOST_WIDTH),
}
INTEGERS = {"ray_ptr": "*i64", "columns_ptr": "*i64", "rows_ptr": "*i32"}


def launch(name: str, spec: Spec, width: int) -> tuple[Any, dict[str, str], dict[str, Any]]:
    """A kernel, its signature, and its constants and options as it is launched with."""
    from nerfkit.kernels.feature_field import triton, triton_backward, triton_forward

    weights = make_weights(spec._replace(log2_table=4) if isinstance(spec, FeatureSpec) else spec, width)
    tensors = (weights.table, *weights.hidden, *weights.density, weights.feature[0], *weights.color)
    field = triton._Field(spec, True, *tensors)
    wide = triton.padded(width)
    kernel, constants = {
        "encode": (field.encoding.encode, field.lookups),
        "layers": (triton_forward.layers_kernel, {**field.layers, "STORE": False}),
        "layers.again": (triton_forward.layers_kernel, {**field.layers, "STORE": True}),
        "derivatives": (triton_backward.derivatives_kernel, field.derivatives),
        "derivatives.density": (triton_backward.derivatives_kernel, field._replace(color=False).derivatives),
        "products": (triton_backward.products_kernel, triton.product_constants(wide, wide)),
        "entries": (field.encoding.entries, field.lookups),
        "positions": (field.encoding.positions, field.lookups),
    }[name]
    names = [n for n in kernel.arg_names if n not in constants]
    signature = {n: INTEGERS.get(n, "*fp32" if n.endswith("_ptr") else "i32") for n in names}
    return kernel, signature, constants


@pytest.fixture
def compiler() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from nerfkit.kernels.feature_field import triton_forward

    if not hasattr(triton_forward.layers_kernel, "arg_names"):
        pytest.skip("TRITON_INTERPRET is set: interpreted functions cannot be compiled")


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("target", ladder.TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", KERNELS)
def test_budget(name: str, shape: str, target: str) -> None:
    kernel, signature, constants = launch(name, *SHAPES[shape])
    options = {"num_warps": constants.pop("num_warps")}
    ladder.check_budget(f"feature_field.{name}.{shape}", target, kernel, signature, constants, **options)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("shape", ["default", "planes"])
@pytest.mark.parametrize("name", KERNELS)
def test_a_step_of_another_size_compiles_nothing(name: str, shape: str) -> None:
    kernel, _, _ = launch(name, *SHAPES[shape])
    changing = {"count", "samples", "place"}
    assert not {p.name for p in kernel.params if p.name in changing and not p.do_not_specialize}


def result(found: dict[str, tuple[torch.Tensor, ...]]) -> Result:
    return Result(found["out"], tuple(t for name, tensors in found.items() if name != "out" for t in tensors))


def on_gpu(case: str, mode: str, counts: list[int]) -> Result:
    return result(run("triton", case, mode, counts, device="cuda"))


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(("case", "mode"), CASES)
def test_gpu_error_against_float64(case: str, mode: str) -> None:
    counts = [(7 * i) % 29 for i in range(fewer(2000, 12))]
    exact = result(run("reference", case, mode, counts, torch.float64))
    with Approximated():
        off = result(run("reference", case, mode, counts, torch.float64))
    same = result(run("reference", case, mode, counts, device="cuda"))
    compare(on_gpu(case, mode, counts), same, exact, off)


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", ["default", "planes"])
@pytest.mark.parametrize("mode", MODES)
def test_gpu_runs_are_equal_in_every_bit(case: str, mode: str) -> None:
    counts = [(7 * i) % 29 for i in range(fewer(20000, 6))]
    for one, other in zip(*(bits(on_gpu(case, mode, counts)) for _ in range(2)), strict=True):
        assert (one == other).all()


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("counts", [[], [0, 0], [0, 129, 0], [1]], ids=str)
@ENCODINGS
def test_gpu_odd_numbers_of_samples(case: str, counts: list[int]) -> None:
    exact = run("reference", case, "render", counts, torch.float64)
    found = run("triton", case, "render", counts, device="cuda")
    assert_same({name: tuple(t.cpu() for t in tensors) for name, tensors in found.items()}, exact, 3e-5)


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", ["default", "planes"])
def test_gpu_one_ray_of_a_million_samples(case: str) -> None:
    found = on_gpu(case, "render", [fewer(1_000_000, 200)])
    assert all(t.isfinite().all() for t in (*found.outputs, *found.gradients))
