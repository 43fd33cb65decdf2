"""Checkpoints: ``RUN/checkpoints/step_00001500.pt``, written whole or not at all, the newest two kept.

Those of the field are ``step_*.pt``, the one that did best on a held-out photo ``best_*.pt``, those of another ``kind``
of fit ``KIND_*.pt``. They are zip files, as PyTorch writes them, with a checksum of every part.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import nerfkit
from nerfkit.errors import CheckpointError
from nerfkit.runs.archives import Archive
from nerfkit.runs.files import write_bytes
from nerfkit.runs.untrusted import RefusedError

FORMAT = 1
"""Of checkpoints and run folders, raised where an older nerfkit could not go on with a new one; 0.1.0 wrote none."""
FIELD, BEST = "step", "best"
KINDS = {"last": FIELD, "best": BEST}  # what a user calls those of the field
MADE_UP = 1 << 24  # elements
KEEP = 2  # the second newest is the way back when the newest cannot be read


def save(run_folder: Path, step: int, state: dict[str, Any], kind: str = FIELD, keep: int = KEEP) -> Path:
    """Writes ``state`` and removes all but the newest ``keep`` checkpoints of its kind.

    Args:
        run_folder: the run's folder.
        step: optimization steps done, 0 or more.
        state: tensors, numbers, strings, and lists and dicts of them: what ``torch.load(weights_only=True)`` reads.
    """
    folder = run_folder / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    # Serialized in memory first: torch reports a full disk as a RuntimeError of its own, a plain write as an OSError.
    buffer = io.BytesIO()
    torch.save(state | {"format": FORMAT}, buffer)
    path = _path(run_folder, step, kind)
    write_bytes(path, buffer.getbuffer())
    newest_first = steps(run_folder, kind)
    # A run that went back to an older step must not lose what it has just saved to the newer files of before.
    stay = {step, *[s for s in newest_first if s != step][: keep - 1]}
    for old in newest_first:
        if old not in stay:
            _path(run_folder, old, kind).unlink()
    return path


def drop(run_folder: Path, kind: str, after: int = -1) -> None:
    """Removes the checkpoints of one kind, those of steps beyond ``after``."""
    for step in steps(run_folder, kind):
        if step > after:
            _path(run_folder, step, kind).unlink(missing_ok=True)


def steps(run_folder: Path, kind: str = FIELD) -> list[int]:
    """The steps that have a checkpoint, newest first."""
    names = [path.stem.removeprefix(f"{kind}_") for path in (run_folder / "checkpoints").glob(f"{kind}_*.pt")]
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def load_latest(
    run_folder: Path, device: torch.device | str = "cpu", warn: Callable[[str], None] = print, kind: str = FIELD
) -> tuple[int, dict[str, Any]]:
    """Step and state of the newest checkpoint that can be read; ``warn`` is told of each that cannot.

    Raises:
        CheckpointError: there is none, or the newest is of a newer nerfkit.
    """
    found = steps(run_folder, kind)
    if not found:
        advice = " trainer.keep_best=true keeps one in training." if kind == BEST else ""
        where = f"{run_folder}: no checkpoint; expected checkpoints/{kind}_*.pt."
        raise CheckpointError(f"{where}{advice} {_contents(run_folder)}")
    for step in found:
        path = _path(run_folder, step, kind)
        try:
            with Archive(path) as parts:  # ``torch.load`` does not look at the checksums
                parts.check()
            state = torch.load(path, map_location=device, weights_only=True)
            if any(map(_is_made_up, _tensors(state))):
                raise RefusedError("a tensor of it repeats what is stored")
        except Exception as error:  # a damaged file raises half a dozen kinds, from the zip, the pickle or the storage
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            warn(f"warning: {path}: cannot be read ({reason[:100]}); trying the one before")
            continue
        if isinstance(state, dict):
            check_format(state.pop("format", 0), path)
            return step, state
        warn(f"warning: {path}: holds no state; trying the one before")
    raise CheckpointError(f"{run_folder / 'checkpoints'}: none of its {len(found)} checkpoints can be read")


def check_format(found: object, path: Path) -> None:
    """Raises CheckpointError where ``path`` says a format, ``found``, that this nerfkit does not know yet."""
    if isinstance(found, int) and found > FORMAT:
        raise CheckpointError(
            f"{path}: written by a newer nerfkit, in format {str(found)[:9]}; this one, {nerfkit.__version__}, reads "
            f"formats up to {FORMAT}. Update it: pip install --upgrade nerfkit"
        )


def _path(run_folder: Path, step: int, kind: str) -> Path:
    return run_folder / "checkpoints" / f"{kind}_{step:08d}.pt"


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    """Every tensor of a nest of dictionaries and lists."""
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict | list | tuple):
        for value in state.values() if isinstance(state, dict) else state:
            yield from _tensors(value)


def _is_made_up(tensor: torch.Tensor) -> bool:
    """Whether a large tensor repeats what is stored: a file of a kilobyte can hold one of terabytes."""
    return tensor.numel() > MADE_UP and tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes()


def _contents(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return "It holds " + (", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else "nothing") + "."
