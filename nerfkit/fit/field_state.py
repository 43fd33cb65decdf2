"""What the steps of a field's fit change: the model and its running mean, the optimizer, what is learned beside."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nerfkit.errors import CheckpointError
from nerfkit.fit.adam import Adam
from nerfkit.fit.average import RunningAverage
from nerfkit.fit.corrections import Corrections
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.fit.field_step import FIRST_RAYS, FieldProgress
from nerfkit.fit.legacy import upgraded
from nerfkit.fit.register import registered
from nerfkit.fit.watch import not_finite
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel


class FieldState:
    """All that a checkpoint of a field holds.

    Args:
        model: what is trained, on the device that is to do it.
        scene: whose training views are compared with it.
        options: of the fit.
    """

    def __init__(self, model: RadianceModel, scene: Scene, options: TrainerOptions) -> None:
        self.model, self.scene, self.options = model, scene, options
        self._average = RunningAverage(model, options.ema)
        self.average = self._average.model
        self.corrections = Corrections(scene, options).to(model.device)
        self.optimizer = Adam([*model.parameter_groups(), *self.corrections.parameter_groups()], eps=1e-15)
        self.progress = FieldProgress(rays=min(FIRST_RAYS, options.max_rays))

    def refined_scene(self, views: Sequence[int] | None = None) -> Scene:
        """The scene with the cameras as they were learned, held-out ``views`` (None: all) registered with the average.

        Itself where cameras are not learned.
        """
        poses, exposure = self.corrections.poses, self.corrections.exposure
        if poses is None:
            return self.scene
        learned = poses.refined().to(self.scene.cameras.camera_to_world.device)
        scene = replace(self.scene, cameras=learned, cameras_refined=True)
        views = scene.test if views is None else views
        return replace(scene, cameras=registered(self.average, scene, views, exposure is not None))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "model": self.model.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress).copy(),
            "corrections": self.corrections.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], source: str = "the state") -> None:
        """Goes on from a saved state; ``source`` names it in messages.

        Raises:
            CheckpointError: it is of another field or sampler, or holds NaN or infinity.
        """
        corrupted = next(not_finite(state), None)
        if corrupted is not None:
            raise CheckpointError(
                f"{source}: {corrupted} of its newest checkpoint is not finite: the fit had diverged; delete "
                "that file from its folder checkpoints/ to go on from the one before"
            )
        try:
            state = upgraded(state)
            self.model.load_state_dict(state["model"])
            self._average.load_state_dict(state["average"])
            self.corrections.load(state["corrections"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = FieldProgress(**state["progress"])
        except (LookupError, RuntimeError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            lines = str(error).splitlines()  # torch puts the first of what differs on its second line
            reason = lines[min(1, len(lines) - 1)].strip() if lines else type(error).__name__
            raise CheckpointError(
                f"{source}: its checkpoint does not fit the config ({reason}); resume with the same "
                "field.*, sampler.*, trainer.exposure, poses and focal as the run was started with, and the version of "
                "nerfkit that its environment.yaml names"
            ) from None
