"""The one call on a GPU: what it runs and in which order, what it says when something is missing or breaks."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_fields, gpu_kernels, gpu_tests, measure, status
from benchmarks.gpu_limits import Budget, NotRunError, OutOfTimeError, at_most, attempt, failures

REPORT = """<testsuites><testsuite>
<testcase classname="tests.kernels.test_blur" name="test_gpu[a]"/>
<testcase classname="tests.kernels.test_blur" name="test_gpu[b]"><skipped message="one GPU is not enough"/></testcase>
<testcase classname="tests.kernels.test_sharpen" name="test_gpu"><failure message="wrong&#10;at line 3"/></testcase>
</testsuite></testsuites>"""
ANOTHER_REPORT = """<testsuite>
<testcase classname="tests.kernels.test_sharpen" name="test_gpu_twice"/>
<testcase classname="tests.kernels.test_rasterize" name="test_gpu"/>
<testcase classname="tests.kernels.test_edges" name="test_gpu"><skipped message="no GPU"/></testcase>
</testsuite>"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with kernels that have a GPU source and one that has none; its reports go to ``reports``."""
    for name in ("blur", "blur_twice", "sharpen"):
        (tmp_path / "kernels" / name).mkdir(parents=True)
        (tmp_path / "kernels" / name / "triton.py").write_text(f"# {name}\n")
    (tmp_path / "kernels" / "rasterize").mkdir()
    (tmp_path / "kernels" / "rasterize" / "cpu.py").write_text("")
    (tmp_path / "reports").mkdir()
    return tmp_path


def verified(checkout: Path, *reports: str) -> list[str]:
    for number, report in enumerate(reports):
        (checkout / "reports" / f"{number}.xml").write_text(report)
    return gpu_tests.verified_kernels(checkout / "reports", checkout)


@pytest.mark.parametrize(
    ("outcomes", "names"),
    [
        ({"blur": "", "blur_edges": ""}, ["blur"]),
        ({"blur_edges": ""}, ["blur"]),  # tests of its parts are tests of the kernel
        ({"blur": "", "blur_edges": "<failure/>"}, []),
        ({"blur": "<skipped/>", "blur_edges": "<error/>"}, []),
        ({"blur": "", "blur_twice_edges": "<failure/>"}, ["blur"]),  # a kernel of its own
        ({"blur_twice": "", "blurred": "<failure/>"}, ["blur_twice"]),
    ],
)
def test_a_kernel_s_tests_may_be_several_files(checkout: Path, outcomes: dict[str, str], names: list[str]) -> None:
    cases = (f'<testcase classname="tests.kernels.test_{file}">{how}</testcase>' for file, how in outcomes.items())
    assert verified(checkout, f"<testsuite>{''.join(cases)}</testsuite>") == names


def test_only_a_kernel_whose_tests_ran_and_passed_is_verified(checkout: Path) -> None:
    assert verified(checkout, REPORT, ANOTHER_REPORT) == ["blur"]
    found = gpu_tests.outcome(checkout / "reports")
    assert found.failed == {"tests.kernels.test_sharpen::test_gpu": "wrong"}
    assert (len(found.passed), len(found.skipped)) == (3, 2)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests of which some are marked ``gpu``, in two files, and a file without any."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take longer to start than these tests to run
    folder = tmp_path / "tests" / "kernels"
    folder.mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\naddopts = -q -p no:cacheprovider\n")
    head = "import time\n\nimport pytest\n\n\n"
    names = {"test_blur.py": ["one", "two"], "test_sharpen.py": ["three"]}
    for file, tests in names.items():
        text = "".join(f"@pytest.mark.gpu\ndef test_{name}():\n    assert True\n\n\n" for name in tests)
        (folder / file).write_text(head + text + "def test_elsewhere():\n    assert False\n")
    (folder / "test_other.py").write_text("import a_module_that_is_not_there\n")
    return tmp_path


def test_every_marked_test_runs_once_whatever_the_number_of_processes(project: Path) -> None:
    reports = project / "reports"
    reports.mkdir()
    assert gpu_tests.run(reports, 2, Budget(60), project) == []
    assert sorted(name.rpartition("::")[2] for name in gpu_tests.outcome(reports).passed) == [
        "test_one",
        "test_three",
        "test_two",
    ]


def test_tests_that_hang_break_off_or_cannot_be_collected_are_reported(project: Path) -> None:
    reports = project / "reports"
    reports.mkdir()
    path = project / "tests" / "kernels" / "test_blur.py"
    path.write_text(path.read_text().replace("assert True", "time.sleep(60)", 1))
    (problem,) = gpu_tests.run(reports, 1, Budget(0.1), project)
    assert "did not end" in problem
    path.write_text("import os\n\nimport pytest\n\n\n@pytest.mark.gpu\ndef test_one():\n    os._exit(134)\n")
    (problem,) = gpu_tests.run(reports, 1, Budget(60), project)
    assert "exit code 134" in problem
    path.write_text("# mark.gpu\nimport a_module_that_is_not_there\n")
    (problem,) = gpu_tests.run(reports, 1, Budget(60), project)
    assert "could not be collected" in problem and "a_module_that_is_not_there" in problem


def test_this_repository_has_gpu_tests_for_every_kernel() -> None:
    names = [path.name for path in gpu_tests.files()]
    for folder in {path.parent.name for path in status.sources()}:
        assert any(name.startswith(f"test_{folder}") for name in names), folder


def forbid(*args: object, **kwargs: object) -> None:
    raise AssertionError("nothing may be timed or written")


def test_nothing_happens_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    for module, name in ((status, "record_verified"), (measure, "save"), (measure, "medians"), (gpu, "warm_up")):
        monkeypatch.setattr(module, name, forbid)
    assert gpu.main([]) == 0
    assert "not run: no GPU" in capsys.readouterr().out


def test_nothing_is_timed_or_written_when_a_test_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def run(folder: Path, count: int, budget: Budget) -> list[str]:
        (folder / "0.xml").write_text(REPORT.replace("blur", "composite").replace("sharpen", "march"))
        return []

    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_tests, "run", run)
    monkeypatch.setattr(gpu_tests, "processes", lambda: 1)
    monkeypatch.setattr(gpu, "already_verified", lambda: False)
    monkeypatch.setattr(gpu, "warm_up", lambda: [])
    for module, name in ((status, "record_verified"), (measure, "save"), (measure, "medians")):
        monkeypatch.setattr(module, name, forbid)
    assert gpu.main([]) == 1
    printed = capsys.readouterr()
    assert "failed: tests.kernels.test_march::test_gpu: wrong" in printed.err
    assert "1 passed, 1 skipped, 1 failed" in printed.out and "nothing was timed" in printed.err


def test_passed_tests_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(folder: Path, count: int, budget: Budget) -> list[str]:
        (folder / "0.xml").write_text('<testsuite><testcase classname="tests.kernels.test_march"/></testsuite>')
        return []

    noted: list[Any] = []
    monkeypatch.setattr(gpu_tests, "run", run)
    monkeypatch.setattr(gpu_tests, "processes", lambda: 1)
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(status, "record_verified", lambda *words: noted.append(words[:2]))
    assert gpu.tested(Budget(10))
    assert noted == [(["march"], "Some GPU")]


def fail(message: str) -> Any:
    raise RuntimeError(message)


def runner(**sizes: Any) -> gpu.Runner:
    tiny = {"samples": 64, "scale": 0.002, "square": 32, "copied": 1 << 12, "side": 4}
    return gpu.Runner(torch.device("cpu"), ["mic"], 1.0, **tiny | sizes)


def test_parts_on_the_cpu_at_tiny_sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All that needs no GPU: the results' shape, what is saved, and the reasons of what is not there."""
    monkeypatch.delenv("NERFKIT_DATA", raising=False)
    monkeypatch.setattr(gpu_kernels, "TIMED", 0.01)
    monkeypatch.setattr(gpu_kernels, "FIRST_CALL", 600.0)
    monkeypatch.setattr(gpu_fields, "compiled", lambda: fail("no compiler here"))
    for part in gpu.PARTS:
        monkeypatch.setitem(gpu.PARTS, part, 600.0)  # long enough for the CPU's compiler where nothing is cached
    monkeypatch.setattr(gpu_kernels, "rows", lambda: iter([("default", "packed", False)]))
    results: dict[str, Any] = {}

    def save(found: dict[str, Any]) -> None:
        measure.save("gpu", found, tmp_path)

    gpu.run_parts(runner(), ["peaks", "kernels", "fields", "training"], Budget(2400), results, save)
    saved = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert set(saved) == {"peaks", "kernels", "fields", "training", "seconds"}
    assert set(saved["peaks"]) == {"bf16_tflops", "tf32_tflops", "fp32_tflops", "copy_gb_per_s"}
    assert set(saved["kernels"]) == {"sample_rays", "march", "composite_packed", "composite_lockstep"}
    contestants = saved["fields"]["default"]["packed"]["inference"]["contestants"]
    assert contestants["one_kernel"]["median_ms"] > 0
    assert contestants["compile"] == {"not_run": "RuntimeError: no compiler here"}
    assert "NERFKIT_DATA" in saved["training"]["mic"]["not_run"]
    assert failures(saved) == []
    assert "gpu_ms" not in json.dumps(saved) and "peak_bytes" not in json.dumps(saved)


def test_a_part_that_breaks_or_runs_out_says_so_and_the_next_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(self: gpu.Runner, budget: Budget) -> dict[str, Any]:
        raise RuntimeError("an illegal memory access was encountered\nand more")

    def hangs(self: gpu.Runner, budget: Budget) -> dict[str, Any]:
        time.sleep(30)
        return {}

    monkeypatch.setattr(gpu, "GRACE", 0.1)
    monkeypatch.setitem(gpu.PARTS, "kernels", 0.1)
    monkeypatch.setattr(gpu.Runner, "peaks", breaks)
    monkeypatch.setattr(gpu.Runner, "kernels", hangs)
    results: dict[str, Any] = {}
    saved: list[list[str]] = []
    wanted = ["peaks", "kernels", "fields"]
    gpu.run_parts(runner(), wanted, Budget(60), results, lambda found: saved.append(list(found)))
    assert results["peaks"] == {"failed": "RuntimeError: an illegal memory access was encountered"}
    assert "stopped after" in results["kernels"]["not_run"]
    assert results["fields"] == {"not_run": "the peaks were not measured"}
    assert len(saved) == 3
    assert failures(results) == ["peaks: RuntimeError: an illegal memory access was encountered"]


def test_parts_share_what_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}
    for part in gpu.PARTS:
        monkeypatch.setattr(
            gpu.Runner, part, lambda self, budget, part=part: given.update({part: budget.left()}) or {"done": True}
        )
    gpu.run_parts(runner(), list(gpu.PARTS), Budget(47), {}, lambda found: None)
    assert given["fields"] == pytest.approx(47 * gpu.PARTS["fields"] / sum(gpu.PARTS.values()), rel=0.2)
    gpu.run_parts(runner(), list(gpu.PARTS), Budget(4700), {}, lambda found: None)
    assert given == pytest.approx(gpu.PARTS, abs=0.5)


def test_training_without_hydra_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.gpu_training", raising=False)
    monkeypatch.setitem(sys.modules, "nerfkit.options", None)
    results: dict[str, Any] = {}
    gpu.run_parts(runner(), ["training"], Budget(30), results, lambda found: None)
    assert results["training"] == {"not_run": "not importable without nerfkit.options"}


def test_earlier_results_stay_only_where_the_code_is_the_same(checkout: Path, tmp_path: Path) -> None:
    assert gpu.earlier(tmp_path, checkout) == {}
    measure.save("gpu", {"code": gpu.code(checkout), "peaks": {"bf16_tflops": 1.0}}, tmp_path)
    assert gpu.earlier(tmp_path, checkout)["peaks"] == {"bf16_tflops": 1.0}
    (checkout / "kernels" / "blur" / "triton.py").write_text("# another\n")
    assert gpu.earlier(tmp_path, checkout) == {}


def test_time_limits_nest() -> None:
    with pytest.raises(OutOfTimeError), at_most(0.05):
        time.sleep(5)
    found = []

    def inner_then_outer() -> None:
        found.append(attempt(lambda: time.sleep(5), 0.05)[1])
        time.sleep(5)

    assert attempt(inner_then_outer, 0.3)[1] == {"not_run": "stopped after 0 s"}
    assert found == [{"not_run": "stopped after 0 s"}]  # and the outer block went on
    with at_most(60), pytest.raises(OutOfTimeError), at_most(0.05):
        time.sleep(5)


def test_what_breaks_in_others_code_is_no_failure() -> None:
    def breaks() -> None:
        raise ValueError("no such thing")

    def missing() -> None:
        raise NotRunError("not importable")

    assert attempt(breaks, 1) == (None, {"failed": "ValueError: no such thing"})
    assert attempt(breaks, 1, "others") == (None, {"not_run": "ValueError: no such thing"})
    assert attempt(missing, 1) == (None, {"not_run": "not importable"})
    assert attempt(lambda: 3, 1) == (3, {})
