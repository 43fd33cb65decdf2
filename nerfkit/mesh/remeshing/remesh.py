"""Isotropic remeshing toward a target edge length (Botsch & Kobbelt, "A Remeshing Approach to Multiresolution
Modeling", 2004), made for calls between steps of an optimizer: tensors in, tensors out, nothing random.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.mesh import face_areas
from nerfkit.mesh.remeshing.state import State
from nerfkit.mesh.remeshing.steps import collapse, flip, relax, split

MAX_FACES = 20_000_000


@dataclass(frozen=True)
class Remeshed:
    """What ``remesh`` returns; vertices are numbered anew.

    Attributes:
        vertices: (V,3), of the input's type.
        faces: (F,3) int64.
        target: (V,) target length at each vertex, carried along.
        attributes: (V,C) or None.
        source: (V,) int64 input vertex that each vertex is, or descends from: of the two ends of a split or collapsed
            edge, the one it lies nearer to, the lower number where it lies between them.
    """

    vertices: Tensor
    faces: Tensor
    target: Tensor
    attributes: Tensor | None
    source: Tensor


@torch.no_grad()
def remesh(
    vertices: Tensor,
    faces: Tensor,
    target: Tensor | float,
    attributes: Tensor | None = None,
    iterations: int = 1,
    smoothing: float = 0.0,
) -> Remeshed:
    """Bring edges to about their target length L, the mean of their ends', without a change of topology.

    Each iteration splits edges longer than 4/3 L, collapses those shorter than 4/5 L, flips edges toward valence 6 (4
    on boundaries) and, where ``smoothing`` is positive, moves vertices along the surface toward their neighbors'
    mean. Where all lengths and valences are right and ``smoothing`` is 0, the mesh stays as it is. Surfaces stay
    manifold and oriented, boundaries stay loops. Collapses place vertices by quadrics, so that sharp edges, corners
    and volume are kept; no step turns a face's normal by more than about 45 degrees. What an edge's ends carry is
    interpolated along it.

    Faces that name a vertex twice, and vertices without faces, are dropped. Edges with more than two faces, or two
    that disagree on the direction, may be split; beyond that they and their ends are left alone. UVs belong to
    corners and do not survive: unwrap afterward. The work is done in float64, on the tensors' device, outside of
    autograd; equal inputs give equal bits.

    Args:
        vertices: (V,3) floating point.
        faces: (F,3) int64.
        target: L, positive, in units of the vertices: a number, or (V,).
        attributes: (V,C) floating point, carried along: colors, an optimizer's moments.
        iterations: of all four steps. One is enough between steps of an optimizer, 5 to 10 for a mesh far from L.
        smoothing: share of the way to the neighbors' mean, 0 to 1.

    Raises:
        ValueError: shapes, types or values do not fit, or L asks for more than 20 million faces.
    """
    state = _checked(vertices, faces, target, attributes)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"remesh: smoothing is {smoothing}, expected 0 to 1")
    for _ in range(iterations):
        state = flip(collapse(split(state)))
        if smoothing > 0:
            state = relax(state, smoothing)
    state = state.compacted()
    return Remeshed(
        state.position.to(vertices.dtype),
        state.faces,
        state.target.to(vertices.dtype),
        None if attributes is None else state.attributes,
        state.source,
    )


def _checked(vertices: Tensor, faces: Tensor, target: Tensor | float, attributes: Tensor | None) -> State:
    V = len(vertices)
    if vertices.shape != (V, 3) or not vertices.is_floating_point():
        raise ValueError(f"remesh: vertices are {tuple(vertices.shape)} {vertices.dtype}, expected (V, 3) floats")
    if faces.dim() != 2 or faces.shape[1] != 3 or faces.dtype != torch.int64:
        raise ValueError(f"remesh: faces are {tuple(faces.shape)} {faces.dtype}, expected (F, 3) torch.int64")
    if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < V:
        raise ValueError(
            f"remesh: faces name vertices {int(faces.min())} to {int(faces.max())}, but there are {V} (numbered from 0)"
        )
    lengths = torch.as_tensor(target, dtype=torch.float64, device=vertices.device)
    lengths = lengths.expand(V).clone() if lengths.dim() == 0 else lengths
    if lengths.shape != (V,):
        raise ValueError(f"remesh: target is {tuple(lengths.shape)}, expected one number or ({V},), one a vertex")
    if not (torch.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("remesh: a target length is NaN, infinite or not positive")
    if attributes is None:
        attributes = vertices.new_empty(V, 0)
    if attributes.dim() != 2 or len(attributes) != V or not attributes.is_floating_point():
        raise ValueError(
            f"remesh: attributes are {tuple(attributes.shape)} {attributes.dtype}, expected ({V}, C) floats"
        )
    if not torch.isfinite(vertices).all():
        raise ValueError("remesh: a vertex is NaN or infinite; an optimizer's step that went wrong is the usual cause")
    proper = (faces != faces.roll(-1, 1)).all(1)
    source = torch.arange(V, device=vertices.device)
    state = State(vertices.detach().double(), faces[proper], lengths, attributes.detach(), source)
    state = state.compacted()
    wanted = faces_expected(state.position, state.faces, state.target)
    length, goal = state.lengths(EdgeTable.of(state.faces, len(state.position)))
    wanted = max(wanted, (length / goal).sum().item())  # slivers without area have long edges, too
    if wanted > MAX_FACES:
        raise ValueError(
            f"remesh: the target lengths ask for about {wanted:.2g} faces, more than {MAX_FACES:.2g}; raise them"
        )
    return state


def faces_expected(vertices: Tensor, faces: Tensor, target: Tensor) -> float:
    """Number of equilateral faces with sides L that cover the mesh: sum over faces of area / (sqrt(3) / 4 L^2).

    Args:
        target: (V,) L at the vertices; that of a face is the mean of its corners.
    """
    side = target[faces].mean(1)  # (F,)
    return (face_areas(vertices, faces) / (3**0.5 / 4 * side.square())).sum().item()
