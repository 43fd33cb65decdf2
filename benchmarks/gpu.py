"""On a GPU: the tests, training, each kernel against its floor and against PyTorch, the rasterizer and pictures.

One call, under 590 seconds: every part has a number of them, and what it finds no time for says so. What is known is
saved after every part, in a folder:

    gpu.json                 the results; ``tests`` names what failed, and why
    gpu_status.json          which sources have passed
    gpu_tests/N.xml, N.log   JUnit's report and the output of each process of tests
    gpu_tests/failed.txt     the tests that failed: ``python -m pytest --tb=long @FOLDER/gpu_tests/failed.txt``

Tests are no gate: a failure is noted, and the parts run. Tests are not run again where ``gpu_status.json`` says that
these very sources have passed on this GPU. Without a GPU nothing is written. The kernels' parts need torch, triton,
numpy and pytest; training says what is missing. ``benchmarks/bare.sh`` starts it where nothing is installed.
"""

import argparse
import dataclasses
import datetime
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_features, gpu_fields, gpu_kernels, gpu_tests, measure, status
from benchmarks.gpu_floors import Peaks, measure_peaks
from benchmarks.gpu_limits import Budget, NotRunError, attempt, failures

TOTAL = 555.0  # seconds of a whole call; the last part may take ``GRACE`` more
TESTS = 170.0  # of these, for the tests at the most
# Part -> its seconds, in the order in which they run; of less or more time, its share. Training comes first: what a
# step takes on a GPU is what nothing else can say.
PARTS = {
    "peaks": 15.0,
    "training": 150.0,
    "fields": 85.0,
    "features": 15.0,
    "meshes": 40.0,
    "kernels": 25.0,
    "pictures": 20.0,
}
NEED_PEAKS = {"kernels", "fields", "features", "meshes"}
TRAINING = 20.0  # seconds of a scene
AFTER_TESTS = 20.0  # seconds that compilers which fill caches meanwhile may go on for
CACHES = 100.0  # seconds for the same where no tests are run
SCENES = ("clock", "clock_hash_grid", "clock_planes", "kaolin", "mic")
GRACE = 20.0  # seconds after which a part that does not keep to its time is stopped, and what it had is lost
VIEWS = 10  # pictures that are timed
Save = Callable[[dict[str, Any]], object]


def warm_up() -> list[subprocess.Popen[bytes]]:
    """Processes that fill the compilers' caches and make the clock, while the tests run."""
    words = [*gpu_fields.SHAPES, *(f"{shape}+compile" for shape in gpu_fields.SHAPES), *gpu_features.SHAPES, "clock"]
    command = [sys.executable, "-m", "benchmarks", "gpu", "--warm"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    return [subprocess.Popen([*command, word], cwd=status.ROOT, **quiet) for word in words]


def warm(word: str) -> None:
    """What one of those processes does."""
    if word == "clock":
        training = importlib.import_module("benchmarks.gpu_training")
        training.load_scene(training.config_of(training.SCENES["clock"], TRAINING))
    else:
        shape, _, compiler = word.partition("+")
        gpu_kernels.warm(shape, bool(compiler))


def finish(children: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait for them, so long, and end those that still run, with the processes that they started."""
    budget = Budget(seconds)
    for child in children:
        try:
            child.wait(timeout=max(budget.left(), 0.01))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def tested(folder: Path, budget: Budget) -> dict[str, Any]:
    """Run the tests within ``budget``; note in ``folder`` which kernels passed, and return what did and what did not.

    No kernel is noted where a process of tests broke off: tests of any kernel may have been lost with it.
    """
    reports = folder / "gpu_tests"
    reports.mkdir(parents=True, exist_ok=True)
    for old in (*reports.glob("*.xml"), *reports.glob("*.log")):
        old.unlink()
    wrong = gpu_tests.run(reports, gpu_tests.processes(), budget)
    found = gpu_tests.outcome(reports)
    (reports / "failed.txt").write_text("".join(f"{gpu_tests.node_id(name)}\n" for name in found.failed))
    for line in (*(f"failed: {test}: {reason}" for test, reason in found.failed.items()), *wrong):
        print(line, file=sys.stderr)
    print(f"tests: {len(found.passed)} passed, {len(found.skipped)} skipped, {len(found.failed)} failed", flush=True)
    if not wrong:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        kernels = gpu_tests.verified_kernels(reports)
        status.record_verified(kernels, torch.cuda.get_device_name(), today, record=folder / status.RECORD.name)
    counts = {"passed": len(found.passed), "skipped": len(found.skipped)}
    problems = found.failed | {f"problem {number}": problem for number, problem in enumerate(wrong, 1)}
    return counts | {name: {"failed": reason} for name, reason in problems.items()}


def already_verified(folder: Path) -> bool:
    """Whether every source has passed on a GPU of this name as it is now."""
    here = torch.cuda.get_device_name()
    found = status.statuses(record=folder / status.RECORD.name)
    return all(source.state == "verified" and source.where == here for source in found)


def code(root: Path = status.ROOT) -> str:
    """SHA-256 of the code that is measured and that measures, which travels where no git does."""
    digest = hashlib.sha256()
    for folder in ("benchmarks", "conf", "kernels", "nerfkit"):
        for path in sorted(p for p in (root / folder).rglob("*") if p.suffix in (".py", ".yaml")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def earlier(folder: Path = measure.RESULTS, root: Path = status.ROOT) -> dict[str, Any]:
    """The saved results, if they are of this very code on this GPU: parts that are not asked for stay."""
    path = folder / "gpu.json"
    if not path.exists():
        return {}
    saved = json.loads(path.read_text(encoding="utf-8"))
    same = saved["results"].get("code") == code(root) and saved["machine"]["device"] == measure.machine()["device"]
    return saved["results"] if same else {}


@dataclasses.dataclass
class Runner:
    """The parts, on ``device`` and at their sizes, and what one leaves for the next: the peaks, a trained fit."""

    device: torch.device
    scenes: list[str]
    seconds: float = TRAINING
    samples: int = gpu_kernels.SAMPLES
    scale: float = 1.0
    square: int = 8192
    copied: int = 1 << 30
    side: int = 800
    mesh_sizes: dict[str, Any] = dataclasses.field(default_factory=dict)
    measured: Peaks | None = None
    fit: Any = None

    def peaks(self, budget: Budget) -> dict[str, Any]:
        self.measured = measure_peaks(self.device, side=self.square, copy_bytes=self.copied)
        print(self.measured.results(), flush=True)
        return self.measured.results()

    def kernels(self, budget: Budget) -> dict[str, Any]:
        found = gpu_kernels.simple_cases(self.device, self._peaks(), budget, self.scale)
        for name, row in found.items():
            gpu_kernels.describe_simple(name, row)
        return found

    def fields(self, budget: Budget) -> dict[str, Any]:
        return gpu_kernels.field_cases(self.device, self._peaks(), budget, self.samples)

    def features(self, budget: Budget) -> dict[str, Any]:
        return gpu_kernels.feature_cases(self.device, self._peaks(), budget, self.samples)

    def meshes(self, budget: Budget) -> dict[str, Any]:
        return _module("gpu_mesh").results(self.device, self._peaks(), budget, **self.mesh_sizes)

    def training(self, budget: Budget) -> dict[str, Any]:
        found, self.fit = _module("gpu_training").results(self.device, budget, self.seconds, self.scenes)
        return found

    def pictures(self, budget: Budget) -> dict[str, Any]:
        pictures = _module("gpu_frames")
        picture = pictures.Picture(side=self.side)
        memory, reason = attempt(lambda: pictures.backward_memory(self.device, picture), budget.left())
        found: dict[str, Any] = {"gradient": memory or reason, "frames": {"not_run": "no trained field"}}
        if self.fit is not None:
            scene, fit = self.fit.scene, self.fit
            views = scene.test[:VIEWS]
            frames, reason = attempt(
                lambda: pictures.frames(fit.average, scene.cameras, views, self.device, self.side), budget.left()
            )
            found["frames"] = frames or reason
        print(found, flush=True)
        return found

    def _peaks(self) -> Peaks:
        if self.measured is None:
            raise NotRunError("the peaks were not measured")
        return self.measured


def _module(name: str) -> Any:
    """A module of this folder that needs more than the kernels do.

    Raises:
        NotRunError: what it needs is not installed.
    """
    try:
        return importlib.import_module(f"benchmarks.{name}")
    except ImportError as error:
        raise NotRunError(f"not importable without {error.name}") from None


def run_parts(runner: Runner, wanted: list[str], whole: Budget, results: dict[str, Any], save: Save) -> None:
    """Fills ``results``, saved after every part; a part that cannot run leaves its reason.

    Each gets its share of the time that is left; what it does not take goes to those after it.
    """
    for part in wanted:
        results[part] = {"not_run": "not reached"}
    for number, part in enumerate(wanted):
        share = PARTS[part] / sum(PARTS[later] for later in wanted[number:])
        budget = Budget(share * whole.left(), whole)
        print(f"--- {part}, at most {budget.left():.0f} s", flush=True)
        found, reason = attempt(
            lambda part=part, budget=budget: getattr(runner, part)(budget),  # type: ignore[misc]
            budget.left() + GRACE,
        )
        results[part] = reason if found is None else found
        if reason:
            print(f"{part}: {reason}", flush=True)
        results.setdefault("seconds", {})[part] = round(budget.used(), 1)
        save(results)


def main(argv: list[str]) -> int:
    """Tests, then the parts. Exit code 1 where a test failed or code of ours broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="all by default")
    parser.add_argument("--seconds", type=float, default=TOTAL, help="of the whole call")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES), help="to train on")
    parser.add_argument("--training-seconds", type=float, default=TRAINING, help="of each scene")
    parser.add_argument("--out", type=Path, default=measure.RESULTS, metavar="FOLDER", help="where results go")
    parser.add_argument("--warm", metavar="WORD", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("not run: no GPU")
        return 0
    if arguments.warm:
        warm(arguments.warm)
        return 0
    asked = set(arguments.parts)
    if asked & NEED_PEAKS:
        asked.add("peaks")
    wanted = [part for part in PARTS if part in asked]
    whole, out = Budget(arguments.seconds), arguments.out
    results: dict[str, Any] = {part: {"not_run": "not asked for"} for part in PARTS} | earlier(out) | {"code": code()}
    verified = already_verified(out)
    children = warm_up()
    try:
        if verified:
            results["tests"] = {"not_run": "these sources have passed on this GPU"}
        else:
            results["tests"] = tested(out, Budget(min(TESTS, TESTS / TOTAL * arguments.seconds), whole))
        measure.save("gpu", results, out)
    finally:
        finish(children, CACHES if verified else AFTER_TESTS)
    runner = Runner(torch.device("cuda"), arguments.scenes, arguments.training_seconds)
    run_parts(runner, wanted, whole, results, lambda found: measure.save("gpu", found, out))
    print(f"saved {out / 'gpu.json'} after {whole.used():.0f} s")
    broken = failures(results)
    for line in broken:
        print(f"failed: {line}", file=sys.stderr)
    return int(bool(broken))
