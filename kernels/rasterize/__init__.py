"""Hard z-buffer rasterization with differentiable barycentrics and depth.

Points are *homogeneous pixel coordinates* p = (w x, w y, w): x, y in pixels, w the distance in front of the camera
plane. With q = (x, y, 1) at a pixel's centre and the corners p_0, p_1, p_2 of a face, the edge functions are

    e_0 = (p_1 x p_2) . q        e_1 = (p_2 x p_0) . q        e_2 = (p_0 x p_1) . q

The pixel is covered where all three have the sign of det = p_0 . (p_1 x p_2); then the perspective-correct barycentrics
are b_i = e_i / sum(e) and the depth is w = sum(b_i w_i) (Olano and Greer, "Triangle scan conversion using 2D
homogeneous coordinates", 1997). Nothing is divided by a corner's w, so a face that crosses the camera plane needs no
clipping.
"""

from torch import Tensor

from ..backend import backend_for


def rasterize(
    points: Tensor, faces: Tensor, height: int, width: int, near: float = 1e-3
) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest face at every pixel's centre.

    Front and back faces both count. A pixel's centre exactly on an edge belongs to both faces; of two fragments with
    the same (float32) depth the lower face number wins. Fragments nearer than ``near`` are dropped, faces that project
    to no area or have a corner that is not finite as well.

    Args:
        points: (N,V,3) float, (w x, w y, w) of every vertex in every view; the centre of pixel (i,j) is at
            x, y = (j+0.5, i+0.5).
        faces: (F,3) int64 vertex numbers.
        height, width: image size in pixels.
        near: smallest visible depth, > 0.

    Returns:
        face (N,H,W) int32, -1 where nothing is; barycentrics (N,H,W,3) and depth (N,H,W), both 0 there.
        Barycentrics and depth are differentiable with respect to ``points``. Where a face covers less than
        ``reference.MIN_AREA`` square pixels its barycentrics count as constants: their derivative has no bound.

    Raises:
        ValueError: a shape or dtype is wrong, or ``near`` is not positive.
    """
    if points.ndim != 3 or points.shape[-1] != 3 or not points.is_floating_point():
        raise ValueError(f"points: expected floats of shape (N,V,3), got {points.dtype} {tuple(points.shape)}")
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.is_floating_point():
        raise ValueError(f"faces: expected integers of shape (F,3), got {faces.dtype} {tuple(faces.shape)}")
    if height < 1 or width < 1:
        raise ValueError(f"image size: expected at least one pixel, got {height} x {width}")
    if not near > 0:
        raise ValueError(f"near: expected a positive distance, got {near}")
    backend = backend_for(points)
    if backend == "reference":
        from . import reference

        return reference.rasterize(points, faces, height, width, near)
    from . import cpu

    if backend == "cpu":
        return cpu.rasterize(points, faces, height, width, near)
    # There is no device kernel of this operation: the host computes it and the result goes back.
    face, barycentrics, depth = cpu.rasterize(points.cpu(), faces.cpu(), height, width, near)
    return face.to(points.device), barycentrics.to(points.device), depth.to(points.device)
