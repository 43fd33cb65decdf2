"""Antialiasing of a hard-rasterized image: its visibility gradient, along the mesh's contours or by nvdiffrast's rule.

**Contour antialiasing** (``antialias``). A *contour edge* is a mesh edge with one face, or one whose two faces project
to the same side of it (a fold as seen from the camera). Where a contour edge crosses the segment between two
neighboring pixels' centers and the picture changes there from the edge's own surface (the owner's) to the background,
or to a surface behind, the two pixels blend by the area that the owner covers. With the crossing at t in [0,1] from the
owner's center and m the edge's slope (its shift along the segment per pixel across it), the owner covers F(t + 1/2) of
its own pixel and F(t - 1/2) of the other's:

    F(z) = integral of clip(z + m y, 0, 1) over y from -1/2 to 1/2

    owner += (1 - F(t + 1/2)) (other - owner)             other += F(t - 1/2) (owner - other)

Steep edges (|dy| >= |dx|) blend pixels of one row and shallow ones pixels of one column. So |m| <= 1, the edge stays
within the two pixels, and each piece of a contour counts once. The crossing follows the mesh's edge, not the visible
triangles, and so does its gradient: triangles smaller than a pixel lose nothing.

The owner is the pixel on the side of the edge's faces. Which crossings count, with everything compared as inverse
depth, which is linear on the screen:

- Against an empty pixel: those whose owner is the covered one.
- Between two surfaces: those that lie in front of the plane of the face that the other pixel shows. A hidden contour
  lies behind it and changes nothing.
- A *crease* is an edge across which the color jumps though both faces look the same way. The caller flags it. It
  counts where both pixels are covered and no contour counts, if it lies on the visible surface: within what the planes
  of the two pixels' faces, and the straight line between them, say about the inverse depth at the crossing.

Of several contour edges between two pixels those owned by the nearer pixel go first, then the outermost, then the
lower edge number; of several creases the one nearest to the middle.

A pixel that takes part in several blends with weights that sum to more than 1 has them divided by their sum: every
pixel stays a convex combination of its own and its neighbors' colors.

**nvdiffrast's rule** is ``antialias_pixels``, in ``pixels.py``.
"""

import torch
from torch import Tensor

from ..backend import implementation
from ..checks import FLOATS, expect, expect_shown, trust
from .checks import check_pairs, of_views
from .pixels import antialias_pixels, blend_pixels, find_pixel_pairs

__all__ = ["antialias", "antialias_pixels", "blend", "blend_pixels", "find_pairs", "find_pixel_pairs"]


def find_pairs(
    points: Tensor, faces: Tensor, edges: Tensor, face: Tensor, near: float = 1e-3, creases: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Pairs of neighboring pixels between which a contour or a crease lies. Not differentiable.

    Args:
        points: (N,V,3) homogeneous pixel coordinates (w x, w y, w) of the vertices.
        faces: (F,3) int64 vertex numbers, or (N,F,3), each view's own.
        edges: (E,4) or (N,E,4) int64: the edge's two vertices and the vertex opposite to it in each of its two faces,
            the last -1 where it has one face only. Rows that begin with -1 are padding.
        face: (N,H,W) int32, the rasterized face, -1 where there is none.
        near: edges with an end nearer than this are ignored.
        creases: (E,) or (N,E) bool, edges across which the color jumps; none if not given.

    Returns:
        pairs (P,4) int64: the owner's and the other pixel's number in the flattened (N,H,W), and the edge's vertices;
        slopes (P,) float64: |m| of each edge. The order of the pairs depends on the backend.

    Raises:
        ValueError: a shape is wrong, ``faces`` or ``edges`` name a vertex that is not there, or ``face`` a face. On a
            GPU the check waits for the device when it first meets a tensor.
    """
    expect("points", points, ("N", "V", 3), dtype=FLOATS)
    faces, edges = of_views("faces", faces, 3, points), of_views("edges", edges, 4, points)
    expect_shown(face, points, faces)
    if creases is None:
        creases = torch.zeros(1, edges.shape[1], dtype=torch.bool, device=edges.device)
    own = (edges.shape[1],)
    expect("creases", creases, own, (1, *own), (len(points), *own), dtype=torch.bool, like=points)
    with implementation(__name__, points) as kernels:
        creases = creases if creases.ndim == 2 else creases[None]
        pairs, slopes = kernels.find_pairs(points, faces, edges, creases, face, near)
    trust(pairs, face.numel(), points.shape[1])
    return pairs, slopes


def blend(image: Tensor, points: Tensor, pairs: Tensor, slopes: Tensor) -> Tensor:
    """Blends the pixels of every pair by where the edge crosses between them.

    Args:
        image: (N,H,W,C).
        points: (N,V,3) homogeneous pixel coordinates of the vertices.
        pairs, slopes: (P,4) and (P,) from ``find_pairs``.

    Returns:
        (N,H,W,C), differentiable with respect to ``image`` and ``points``. The slopes are constants: an edge much
        shorter than a pixel would get a gradient without bound for turning, and the area that turning covers cancels.

    Raises:
        ValueError: a shape is wrong, or a pair's numbers.
    """
    check_pairs(pairs, image, points)
    expect("slopes", slopes, pairs.shape[:1], dtype=FLOATS, like=image)
    with implementation(__name__, image) as kernels:
        return kernels.blend(image, points, pairs, slopes)


def antialias(
    image: Tensor,
    points: Tensor,
    faces: Tensor,
    edges: Tensor,
    face: Tensor,
    near: float = 1e-3,
    creases: Tensor | None = None,
) -> Tensor:
    """``blend`` over ``find_pairs``: the antialiased image (N,H,W,C).

    Raises:
        ValueError: as those two; the image and ``face`` are of different sizes.
    """
    pairs, slopes = find_pairs(points.detach(), faces, edges, face, near, creases)
    expect("image", image, (*face.shape, "C"))
    return blend(image, points, pairs, slopes)
