"""A step's gradients from pictures of a mesh, whose views several processes share (``runs.ranks``).

Each draws its part of them. Before any gradient there is one sum over all processes, of what the terms are measured by
(pixels that are covered, depths that are known); after it another one, of terms and gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fit.refine_targets import Look, Ratio, Wanted
from nerfkit.raster import Rendering, render
from nerfkit.raster.visibility import Visibility
from nerfkit.runs.ranks import ALONE, Ranks

OF_PICTURES = ("image", "mask", "depth", "texture")  # terms of pictures, or measured by them


@dataclass(frozen=True)
class Surface:
    """What a mesh that is learned keeps from step to step.

    Attributes:
        faces: (F,3) int64.
        corner_uvs: (F,3,2) where its colors are a texture, or None.
        visibility: how outlines get a gradient.
        unit: of the errors of depth.
    """

    faces: Tensor
    corner_uvs: Tensor | None
    visibility: Visibility | str
    unit: float

    def render(self, vertices: Tensor, colors: Tensor, cameras: Cameras) -> Rendering:
        """Pictures of it, with colors (V,3) of the vertices (V,3), or a texture (A,B,3)."""
        if self.corner_uvs is None:
            return render(vertices, self.faces, cameras, colors=colors, visibility=self.visibility)
        uvs = self.corner_uvs
        return render(vertices, self.faces, cameras, corner_uvs=uvs, texture=colors, visibility=self.visibility)


def gradients(
    vertices: Tensor,
    colors: Tensor,
    surface: Surface,
    look: Look,
    wanted: Wanted,
    ranks: Ranks = ALONE,
    held: Callable[[], dict[str, Tensor]] = dict,
) -> dict[str, Tensor]:
    """Sets ``grad`` of vertices and colors to that of all terms, added up over all processes, and returns the terms.

    Where a process' terms are NaN or infinite, so is one of the sums.

    Args:
        look: what all processes look at; this one at its part.
        held: what else the mesh is held to: further terms, and of ``texture`` what is still to be divided by the
            pixels that all training photos show of the mesh, as far as these views tell.
    """
    mine = look.part(ranks)
    found = _of_views(vertices, colors, surface, mine, wanted, len(look.views)) if mine.views else {}
    alone = held()
    zero = vertices.new_zeros(())
    if "texture" in found:
        found["texture"] = found["texture"]._replace(top=alone.pop("texture", zero))
    bottoms = [found[name].bottom if name in found else zero for name in OF_PICTURES]
    measures = dict(zip(OF_PICTURES, ranks.add_up([], torch.stack(bottoms)), strict=True))
    terms = {name: ratio.top / measures[name].clamp(min=ratio.least) for name, ratio in found.items()}
    vertices.grad = colors.grad = None
    if terms:
        total = torch.stack([*terms.values(), *alone.values()]).sum()
        if torch.isfinite(total):
            total.backward()
    values = torch.stack([terms[name].detach() if name in terms else zero for name in OF_PICTURES])
    summed = dict(zip(OF_PICTURES, ranks.add_up([vertices, colors], values), strict=True))
    return {name: summed.get(name, term) for name, term in (terms | alone).items()}


def help_with(ranks: Ranks, vertices: Tensor, colors: Tensor, surface: Surface, look: Look, wanted: Wanted) -> None:
    """The others' part of ``gradients``, with copies of what the first process has."""
    gradients(vertices.requires_grad_(), colors.requires_grad_(), surface, look, wanted, ranks)


def _of_views(
    vertices: Tensor, colors: Tensor, surface: Surface, look: Look, wanted: Wanted, count: int
) -> dict[str, Ratio]:
    """The terms of a part of ``count`` views."""
    scene, options = wanted.scene, wanted.options
    rendering = surface.render(vertices, colors, look.window.cameras(scene.cameras[look.views]))
    terms = wanted.terms(rendering, look, surface.unit, len(look.views) / count)
    if surface.corner_uvs is not None and options.texture_smoothness:
        every, pixels = len(scene.train), rendering.alpha.detach().sum()
        terms["texture"] = Ratio(pixels.new_zeros(()), pixels * every / count, every / count)
    return terms
