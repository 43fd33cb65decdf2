"""The state of a field's fit that did best on a held-out photo: ``checkpoints/best_*.pt``, apart from the newest."""

import math
from collections.abc import Callable
from typing import Any

from nerfkit.errors import CheckpointError
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run

PSNR = "held_out_psnr"


def keep_if_best(run: Run, step: int, psnr: float, state: Callable[[], dict[str, Any]]) -> None:
    """Saves ``state()`` of that step in place of what was kept so far, where ``psnr``, in dB, is more than its own."""
    if psnr > _best(run):
        checkpoints.save(run.folder, step, state() | {PSNR: psnr}, checkpoints.BEST, keep=1)


def _best(run: Run) -> float:
    if not checkpoints.steps(run.folder, checkpoints.BEST):
        return -math.inf
    try:
        found = checkpoints.load_latest(run.folder, warn=run.log, kind=checkpoints.BEST)[1].get(PSNR)
    except CheckpointError:  # damaged; another one takes its place
        return -math.inf
    return found if isinstance(found, float) else -math.inf
