"""Several processes of one run: the same bits twice, how near they come to one, and what is left when one is killed.

Whole runs of the project's clock in small pictures, as a user starts them. With ``--kills`` one process of two, and the
moment, are drawn; the run is resumed, or begun again where nothing was saved, and must end as one that nobody killed.
With ``--elastic`` it is ``torchrun --max-restarts`` that starts both again, in whatever stage they were.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.results import load
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import LOG

SMALL = [
    *("scene=clock", "scene.resolution=64", "field.width=32", "field.depth=2", "stages=[field]", "threads=1"),
    *("trainer.max_steps=600", "trainer.samples=16384", "trainer.checkpoint_every=0.5"),
]
ALL = [
    *(word for word in SMALL if not word.startswith(("stages=", "trainer.max_steps="))),
    *("stages=[field,extract,refine,export]", "trainer.max_steps=300", "extract.resolution=64", "extract.faces=3000"),
    *("refine.max_seconds=null", "refine.steps=120", "refine.checkpoint_every=0.5", "refine.specular_steps=60"),
]
AT = {"field": "run folder", "extract": "field: PSNR", "refine": "coarse mesh", "export": "held-out views  "}
"""What a line of the log says that the program is at from then on."""
PATIENCE = 240  # seconds; what takes longer hangs
COUNTS = (1, 2, 4)
HANGS = -1  # in the place of an exit code
NAME = "reliability_ranks"


def start(
    output: Path, count: int, resume: Path | None = None, words: Sequence[str] = SMALL, restarts: int = 0
) -> subprocess.Popen:
    """``torchrun train.py`` of so many processes of one thread each; what they say goes to OUTPUT.txt."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone"]
    torchrun.append(f"--max-restarts={restarts}")
    words = ["train.py", *([f"resume={resume}"] if resume else words), f"output={output}"]
    with output.with_suffix(".txt").open("a") as said:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen([*torchrun, *words], env=environment, stdout=said, stderr=said)


def runs_in(output: Path) -> list[Path]:
    """The run folders there, oldest first."""
    return sorted(path.parent for path in output.glob("*/*/config.yaml"))


def outcome(output: Path) -> dict[str, Any]:
    """Fingerprints and figures of the newest run, but for its times."""
    found = json.loads((runs_in(output)[-1] / "metrics.json").read_text())
    figures = {part: {k: v for k, v in found.get(part, {}).items() if k != "seconds"} for part in ("field", "mesh")}
    return {"fingerprints": found["fingerprints"]} | figures


def equality(folder: Path) -> dict[str, Any]:
    """Runs of 1, 2 and 4 processes, and of two once more."""
    names = {**{str(count): count for count in COUNTS}, "2 again": 2}
    for name, count in names.items():
        if start(folder / name, count).wait(PATIENCE) != 0:
            raise RuntimeError((folder / f"{name}.txt").read_text())
    found = {name: outcome(folder / name) for name in names}
    weights = {name: checkpoints.load_latest(runs_in(folder / name)[-1])[1]["model"] for name in names}
    far = {
        name: max(
            ((weights[name][key] - one).abs().mean() / one.abs().mean().clamp_min(1e-9)).item()
            for key, one in weights["1"].items()
            if one.is_floating_point()
        )
        for name in ("2", "4")
    }
    return {
        "same_bits_twice": found["2"] == found["2 again"],
        "psnr": {name: found[name]["field"]["psnr"] for name in map(str, COUNTS)},
        "samples": {name: found[name]["field"]["samples"] for name in map(str, COUNTS)},
        "mean_weight_off": {name: round(value, 6) for name, value in far.items()},
    }


def worker(torchrun: int, rank: int) -> int | None:
    """The number of the process that ``torchrun`` has started as ``rank``; None where there is none."""
    for child in Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split():
        try:
            if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return int(child)
        except OSError:
            continue
    return None


def _ended(process: subprocess.Popen) -> int:
    """The exit code of a process that is waited for."""
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        return HANGS


def elastic(folder: Path, kills: int, dice: random.Random) -> list[dict[str, Any]]:
    """Runs of all stages, each killed once at a random moment, that ``torchrun`` itself starts again."""
    if not kills:
        return []
    begun = time.monotonic()
    if start(folder / "all", 2, words=ALL).wait(PATIENCE) != 0:
        raise RuntimeError((folder / "all.txt").read_text())
    whole, expected, made = time.monotonic() - begun, outcome(folder / "all"), []
    for number in range(kills):
        output, rank, after = folder / f"elastic_{number}", dice.randrange(2), dice.uniform(0.2, 1.0) * whole
        begun = time.monotonic()
        process = start(output, 2, words=ALL, restarts=2)
        stopped = killed(process, rank, begun + after)
        log = (runs_in(output)[-1] / LOG).read_text() if runs_in(output) else ""
        code = _ended(process)
        made.append(
            {
                "rank": rank,
                "seconds": round(after, 2),
                "killed": stopped,
                "stage": next((stage for stage, line in reversed(AT.items()) if line in log), None),
                "runs": len(runs_in(output)),
                "code": code,
                "as_expected": code == 0 and len(runs_in(output)) == 1 and outcome(output) == expected,
                "took": round(time.monotonic() - begun, 1),
            }
        )
        print(made[-1], flush=True)
    return made


def killed(process: subprocess.Popen, rank: int, moment: float) -> bool:
    """Whether one of ``torchrun``'s processes was killed at that moment, before it ended of itself."""
    while process.poll() is None and time.monotonic() < moment:
        time.sleep(0.01)
    victim = worker(process.pid, rank) if process.poll() is None else None
    if victim is not None:
        os.kill(victim, signal.SIGKILL)
    return victim is not None


def kill(folder: Path, number: int, dice: random.Random, whole: float, expected: dict[str, Any]) -> dict[str, Any]:
    """One run of which one process is killed; what came of it."""
    output, rank, after = folder / f"kill_{number}", dice.randrange(2), dice.uniform(0.2, 1.0) * whole
    begun = time.monotonic()
    process = start(output, 2)
    stopped = killed(process, rank, begun + after)
    code = _ended(process)
    saved = [run for run in runs_in(output) if checkpoints.steps(run)]
    if code not in (0, HANGS):
        code = _ended(start(output, 2, saved[-1] if saved else None))
    runs = runs_in(output)
    log = (runs[-1] / LOG).read_text() if runs else ""
    return {
        "rank": rank,
        "seconds": round(after, 2),
        "killed": stopped,
        "resumed": "going on from step" in log,
        "code": code,
        "as_expected": code == 0 and outcome(output) == expected,
        "took": round(time.monotonic() - begun, 1),
    }


def main(argv: list[str]) -> int:
    """Run and save ``results/reliability_ranks.json``; exit code 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ranks", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--elastic", type=int, default=6, help="kills of runs that torchrun starts again")
    parser.add_argument("--seed", type=int, default=0, help="of ranks and moments")
    parser.add_argument("--more", action="store_true", help="kills are added to those that are saved")
    asked = parser.parse_args(argv)
    dice, saved = random.Random(asked.seed), load(NAME) if asked.more else None
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        results = saved["results"] if saved else equality(folder) | {"kills": []}
        begun = time.monotonic()
        start(folder / "whole", 2).wait(PATIENCE)
        whole, expected = time.monotonic() - begun, outcome(folder / "whole")
        for number in range(asked.kills):
            results["kills"].append(kill(folder, number, dice, whole, expected))
            print(results["kills"][-1], flush=True)
        results["elastic"] = results.get("elastic", []) + elastic(folder, asked.elastic, dice)
    kills, restarted = results["kills"], results["elastic"]
    results["as_expected"] = sum(one["as_expected"] for one in kills)
    print({key: value for key, value in results.items() if key not in ("kills", "elastic")}, f"of {len(kills)} kills")
    print(f"saved {measure.save(NAME, results)}")
    return 0 if results["same_bits_twice"] and all(one["as_expected"] for one in kills + restarted) else 1
