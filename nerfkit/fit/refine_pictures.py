"""A step's gradients from pictures of a mesh, whose views several processes share (``runs.ranks``).

Each draws its part of them. Before any gradient there is one sum over all processes, of what the terms are measured by
(pixels that are covered, depths that are known); after it another one, of terms and gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fit.refine_targets import Look, Ratio, Wanted
from nerfkit.raster import Rendering, render
from nerfkit.raster.visibility import Visibility
from nerfkit.runs.ranks import ALONE, Ranks

SHARED = ("image", "mask", "depth", "texture")  # terms of pictures, or measured by them


@dataclass(frozen=True)
class Drawn:
    """A mesh that is learned.

    Attributes:
        vertices: (V,3) with a gradient.
        colors: with one, of the vertices (V,3), or with UVs a texture (A,B,3).
        faces: (F,3) int64.
        corner_uvs: (F,3,2), or None.
        visibility: how outlines get a gradient.
        unit: of the errors of depth.
    """

    vertices: Tensor
    colors: Tensor
    faces: Tensor
    corner_uvs: Tensor | None
    visibility: Visibility | str
    unit: float

    def render(self, cameras: Cameras) -> Rendering:
        """Its pictures."""
        shape, uvs = (self.vertices, self.faces, cameras), self.corner_uvs
        if uvs is None:
            return render(*shape, colors=self.colors, visibility=self.visibility)
        return render(*shape, corner_uvs=uvs, texture=self.colors, visibility=self.visibility)


def gradients(
    drawn: Drawn, look: Look, wanted: Wanted, ranks: Ranks = ALONE, held: Callable[[], dict[str, Tensor]] = dict
) -> dict[str, Tensor]:
    """Sets ``grad`` of vertices and colors to that of all terms, added up over all processes, and returns the terms.

    Where a process' terms are NaN or infinite, so is one of the sums.

    Args:
        look: what all processes look at; this one at its part.
        held: what else the mesh is held to: further terms, and of ``texture`` what is still to be divided by the
            pixels that all training photos show of the mesh, as far as these views tell.
    """
    mine = look.part(ranks)
    found = _of_views(drawn, mine, wanted, len(look.views)) if mine.views else {}
    alone = held()
    zero = drawn.vertices.new_zeros(())
    if "texture" in found:
        found["texture"] = found["texture"]._replace(top=alone.pop("texture", zero))
    bottoms = [found[name].bottom if name in found else zero for name in SHARED]
    measures = dict(zip(SHARED, ranks.add_up([], torch.stack(bottoms)), strict=True))
    terms = {name: ratio.top / measures[name].clamp(min=ratio.least) for name, ratio in found.items()}
    drawn.vertices.grad = drawn.colors.grad = None
    if terms:
        total = torch.stack([*terms.values(), *alone.values()]).sum()
        if torch.isfinite(total):
            total.backward()
    values = torch.stack([terms[name].detach() if name in terms else zero for name in SHARED])
    summed = dict(zip(SHARED, ranks.add_up([drawn.vertices, drawn.colors], values), strict=True))
    return {name: summed.get(name, term) for name, term in (terms | alone).items()}


def help_with(ranks: Ranks, drawn: Drawn, look: Look, wanted: Wanted) -> None:
    """The others' part of ``gradients``, with copies of what the first process has."""
    leaves = replace(drawn, vertices=drawn.vertices.requires_grad_(), colors=drawn.colors.requires_grad_())
    gradients(leaves, look, wanted, ranks)


def _of_views(drawn: Drawn, look: Look, wanted: Wanted, count: int) -> dict[str, Ratio]:
    """The terms of a part of ``count`` views."""
    scene, options = wanted.scene, wanted.options
    rendering = drawn.render(look.window.cameras(scene.cameras[look.views]))
    terms = wanted.terms(rendering, look, drawn.unit, len(look.views) / count)
    if drawn.corner_uvs is not None and options.texture_smoothness:
        every, pixels = len(scene.train), rendering.alpha.detach().sum()
        terms["texture"] = Ratio(pixels.new_zeros(()), pixels * every / count, every / count)
    return terms
