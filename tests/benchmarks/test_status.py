"""The record of which kernel sources were verified on a GPU, and the command line in front of the benchmarks."""

import importlib.util
import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command, measure, status


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with kernels that have a GPU source and one that has none."""
    for name in ("blur", "sharpen"):
        (tmp_path / "kernels" / name).mkdir(parents=True)
        (tmp_path / "kernels" / name / "triton.py").write_text(f"# {name}\n")
    (tmp_path / "kernels" / "rasterize").mkdir()
    (tmp_path / "kernels" / "rasterize" / "cpu.py").write_text("")
    return tmp_path


def states(root: Path, record: Path) -> dict[str, str]:
    return {found.source: found.state for found in status.statuses(root, record)}


def test_status_follows_the_source(checkout: Path) -> None:
    record = checkout / "results" / "gpu_status.json"
    blur, sharpen = "kernels/blur/triton.py", "kernels/sharpen/triton.py"
    assert states(checkout, record) == {blur: "not run", sharpen: "not run"}

    status.record_verified(["blur"], "Some GPU", "2026-11-21", checkout, record)
    assert states(checkout, record) == {blur: "verified", sharpen: "not run"}
    assert "verified 2026-11-21 on Some GPU" in str(status.statuses(checkout, record)[0])

    (checkout / blur).write_text("# blur, changed\n")
    status.record_verified(["sharpen"], "Some GPU", "2026-11-22", checkout, record)
    assert states(checkout, record) == {blur: "changed", sharpen: "verified"}
    assert "changed since it was verified 2026-11-21" in str(status.statuses(checkout, record)[0])

    (checkout / blur).write_text("# blur\n")
    assert states(checkout, record) == {blur: "verified", sharpen: "verified"}
    assert set(json.loads(record.read_text())[blur]) == {"sha256", "where", "when"}


def test_a_source_outside_of_the_folders_is_its_own_kernel(checkout: Path) -> None:
    record, sums = checkout / "gpu_status.json", "kernels/segments.py"
    (checkout / sums).write_text("# sums\n")
    assert states(checkout, record)[sums] == "not run"
    status.record_verified(["segments"], "Some GPU", "2026-11-21", checkout, record)
    assert states(checkout, record)[sums] == "verified"
    assert states(checkout, record)["kernels/blur/triton.py"] == "not run"


def test_every_kernel_source_of_this_repository_is_listed(capsys: pytest.CaptureFixture) -> None:
    assert command.main(["status"]) == 0
    printed = capsys.readouterr().out
    for name in ("composite/triton.py", "harmonic_field/triton_backward.py", "harmonic_field/packing.py"):
        assert f"kernels/{name}" in printed
    listed = {path.relative_to(status.ROOT / "kernels").as_posix() for path in status.sources()}
    importing = {
        path.relative_to(status.ROOT / "kernels").as_posix()
        for path in status.ROOT.glob("kernels/**/*.py")
        if "import triton" in path.read_text(encoding="utf-8") and path.name != "__init__.py"
    }
    assert importing <= listed
    assert all((status.ROOT / path).exists() for path in status.SHARED)


def test_all_sources_of_a_kernel_are_verified_together(checkout: Path) -> None:
    record = checkout / "record.json"
    for name in ("triton.py", "triton_forward.py", "packing.py", "reference.py"):
        path = checkout / "kernels" / "harmonic_field" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {name}\n")
    status.record_verified(["harmonic_field"], "Some GPU", "2026-11-21", checkout, record)
    field = {name: state for name, state in states(checkout, record).items() if "harmonic_field" in name}
    sources = ("packing.py", "triton.py", "triton_forward.py")
    assert field == {f"kernels/harmonic_field/{name}": "verified" for name in sources}
    (checkout / "kernels" / "harmonic_field" / "packing.py").write_text("# another layout\n")
    assert states(checkout, record)["kernels/harmonic_field/packing.py"] == "changed"


def test_medians_take_turns_and_leave_out_the_warm_up() -> None:
    calls = []
    contestants = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    times = measure.medians(contestants, repeats=3, warmup=1)
    assert calls == ["a", "b"] * 4
    assert all(entry["fastest_ms"] <= entry["median_ms"] <= entry["slowest_ms"] for entry in times.values())


def test_results_file_names_the_machine(tmp_path: Path) -> None:
    path = measure.save("example", {"answer": 42}, tmp_path)
    saved = json.loads(path.read_text())
    assert saved["results"] == {"answer": 42}
    assert {"python", "torch", "numba", "device", "cores", "date"} <= set(saved["machine"])
    assert [file.name for file in tmp_path.iterdir()] == ["example.json"]


def test_unknown_benchmark(capsys: pytest.CaptureFixture) -> None:
    assert command.main(["stauts"]) == 2
    assert "did you mean 'status'?" in capsys.readouterr().err


def test_list_names_every_benchmark_and_each_has_its_module(capsys: pytest.CaptureFixture) -> None:
    assert command.main([]) == 0
    printed = capsys.readouterr().out
    for name in command.BENCHMARKS:
        assert name in printed
        assert importlib.util.find_spec(f"benchmarks.{name}") is not None, name
