"""Contour antialiasing: the visibility gradient of a hard-rasterized image.

A *contour edge* is a mesh edge with one face, or one whose two faces project to the same side of it (a fold as seen
from the camera). Where a contour edge crosses the segment between two neighbouring pixels' centres and the picture
changes there from one surface (the owner) to the background, or to a surface behind, the two pixels blend by the area
that the owner covers. With the crossing at t in [0,1] from the owner's centre and m the edge's slope (its shift along
the segment per pixel across it), the owner covers F(t + 1/2) of its own pixel and F(t - 1/2) of the other's:

    F(z) = integral of clip(z + m y, 0, 1) over y from -1/2 to 1/2

    owner += (1 - F(t + 1/2)) (other - owner)             other += F(t - 1/2) (owner - other)

Steep edges (|dy| >= |dx|) blend pixels of one row and shallow ones pixels of one column. So |m| <= 1, the edge stays
within the two pixels, and each piece of a contour counts once. For m = 0 this is nvdiffrast's rule (Laine et al. 2020,
section 3.6); for slanted edges it is the covered area where that rule is off by up to 1/8. Of several contour edges
between two pixels the outermost counts. The crossing follows the mesh's edge, not the visible triangles, and so does
its gradient: triangles smaller than a pixel lose nothing.

A pixel that takes part in several blends with weights that sum to more than 1 has them divided by their sum: every
pixel stays a convex combination of its own and its neighbours' colours.
"""

from torch import Tensor

from ..backend import backend_for


def find_pairs(points: Tensor, edges: Tensor, face: Tensor, depth: Tensor, near: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Pairs of neighbouring pixels between which a contour lies. Not differentiable.

    Args:
        points: (N,V,3) homogeneous pixel coordinates (w x, w y, w) of the vertices.
        edges: (E,4) int64: the edge's two vertices and the vertex opposite to it in each of its two faces, the last -1
            where it has one face only.
        face: (N,H,W) int32, the rasterized face, -1 where there is none.
        depth: (N,H,W) its depth.
        near: edges with an end nearer than this are ignored.

    Returns:
        pairs (P,4) int64: the owner's and the other pixel's number in the flattened (N,H,W), and the edge's vertices;
        slopes (P,) float64: |m| of each edge.

    Raises:
        ValueError: a shape is wrong.
    """
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points: expected (N,V,3), got {tuple(points.shape)}")
    if edges.ndim != 2 or edges.shape[-1] != 4:
        raise ValueError(f"edges: expected (E,4), got {tuple(edges.shape)}")
    if face.ndim != 3 or depth.shape != face.shape or face.shape[0] != points.shape[0]:
        expected = f"({points.shape[0]},H,W)"
        raise ValueError(f"face, depth: expected {expected}, got {tuple(face.shape)} and {tuple(depth.shape)}")
    backend = backend_for(points)
    if backend == "reference":
        from . import reference

        return reference.find_pairs(points, edges, face, depth, near)
    from . import cpu

    if backend == "cpu":
        return cpu.find_pairs(points, edges, face, depth, near)
    # There is no device kernel of this operation: the host computes it and the result goes back.
    pairs, slopes = cpu.find_pairs(points.cpu(), edges.cpu(), face.cpu(), depth.cpu(), near)
    return pairs.to(points.device), slopes.to(points.device)


def blend(image: Tensor, points: Tensor, pairs: Tensor, slopes: Tensor) -> Tensor:
    """Blends the pixels of every pair by where the contour edge crosses between them.

    Args:
        image: (N,H,W,C).
        points: (N,V,3) homogeneous pixel coordinates of the vertices.
        pairs, slopes: (P,4) and (P,) from ``find_pairs``.

    Returns:
        (N,H,W,C), differentiable with respect to ``image`` and ``points``. The slopes are constants: an edge much
        shorter than a pixel would get a gradient without bound for turning, and the area that turning covers cancels.

    Raises:
        ValueError: a shape is wrong.
    """
    if image.ndim != 4 or image.shape[0] != points.shape[0]:
        raise ValueError(f"image: expected ({points.shape[0]},H,W,C), got {tuple(image.shape)}")
    if pairs.ndim != 2 or pairs.shape[-1] != 4 or slopes.shape != pairs.shape[:1]:
        raise ValueError(f"pairs, slopes: expected (P,4) and (P,), got {tuple(pairs.shape)} and {tuple(slopes.shape)}")
    backend = backend_for(image)
    if backend == "reference":
        from . import reference

        return reference.blend(image, points, pairs, slopes)
    from . import cpu

    if backend == "cpu":
        return cpu.blend(image, points, pairs, slopes)
    # There is no device kernel of this operation: the host computes it and the result goes back.
    return cpu.blend(image.cpu(), points.cpu(), pairs.cpu(), slopes.cpu()).to(image.device)


def antialias(image: Tensor, points: Tensor, edges: Tensor, face: Tensor, depth: Tensor, near: float = 1e-3) -> Tensor:
    """``blend`` over ``find_pairs``: the antialiased image (N,H,W,C)."""
    return blend(image, points, *find_pairs(points.detach(), edges, face, depth.detach(), near))
