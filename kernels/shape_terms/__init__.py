"""What keeps a mesh smooth while its vertices move: the terms of a refinement that look at no picture.

With the mean d_v of the neighbors' places minus a vertex' own, lengths r_v and l_e at the start, and unit normals n_f:

    laplacian = mean over vertices |d_v|^2 / r_v^2
    normal    = mean over pairs of faces that share an edge  1 - s n_f . n_g          s = -1 where one is turned over
    edge      = mean over edges (|x_a - x_b| / l_e - 1)^2

Backward, with c the cross product of a face's sides, n = c / |c|, and deg_u the number of neighbors:

    d laplacian / dx_v = 2/V (sum over neighbors u  d_u / (deg_u r_u^2) - d_v / r_v^2)
    d normal / dn_f = -1/P sum s n_g,   dc = (dn - n (n . dn)) / |c|
    dx_1 = (x_2 - x_0) x dc,   dx_2 = dc x (x_1 - x_0),   dx_0 = -dx_1 - dx_2
    d edge / dx_a = 2/E sum over edges (|x_a - x_b| / l_e - 1) (x_a - x_b) / (l_e |x_a - x_b|)
"""

from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..backend import backend_for, implementation
from ..checks import FLOATS, expect, expect_numbers


class Lists(NamedTuple):
    """Who is beside whom in a mesh: lists one behind the other, that of i from ``start[i]`` to ``start[i + 1]``.

    Attributes:
        faces: (F,3) int64.
        neighbors, neighbor, edge: (V+1,), (2E,), (2E,) int64, the start of each vertex' list, its neighbors, and the
            number of the edge to each.
        corners, corner: (V+1,), (3F,) int64, the corners 3 f + k where a vertex is.
        pairs, beside, sign: (F+1,), (2P,) int64 and (2P,) float32, the faces beside each, and s.
    """

    faces: Tensor
    neighbors: Tensor
    neighbor: Tensor
    edge: Tensor
    corners: Tensor
    corner: Tensor
    pairs: Tensor
    beside: Tensor
    sign: Tensor

    @staticmethod
    def of(faces: Tensor, edges: Tensor, face_pairs: Tensor, signs: Tensor, count: int) -> "Lists":
        """The lists of a mesh of ``count`` vertices.

        Args:
            faces: (F,3) int64.
            edges: (E,2) int64, each once.
            face_pairs: (P,2) int64, each once.
            signs: (P,) float32, 1 where the normals of a pair are on the same side, else -1.

        Raises:
            ValueError: a shape or dtype does not fit, or a vertex or face is not there.
        """
        expect("faces", faces, ("F", 3), dtype=torch.int64)
        expect("edges", edges, ("E", 2), dtype=torch.int64, like=faces)
        expect("face_pairs", face_pairs, ("P", 2), dtype=torch.int64, like=faces)
        expect("signs", signs, (len(face_pairs),), dtype=torch.float32, like=faces)
        expect_numbers("faces", faces, count)
        expect_numbers("edges", edges, count)
        expect_numbers("face_pairs", face_pairs, len(faces))
        neighbors, order = _sorted(edges.T.flatten(), count)
        neighbor, edge = edges.flip(1).T.flatten()[order], order % max(len(edges), 1)
        corners, corner = _sorted(faces.flatten(), count)
        pairs, order = _sorted(face_pairs.T.flatten(), len(faces))
        beside, sign = face_pairs.flip(1).T.flatten()[order], signs.repeat(2)[order]
        return Lists(faces, neighbors, neighbor, edge, corners, corner, pairs, beside, sign)


def _sorted(owner: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Where each of ``count`` lists begins (count+1,), and what is in them: numbers of ``owner`` (n,), ascending."""
    start = owner.new_zeros(count + 1)
    torch.cumsum(torch.bincount(owner, minlength=count), 0, out=start[1:])
    return start, owner.argsort(stable=True)


class ShapeTerms(NamedTuple):
    """The three terms, () each, differentiable; 0 where there are no vertices, pairs or edges."""

    laplacian: Tensor
    normal: Tensor
    edge: Tensor


def shape_terms(vertices: Tensor, lists: Lists, around: Tensor, length: Tensor) -> ShapeTerms:
    """The terms; the formulas head this module. Results do not depend on the number of threads.

    A face whose height is below 8 roundings of its longest side has the normal 0, and gets no gradient from it.

    Args:
        vertices: (V,3). Differentiable.
        lists: of the mesh.
        around: (V,), r, positive.
        length: (E,), l, positive.

    Raises:
        ValueError: a shape, dtype or device does not fit.
    """
    expect("vertices", vertices, ("V", 3), dtype=FLOATS)
    expect("lists", lists.neighbors, (len(vertices) + 1,), dtype=torch.int64, like=vertices)
    expect("around", around, (len(vertices),), like=vertices)
    expect("length", length, (len(lists.edge) // 2,), like=vertices)
    if not len(vertices) or backend_for(vertices) == "reference":
        from .reference import shape_terms as reference

        return ShapeTerms(*reference(vertices, lists, around, length))
    with implementation(__name__, vertices, float32="vertices") as kernels:
        return ShapeTerms(*_Terms.apply(kernels, vertices, lists, around, length))


class _Terms(torch.autograd.Function):
    """``forward`` of a compiled backend, which finds values and gradients together."""

    @staticmethod
    def forward(
        ctx: Any, kernels: ModuleType, vertices: Tensor, lists: Lists, around: Tensor, length: Tensor
    ) -> tuple[Tensor, ...]:
        values, gradients = kernels.forward(vertices.detach().contiguous(), lists, around, length)
        ctx.save_for_backward(gradients)
        return tuple(values.unbind())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = ctx.saved_tensors
        return None, torch.einsum("k,kvc->vc", torch.stack(incoming), gradients), None, None, None


__all__ = ["Lists", "ShapeTerms", "shape_terms"]
