"""A run that is killed at random moments and resumed is the run that nobody killed: ``python -m tests.torture``.

A small run is started, killed by SIGKILL after a random time, whatever it is doing, and resumed, until it is done; then
another. Each must end with the fingerprints and the metrics of the whole one, and lose no more than the time between
two checkpoints.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nerfkit.runs import checkpoints
from tests.scenes.builders import ring, write_kaolin

ROOT = Path(__file__).parent.parent
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
SMALL = [
    *("scene=kaolin", "scene.holdout=6", "field.width=16", "field.depth=2", "field.octaves=3", "threads=1"),
    *("sampler.resolution=32", "sampler.step_size=0.04", "sampler.update_every=4", "sampler.warmup=20"),
    *("trainer.samples=8192", "trainer.warmup=10", f"trainer.max_steps={STEPS}", f"trainer.checkpoint_every={EVERY}"),
    *("extract.resolution=40", "extract.faces=600", "refine.steps=60", "refine.views_per_step=2"),
    *("refine.checkpoint_every=0.3", "refine.specular_steps=30", "video.frames=4", "video.resolution=32"),
]


@dataclass
class Report:
    """What came of it.

    Attributes:
        kills: moments at which the program was killed.
        runs: that were finished; the last of them was let alone.
        lost: seconds of training at most that a kill cost.
        moments: what the program was at when it was killed, how often.
        wrong: what was not as it should be.
    """

    kills: int = 0
    runs: int = 0
    lost: float = 0.0
    moments: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def torture(folder: Path, kills: int, seed: int = 0) -> Report:
    """Kills runs in ``folder`` so many times."""
    dice, report = random.Random(seed), Report()
    views = write_kaolin(folder / "sphere", ring(12, size=(40, 48)))
    words = [*SMALL, f"scene.root={views}"]
    start = time.monotonic()
    code, _ = start_and_kill([*words, f"output={folder / 'whole'}"], None)
    whole = time.monotonic() - start
    assert code == 0
    expected = outcome(run_in(folder / "whole"))
    while report.kills < kills or not report.runs:
        output = folder / f"run_{report.runs}"
        resumed: Path | None = None
        while True:
            after = dice.uniform(0, whole) if report.kills < kills else None
            how = [f"resume={resumed}"] if resumed else [*words, f"output={output}"]
            said = len(log_of(resumed))
            code, killed_at = start_and_kill(how, after)
            run = run_in(output)
            if killed_at is None:
                break
            report.kills += 1
            note(report, run, killed_at, said)
            resumed = run if run is not None and checkpoints.steps(run) else None
        report.runs += 1
        if code != 0:
            report.wrong.append(f"{output}: exit code {code}")
        elif (found := outcome(run)) != expected:
            report.wrong.append(f"{output}: {differences(expected, found)}")
        elif run is not None and (halves := list(run.rglob(".*.part*"))):
            report.wrong.append(f"{output}: left half written: {halves}")
    return report


def start_and_kill(words: list[str], after: float | None) -> tuple[int, float | None]:
    """Runs ``train.py``; its exit code, and when it was killed, None where it was done before ``after`` seconds."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "train.py", *words], cwd=ROOT, stdout=said, stderr=said)
        try:
            code = process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return -signal.SIGKILL, time.time()
        if code:
            said.seek(0)
            print(said.read().decode(errors="replace"), file=sys.stderr)
        return code, None


def note(report: Report, run: Path | None, killed_at: float, said: int) -> None:
    """Counts a kill: what the program was at, by its log from ``said`` on, and what it has lost of its training."""
    log = log_of(run)[said:]
    at = next((stage for stage, line in reversed(AT.items()) if line in log), "start")
    report.moments[at] = report.moments.get(at, 0) + 1
    steps = [] if run is None else checkpoints.steps(run)
    if run is not None and at == "field" and steps and steps[0] < STEPS:
        lost = killed_at - (run / "checkpoints" / f"step_{steps[0]:08d}.pt").stat().st_mtime
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
    """What must be the same: all of metrics.json but times and memory."""
    return {} if run is None else _without_times({k: v for k, v in metrics_of(run).items() if k != "stages"})


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
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = torture(Path(folder), asked.kills, asked.seed)
    print(f"{report.kills} kills, {report.runs} runs finished; lost at most {report.lost:.1f} s of training")
    for moment, count in report.moments.items():
        print(f"  {moment:8} {count}")
    for wrong in report.wrong:
        print(f"wrong: {wrong}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
