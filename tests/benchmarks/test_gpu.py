"""The one call on a GPU: what it runs and in which order, what it says when something is missing or breaks."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_fields, gpu_kernels, gpu_tests, measure, status
from benchmarks.gpu_limits import Budget, failures

REPORT = """<testsuites><testsuite>
<testcase classname="tests.kernels.test_composite" name="test_gpu[a]"/>
<testcase classname="tests.kernels.test_composite" name="test_gpu[b]"><skipped message="one is not enough"/></testcase>
<testcase classname="tests.kernels.test_march" name="test_gpu"><failure message="wrong&#10;at line 3"/></testcase>
</testsuite></testsuites>"""


def forbid(*args: object, **kwargs: object) -> None:
    raise AssertionError("nothing may be timed or written")


def test_nothing_happens_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    for module, name in ((status, "record_verified"), (measure, "save"), (measure, "medians"), (gpu, "warm_up")):
        monkeypatch.setattr(module, name, forbid)
    assert gpu.main([]) == 0
    assert "not run: no GPU" in capsys.readouterr().out


def test_a_failed_test_is_noted_and_the_parts_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """One test fails and one process breaks off: both are in the results, with what was measured after them."""
    broken: list[str] = []
    ran: list[str] = []

    def run(folder: Path, count: int, budget: Budget) -> list[str]:
        (folder / "0.xml").write_text(REPORT)
        (folder / "1.xml").write_text(REPORT[:50])  # cut off
        return broken

    def run_parts(runner: gpu.Runner, wanted: list[str], *rest: Any) -> None:
        ran.extend(wanted)

    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(measure, "machine", lambda: {"device": "Some GPU"})
    monkeypatch.setattr(gpu_tests, "run", run)
    monkeypatch.setattr(gpu_tests, "processes", lambda: 1)
    monkeypatch.setattr(gpu, "warm_up", lambda: [])
    monkeypatch.setattr(gpu, "run_parts", run_parts)
    assert gpu.main(["--out", str(tmp_path)]) == 1
    assert ran == list(gpu.PARTS)
    printed = capsys.readouterr()
    assert "failed: tests.kernels.test_march::test_gpu: wrong" in printed.err
    assert "1 passed, 1 skipped, 1 failed" in printed.out
    saved = json.loads((tmp_path / "gpu.json").read_text())["results"]["tests"]
    assert saved == {"passed": 1, "skipped": 1, "tests.kernels.test_march::test_gpu": {"failed": "wrong"}}
    assert (tmp_path / "gpu_tests" / "failed.txt").read_text() == "tests/kernels/test_march.py::test_gpu\n"
    noted = json.loads((tmp_path / "gpu_status.json").read_text())
    assert set(noted) == {"kernels/composite/triton.py"}

    (tmp_path / "gpu_status.json").unlink()
    broken.append("process 1 of 2 ended with exit code 134")
    assert gpu.main(["--out", str(tmp_path)]) == 1
    saved = json.loads((tmp_path / "gpu.json").read_text())["results"]["tests"]
    assert saved["problem 1"] == {"failed": "process 1 of 2 ended with exit code 134"}
    assert not (tmp_path / "gpu_status.json").exists()  # a lost process may have had tests of any kernel


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("parts", [["fields"], ["meshes"], ["training"], ["pictures", "training"], list(gpu.PARTS)])
def test_a_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, parts: list[str], broken: bool) -> None:
    """What was verified is not tested again; peaks are measured for whoever needs them; failures are an exit code."""
    ran: list[str] = []

    def run_parts(
        runner: gpu.Runner, wanted: list[str], whole: Budget, results: dict[str, Any], save: gpu.Save
    ) -> None:
        ran.extend(wanted)
        results.update({part: {"failed": "wrong"} if broken else {"done": True} for part in wanted})
        save(results)

    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "already_verified", lambda folder: True)
    monkeypatch.setattr(gpu, "tested", forbid)
    monkeypatch.setattr(gpu, "warm_up", lambda: [])
    monkeypatch.setattr(gpu, "run_parts", run_parts)
    monkeypatch.setattr(gpu, "earlier", lambda folder: {"kernels": {"march": {}}})
    monkeypatch.setattr(measure, "machine", lambda: {"device": "Some GPU"})
    assert gpu.main(["--out", str(tmp_path), "--parts", *parts]) == int(broken)
    needed = {"peaks"} if gpu.NEED_PEAKS & set(parts) else set()
    assert ran == [part for part in gpu.PARTS if part in needed | set(parts)]
    saved = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert len(saved["code"]) == 64
    for part in gpu.PARTS:
        stays: dict[str, Any] = {"march": {}} if part == "kernels" else {"not_run": "not asked for"}
        assert saved[part] == (({"failed": "wrong"} if broken else {"done": True}) if part in ran else stays)


def test_processes_that_do_not_end_are_ended() -> None:
    words: list[list[str]] = [["sleep", "60"], ["true"]]
    children = [subprocess.Popen(command, start_new_session=True) for command in words]
    gpu.finish(children, 0.2)
    assert [child.returncode for child in children] == [-9, 0]


def fail(message: str) -> Any:
    raise RuntimeError(message)


def runner(**sizes: Any) -> gpu.Runner:
    tiny = {"samples": 64, "scale": 0.002, "square": 32, "copied": 1 << 12, "side": 4}
    return gpu.Runner(torch.device("cpu"), ["mic"], 1.0, **tiny | sizes)


@pytest.mark.slow
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

    gpu.run_parts(runner(), ["peaks", "kernels", "fields", "features", "training"], Budget(2400), results, save)
    saved = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert set(saved) == {"peaks", "kernels", "fields", "features", "training", "seconds"}
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
    for seconds in (47.0, 470.0, 4700.0):
        gpu.run_parts(runner(), list(gpu.PARTS), Budget(seconds), {}, lambda found: None)
        # Nothing is used up here: each part has its share of the whole and of those that follow it.
        later = [sum(list(gpu.PARTS.values())[number:]) for number in range(len(gpu.PARTS))]
        expected = {part: seconds * gpu.PARTS[part] / rest for part, rest in zip(gpu.PARTS, later, strict=True)}
        assert given == pytest.approx(expected, rel=0.05)
    gpu.run_parts(runner(), ["training"], Budget(100), {}, lambda found: None)
    assert given["training"] == pytest.approx(100, rel=0.05)


def test_training_without_hydra_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.gpu_training", raising=False)
    monkeypatch.setitem(sys.modules, "nerfkit.options", None)
    results: dict[str, Any] = {}
    gpu.run_parts(runner(), ["training"], Budget(30), results, lambda found: None)
    assert results["training"] == {"not_run": "not importable without nerfkit.options"}


def test_earlier_results_stay_only_where_the_code_is_the_same(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    source = checkout / "kernels" / "blur" / "triton.py"
    source.parent.mkdir(parents=True)
    source.write_text("# blur\n")
    assert gpu.earlier(tmp_path, checkout) == {}
    measure.save("gpu", {"code": gpu.code(checkout), "peaks": {"bf16_tflops": 1.0}}, tmp_path)
    assert gpu.earlier(tmp_path, checkout)["peaks"] == {"bf16_tflops": 1.0}
    source.write_text("# another\n")
    assert gpu.earlier(tmp_path, checkout) == {}
