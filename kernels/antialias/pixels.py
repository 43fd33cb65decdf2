"""nvdiffrast's antialiasing (Laine et al. 2020, "Modular primitives for high-performance differentiable rendering",
section 3.6), with the choices of its implementation.

Where two neighboring pixels show different triangles, the nearer one is taken (the only one against the background; of
two equally near ones that of the right or lower pixel). Of its three sides the one counts that the segment from its
pixel's center toward the other's leaves it by; of two that meet there, the one facing the later corner. If that side
is a silhouette (it has no other face, or both faces lie on the same side of it), is steep for pixels of a row and
shallow for pixels of a column (both at 45 degrees), and is crossed at x in [0,1] of the segment, give or take 1/16,
then with x clipped to [0,1]

    own += max(0, 1/2 - x) (other - own)                  other += max(0, x - 1/2) (own - other)

Blends are added up, so a pixel with several can leave the range of the colors around it. The gradient to the side's
two vertices divides by the side's extent plus ``SOFTENING``, and is nothing where x was clipped.

nvdiffrast's own code agrees in pictures and gradients, but for what it does by accident. A triangle with a corner
nearer than ``near`` blends nothing here, and which side of a face its neighbor lies on is found without dividing by w;
there such corners are projected through the camera, and swap sides. A crossing exactly half way between two centers
blends nothing and has no gradient; there the right or lower pixel's triangle gets one, by the sign of a zero.
"""

from torch import Tensor

from ..backend import implementation
from ..checks import FLOATS, expect, expect_shown, trust
from .checks import check_pairs, of_views

SOFTENING = 1e-3
"""Added to a side's extent along the pixels' other axis, in pixels, where the gradient divides by it."""


def find_pixel_pairs(
    points: Tensor, faces: Tensor, opposite: Tensor, face: Tensor, depth: Tensor, near: float = 1e-3
) -> Tensor:
    """Pairs of neighboring pixels that a silhouette of the nearer one's triangle separates. Not differentiable.

    Args:
        points: (N,V,3) homogeneous pixel coordinates (w x, w y, w) of the vertices.
        faces: (F,3) int64 vertex numbers, or (N,F,3), each view's own.
        opposite: shaped like ``faces``: for each corner the vertex beyond the side facing it, -1 where there is none;
            see ``nerfkit.raster.contour.opposite_vertices``.
        face: (N,H,W) int32, the rasterized face, -1 where there is none.
        depth: (N,H,W), its depth.
        near: triangles with a corner nearer than this are ignored.

    Returns:
        (P,4) int64: the number of the triangle's pixel and of the other one in the flattened (N,H,W), and the two
        vertices of the triangle's side.

    Raises:
        ValueError: a shape is wrong, ``faces`` or ``opposite`` name a vertex that is not there, or ``face`` a face. On
            a GPU the check waits for the device when it first meets a tensor.
    """
    expect("points", points, ("N", "V", 3), dtype=FLOATS)
    expect("opposite", opposite, faces.shape)
    faces, opposite = of_views("faces", faces, 3, points), of_views("opposite", opposite, 3, points, required=0)
    expect_shown(face, points, faces)
    expect("depth", depth, face.shape, dtype=FLOATS, like=points)
    with implementation(__package__, points, prefix="pixels_") as kernels:
        pairs = kernels.find_pairs(points, faces, opposite, face, depth, near)
    trust(pairs, face.numel(), points.shape[1])
    return pairs


def blend_pixels(image: Tensor, points: Tensor, pairs: Tensor) -> Tensor:
    """Blends every pair of ``find_pixel_pairs``: (N,H,W,C), differentiable with respect to ``image`` and ``points``.

    Raises:
        ValueError: a shape is wrong, or a pair's numbers.
    """
    check_pairs(pairs, image, points)
    with implementation(__package__, image, prefix="pixels_") as kernels:
        return kernels.blend(image, points, pairs)


def antialias_pixels(
    image: Tensor, points: Tensor, faces: Tensor, opposite: Tensor, face: Tensor, depth: Tensor, near: float = 1e-3
) -> Tensor:
    """nvdiffrast's antialiasing of ``image`` (N,H,W,C): ``blend_pixels`` over ``find_pixel_pairs``.

    Raises:
        ValueError: as those two; the image and ``face`` are of different sizes.
    """
    pairs = find_pixel_pairs(points.detach(), faces, opposite, face, depth.detach(), near)
    expect("image", image, (*face.shape, "C"))
    return blend_pixels(image, points, pairs)
