"""Visibility gradients of hard pictures: the image stays as it is, its gradient reaches the vertices.

Both rules estimate; neither is the derivative of anything that the image shows. For that see ``antialias``.

**edge_grad** (Pidhorskyi et al., "Rasterized Edge Gradients", 2024; the DRTK library). Between two neighboring pixels
of different faces lies an edge. With I their colors and g the loss's gradients, moving the edge along the pair by one
pixel changes the loss by

    G = -(I_r - I_l) . (g_r + g_l) / 2

and G belongs to the fragment that ends there: the covered one beside an empty pixel; of two faces the one over which
the other's surface goes on (the pixel's center lies inside the neighbor's triangle, but the neighbor's center not
inside its own). Where neither goes on below the other, the edge joins two faces of one surface and moves nothing.
Where both do, the two faces intersect, and each gets G dp/dr of its own motion with the other one fixed:

    dp/dr = (b_x / b . v) v,  b = (-f_z, f_x),  |b_x / b . v| <= max_dp_dr

with v, f the unit normals of the moving and of the fixed face in the plane of the pair and the depth (x and y in
pixels, z in depth). A fragment's gradient goes to its corners by its barycentrics.

**neural_renderer** (Kato et al., "Neural 3D Mesh Renderer", 2018). Every edge of every visible face is walked along
both axes. Where it crosses a line of pixel centers at c, let ``in`` and ``out`` be the pixels to either side, and s in
[0,1] the share of the way from corner 0 to corner 1. A pixel d on the line would change color if the edge moved there:
outside of the edge to the color of ``in`` (if this face is seen there), all the way to the image's border; inside it,
where this face is seen, to the color of ``out``. Only a change that lowers the loss counts:

    r_d = max(0, (I_d - I_new) . g_d)
    corner 0 += -+ r_d / (|d - c| / (1 - s) + e)       corner 1 += -+ r_d / (|d - c| / s + e)

with the sign that moves the edge toward d, along the line, and e = eps size / 2 pixels.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import implementation
from ..checks import FLOATS, INTEGERS, expect, expect_shown, expect_vertices


def edge_grad(
    image: Tensor,
    points: Tensor,
    faces: Tensor,
    face: Tensor,
    barycentrics: Tensor,
    near: float = 1e-3,
    max_dp_dr: float = 1e4,
) -> Tensor:
    """The image, with DRTK's visibility gradient to ``points``; the rule heads this module.

    As in DRTK, whose ``edge_grad_estimator`` this is. It differs where theirs does by accident: pairs in the last row
    and column count too; a pixel's center exactly on an edge is outside (there inside of a top or left one); points
    inside a face are found without dividing by w, so a face that reaches behind the camera hides what it should.

    Args:
        image: (N,H,W,C), one color per fragment: shade before, filter, mask or crop after.
        points: (N,V,3) homogeneous pixel coordinates (w x, w y, w).
        faces: (F,3) int64, or (N,F,3) with rows of -1 as padding.
        face: (N,H,W) int32, the rasterized face, -1 where there is none.
        barycentrics: (N,H,W,3), perspective-correct; constants here.
        near: a face with a corner nearer than this gets no gradient.
        max_dp_dr: how many pixels an intersection may slide for a pixel that a face moves.

    Returns:
        (N,H,W,C), equal to ``image``; its gradient goes to ``image`` unchanged and to ``points`` by the rule.

    Raises:
        ValueError: a shape is wrong, or ``faces`` names a vertex or ``face`` a face that is not there.
    """
    _check(image, points, faces, face)
    expect("barycentrics", barycentrics, (*face.shape, 3), dtype=FLOATS, like=points)
    arguments = (faces, face, barycentrics.detach(), float(near), float(max_dp_dr))
    with implementation(__name__, points) as kernels:
        return _Estimate.apply(kernels.edge_grad, image, points, *arguments)


def neural_renderer(
    image: Tensor, points: Tensor, faces: Tensor, face: Tensor, near: float = 1e-3, eps: float = 1e-4
) -> Tensor:
    """The image, with the Neural 3D Mesh Renderer's visibility gradient to ``points``; the rule heads this module.

    Kato's own code agrees in every walk and sum, with ``fill_back`` on, its renderer's setting: there a face is doubled
    and the copy that faces the camera is walked. Alpha, color or both are ``image``'s channels, over the background
    as the loss sees them. Its supersampling (``anti_aliasing``, on by default) is a picture twice as wide and high
    here, and a 2x2 mean of what this returns. It differs where Kato's rests on accidents of arithmetic: a pixel's
    center exactly on an edge is moved to the edge's own side (there always the lower one, which can push the wrong way
    with a weight of 1 / eps); a line of centers exactly through a corner is walked as far as the face is seen (there it
    may end early, or divide by zero); an edge wholly off the picture, by less than a pixel beyond the left column's or
    the lowest row's centers, is not walked (there it is extended to them); a face with a corner behind the camera is
    left out, where Kato divides by a negative depth.

    Args:
        image: (N,H,W,C).
        points: (N,V,3) homogeneous pixel coordinates (w x, w y, w).
        faces: (F,3) int64, or (N,F,3) with rows of -1 as padding.
        face: (N,H,W) int32, the rasterized face, -1 where there is none.
        near: a face with a corner nearer than this gets no gradient.
        eps: added to distances, in halves of the image's side. Kato: 1e-4 for silhouettes, 1e-3 for colors.

    Returns:
        (N,H,W,C), equal to ``image``; its gradient goes to ``image`` unchanged and to ``points`` by the rule.

    Raises:
        ValueError: a shape is wrong, or ``faces`` names a vertex or ``face`` a face that is not there.
    """
    _check(image, points, faces, face)
    with implementation(__name__, points) as kernels:
        return _Estimate.apply(kernels.neural_renderer, image, points, faces, face, float(near), float(eps))


def _check(image: Tensor, points: Tensor, faces: Tensor, face: Tensor) -> None:
    expect("points", points, ("N", "V", 3), dtype=FLOATS)
    expect("faces", faces, ("F", 3), (len(points), "F", 3), dtype=INTEGERS, like=points)
    expect_vertices("faces", faces, points.shape[1])
    expect_shown(face, points, faces)
    expect("image", image, (*face.shape, "C"), dtype=FLOATS, like=points)


class _Estimate(torch.autograd.Function):
    """The identity of ``image``; the backward pass is the backend's ``estimate``."""

    @staticmethod
    def forward(ctx: Any, estimate: Callable[..., Tensor], image: Tensor, points: Tensor, *others: Any) -> Tensor:
        ctx.save_for_backward(image, points, *(x for x in others if isinstance(x, Tensor)))
        ctx.settings = [x for x in others if not isinstance(x, Tensor)]
        ctx.estimate = estimate
        return image.view_as(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, points, *others = ctx.saved_tensors
        to_points = None
        if ctx.needs_input_grad[2]:
            to_points = ctx.estimate(image, grad, points, *others, *ctx.settings).to(points.dtype)
        return None, grad, to_points, *(None for _ in others), *(None for _ in ctx.settings)


__all__ = ["edge_grad", "neural_renderer"]
