"""The GPU benchmark's arithmetic, and that its contestants compute one and the same thing; on the CPU, tiny."""

import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import composite, gpu_features as features, gpu_fields as fields, gpu_kernels, gpu_peers, gpu_profile
from benchmarks.gpu_floors import Flops, Peaks, flops, measure_peaks, shares, size_of
from benchmarks.gpu_limits import Budget, NotRunError, peak_bytes
from benchmarks.gpu_profile import Profile, of_trace, profiled
from nerfkit.kernels import halves
from nerfkit.kernels.harmonic_field import FieldSpec

PEAKS = Peaks(1e12, 1e12, 1e12, 1e11)


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short spells, and long enough for the CPU's compiler where nothing is cached."""
    monkeypatch.setattr(gpu_kernels, "TIMED", 0.01)
    monkeypatch.setattr(gpu_kernels, "FIRST_CALL", 600.0)


@pytest.mark.parametrize(
    ("shape", "forward", "backward", "training"),
    [("tutorial", 448_512, 712_704, 1_609_728), ("wide", 296_448, 560_640, 1_153_536)],
)
def test_flops_of_the_wide_fields(shape: str, forward: int, backward: int, training: int) -> None:
    of = fields.SHAPES[shape]
    assert of.flops == Flops(forward, backward)
    assert of.flops.training(recompute=True) == training
    assert of.flops.training(recompute=False) == forward + backward


def test_flops_by_counting_the_multiplications() -> None:
    """What the reference's own linear layers multiply, forward, and what their gradients need."""
    for spec, width, depth in ((FieldSpec(octaves=2), 8, 3), (FieldSpec(octaves=1, skip=1), 4, 3)):
        inputs = [spec.position_size] + [width] * (depth - 1)
        if spec.skip is not None:
            inputs[spec.skip] += spec.position_size
        layers = [(size, width) for size in inputs] + [(width, 1), (width, width), (width, 3)]
        forward = sum(2 * a * b for a, b in layers)
        to_embedding = 2 * spec.position_size * width * (1 if spec.skip is None else 2)
        assert flops(spec, width, depth) == Flops(forward, 2 * forward - to_embedding)


def test_shares_by_hand() -> None:
    # 2e9 FLOPs at 1e12 a second are 2 ms, 1e8 bytes at 1e11 a second 1 ms: the floor is 2 ms.
    words = {"samples": 1000, "work": 2e9, "traffic": 1e8, "peak": 1e12, "bandwidth": 1e11}
    found = shares(8.0, 4.0, **words)  # type: ignore[arg-type]
    assert found["samples_per_second"] == 125_000
    assert (found["share_of_peak"], found["share_of_bandwidth"], found["share_of_floor"]) == (0.25, 0.125, 0.25)
    assert (found["gpu_ms"], found["gpu_share_of_floor"]) == (4.0, 0.5)
    assert "gpu_ms" not in shares(8.0, None, **words)  # type: ignore[arg-type]


def test_peaks_leave_the_precision_as_it_was() -> None:
    before = torch.get_float32_matmul_precision()
    peaks = measure_peaks("cpu", side=32, copy_bytes=1 << 12, repeats=2)
    assert torch.get_float32_matmul_precision() == before
    assert all(math.isfinite(rate) and rate > 0 for rate in peaks)


def test_a_profile_counts_work_and_nothing_else_once() -> None:
    def event(cat: str, name: str, ts: float, dur: float) -> dict[str, Any]:
        return {"cat": cat, "name": name, "ts": ts, "dur": dur}

    events = [
        event("kernel", "a", 0, 100),
        event("kernel", "b", 50, 100),  # half of it beside the first
        event("gpu_memset", "zero", 1000, 50),
        event("kernel", "a", 60, 20),  # within the others
        event("gpu_user_annotation", "Optimizer.step", 0, 5000),
        event("cpu_op", "aten::mm", 0, 9000),
        {"cat": "kernel", "name": "begun", "ts": 3},
    ]
    profile = of_trace(events, calls=2)
    assert profile is not None
    assert profile.busy_ms == pytest.approx(0.1)  # (150 + 50) us in two calls
    assert profile.kernels == pytest.approx({"a": 0.06, "b": 0.05, "zero": 0.025})
    assert next(iter(profile.kernels)) == "a"
    assert of_trace(events[4:], calls=2) is None
    assert profiled(lambda: None, 1, "cpu") is None
    assert peak_bytes(lambda: None, "cpu") is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_real_trace_without_a_gpu_s_work_is_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def noting(events: list[Any], calls: int) -> Profile | None:
        seen.extend(events)
        return of_trace(events, calls)

    monkeypatch.setattr(gpu_profile, "wait", lambda device: None)
    monkeypatch.setattr(gpu_profile, "of_trace", noting)
    assert profiled(lambda: torch.ones(64, 64) @ torch.ones(64, 64), 2, "cuda") is None
    products = [event for event in seen if event.get("name") == "aten::mm"]
    assert len(products) == 2 and all(event["cat"] == "cpu_op" and event["dur"] > 0 for event in products)


@pytest.mark.parametrize("samples", [1, 300, 4096])
def test_packed_rays_have_exactly_their_samples(samples: int) -> None:
    lengths = fields.packed_lengths(samples)
    assert int(lengths.sum()) == samples
    assert int(lengths.min()) >= 0 and int(lengths.max()) <= 13


def test_batch_lies_inside_the_box_in_order() -> None:
    batch = fields.new_batch(torch.cat([fields.packed_lengths(500), fields.lockstep_lengths(256)]), "cpu")
    offsets, starts = batch.samples.offsets, batch.samples.t_start
    assert float(batch.x.abs().max()) <= 1.2
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        assert (starts[first:last].diff() > 0).all()
    part = batch.first(5, torch.float64)
    assert len(part.directions) == 5 and len(part.x) == int(offsets[5]) == len(part.samples.ray_index)
    assert part.x.dtype == part.samples.t_end.dtype == torch.float64


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", ["tutorial", "default"])
def test_contestants_agree_with_the_exact_computation(name: str, training: bool) -> None:
    """Ours to float32's rounding, or bfloat16's where this processor has it; autocast to that; a wrong one is seen."""
    shape = fields.SHAPES[name]._replace(width=32)
    weights = fields.new_weights(shape, "cpu")
    batch = fields.new_batch(fields.packed_lengths(600), "cpu")
    case = fields.Case(shape, batch, weights, training)
    expected = fields.exact(case)
    assert len(batch.directions) > expected.rays == fields.CHECKED_RAYS
    assert expected.dtype == (torch.float32 if name == "tutorial" else torch.float64)
    bound = 0.05 if shape.precision == "bf16" and halves.AVAILABLE else 1e-5
    for build in (fields.one_kernel, fields.storing, fields.two_kernels):
        assert fields.error(case, build, expected) < bound
    assert 1e-5 < fields.error(case, fields.pytorch, expected) < 0.05

    def wrong(case: fields.Case) -> fields.Pixels:
        color, opacity = fields.two_kernels(case)
        return 1.3 * color, opacity

    assert fields.error(case, wrong, expected) > 0.05


def test_traffic_by_hand() -> None:
    shape = fields.SHAPES["default"]
    case = fields.Case(
        shape, fields.new_batch(torch.tensor([2, 1]), "cpu"), fields.new_weights(shape, "cpu"), training=False
    )
    weights = size_of(*case.weights.flat())
    inputs = 3 * 12 + 2 * 3 * 4 + 3 * 8 + 2 * 12 + weights  # x, t_start and t_end, offsets, directions
    assert case.traffic == inputs + 2 * 16
    assert case._replace(training=True).traffic == 2 * (inputs + 2 * 16) + weights
    assert case.work(False) == 3 * shape.flops.forward
    assert case._replace(training=True).work(True) == 3 * shape.flops.training(True)


def test_flops_of_feature_fields_by_counting_the_multiplications() -> None:
    """Every matrix multiplies a sample's row once, forward; backward its gradient and the row's, once each."""
    for shape, forward in (("hash_grid", 3_328), ("planes", 5_376)):
        of = features.SHAPES[shape]
        weights = features.new_weights(of, "cpu")
        matrices = (weights.hidden[0], weights.density[0], weights.feature[0], weights.color[0])
        assert of.flops.forward == 2 * sum(m.numel() for m in matrices) == forward
        assert of.flops.backward == 2 * forward


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", list(features.SHAPES))
def test_feature_fields_agree_with_the_exact_computation(name: str, training: bool) -> None:
    """To float32's rounding, with so few samples that no ReLU is at its kink; and a wrong one would be seen."""
    case = gpu_kernels.new_feature_case(name, "packed", training, "cpu", 200)
    expected = fields.exact(case, features.plain)
    assert expected.dtype == torch.float64
    for render in (features.one_kernel, features.plain):
        assert fields.error(case, render, expected) < 1e-5

    def wrong(case: fields.Case) -> fields.Pixels:
        color, opacity = features.one_kernel(case)
        return 1.3 * color, opacity

    assert fields.error(case, wrong, expected) > 0.05


def test_rows_of_feature_fields(capsys: pytest.CaptureFixture) -> None:
    found = gpu_kernels.feature_cases("cpu", PEAKS, Budget(600), 256)
    assert set(found) == set(features.SHAPES)
    for name, shape in found.items():
        assert set(shape) == {"flops", *fields.BATCHES}
        for batch in fields.BATCHES:
            for mode in ("training", "inference"):
                entries = shape[batch][mode]["contestants"]
                assert list(entries) == ["one_kernel", "pytorch"], (name, batch, mode)
                assert entries["one_kernel"]["times_our_best"] == 1.0
                recomputed = features.SHAPES[name].flops.training(True)
                wanted = recomputed if mode == "training" else features.SHAPES[name].flops.forward
                assert entries["one_kernel"]["flops_per_sample"] == wanted
    assert "hash_grid, packed, training" in capsys.readouterr().out


def test_fields_without_time_say_so() -> None:
    found = gpu_kernels.field_cases("cpu", PEAKS, Budget(0.0), 64)
    assert set(found) == set(fields.SHAPES)
    for shape in found.values():
        assert shape["flops"]["training_with_recompute"] == 2 * shape["flops"]["forward"] + shape["flops"]["backward"]
        for batch in fields.BATCHES:
            assert shape[batch] == {mode: {"not_run": "no time left"} for mode in ("training", "inference")}


def test_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def broken() -> fields.Render:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(fields, "compiled", broken)
    case = gpu_kernels.new_case("default", "packed", True, "cpu", 100)
    row = gpu_kernels.field_row(case, PEAKS)
    entries = row["contestants"]
    assert list(entries) == ["one_kernel", "one_kernel_storing", "two_kernels", "pytorch", "compile"]
    assert entries["compile"] == {"not_run": "RuntimeError: no compiler here"}
    assert row["samples"] == 100 and row["errors_against"] == "float64"
    with_recompute, storing = (entries[name]["flops_per_sample"] for name in ("one_kernel", "one_kernel_storing"))
    assert with_recompute - storing == case.shape.flops.forward
    timed = [entry for entry in entries.values() if "median_ms" in entry]
    assert min(entry["times_our_best"] for entry in timed[:2]) == 1.0
    gpu_kernels.describe("default", row)
    printed = capsys.readouterr().out
    assert "% of the floor" in printed and "no compiler here" in printed


def test_ours_that_breaks_is_a_failure_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: fields.Case) -> fields.Pixels:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(fields, "one_kernel", broken)
    row = gpu_kernels.field_row(gpu_kernels.new_case("default", "packed", False, "cpu", 64), PEAKS, "no time left")
    assert row["contestants"]["one_kernel"] == {"failed": "RuntimeError: no such kernel"}
    assert row["contestants"]["two_kernels"]["median_ms"] > 0
    gpu_kernels.describe("default", row)


@pytest.mark.parametrize("with_compile", [False, True])
def test_caches_are_filled_by_the_contestants_that_compile(monkeypatch: pytest.MonkeyPatch, with_compile: bool) -> None:
    called: list[str] = []

    def noting(name: str) -> fields.Render:
        def render(case: fields.Case) -> fields.Pixels:
            called.append(f"{name} {'training' if case.training else 'inference'}")
            return fields.two_kernels(case)

        return render

    original = gpu_kernels.renders
    monkeypatch.setattr(gpu_kernels, "renders", lambda training: {k: lambda k=k: noting(k) for k in original(training)})
    gpu_kernels.warm("default", with_compile, "cpu", 32)
    ours = [f"{name} training" for name in ("one_kernel", "one_kernel_storing", "two_kernels")]
    ours += [f"{name} inference" for name in ("one_kernel", "two_kernels")]
    assert called == (["compile training", "compile inference"] if with_compile else ours * len(fields.BATCHES))


def test_peers_that_are_not_there_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NERFKIT_PEERS", raising=False)
    inputs = composite.packed_inputs(torch.tensor([2, 0, 3]))
    with pytest.raises(NotRunError, match=r"^not importable$"):
        gpu_peers.PEERS["nerfacc"](inputs)


def test_a_peer_in_a_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "peer_of_a_test.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.setenv("NERFKIT_PEERS", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(NotRunError, match="not importable without a_module_that_is_not_there"):
        gpu_peers.imported("peer_of_a_test")


def test_nerfacc_is_given_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its two functions written out for packed samples, its gradients are ours."""

    def render_weight_from_density(
        t_starts: Tensor, t_ends: Tensor, sigmas: Tensor, *, ray_indices: Tensor, n_rays: int
    ) -> tuple[Tensor, None, None]:
        tau = sigmas * (t_ends - t_starts)
        before = torch.stack([tau[:k][ray_indices[:k] == ray_indices[k]].sum() for k in range(len(tau))])
        return torch.exp(-before) * (1 - torch.exp(-tau)), None, None

    def accumulate_along_rays(weights: Tensor, values: Tensor | None, *, ray_indices: Tensor, n_rays: int) -> Tensor:
        terms = weights[:, None] if values is None else weights[:, None] * values
        return terms.new_zeros(n_rays, terms.shape[1]).index_add(0, ray_indices, terms)

    module = types.ModuleType("nerfacc.volrend")
    monkeypatch.setattr(module, "render_weight_from_density", render_weight_from_density, raising=False)
    monkeypatch.setattr(module, "accumulate_along_rays", accumulate_along_rays, raising=False)
    monkeypatch.setattr(gpu_peers, "imported", lambda name: module)
    inputs = composite.packed_inputs(torch.tensor([2, 0, 3, 1, 0]))
    ours = composite.step(composite.kernel, inputs)()
    torch.testing.assert_close(gpu_peers.nerfacc(inputs)(), ours, rtol=1e-4, atol=1e-5)
