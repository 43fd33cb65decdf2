"""The GPU tests run in several processes, and what their reports say of each kernel; time limits and reasons."""

import time
from pathlib import Path

import pytest

from benchmarks import gpu_tests, status
from benchmarks.gpu_limits import Budget, NotRunError, OutOfTimeError, at_most, attempt

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


@pytest.mark.slow
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
    for folder in {status.kernel_of(path) for path in status.sources()}:
        assert any(name.startswith(f"test_{folder}") for name in names), folder


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
