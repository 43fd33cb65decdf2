"""What a picture of a field or of a mesh shows of a surface, and how far that is from the true one."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.mesh.mesh import Mesh
from nerfkit.raster import render_channels
from nerfkit.volume.model import FieldImage

OPAQUE = 0.5  # opacity from which a field's pixel has a depth


class Surface(NamedTuple):
    """``depth`` (H,W) along the camera's axis in normalized units, and unit ``normal`` (H,W,3) in the world's axes.

    Both are 0 where nothing is, or nothing is known, and on the CPU.
    """

    depth: Tensor
    normal: Tensor


def of_field(image: FieldImage, cameras: Cameras, view: int) -> Surface:
    """The expected depth of pixels that are at least half covered, and the normals there.

    That of a ray is its mean distance times ``axis_of``.
    """
    alpha = image.alpha.cpu()
    distance = image.depth.cpu() / alpha.clamp_min(OPAQUE)  # (H, W)
    return Surface(torch.where(alpha > OPAQUE, distance * axis_of(cameras, view), 0.0), image.normal.cpu())


def axis_of(cameras: Cameras, view: int) -> Tensor:
    """The cosine (H,W) of the angle between each pixel's ray and the camera's axis, on the CPU."""
    _, directions = cameras.image_rays(view)
    return (directions @ -cameras.camera_to_world[view, :, 2]).view(cameras.sizes[view]).cpu()


@torch.no_grad()
def of_mesh(mesh: Mesh, cameras: Cameras, view: int) -> Surface:
    """Depth and smooth normals at pixel centers."""
    shown = render_channels(mesh, cameras[view].to(mesh.vertices.device), ("depth", "normal"))
    return Surface(shown["depth"][0].cpu(), shown["normal"][0].cpu())


def errors(found: Surface, true: Surface, inside: Tensor, scale: float) -> dict[str, float]:
    """How far a surface is from the true one, over the pixels ``inside`` where the truth has a depth or a normal.

    Args:
        inside: (H,W) bool, the pixels that count.
        scale: normalized units to one of the scene's own.

    Returns:
        ``depth_error`` mean |z - z_true| in the scene's units, ``depth_error_share`` mean |z - z_true| / z_true,
        ``depth_missing`` the share of pixels with a true depth and none found, which count in neither; ``angle_error``
        the mean angle in degrees between normals, where there are both. What the truth does not know is left out; a
        mean over no pixel is NaN.
    """
    result = {}
    known = inside & (true.depth > 0)
    if known.any():
        hit = known & (found.depth > 0)
        difference = (found.depth - true.depth)[hit].double().abs()
        result["depth_error"] = difference.mean().item() / scale
        result["depth_error_share"] = (difference / true.depth[hit]).mean().item()
        result["depth_missing"] = 1 - hit.sum().item() / known.sum().item()
    known = inside & true.normal.any(-1)
    if known.any():
        both = known & found.normal.any(-1)
        a, b = found.normal[both].double(), true.normal[both].double()  # (P, 3)
        sine = torch.linalg.cross(a, b).norm(dim=-1)  # the arc cosine is coarse near 0
        result["angle_error"] = math.degrees(torch.atan2(sine, (a * b).sum(-1)).mean().item())
    return result
