"""The tests marked ``gpu``, in several processes at once: most of their time is the compiler's, on one core each."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import status
from benchmarks.gpu_limits import Budget

REPORTING = 4.0  # seconds that a process has for its report when its time is over
MEMORY_A_PROCESS = 6 << 30  # bytes of GPU memory


class Outcome(NamedTuple):
    """Names of the tests that passed, of those that were skipped, and of those that failed with their reasons."""

    passed: list[str]
    skipped: list[str]
    failed: dict[str, str]


def files(root: Path = status.ROOT) -> list[Path]:
    """Test files with a test marked ``gpu``; beyond the kernels' only where the rest of the package can be imported."""
    folder = root / "tests" if importlib.util.find_spec("hydra") else root / "tests" / "kernels"
    return sorted(p for p in folder.rglob("test_*.py") if "mark.gpu" in p.read_text(encoding="utf-8"))


def processes() -> int:
    """As many as there are cores for, three in four, and memory of the GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else MEMORY_A_PROCESS
    return max(1, min(3 * cores // 4, memory // MEMORY_A_PROCESS))


def run(folder: Path, count: int, budget: Budget, root: Path = status.ROOT) -> list[str]:
    """Run them, ``count`` processes at once; reports are left as ``folder``/N.xml.

    Returns:
        What went wrong with whole processes: time used up, or an exit code that no failed test explains; and files of
        tests that could not be imported.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"OMP_NUM_THREADS": "1"}
    paths = [str(path.relative_to(root)) for path in files(root)]
    pytest = [sys.executable, "-m", "pytest", "-m", "gpu", "--tb=short"]
    collect = [*pytest, "--collect-only", "-q", "-o", "addopts=--strict-markers -p no:cacheprovider", *paths]
    listed = subprocess.run(collect, cwd=root, env=environment, capture_output=True, text=True, check=False)
    names = [line for line in listed.stdout.splitlines() if "::" in line]
    problems = []
    if listed.returncode != 0 or not names:
        problems = [f"the tests could not be collected (exit code {listed.returncode}): {listed.stdout[-2000:]}"]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(min(count, len(names))):
            report = (folder / f"{number}.xml").resolve()
            command = [*pytest, "-vv", f"--junitxml={report}", *names[number::count]]
            with _log(folder, number).open("w") as output:
                child = subprocess.Popen(command, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT)
            running.append(child)
        found = [(number, _problem(child, _log(folder, number), budget)) for number, child in enumerate(running)]
    finally:
        for child in running:
            child.kill()  # nothing where it has ended
            child.wait()
    return problems + [f"process {number} of {len(running)} {problem}" for number, problem in found if problem]


def _problem(child: subprocess.Popen[bytes], log: Path, budget: Budget) -> str | None:
    """What went wrong with a process, which is waited for."""
    try:
        code = child.wait(timeout=max(budget.left(), 0.1))
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)  # on which pytest still writes its report
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=REPORTING)
        return f"did not end within the {budget.used():.0f} s of the tests"
    if code in (0, 1):
        return None
    return f"ended with exit code {code}: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}"


def _log(folder: Path, number: int) -> Path:
    return folder / f"{number}.log"


def cases(folder: Path) -> Iterator[ElementTree.Element]:
    """Every test of all reports."""
    for path in sorted(folder.glob("*.xml")):
        with contextlib.suppress(ElementTree.ParseError):  # of a process that was ended while it wrote
            yield from ElementTree.parse(path).iter("testcase")


def outcome(folder: Path) -> Outcome:
    """What the reports say."""
    passed, skipped, failed = [], [], {}
    for case in cases(folder):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        problem = case.find("failure") if case.find("failure") is not None else case.find("error")
        if problem is not None:
            failed[name] = problem.get("message", "").strip().partition("\n")[0][:200]
        elif case.find("skipped") is not None:
            skipped.append(name)
        else:
            passed.append(name)
    return Outcome(passed, skipped, failed)


def node_id(name: str) -> str:
    """A test's name in a report as pytest takes it: ``tests.kernels.test_march::test_gpu`` -> ``tests/...py::...``."""
    module, _, test = name.partition("::")
    return f"{module.replace('.', '/')}.py::{test}"


def verified_kernels(folder: Path, root: Path = status.ROOT) -> list[str]:
    """Kernels with a GPU source whose files ``test_NAME.py``, ``test_NAME_*.py`` passed a test and failed none."""
    with_source = {status.kernel_of(path) for path in status.sources(root)}
    found = outcome(folder)

    def kernels(names: list[str]) -> set[str]:
        tested = {name.partition("::")[0].rpartition(".test_")[2] for name in names}
        best = (max((k for k in with_source if f"{t}_".startswith(f"{k}_")), key=len, default="") for t in tested)
        return {kernel for kernel in best if kernel}

    return sorted(kernels(found.passed) - kernels(list(found.failed)))
