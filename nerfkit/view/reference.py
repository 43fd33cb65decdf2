"""What camera paths take from the training cameras: their lens, and their places about what there is to be seen."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.cameras import Cameras

Point = Tensor | tuple[float, float, float]


def offsets(
    reference: Cameras, up: Point, center: Point | None, points: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Camera positions relative to the center (N,3), and ``up`` (unit) and ``center`` as tensors.

    Without a center it is the middle of the bounds of ``points`` (P,3), or the origin.
    """
    if center is None:
        seen = points is not None and len(points) > 0
        center = (points.amin(0) + points.amax(0)) / 2 if seen and points is not None else (0.0, 0.0, 0.0)
    middle = torch.as_tensor(center, dtype=torch.float32)
    axis = normalize(torch.as_tensor(up, dtype=torch.float32), dim=0)
    return reference.positions.detach().cpu().float() - middle, axis, middle


def with_lens(reference: Cameras, poses: Tensor) -> Cameras:
    """Cameras at ``poses`` (N,3,4) with the lens of the reference cameras."""
    return Cameras(poses, lens(reference).expand(len(poses), 4).clone(), reference.height, reference.width)


def lens(reference: Cameras) -> Tensor:
    """The median fx, fy of the reference cameras, and the middle of their picture, (4,)."""
    # Contiguous first: torch 2.13's median along a dimension reads beyond an expanded tensor, as intrinsics often are.
    found = reference.intrinsics.detach().cpu().float().contiguous().median(0).values.clone()  # (4,)
    found[2:] = torch.tensor([reference.width / 2, reference.height / 2])
    return found
