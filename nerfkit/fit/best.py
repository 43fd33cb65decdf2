"""The state of a field's fit that did best on a held-out photo: ``checkpoints/best_*.pt``, apart from the newest."""

import math
from typing import Any

from nerfkit.errors import CheckpointError
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run

PSNR = "held_out_psnr"


def keep_best(run: Run, step: int, psnr: float, state: dict[str, Any]) -> None:
    """Saves the ``state`` of that step in the place of what was kept so far, with its ``psnr`` in dB."""
    checkpoints.save(run.folder, step, state | {PSNR: psnr}, checkpoints.BEST, keep=1)


def kept_psnr(run: Run) -> float:
    """PSNR in dB of what was kept so far; less than any where there is nothing that can be read."""
    if not checkpoints.steps(run.folder, checkpoints.BEST):
        return -math.inf
    try:
        found = checkpoints.load_latest(run.folder, warn=run.log, kind=checkpoints.BEST)[1].get(PSNR)
    except CheckpointError:  # damaged; another one takes its place
        return -math.inf
    return found if isinstance(found, float) else -math.inf
