"""Contour antialiasing: the visibility gradient of a hard-rasterized image.

A *contour edge* is a mesh edge with one face, or one whose two faces project to the same side of it (a fold as seen from the
camera). Where a contour edge crosses the segment between two neighbouring pixels' centres and the picture changes there from
one surface (the owner) to the background, or to a surface behind, the owner covers the segment up to the crossing at
t in [0,1] from its centre, and the two pixels blend as in nvdiffrast (Laine et al. 2020, section 3.6):

    t < 1/2:  owner += (1/2 - t) (other - owner)          t > 1/2:  other += (t - 1/2) (owner - other)

Steep edges (|dy| > |dx|) blend pixels of one row and shallow ones pixels of one column, so each piece of a contour counts
once. Of several contour edges between two pixels the outermost counts. The crossing follows the mesh's edge, not the visible
triangles, and so does its gradient: triangles smaller than a pixel lose nothing.

A pixel that takes part in several blends with weights that sum to more than 1 has them divided by their sum: every pixel stays
a convex combination of its own and its neighbours' colours.
"""

from torch import Tensor

from ..backend import backend_for


def find_pairs(points: Tensor, edges: Tensor, face: Tensor, depth: Tensor, near: float = 1e-3) -> Tensor:
    """Pairs of neighbouring pixels between which a contour lies. Not differentiable.

    Args:
        points: (N,V,3) homogeneous pixel coordinates (w x, w y, w) of the vertices.
        edges: (E,4) int64: the edge's two vertices and the vertex opposite to it in each of its two faces, the last -1
            where it has one face only.
        face: (N,H,W) int32, the rasterized face, -1 where there is none.
        depth: (N,H,W) its depth.
        near: edges with an end nearer than this are ignored.

    Returns:
        (P,4) int64: the owner's and the other pixel's number in the flattened (N,H,W), and the contour edge's vertices.
    """
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points: expected (N,V,3), got {tuple(points.shape)}")
    if edges.ndim != 2 or edges.shape[-1] != 4:
        raise ValueError(f"edges: expected (E,4), got {tuple(edges.shape)}")
    if face.ndim != 3 or depth.shape != face.shape or face.shape[0] != points.shape[0]:
        raise ValueError(
            f"face, depth: expected ({points.shape[0]},H,W), got {tuple(face.shape)} and {tuple(depth.shape)}"
        )
    backend = backend_for(points)
    if backend == "reference":
        from . import reference

        return reference.find_pairs(points, edges, face, depth, near)
    from . import cpu

    if backend == "cpu":
        return cpu.find_pairs(points, edges, face, depth, near)
    # There is no device kernel of this operation: the host computes it and the result goes back.
    return cpu.find_pairs(points.cpu(), edges.cpu(), face.cpu(), depth.cpu(), near).to(points.device)


def blend(image: Tensor, points: Tensor, pairs: Tensor) -> Tensor:
    """Blends the pixels of every pair by where the contour edge crosses between them.

    Args:
        image: (N,H,W,C).
        points: (N,V,3) homogeneous pixel coordinates of the vertices.
        pairs: (P,4) int64 from ``find_pairs``.

    Returns:
        (N,H,W,C), differentiable with respect to ``image`` and ``points``.
    """
    if image.ndim != 4 or image.shape[0] != points.shape[0]:
        raise ValueError(f"image: expected ({points.shape[0]},H,W,C), got {tuple(image.shape)}")
    if pairs.ndim != 2 or pairs.shape[-1] != 4:
        raise ValueError(f"pairs: expected (P,4), got {tuple(pairs.shape)}")
    backend = backend_for(image)
    if backend == "reference":
        from . import reference

        return reference.blend(image, points, pairs)
    from . import cpu

    if backend == "cpu":
        return cpu.blend(image, points, pairs)
    # There is no device kernel of this operation: the host computes it and the result goes back.
    return cpu.blend(image.cpu(), points.cpu(), pairs.cpu()).to(image.device)


def antialias(image: Tensor, points: Tensor, edges: Tensor, face: Tensor, depth: Tensor, near: float = 1e-3) -> Tensor:
    """``blend`` over ``find_pairs``: the antialiased image (N,H,W,C)."""
    return blend(image, points, find_pairs(points.detach(), edges, face, depth.detach(), near))
