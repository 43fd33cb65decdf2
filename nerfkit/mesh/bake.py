"""Colors of a surface into its texture."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.mesh.mesh import Mesh, vertex_normals
from nerfkit.runs.memory import by_rows
from nerfkit.runs.ranks import ALONE, Ranks

_CANDIDATES = 1 << 22  # pairs of texel and face tested at a time: 200 MB


def texel_map(corner_uvs: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which face covers each texel's center, and where: a rasterization in UV space.

    Texel (i, j) has its center at u = (j + 0.5) / width, v = 1 - (i + 0.5) / height. Where charts overlap the lowest
    face number wins.

    Returns:
        face (height,width) int64, -1 where there is none, and barycentrics (height,width,3), 0 there.
    """
    scale = corner_uvs.new_tensor([width, height])
    corner = torch.stack([corner_uvs[..., 0], 1 - corner_uvs[..., 1]], -1) * scale - 0.5  # (F, 3, 2), x = j, y = i
    limit = scale.long() - 1
    low = corner.amin(1).ceil().long().clamp(min=0)  # (F, 2)
    extent = (torch.minimum(corner.amax(1).floor().long(), limit) - low + 1).clamp(min=0)
    count = extent.prod(-1)  # (F,), texels in each face's bounding box
    face_of = torch.full((height * width,), len(count), device=corner.device)
    barycentric = corner.new_zeros(height * width, 3)
    total = count.cumsum(0)
    first = 0
    while first < len(count):
        done = int(total[first - 1]) if first else 0
        last = max(first + 1, int(torch.searchsorted(total, done + _CANDIDATES, right=True)))
        faces = torch.arange(first, last, device=corner.device)
        face = faces.repeat_interleave(count[faces])  # (S,)
        within = torch.arange(len(face), device=corner.device) - (total[face] - count[face] - done)
        column = low[face, 0] + within % extent[face, 0]
        row = low[face, 1] + within // extent[face, 0]
        weights = _barycentrics(corner[face], torch.stack([column, row], -1).to(corner.dtype))  # (S, 3)
        hit = (weights >= 0).all(-1)
        texel, face, weights = (row * width + column)[hit], face[hit], weights[hit]
        face_of.scatter_reduce_(0, texel, face, "amin")
        won = face_of[texel] == face
        barycentric[texel[won]] = weights[won]
        first = last
    face_of[face_of == len(count)] = -1
    return face_of.view(height, width), barycentric.view(height, width, 3)


def bake(
    mesh: Mesh, color: Callable[[Tensor, Tensor], Tensor], size: int = 1024, chunk: int = 1 << 16, ranks: Ranks = ALONE
) -> Mesh:
    """Give an unwrapped mesh a texture: ``color`` of the surface point under every texel's center.

    Texels outside the charts take the color of the nearest texel inside, so that no lookup, however blurred, reaches
    an unset one.

    Args:
        color: points (P,3) and unit normals (P,3) on the surface to sRGB colors (P,3) in [0,1].
        size: the texture's height and width.
        chunk: points to a call of ``color``.
        ranks: the processes that call it; of several, it is made of functions of modules.
    """
    if mesh.corner_uvs is None:
        raise ValueError("unwrap the mesh before baking")
    face_of, barycentric = texel_map(mesh.corner_uvs, size, size)
    covered = face_of >= 0
    parts = list(zip(face_of[covered].split(chunk), barycentric[covered].split(chunk), strict=True))
    texture = mesh.vertices.new_zeros(size, size, 3)
    if covered.any():
        normals = vertex_normals(mesh.vertices, mesh.faces)
        values = list(ranks.spread(_seen, parts, mesh.vertices, mesh.faces, normals, color))
        texture[covered] = torch.cat(values).to(texture).clamp(0, 1)
    return replace(mesh, texture=fill_outside(texture, covered))


@torch.no_grad()
def _seen(
    part: tuple[Tensor, Tensor],
    vertices: Tensor,
    faces: Tensor,
    normals: Tensor,
    color: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Colors (P,3), on the CPU, of surface points, given by their faces (P,) and barycentrics (P,3)."""

    def of(face: Tensor, weights: Tensor) -> Tensor:
        corner, weights = faces[face], weights[..., None]  # (S, 3), (S, 3, 1)
        points = (vertices[corner] * weights).sum(1)  # (S, 3)
        return color(points, normalize((normals[corner] * weights).sum(1), dim=-1)).cpu()

    return torch.cat([value for _, value in by_rows("texels", of, *part, at_once=max(len(part[0]), 1))])


def bake_vertex_colors(mesh: Mesh, size: int = 1024) -> Mesh:
    """Give an unwrapped mesh a texture that shows its vertex colors, interpolated over each face."""
    if mesh.corner_uvs is None or mesh.colors is None:
        raise ValueError("baking vertex colors needs corner_uvs and colors")
    face_of, barycentric = texel_map(mesh.corner_uvs, size, size)
    covered = face_of >= 0
    texture = mesh.vertices.new_zeros(size, size, 3)
    texture[covered] = (mesh.colors[mesh.faces[face_of[covered]]] * barycentric[covered][..., None]).sum(1)
    return replace(mesh, texture=fill_outside(texture, covered))


def fill_outside(texture: Tensor, covered: Tensor) -> Tensor:
    """Texels (A,B,3) where ``covered`` (A,B) is false take the value of the nearest one where it is true."""
    if not covered.any():
        return texture
    from scipy import ndimage  # half a second, which a command that only checks its words need not wait for

    nearest = ndimage.distance_transform_edt(~covered.cpu().numpy(), return_distances=False, return_indices=True)
    row, column = torch.from_numpy(nearest).to(texture.device, torch.int64)
    return texture[row, column]


def _barycentrics(corner: Tensor, point: Tensor) -> Tensor:
    """Barycentrics (S,3) of points (S,2) in triangles (S,3,2) of either orientation; -1 in triangles without area."""
    a, b, c = corner.unbind(1)
    area = _cross(b - a, c - a)  # (S,)
    weight_b, weight_c = _cross(point - a, c - a) / area, _cross(b - a, point - a) / area
    weights = torch.stack([1 - weight_b - weight_c, weight_b, weight_c], -1)
    return torch.where((area == 0)[:, None], -1.0, weights)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
