"""Runs that are stopped at random moments and resumed are the run that nobody stopped: ``python -m tests.torture``.

A small run is started, stopped by SIGKILL, SIGTERM or Ctrl-C at a random moment, whatever it is doing, and resumed,
until it is done; then another. Each must end with the fingerprints, the metrics and the curves of the whole one, and
lose no more than the time between two checkpoints. Then come the faults of ``tests.faults``.
"""

import argparse
import json
import math
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nerfkit.runs import checkpoints
from tests.scenes.builders import ring, write_kaolin

ROOT = Path(__file__).parent.parent
NAME = "reliability_torture"  # of the saved results
EVERY = 0.3  # seconds of training between two checkpoints
LATE = 3.0  # seconds that a checkpoint may be late by: previews, a step, a busy machine
STEPS = 400
AT = {
    "field": "run folder",
    "extract": "field: PSNR",
    "refine": "coarse mesh",
    "export": "held-out views  ",
    "video": "mesh.glb",
}
"""What a line of the log says that the program is at from then on."""
HIGHLIGHTS = "highlights"  # which the log does not tell from the refinement, but checkpoints do
MOMENTS = (*AT, HIGHLIGHTS)
KILL, TERM, CTRL_C, TWICE = "SIGKILL", "SIGTERM", "Ctrl-C", "Ctrl-C twice"
CODES = {KILL: (-9,), TERM: (143, -15), CTRL_C: (130, -2), TWICE: (130, -2)}  # the second: it was not yet listening
SMALL = [
    *("scene=kaolin", "scene.holdout=6", "field.width=16", "field.depth=2", "field.octaves=3", "threads=1"),
    *("sampler.resolution=32", "sampler.step_size=0.04", "sampler.update_every=4", "sampler.warmup=20"),
    *("trainer.samples=8192", "trainer.warmup=10", f"trainer.max_steps={STEPS}", f"trainer.checkpoint_every={EVERY}"),
    *("extract.resolution=40", "extract.faces=600", "refine.steps=60", "refine.views_per_step=2"),
    *(f"refine.checkpoint_every={EVERY}", "refine.specular_steps=60", "video.frames=12", "video.resolution=48"),
]


@dataclass
class Report:
    """What came of it.

    Attributes:
        kills: times that the program was stopped.
        runs: that were finished; the last of them was let alone.
        equal: how many of them are the run that nobody stopped.
        lost: seconds of training at most that a SIGKILL cost.
        moments: what the program was at when it was stopped, how often.
        signals: what stopped it, how often.
        faults: what came of each of ``tests.faults``.
        wrong: what was not as it should be.
    """

    kills: int = 0
    runs: int = 0
    equal: int = 0
    lost: float = 0.0
    moments: dict[str, int] = field(default_factory=dict)
    signals: dict[str, int] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def added(self, before: dict[str, Any]) -> "Report":
        """Together with what an earlier one has found."""
        sums = {name: before[name] + getattr(self, name) for name in ("kills", "runs", "equal", "wrong")}
        counts = {
            name: {key: before[name].get(key, 0) + own.get(key, 0) for key in {**before[name], **own}}
            for name, own in (("moments", self.moments), ("signals", self.signals))
        }
        faults = before["faults"] | self.faults
        return Report(**sums, **counts, faults=faults, lost=max(before["lost"], self.lost))


@dataclass
class Stop:
    """When and how to stop a program.

    Attributes:
        by: what stops it, one of ``CODES``.
        after: seconds from its start, or from the moment on.
        moment: what it must have come to first; None: nothing.
    """

    by: str
    after: float
    moment: Callable[[], bool] | None = None


def torture(folder: Path, kills: int, seed: int = 0, seconds: float = math.inf) -> Report:
    """Stops runs in ``folder`` so many times, or until the seconds are over; then lets the last one finish."""
    dice, report = random.Random(seed), Report()
    end = time.monotonic() + seconds
    words, expected, whole = undisturbed(folder)
    while not report.runs or (report.kills < kills and time.monotonic() < end):
        output = folder / f"run_{report.runs}"
        resumed: Path | None = None
        while True:
            said = len(log_of(resumed))
            going = report.kills < kills and time.monotonic() < end
            stop = chosen(dice, whole, output, said) if going else None
            how = [f"resume={resumed}"] if resumed else [*words, f"output={output}"]
            code, stopped_at, printed = run_train(how, stop)
            run = run_in(output)
            if stop is None or stopped_at is None or code == 0:
                break
            if code not in CODES[stop.by]:
                report.wrong.append(f"{output}: {stop.by}: exit code {code}: {printed[-500:]}")
            note(report, run, stop.by, stopped_at, said)
            resumed = run if run is not None and checkpoints.steps(run) else None
        report.runs += 1
        found = outcome(run)
        if code != 0:
            report.wrong.append(f"{output}: exit code {code}: {printed[-500:]}")
        elif found != expected:
            report.wrong.append(f"{output}: {differences(expected, found)}")
        elif run is not None and (halves := list(run.rglob(".*.part*"))):
            report.wrong.append(f"{output}: left half written: {halves}")
        else:
            report.equal += 1
    return report


def undisturbed(folder: Path) -> tuple[list[str], dict[str, Any], float]:
    """The words of a small run, what comes of it where nobody stops it, and the seconds that it takes."""
    words = [*SMALL, f"scene.root={write_kaolin(folder / 'sphere', ring(12, size=(40, 48)))}"]
    start = time.monotonic()
    code, _, printed = run_train([*words, f"output={folder / 'whole'}"])
    assert code == 0, printed
    return words, outcome(run_in(folder / "whole")), time.monotonic() - start


def chosen(dice: random.Random, whole: float, output: Path, said: int) -> Stop:
    """Half of the stops come at any time, the others in a part of the run that is chosen first: some are short."""
    by = dice.choices((KILL, TERM, CTRL_C, TWICE), (5, 2, 2, 1))[0]
    if dice.random() < 0.5:
        return Stop(by, dice.uniform(0, whole))
    wanted = dice.choice(MOMENTS)
    return Stop(by, dice.uniform(0, 0.4), lambda: moment(run_in(output), said) == wanted)


def run_train(words: list[str], stop: Stop | None = None, before: str = "") -> tuple[int, float | None, str]:
    """Runs ``train.py``.

    Args:
        stop: None lets it alone.
        before: Python to run in its process first.

    Returns:
        its exit code; when it was stopped, None where it was done before; what it printed to standard error.
    """
    code = f"import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); {before}\n"
    start = f"{code}sys.argv = ['train.py', *sys.argv[1:]]; runpy.run_path('train.py', run_name='__main__')"
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-c", start, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said
        )
        stopped = _stop(process, stop) if stop is not None else None
        try:
            process.wait(60 if stopped else None)
        except subprocess.TimeoutExpired:  # the answer to a signal takes one step
            process.kill()
            process.wait()
        said.seek(0)
        return process.returncode, stopped, said.read().decode(errors="replace")


def _stop(process: subprocess.Popen, stop: Stop) -> float | None:
    """Stops the program; when that was, None where it was done before."""
    while stop.moment is not None and not stop.moment():
        if process.poll() is not None:
            return None
        time.sleep(0.02)
    try:
        process.wait(stop.after)
        return None
    except subprocess.TimeoutExpired:
        number = {KILL: signal.SIGKILL, TERM: signal.SIGTERM}.get(stop.by, signal.SIGINT)
        process.send_signal(number)
        if stop.by == TWICE:
            time.sleep(0.05)
            process.send_signal(number)
        return time.time()


def moment(run: Path | None, said: int) -> str:
    """What a run is at, by its log from ``said`` on."""
    log = log_of(run)[said:]
    at = next((stage for stage, line in reversed(AT.items()) if line in log), "start")
    done = run is not None and at == "refine" and checkpoints.steps(run, "specular")
    return HIGHLIGHTS if done else at


def note(report: Report, run: Path | None, by: str, stopped_at: float, said: int) -> None:
    """Counts a stop: what the program was at, and what it has lost of its training."""
    at = moment(run, said)
    report.kills += 1
    report.moments[at] = report.moments.get(at, 0) + 1
    report.signals[by] = report.signals.get(by, 0) + 1
    steps = [] if run is None else checkpoints.steps(run)
    if run is not None and by == KILL and at == "field" and steps and steps[0] < STEPS:
        lost = stopped_at - (run / "checkpoints" / f"step_{steps[0]:08d}.pt").stat().st_mtime
        report.lost = max(report.lost, lost)
        if lost > EVERY + LATE:
            report.wrong.append(f"{run}: {lost:.1f} s of training lost")


def log_of(run: Path | None) -> str:
    """The run's log so far."""
    return "" if run is None or not (run / "log.txt").exists() else (run / "log.txt").read_text("utf-8")


def run_in(output: Path) -> Path | None:
    """The newest run folder in a folder of runs."""
    return max((path.parent for path in output.glob("*/*/config.yaml")), default=None)


def metrics_of(run: Path) -> dict[str, Any]:
    path = run / "metrics.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def outcome(run: Path | None) -> dict[str, Any]:
    """What must be the same: all of metrics.json but times and memory, and the curves but those over time."""
    if run is None:
        return {}
    found = {key: value for key, value in metrics_of(run).items() if key != "stages"}
    return _without_times(found) | {"curves": curves(run)}


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> steps and values of the curves that TensorBoard shows, without those that tell the time."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(run), size_guidance={SCALARS: 0}).Reload()
    tags = [tag for tag in events.Tags()[SCALARS] if not tag.startswith("speed/") and not tag.endswith("_by_second")]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key != "seconds"}
    return value


def differences(expected: dict[str, Any], found: dict[str, Any], prefix: str = "") -> list[str]:
    """The keys whose values differ."""
    names: list[str] = []
    for key in expected.keys() | found.keys():
        one, other = expected.get(key), found.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            names += differences(one, other, f"{prefix}{key}.")
        elif one != other:
            names.append(prefix + key)
    return sorted(names)


def main() -> int:
    """Exit code 0 where nothing was wrong."""
    from tests import faults

    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which nothing more is stopped")
    parser.add_argument("--faults", nargs="*", choices=faults.FAULTS, default=list(faults.FAULTS), help="all, or these")
    parser.add_argument("--save", action="store_true", help="to benchmarks/results; adds to those of the same commit")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = torture(Path(folder), asked.kills, asked.seed, asked.seconds) if asked.kills else Report()
        faults.try_all(Path(folder) / "faults", asked.faults, report)
    print(f"{report.kills} stops, {report.runs} runs finished; lost at most {report.lost:.1f} s of training")
    for title, count in {**report.moments, **report.signals}.items():
        print(f"  {title:12} {count}")
    for name, found in report.faults.items():
        print(f"{name}: {found}")
    for wrong in report.wrong:
        print(f"wrong: {wrong}")
    if asked.save:
        save(report)
    return 1 if report.wrong else 0


def save(report: Report) -> None:
    """Writes the report, together with the saved one where that is of the same commit."""
    from benchmarks import measure

    path = measure.RESULTS / f"{NAME}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    if before and before["machine"].get("commit") == measure.machine().get("commit"):
        report = report.added(before["results"])
    measure.save(NAME, asdict(report) | {"lost": round(report.lost, 2), "run": SMALL})


if __name__ == "__main__":
    sys.exit(main())
