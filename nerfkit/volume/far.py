"""What lies beyond the region of interest: a second field, in coordinates that hold all of space, behind the first.

A ray that leaves the box [-1,1]^3 at distance t_0, or passes it by and starts at the near plane t_0, has n samples

    t_i = t_0 / (1 - f_i),    f_i stratified in [0, 1 - 1/512]

evenly spaced in 1/t, as finely as the camera resolves depth. Positions x are contracted into a ball of radius 2,

    y = x where |x| <= 1,    y = (2 - 1/|x|) x / |x| beyond

(Barron et al., "Mip-NeRF 360", 2022, equation 10). A sample's opacity is 1 - exp(-sigma), whatever its length. The
pixel of the far field, with color c, opacity a and depth z, lies behind what the region lets through:

    color += (1 - opacity) c,    depth += (1 - opacity) z,    opacity += (1 - opacity) a
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nerfkit.fields.field import Field
from nerfkit.fields.harmonic import HarmonicOptions
from nerfkit.kernels.composite import Rendered
from nerfkit.kernels.march import intersect_box, stratified
from nerfkit.kernels.philox import Draw
from nerfkit.scenes.scene import Scene
from nerfkit.schema import Options, option

LAST = 1 - 1 / 512  # of f: the sky is 512 times as far away as the region's back
HIDDEN = 1e-3  # what less light reaches need not be rendered
NEAREST = 0.1  # of the mean camera distance: the near plane where no points tell


@dataclass
class FarOptions(Options):
    """What photos show beyond the region of interest, where nothing masks it."""

    group: ClassVar[str] = "far"

    field: str = option(
        "auto", "a second field for it; auto: where photos have no masks", choices=("auto", "harmonic", "none")
    )
    samples: int = option(24, "on each ray, from the region's back to the sky", least=2)
    width: int = option(32, "columns of its field's layers", least=1)
    depth: int = option(3, "its hidden layers", least=1)
    octaves: int = option(8, "of its contracted positions", least=1, most=16)

    def build(self, scene: Scene, *, seed: int = 0, device: torch.device | str = "cpu") -> "FarField | None":
        """The far field with its initial weights, on the CPU; None where the scene needs none."""
        if self.field == "none" or (self.field == "auto" and not scene.unbounded):
            return None
        options = HarmonicOptions(width=self.width, depth=self.depth, octaves=self.octaves)
        return FarField(options.build(scale=0.5, seed=seed + 1, device=device), near_plane(scene), self.samples)


def near_plane(scene: Scene) -> float:
    """Half of the distance of the nearest of the scene's points that a camera looks at, in normalized units.

    The nearest thousandth does not count, for points can be wrong.
    """
    cameras = scene.cameras[scene.train]
    if len(scene.points):
        pixels, depth = cameras.project(scene.points)  # (N, P, 2), (N, P)
        sizes = pixels.new_tensor([(width, height) for height, width in cameras.sizes])[:, None]
        seen = depth[((pixels >= 0) & (pixels < sizes)).all(-1) & (depth > 0)]
        if len(seen):
            return 0.5 * float(seen.kthvalue(1 + len(seen) // 1000).values)
    return NEAREST * float(cameras.positions.norm(dim=-1).mean())


class FarField(nn.Module):
    """A field of contracted positions and its samples.

    Args:
        field: of positions in the ball of radius 2.
        near: where rays start that pass the region by, in normalized units.
        count: samples on each ray.
    """

    near: Tensor

    def __init__(self, field: Field, near: float, count: int) -> None:
        super().__init__()
        self.field, self.count = field, count
        self.register_buffer("near", torch.tensor(near))

    def render(self, origins: Tensor, directions: Tensor, draw: Draw | None = None) -> tuple[Rendered, int]:
        """Pixels of rays (R,3) beyond the region, differentiable in weights and rays, and the number of samples."""
        enter, leave = intersect_box(origins.detach(), directions.detach())
        start = torch.where(leave > enter, leave, self.near)  # (R,)
        zero = torch.zeros_like(start)
        fractions = stratified(zero, zero + LAST, self.count, jitter=draw)
        t = start[:, None] / (1 - fractions.t_start.view(-1, self.count))  # (R, n)
        points = contract(origins[:, None] + t[:, :, None] * directions[:, None]).view(-1, 3)  # (R n, 3)
        samples = fractions._replace(t_start=t.flatten(), t_end=t.flatten())
        return self.field.render(points, samples, directions, "raw"), len(points)

    def behind(
        self, seen: Rendered, origins: Tensor, directions: Tensor, draw: Draw | None = None
    ) -> tuple[Rendered, int]:
        """What the region leaves, (R,...), with the far field behind it, and the number of samples that took."""
        pixels, count = self.render(origins, directions, draw)
        light = 1 - seen.opacity  # (R,)
        color = seen.color + light[:, None] * pixels.color
        return Rendered(color, seen.opacity + light * pixels.opacity, seen.depth + light * pixels.depth), count

    @torch.no_grad()
    def fill(self, seen: Rendered, origins: Tensor, directions: Tensor) -> Rendered:
        """As ``behind`` without gradients, of those rays alone that let light through."""
        open_ = (seen.opacity < 1 - HIDDEN).nonzero()[:, 0]
        part = Rendered(*(t[open_] for t in seen))
        filled, _ = self.behind(part, origins[open_].contiguous(), directions[open_].contiguous())
        return Rendered(*(t.index_copy(0, open_, new) for t, new in zip(seen, filled, strict=True)))


def contract(points: Tensor) -> Tensor:
    """Points (...,3) into the ball of radius 2; those in the unit ball stay."""
    length = points.norm(dim=-1, keepdim=True).clamp_min(1)
    return points * ((2 - 1 / length) / length)
