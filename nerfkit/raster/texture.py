"""Textures on fragments: the level of detail of every pixel, and padding for the seams of an atlas."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from nerfkit.mesh.bake import fill_outside
from nerfkit.raster.fragments import Fragments


@torch.no_grad()
def texture_levels(
    fragments: Fragments, faces: Tensor, corner_uvs: Tensor, texture_size: int | Sequence[int], bias: float = 0.0
) -> Tensor:
    """The level of detail at every pixel, as ``sample_texture`` takes it: how many texels a pixel covers.

    OpenGL's rule (specification 4.6, section 8.14.1), with a texture of A x B texels::

        level = max(0, bias + log2 max(|d(u B, v A)/dx|, |d(u B, v A)/dy|))

    The derivatives by the pixel's coordinates are those of the face's own perspective-correct interpolation, in closed
    form: with the edge functions e_i = n_i . (x, y, 1), det = p_0 . n_0 and the depth w, b_i = e_i / sum e, and
    sum e = det / w, so that

        duv/dx = (w / det) sum_i n_i,x ((uv_i - uv_0) - (uv - uv_0)),        and so by y.

    No neighboring pixel is looked at, so there is no jump at a seam or a silhouette.

    Args:
        fragments: what ``rasterize`` returned.
        faces: (F,3) or (N,F,3), as there.
        corner_uvs: (F,3,2), or (N,F,3,2) for each view.
        texture_size: (A,B), or one number for both.
        bias: added to the level; below 0 sharpens.

    Returns:
        (N,H,W) float32, at least 0; 0 where no face is and where a face has no area in the picture. Not differentiable.

    Raises:
        ValueError: the UVs are not those of these faces.
    """
    if corner_uvs.ndim not in (3, 4) or corner_uvs.shape[-3:] != (faces.shape[-2], 3, 2):
        expected = f"({faces.shape[-2]},3,2), or that for each view"
        raise ValueError(f"corner_uvs: expected {expected}, got {tuple(corner_uvs.shape)}")
    height, width = (texture_size, texture_size) if isinstance(texture_size, int) else texture_size
    points, count = fragments.points.detach(), faces.shape[-2]
    levels = points.new_zeros(fragments.face.shape, dtype=torch.float32)
    at = fragments.covered.flatten().nonzero()[:, 0]  # (P,)
    if len(at) == 0:
        return levels
    number = fragments.face.flatten()[at].long() + at // fragments.face[0].numel() * count  # (P,), counts all views'

    shown = torch.zeros(len(points) * count, dtype=torch.bool, device=at.device)
    shown[number] = True
    listed = shown.nonzero()[:, 0]  # (S,)
    view, face = listed // count, listed % count
    row = (shown.cumsum(0) - 1)[number]  # (P,), where a pixel's face is among those shown
    corners = points[view[:, None], faces[face] if faces.ndim == 2 else faces[view, face]].double()  # (S, 3, 3)
    uvs = corner_uvs[face] if corner_uvs.ndim == 3 else corner_uvs[view, face]  # (S, 3, 2)
    uvs = uvs.detach().double() * uvs.new_tensor([width, height])
    sides = uvs[:, 1:] - uvs[:, :1]  # (S, 2, 2)
    normals = torch.linalg.cross(corners.roll(-1, 1), corners.roll(-2, 1), dim=-1)  # (S, 3, 3)
    normals /= (corners[:, 0] * normals[:, 0]).sum(-1)[:, None, None]
    slopes = normals[:, :, :2].transpose(1, 2)  # (S, 2, 3), by x and y
    table = torch.cat([(slopes[:, :, 1:] @ sides).flatten(1), slopes.sum(2), sides.flatten(1)], 1)  # (S, 10)

    across, by_x, by_y, first, second = table.float().index_select(0, row).split([4, 1, 1, 2, 2], 1)
    weights = fragments.barycentrics.detach().reshape(-1, 3).index_select(0, at)
    place = weights[:, 1:2] * first + weights[:, 2:] * second  # (P, 2), uv - uv_0 in texels
    depth = fragments.depth.detach().flatten().index_select(0, at)
    along_x, along_y = across[:, :2] - by_x * place, across[:, 2:] - by_y * place
    longer = torch.maximum(along_x.square().sum(1), along_y.square().sum(1)).sqrt() * depth
    found = (torch.log2(longer) + bias).nan_to_num(0.0, 0.0).clamp(min=0)
    levels.view(-1)[at] = found.to(levels)
    return levels


def pad_texture(texture: Tensor, covered: Tensor, pixels: int | None = None) -> Tensor:
    """Seam padding: the gutter between the charts of an atlas takes the color of the nearest chart.

    Without it filtering mixes the gutter into a chart's border. A look-up at ``level`` inside a chart reads texels up
    to 1.5 * 2 ** level + 1 away; so many ``pixels`` keep it clean, where charts are twice as far apart.

    Args:
        texture: (A,B,C).
        covered: (A,B) bool, the texels inside charts, as ``nerfkit.mesh.bake.texel_map`` finds them.
        pixels: how far from a chart, along rows and columns, the gutter is filled; all of it if not given.

    Returns:
        (A,B,C), differentiable with respect to the texels inside charts.

    Raises:
        ValueError: ``covered`` is not of the texture's size.
    """
    if texture.ndim != 3 or covered.shape != texture.shape[:2]:
        found = f"{tuple(texture.shape)} and {tuple(covered.shape)}"
        raise ValueError(f"texture, covered: expected (A,B,C) and (A,B), got {found}")
    filled = fill_outside(texture, covered)
    if pixels is None:
        return filled
    near = max_pool2d(covered[None, None].float(), 2 * pixels + 1, stride=1, padding=pixels)[0, 0] > 0
    return torch.where(near[..., None], filled, texture)
