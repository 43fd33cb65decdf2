"""Checkpoints of a fit that goes on only with what it began with: a refinement, its highlights.

They are ``RUN/checkpoints/KIND_*.pt``, each with ``of``, a fingerprint of what the fit was given, and ``progress``.
"""

from collections.abc import Callable
from typing import Any

import torch

from nerfkit.errors import CheckpointError, SceneError
from nerfkit.fit.loop import Progress
from nerfkit.fit.watch import not_finite
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run
from nerfkit.scenes.scene import Scene

LOOKED_AT = 997  # every so manieth pixel tells photos from others


def told_apart(scene: Scene) -> list[Any]:
    """What tells photos and cameras from others, for ``of_state``."""
    photos = [scene.images.pixels[::LOOKED_AT], scene.cameras.sizes, scene.train, scene.background]
    return [*photos, scene.cameras.camera_to_world, scene.cameras.intrinsics]


def save(run: Run, kind: str, identity: str, progress: Progress, state: dict[str, Any]) -> None:
    """Writes everything that the next step depends on, unless a tensor of it is NaN or infinite.

    Args:
        kind: of the checkpoints, and the title of the fit's curves.
        identity: fingerprint of what the fit was given.
    """
    if any(not_finite(state)):  # it would stand before the last that is good
        return
    run.flush()  # what lies behind a checkpoint is not done again
    whole = {"of": identity, "progress": vars(progress).copy(), **state}
    checkpoints.save(run.folder, progress.step, whole, kind)


def resumed(
    run: Run, kind: str, identity: str, load: Callable[[dict[str, Any]], None], device: torch.device
) -> Progress:
    """How far the fit is: ``load`` is given the newest state, where the run holds one of the same ``identity``.

    Raises:
        CheckpointError: the state cannot be loaded.
    """
    if not checkpoints.steps(run.folder, kind):
        return Progress()
    try:
        _, state = checkpoints.load_latest(run.folder, device, run.log, kind)
    except CheckpointError as error:
        run.log(f"warning: {error}; {kind} begins at its start")
        return Progress()
    if state.get("of") != identity:
        run.log(f"{kind}: photos, mesh or options are others than those of the checkpoint; it begins at its start")
        checkpoints.drop(run.folder, kind)  # or it would stand before those to come
        return Progress()
    try:
        load(state)
        progress = Progress(**state["progress"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, SceneError) as error:
        where = run.folder / "checkpoints" / f"{kind}_*.pt"
        raise CheckpointError(f"{where}: damaged ({error}); delete it, and {kind} begins at its start") from None
    run.log(f"{kind}: going on from step {progress.step}")
    return progress
