"""``python -m nerfkit verify RUN``: the run once more, from its own config, and whether the same bits come out."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from nerfkit import pipeline
from nerfkit.config import FINISHING, STAGES, TrainOptions
from nerfkit.errors import CheckpointError
from nerfkit.results import new_fit
from nerfkit.resume import load
from nerfkit.runs import environment
from nerfkit.runs.configs import load_config
from nerfkit.runs.fingerprint import FIELD, MARKS, SECTION, mark, of_state
from nerfkit.runs.folder import Run, find
from nerfkit.runs.progress import track

Found = dict[str, dict[str, str]]  # stage -> name -> fingerprint

STEPS = 100
ABOUT = """Makes a run again from its own config.yaml, in a temporary folder, and compares the fingerprints of weights,
meshes and pictures with those in its metrics.json. Exit code 0: the same bits; 1: others."""


def main(words: Sequence[str]) -> int:
    """Runs the command with the words that follow its name; returns the exit code.

    Raises:
        CheckpointError: no run folder, or one that cannot be repeated.
        ConfigError, SceneError: the run cannot be made here: its photos are gone, say.
    """
    parser = argparse.ArgumentParser(prog="python -m nerfkit verify", description=ABOUT)
    parser.add_argument("run", help="OUTPUT/SCENE/DATE_TIME or OUTPUT/SCENE/latest")
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--steps", type=int, choices=MARKS, default=STEPS, help=f"of training; {STEPS} by default")
    how_much.add_argument("--all", action="store_true", help="every stage of the run, whole")
    asked = parser.parse_args(words)
    folder = find(asked.run)
    before, after = verified(folder, None if asked.all else asked.steps)
    same = True
    for stage, names in before.items():
        for name, fingerprint in names.items():
            found = after.get(stage, {}).get(name)
            same &= found == fingerprint
            print(f"{stage:8} {name:20} {fingerprint}  {'same' if found == fingerprint else f'differs: {found}'}")
    if not same:
        print("\n".join(reasons(folder)))
    return 0 if same else 1


def verified(folder: Path, steps: int | None) -> tuple[Found, Found]:
    """Fingerprints of a run, and what the same config makes now, of the first ``steps`` of training or of everything.

    Raises:
        CheckpointError: the run cannot be repeated.
    """
    before: Found = Run.open(folder).metrics().get(SECTION, {})
    if FIELD not in before:
        raise CheckpointError(
            f"{folder}: metrics.json has no fingerprints of a field: it is a recipe's run, one that was stopped in its "
            "first 10 steps, or older than fingerprints are; only a new run can be verified"
        )
    config = load(folder)
    _check_budget(folder, config, whole=steps is None)
    config.resume, config.viewer = None, "off"
    with tempfile.TemporaryDirectory() as output:
        config.output = output
        if steps is None:
            config.stages = [name for name in STAGES if name in before]
            made = pipeline.run(config)
            assert made is not None  # this process is alone
            return before, Run.open(made).metrics()[SECTION]
        wanted = {mark(number): number for number in MARKS if number <= steps and mark(number) in before[FIELD]}
        if not wanted:
            raise CheckpointError(f"{folder}: it has fewer than {min(MARKS)} steps; expected more, or --all")
        return {FIELD: {name: before[FIELD][name] for name in wanted}}, {FIELD: first_steps(config, output, wanted)}


def first_steps(config: TrainOptions, output: str, wanted: dict[str, int]) -> dict[str, str]:
    """Fingerprints of the training of ``config`` after the ``wanted`` numbers of steps, by name."""
    scene, device = pipeline.ready(config)
    fit, found, last = new_fit(config, scene, Run(Path(output)), device), {}, max(wanted.values())
    names = {number: name for name, number in wanted.items()}
    for number in track(range(1, last + 1), last, "verify"):
        fit.step()
        if number in names:
            found[names[number]] = of_state(fit.state_dict())
    return found


def reasons(folder: Path) -> list[str]:
    """What may have made a difference: versions, machine, and values that were changed when the run was resumed."""
    found, now = load_config(folder / "environment.yaml"), environment.describe()
    then = {str(key): value for key, value in found.items() if key != "format"} if isinstance(found, DictConfig) else {}
    facts = [(key, str(then.get(key)), now.get(key, "None")) for key in {**then, **now}]
    lines = [f"{key} was {before}, is {after}" for key, before, after in facts if before != after]
    words = [str(word) for word in load_config(folder / "overrides.yaml")]
    resumed = next((place for place, word in enumerate(words) if word.startswith("resume=")), len(words))
    changed = [word for word in words[resumed:] if not word.startswith(("resume=", "stages="))]
    if changed:
        lines.append(f"it was resumed with {' '.join(changed)}, so its config is not the one it began with")
    return lines or ["versions, machine and config are the same: this is a fault of nerfkit; please report it"]


def _check_budget(folder: Path, config: TrainOptions, whole: bool) -> None:
    """Refuses a run whose rates have followed the clock."""
    bounds = {"trainer.max_seconds": config.trainer.max_seconds}
    if whole and {*FINISHING} & {*config.stages}:
        bounds["refine.max_seconds"] = config.refine.max_seconds
    for key, seconds in bounds.items():
        if seconds is not None:
            raise CheckpointError(
                f"{folder}: {key}={seconds}: its learning rate followed the clock, so no second run is the same; "
                f"only a run with {key}=null can be verified"
            )
