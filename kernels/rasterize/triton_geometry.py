"""What Triton's kernels on meshes share: corners of faces and their edge functions, in float64.

Launched without fused multiply-adds (``AS_WRITTEN``), the edge functions that two faces have of a shared edge are
exactly each other's negative, whichever way round each face runs.
"""

import triton
import triton.language as tl

AS_WRITTEN = {"enable_fp_fusion": False}


@triton.jit
def cross(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@triton.jit
def corner(points_ptr, vertex, inside):
    """(w x, w y, w) of a vertex, float64."""
    at = points_ptr + vertex.to(tl.int64) * 3
    x = tl.load(at, inside, other=0.0).to(tl.float64)
    y = tl.load(at + 1, inside, other=0.0).to(tl.float64)
    w = tl.load(at + 2, inside, other=0.0).to(tl.float64)
    return x, y, w


@triton.jit
def vertices_of(faces_ptr, face, inside):
    """The three vertex numbers of a face; 0 where ``inside`` is not."""
    at = faces_ptr + face.to(tl.int64) * 3
    return tl.load(at, inside, other=0), tl.load(at + 1, inside, other=0), tl.load(at + 2, inside, other=0)


@triton.jit
def edges(x0, y0, w0, x1, y1, w1, x2, y2, w2):
    """Coefficients of the three edge functions, and the determinant, whose sign they all have inside the face."""
    a0, b0, c0 = cross(x1, y1, w1, x2, y2, w2)
    a1, b1, c1 = cross(x2, y2, w2, x0, y0, w0)
    a2, b2, c2 = cross(x0, y0, w0, x1, y1, w1)
    return a0, b0, c0, a1, b1, c1, a2, b2, c2, x0 * a0 + y0 * b0 + w0 * c0
