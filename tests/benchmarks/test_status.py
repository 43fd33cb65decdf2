"""The record of which kernel sources were verified on a GPU, and the command line in front of the benchmarks."""

import importlib.util
import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import gpu, measure, status


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


def test_every_kernel_source_of_this_repository_is_listed(capsys: pytest.CaptureFixture) -> None:
    assert command.main(["status"]) == 0
    printed = capsys.readouterr().out
    assert "kernels/composite/triton.py" in printed
    assert len(status.sources()) == len(list(status.ROOT.glob("kernels/*/triton.py")))


REPORT = """<testsuites><testsuite>
<testcase classname="tests.kernels.test_blur" name="test_gpu[a]"/>
<testcase classname="tests.kernels.test_blur" name="test_gpu[b]"><skipped message="one GPU is not enough"/></testcase>
<testcase classname="tests.kernels.test_sharpen" name="test_gpu"><failure message="wrong"/></testcase>
<testcase classname="tests.kernels.test_sharpen" name="test_gpu_twice"/>
<testcase classname="tests.kernels.test_rasterize" name="test_gpu"/>
<testcase classname="tests.kernels.test_edges" name="test_gpu"><skipped message="no GPU"/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("outcomes", "verified"),
    [
        ({"blur": "", "blur_edges": ""}, ["blur"]),
        ({"blur_edges": ""}, ["blur"]),  # tests of its parts are tests of the kernel
        ({"blur": "", "blur_edges": "<failure/>"}, []),
        ({"blur": "<skipped/>", "blur_edges": "<error/>"}, []),
        ({"blur": "", "blur_twice_edges": "<failure/>"}, ["blur"]),  # a kernel of its own
        ({"blur_twice": "", "blurred": "<failure/>"}, ["blur_twice"]),
    ],
)
def test_a_kernel_s_tests_may_be_several_files(checkout: Path, outcomes: dict[str, str], verified: list[str]) -> None:
    (checkout / "kernels" / "blur_twice").mkdir()
    (checkout / "kernels" / "blur_twice" / "triton.py").write_text("")
    cases = (f'<testcase classname="tests.kernels.test_{file}">{how}</testcase>' for file, how in outcomes.items())
    report = checkout / "report.xml"
    report.write_text(f"<testsuite>{''.join(cases)}</testsuite>")
    assert gpu.verified_kernels(report, checkout) == verified


def test_only_a_kernel_whose_tests_ran_and_passed_is_verified(checkout: Path) -> None:
    report = checkout / "report.xml"
    report.write_text(REPORT)
    assert gpu.verified_kernels(report, checkout) == ["blur"]


def forbid(*args: object, **kwargs: object) -> None:
    raise AssertionError("nothing may be timed or written")


@pytest.mark.parametrize(("present", "code", "said"), [(False, 0, "not run: no GPU"), (True, 1, "did not pass")])
def test_nothing_is_written_without_a_gpu_or_when_its_tests_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, present: bool, code: int, said: str
) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: present)
    monkeypatch.setattr(gpu, "run_tests", lambda report: 1)
    for module, name in ((status, "record_verified"), (measure, "save"), (measure, "medians")):
        monkeypatch.setattr(module, name, forbid)
    assert gpu.main([]) == code
    assert said in "".join(capsys.readouterr())


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
