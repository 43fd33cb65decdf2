"""What is learned beside the field: how each photo was exposed, and where its camera really stood."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.cameras import Cameras
from nerfkit.cameras.delta import CameraDelta
from nerfkit.fit.exposure import RATE, Exposure
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.scenes.scene import Scene

POSE_RATE = 0.1  # of the field's learning rate, for twists in normalized units and radians
POSE_WEIGHT = 1.0  # of the twists' squares, against a loss of colors in [0,1]


class CameraRefinement(nn.Module):
    """Corrections of the training cameras, with the frame they share held fixed.

    A field and all cameras can be turned, moved and scaled together without a change in any picture. Those seven
    motions are taken out of the corrections after every step: the twists of all cameras, as one vector, are projected
    onto what is orthogonal to them (to first order, at the cameras given).

    Args:
        cameras: all of a scene's cameras, as they were given.
        train: numbers of those that are corrected.
        focal: as ``CameraDelta`` takes it.
    """

    train_views: Tensor
    frame: Tensor

    def __init__(self, cameras: Cameras, train: list[int], focal: str = "fixed") -> None:
        super().__init__()
        self.delta = CameraDelta(cameras, focal=focal)  # type: ignore[arg-type]
        self.register_buffer("train_views", torch.tensor(train))
        self.register_buffer("frame", shared_motions(cameras[train]))  # (6 T, 7)

    @property
    def twist(self) -> nn.Parameter:
        """(N,6); those of views that are not trained on stay 0."""
        assert self.delta.twist is not None
        return self.delta.twist

    @torch.no_grad()
    def hold_frame(self) -> None:
        """Takes the shared motions out of the twists."""
        twist = self.twist[self.train_views].flatten()
        self.twist[self.train_views] = (twist - self.frame @ (self.frame.T @ twist)).view(-1, 6)

    def penalty(self) -> Tensor:
        """What keeps corrections small."""
        return POSE_WEIGHT * self.twist.square().sum() / len(self.train_views)

    @torch.no_grad()
    def refined(self) -> Cameras:
        """All cameras as they stand; those not trained on as given, but for the mean factor on the focal length."""
        cameras, log_focal = self.delta.cameras(), self.delta.log_focal
        if log_focal is None or len(log_focal) == 1:
            return cameras
        held_out = torch.ones(len(log_focal), dtype=torch.bool, device=log_focal.device)
        held_out[self.train_views] = False
        intrinsics = cameras.intrinsics.clone()
        intrinsics[held_out, :2] *= log_focal[self.train_views].mean().exp()
        return cameras.changed(intrinsics=intrinsics)

    def moved(self) -> tuple[Tensor, Tensor]:
        """By how much the training cameras have moved, (T,) in normalized units, and turned, (T,) in degrees."""
        v, w = self.twist.detach()[self.train_views].split(3, -1)
        return v.norm(dim=-1), w.norm(dim=-1) * (180 / math.pi)


def shared_motions(cameras: Cameras) -> Tensor:
    """An orthonormal basis (6 N, at most 7) of the twists by which N cameras turn, move and scale as one.

    A world that turns by w, moves by v and grows by s takes the camera [R | p] with the twist (R^T (w x p + v + s p),
    R^T w) of its own frame.
    """
    rotation, position = cameras.camera_to_world.double().split((3, 1), -1)
    position = position[..., 0]
    axes = torch.eye(3).to(position)[:, None].expand(3, *position.shape)
    still = torch.zeros_like(axes)
    turns = torch.stack([torch.linalg.cross(axes, position.expand_as(axes)), axes], 2)  # (3, N, 2, 3)
    grown = torch.stack([position, torch.zeros_like(position)], 1)[None]
    world = torch.cat([turns, torch.stack([axes, still], 2), grown])  # (7, N, 2, 3)
    own = torch.einsum("nij,gnki->nkjg", rotation, world).reshape(-1, len(world))
    left, sizes, _ = torch.linalg.svd(own, full_matrices=False)
    free = sizes > 1e-6 * sizes.max()  # cameras of one place do not grow apart
    return left[:, free].to(cameras.camera_to_world)


class Corrections(nn.Module):
    """Exposure and cameras, each learned or None."""

    exposure: Exposure | None
    poses: CameraRefinement | None

    def __init__(self, scene: Scene, options: TrainerOptions) -> None:
        super().__init__()
        wanted = options.exposure == "on" or (options.exposure == "auto" and scene.unbounded)
        self.exposure = Exposure(len(scene.images), scene.train) if wanted else None
        refined = options.poses == "on"
        self.poses = CameraRefinement(scene.cameras, scene.train, options.focal) if refined else None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """As an optimizer takes them; ``scale`` is of the field's learning rate."""
        made = (self.exposure, RATE), (self.poses, POSE_RATE)
        return [{"params": list(part.parameters()), "scale": rate} for part, rate in made if part is not None]

    def cameras(self) -> Cameras | None:
        """All cameras as they stand, differentiable; None: as they were given."""
        return None if self.poses is None else self.poses.delta.cameras()

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes a state but for the lenses that were given: they go with the size of the photos, which may change.

        Raises:
            RuntimeError: it is of other corrections.
        """
        own = {name: value for name, value in self.state_dict().items() if name.endswith(".intrinsics")}
        self.load_state_dict(state | own)

    def penalties(self) -> dict[str, Tensor]:
        """Further terms of the loss."""
        parts = {"exposure": self.exposure, "poses": self.poses}
        return {name: part.penalty() for name, part in parts.items() if part is not None}

    def after_step(self) -> None:
        """What follows an optimizer's step."""
        if self.poses is not None:
            self.poses.hold_frame()
