"""On a GPU: the tests, each kernel against its floor and against PyTorch, the rasterizer, training and pictures.

One call, under eight minutes: every part has a number of seconds, and what it finds no time for says so in
``results/gpu.json``. Nothing is timed before the tests have passed; they are not run again where
``results/gpu_status.json`` says that these very sources have passed on this GPU. Without a GPU nothing is written.
The kernels' parts need torch, triton, numpy and pytest; training says what is missing.
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
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_fields, gpu_kernels, gpu_tests, measure, status
from benchmarks.gpu_floors import Peaks, measure_peaks
from benchmarks.gpu_limits import Budget, NotRunError, attempt, failures

TOTAL = 470.0  # seconds of a whole call
KEPT = 0.4  # of the parts' seconds, which the tests leave for them
# Part -> its seconds in a whole call without tests, in the order in which they run; of less or more time, its share.
PARTS = {"peaks": 20.0, "kernels": 30.0, "fields": 150.0, "meshes": 70.0, "training": 170.0, "pictures": 30.0}
NEED_PEAKS = {"kernels", "fields", "meshes"}
TRAINING = 40.0  # seconds of a scene
AFTER_TESTS = 20.0  # seconds that compilers which fill caches meanwhile may go on for
CACHES = 100.0  # seconds for the same where no tests are run
SCENES = ("clock", "kaolin", "mic")
GRACE = 20.0  # seconds after which a part that does not keep to its time is stopped, and what it had is lost
VIEWS = 10  # pictures that are timed
Save = Callable[[dict[str, Any]], object]


def warm_up() -> list[subprocess.Popen[bytes]]:
    """Processes that fill the compilers' caches and make the clock, while the tests run."""
    words = [*gpu_fields.SHAPES, *(f"{shape}+compile" for shape in gpu_fields.SHAPES), "clock"]
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


def tested(budget: Budget) -> bool:
    """Run the tests within ``budget`` and note what passed; False where one failed or was not run, printed by name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wrong = gpu_tests.run(folder, gpu_tests.processes(), budget)
        found, kernels = gpu_tests.outcome(folder), gpu_tests.verified_kernels(folder)
    for test, reason in found.failed.items():
        print(f"failed: {test}: {reason}", file=sys.stderr)
    for problem in wrong:
        print(problem, file=sys.stderr)
    print(f"tests: {len(found.passed)} passed, {len(found.skipped)} skipped, {len(found.failed)} failed", flush=True)
    if wrong or found.failed or not kernels:
        print("the GPU tests did not pass; nothing was timed or noted", file=sys.stderr)
        return False
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    status.record_verified(kernels, torch.cuda.get_device_name(), today)
    return True


def already_verified() -> bool:
    """Whether every source has passed on a GPU of this name as it is now."""
    here = torch.cuda.get_device_name()
    return all(found.state == "verified" and found.where == here for found in status.statuses())


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
    """Tests, then the parts. Exit code 1 where a test fails, and then nothing is timed; or where code of ours broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="all by default")
    parser.add_argument("--seconds", type=float, default=TOTAL, help="of the whole call")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES), help="to train on")
    parser.add_argument("--training-seconds", type=float, default=TRAINING, help="of each scene")
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
    whole = Budget(arguments.seconds)
    verified, passed = already_verified(), False
    children = warm_up()
    try:
        kept = KEPT * sum(PARTS[part] for part in wanted)
        passed = verified or tested(Budget(max(whole.left() - kept, 1.0), whole))
    finally:
        finish(children, (CACHES if verified else AFTER_TESTS) if passed else 0)
    if not passed:
        return 1
    runner = Runner(torch.device("cuda"), arguments.scenes, arguments.training_seconds)
    results: dict[str, Any] = {part: {"not_run": "not asked for"} for part in PARTS} | earlier() | {"code": code()}
    run_parts(runner, wanted, whole, results, lambda found: measure.save("gpu", found))
    print(f"saved {measure.RESULTS / 'gpu.json'} after {whole.used():.0f} s")
    status.main([])
    broken = failures(results)
    for line in broken:
        print(f"failed: {line}", file=sys.stderr)
    return int(bool(broken))
