"""Levels of detail against finite differences and by hand; mipmapped pictures against supersampled ones; seams."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from nerfkit.cameras import Cameras, look_at
from nerfkit.kernels.texture import mipmaps, sample_texture
from nerfkit.mesh.bake import texel_map
from nerfkit.raster import Fragments, interpolate_corners, rasterize
from nerfkit.raster.texture import pad_texture, texture_levels
from tests.raster.conftest import bumpy_ball, make_cameras

QUAD = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
QUAD_FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])
QUAD_UVS = (QUAD[QUAD_FACES][..., :2] + 1) / 2  # (2, 3, 2), the whole texture


def camera(position: tuple[float, float, float], size: int, focal: float) -> Cameras:
    """One camera that looks at the origin; ``focal`` in units of the image's size."""
    poses = look_at(torch.tensor([position]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    return Cameras(poses, torch.tensor([[focal * size, focal * size, size / 2, size / 2]]), size, size)


def uv_at(fragments: Fragments, faces: Tensor, corner_uvs: Tensor, dx: float, dy: float) -> Tensor:
    """UVs (N,H,W,2) of each pixel's face at a point beside the pixel's center, float64."""
    views, height, width = fragments.face.shape
    face = fragments.face.clamp(min=0).long()
    corners = fragments.points[torch.arange(views)[:, None, None, None], faces[face]].double()  # (N, H, W, 3, 3)
    i, j = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    ray = torch.stack([j + 0.5 + dx, i + 0.5 + dy, torch.ones_like(i)], -1)  # (H, W, 3)
    weights = torch.linalg.solve(corners.transpose(-1, -2), ray.expand(views, -1, -1, -1)[..., None])[..., 0]
    weights = weights / weights.sum(-1, keepdim=True)
    return (weights[..., None] * corner_uvs[face].double()).sum(-2)


def test_levels_are_finite_differences():
    vertices, faces = bumpy_ball(1)
    fragments = rasterize(vertices, faces, make_cameras(2, 40, 48))
    uvs = torch.rand(len(faces), 3, 2, generator=torch.Generator().manual_seed(0))
    size = torch.tensor([512.0, 300.0]).double()
    step = 1e-5
    along = [
        (
            uv_at(fragments, faces, uvs, *(step * x for x in axis))
            - uv_at(fragments, faces, uvs, *(-step * x for x in axis))
        )
        / (2 * step)
        for axis in ((1, 0), (0, 1))
    ]
    longer = torch.maximum(*((x * size).norm(dim=-1) for x in along))
    expected = torch.where(fragments.covered, torch.log2(longer).clamp(min=0), 0.0)
    levels = texture_levels(fragments, faces, uvs, (300, 512))
    assert (levels > 5).sum() > 500
    assert_close(levels.double(), expected, rtol=0, atol=1e-3)
    biased = texture_levels(fragments, faces, uvs, (300, 512), bias=-1.5)
    assert_close(
        biased, torch.where(fragments.covered, torch.log2(longer) - 1.5, 0.0).clamp(min=0).float(), rtol=0, atol=1e-3
    )


def test_levels_of_a_wall_by_hand():
    """2 units wide, 4 away, focal length 64 pixels: 32 pixels; 256 texels are 8 a pixel, 3 levels, on both faces."""
    fragments = rasterize(QUAD, QUAD_FACES, camera((0, 0, 4.0), 64, 1.0))
    levels = texture_levels(fragments, QUAD_FACES, QUAD_UVS, 256)
    assert fragments.covered.sum() == 32 * 32
    assert_close(levels, torch.where(fragments.covered, 3.0, 0.0), rtol=0, atol=1e-5)
    swapped = QUAD_UVS.clone()  # the second face on a chart elsewhere, turned and mirrored: a seam, the same density
    swapped[1] = 1 - QUAD_UVS[1].flip(-1)
    assert_close(texture_levels(fragments, QUAD_FACES, swapped, 256), levels)
    assert_close(texture_levels(fragments, QUAD_FACES, QUAD_UVS, (256, 1024)).max(), torch.tensor(5.0))
    assert not texture_levels(fragments, QUAD_FACES, QUAD_UVS, 16).any()  # magnified
    assert not texture_levels(fragments, QUAD_FACES, torch.zeros_like(QUAD_UVS), 256).any()


def test_lists_of_faces_and_charts_for_each_view():
    vertices, faces = bumpy_ball(1)
    vertices = vertices.float()
    cameras = make_cameras(2, 24, 24)
    uvs = torch.rand(2, len(faces), 3, 2, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(2))
    padding = torch.full((5, 3), -1)
    own = torch.stack([torch.cat([faces, padding]), torch.cat([faces[order], padding])])
    own_uvs = torch.nn.functional.pad(torch.stack([uvs[0], uvs[1][order]]), (0, 0, 0, 0, 0, 5))
    expected = texture_levels(rasterize(vertices, faces, cameras), faces, uvs, 256)
    found = texture_levels(rasterize(vertices, own, cameras), own, own_uvs, 256)
    assert (expected > 0).any((1, 2)).all()
    assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_nothing_to_see():
    behind = rasterize(QUAD + torch.tensor([0, 0, 9.0]), QUAD_FACES, camera((0, 0, 4.0), 8, 1.0))
    assert not texture_levels(behind, QUAD_FACES, QUAD_UVS, 64).any()
    none = rasterize(QUAD, QUAD_FACES[:0], camera((0, 0, 4.0), 8, 1.0))
    assert not texture_levels(none, QUAD_FACES[:0], QUAD_UVS[:0], 64).any()


def look(cameras: Cameras, texture: Tensor, mipmapped: bool) -> Tensor:
    """The textured wall, (H,W,C)."""
    fragments = rasterize(QUAD, QUAD_FACES, cameras)
    level = texture_levels(fragments, QUAD_FACES, QUAD_UVS, texture.shape[:2]) if mipmapped else None
    return sample_texture(texture, interpolate_corners(fragments, QUAD_UVS), fragments.covered, level)[0]


@pytest.mark.parametrize("position", [(0.3, 0.2, 4.0), (2.0, 0.4, 2.5)])
def test_minified_checker_is_closer_to_the_supersampled_truth(position):
    """Squares of 3 texels, less than a pixel. The truth: 16 x 16 bilinear samples in each pixel."""
    index = torch.arange(192) // 3
    texture = ((index[:, None] + index) % 2).float()[..., None]
    truth = look(camera(position, 32 * 16, 0.9), texture, False)
    truth = truth.view(32, 16, 32, 16).mean((1, 3))
    covered = rasterize(QUAD, QUAD_FACES, camera(position, 32 * 16, 0.9)).covered.view(32, 16, 32, 16).all(3).all(1)
    error = {}
    for mipmapped in (True, False):
        picture = look(camera(position, 32, 0.9), texture, mipmapped)[..., 0]
        error[mipmapped] = (picture - truth)[covered].square().mean().sqrt().item()
    assert error[True] < 0.2 * error[False]
    assert error[False] > 0.2


def atlas() -> tuple[Tensor, Tensor, Tensor]:
    """The wall's two triangles as charts 40 texels apart in an atlas: UVs (2,3,2), a plain color with black gutters
    (128,128,3), and the texels inside charts."""
    chart = torch.tensor([[0.0, 0], [36, 0], [36, 36]])
    corners = torch.stack([chart + torch.tensor([70.0, 22]), chart.flip(-1) + torch.tensor([17.0, 66])])
    uvs = corners / 128
    covered = texel_map(uvs, 128, 128)[0] >= 0
    color = torch.tensor([0.9, 0.5, 0.2])
    return uvs, torch.where(covered[..., None], color, 0.0), covered


def test_padding_closes_the_seam_up_to_its_width():
    uvs, texture, covered = atlas()
    pixels = 13  # 1.5 * 2**3 + 1: clean up to level 3
    padded = pad_texture(texture, covered, pixels)
    fragments = rasterize(QUAD, QUAD_FACES, camera((0.2, 0.1, 4.0), 48, 1.4))
    uv, inside = interpolate_corners(fragments, uvs), fragments.covered
    plain = torch.where(inside[..., None], torch.tensor([0.9, 0.5, 0.2]), 0.0)
    for level in (0.0, 1.0, 2.0, 2.6, 3.0):
        chosen = torch.full(inside.shape, level)
        assert (sample_texture(texture, uv, inside, chosen) - plain).abs().max() > 0.2, "the test would not see a seam"
        assert_close(sample_texture(padded, uv, inside, chosen), plain)
    assert (sample_texture(padded, uv, inside, torch.full(inside.shape, 5.0)) - plain).abs().max() > 0.1
    everywhere = pad_texture(texture, covered)
    for level in range(len(mipmaps(texture))):
        assert_close(sample_texture(everywhere, uv, inside, torch.full(inside.shape, float(level))), plain)


def test_padding_takes_the_nearest_chart_and_stops():
    texture = torch.zeros(5, 9, 2)
    texture[2, 1], texture[2, 7] = torch.tensor([1.0, 2]), torch.tensor([3.0, 4])
    covered = texture[..., 0] > 0
    filled = pad_texture(texture, covered)
    assert_close(filled[:, :4], texture[2, 1].expand(5, 4, 2))
    assert_close(filled[:, 5:], texture[2, 7].expand(5, 4, 2))
    near = pad_texture(texture, covered, 1)
    assert_close(near[1:4, :3], filled[1:4, :3])
    assert near[..., 0].count_nonzero() == 18
    assert torch.equal(pad_texture(texture, covered, 0), texture)
    assert torch.equal(pad_texture(texture, torch.zeros_like(covered), 2), texture)


def test_the_texture_learns_through_padding_and_pyramid():
    """A gradient that reaches the gutter goes to the chart's texels: all of it, as the weights sum to 1."""
    uvs, texture, covered = atlas()
    texture.requires_grad_()
    fragments = rasterize(QUAD, QUAD_FACES, camera((0.0, 0.0, 4.0), 24, 0.5))
    level = texture_levels(fragments, QUAD_FACES, uvs, 128)
    assert level.max() > math.log2(2)
    uv, inside = interpolate_corners(fragments, uvs), fragments.covered
    sample_texture(pad_texture(texture, covered), uv, inside, level).sum().backward()
    assert not texture.grad[~covered].any()
    assert_close(texture.grad.sum(), 3.0 * inside.sum())


def test_sizes_that_do_not_fit(ball):
    vertices, faces = ball
    fragments = rasterize(vertices, faces, make_cameras(1, 4, 4))
    for shape in ((len(vertices), 2), (len(faces), 3, 3), (len(faces) - 1, 3, 2)):
        with pytest.raises(ValueError, match="corner_uvs: expected"):
            texture_levels(fragments, faces, torch.zeros(shape), 8)
    for texture, covered in (((8, 8, 3), (8, 7)), ((8, 8), (8, 8)), ((2, 8, 8, 3), (8, 8))):
        with pytest.raises(ValueError, match="texture, covered: expected"):
            pad_texture(torch.zeros(texture), torch.ones(covered, dtype=torch.bool))
