"""Shading: backgrounds, textures, channels, and what gets a gradient."""

import pytest
import torch
from torch.testing import assert_close

from nerfkit.mesh.mesh import Mesh
from nerfkit.raster import render, render_channels, sample_texture
from tests.raster.conftest import make_cameras


def test_background_shows_through_what_alpha_leaves(ball):
    vertices, faces = ball
    cameras = make_cameras(2, 33, 31)
    colours = torch.rand(len(vertices), 3, generator=torch.Generator().manual_seed(0))
    bare = render(vertices, faces, cameras, colours=colours)
    assert ((bare.alpha > 0.01) & (bare.alpha < 0.99)).any()
    assert (bare.rgb <= bare.alpha[..., None] + 1e-6).all()  # premultiplied
    for background in ((0.2, 0.5, 1.0), torch.rand(2, 1, 1, 3), torch.rand(2, 33, 31, 3)):
        over = render(vertices, faces, cameras, colours=colours, background=background)
        expected = bare.rgb + (1 - bare.alpha)[..., None] * torch.as_tensor(background)
        assert_close(over.rgb, expected)


def test_white_without_colours(ball):
    rgb, alpha, _ = render(*ball, make_cameras(1, 20, 20))
    assert_close(rgb, alpha[..., None].expand(-1, -1, -1, 3))


def test_everything_learned_gets_a_gradient(ball):
    vertices, faces = ball[0].clone().requires_grad_(), ball[1]
    uvs = torch.rand(len(faces), 3, 2, requires_grad=True)
    texture = torch.rand(8, 6, 3, requires_grad=True)
    rgb, alpha, _ = render(vertices, faces, make_cameras(2, 24, 24), corner_uvs=uvs, texture=texture)
    (rgb.square().mean() + alpha.mean()).backward()
    for leaf in (vertices, uvs, texture):
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad.any()


@pytest.mark.parametrize("given", ["uvs", "texture", "both"])
def test_colours_are_given_one_way(ball, given):
    vertices, faces = ball
    uvs, texture, colours = torch.zeros(len(faces), 3, 2), torch.ones(4, 4, 3), torch.ones(len(vertices), 3)
    arguments = {
        "uvs": {"corner_uvs": uvs},
        "texture": {"texture": texture},
        "both": {"corner_uvs": uvs, "texture": texture, "colours": colours},
    }[given]
    with pytest.raises(ValueError, match="go together|none of them"):
        render(vertices, faces, make_cameras(1, 4, 4), **arguments)


def test_texels_are_found_at_their_centres():
    texture = torch.rand(3, 5, 2)
    i, j = torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij")
    uv = torch.stack([(j + 0.5) / 5, 1 - (i + 0.5) / 3], -1)
    assert_close(sample_texture(texture, uv), texture)
    between = uv + torch.tensor([0.25 / 5, 0.0])
    assert_close(sample_texture(texture, between)[:, :-1], 0.75 * texture[:, :-1] + 0.25 * texture[:, 1:])
    assert_close(sample_texture(texture, torch.tensor([[-3.0, 2.0]])), texture[:1, 0])


def test_texture_gradcheck_and_mask():
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(4, 5, 3, dtype=torch.float64, generator=generator).requires_grad_()
    uv = (1.2 * torch.rand(2, 3, 3, 2, dtype=torch.float64, generator=generator) - 0.1).requires_grad_()
    covered = torch.rand(2, 3, 3, generator=generator) > 0.4
    assert torch.autograd.gradcheck(lambda t, x: sample_texture(t, x, covered), (texture, uv))
    masked = sample_texture(texture, uv, covered)
    assert_close(masked, sample_texture(texture, uv) * covered[..., None])
    assert not sample_texture(texture, uv, torch.zeros_like(covered)).any()


def test_channels(ball):
    vertices, faces = ball
    mesh = Mesh(vertices, faces, colours=torch.rand(len(vertices), 3))
    cameras = make_cameras(2, 25, 25)
    found = render_channels(mesh, cameras, ["normal", "rgb", "depth", "alpha"])
    assert list(found) == ["normal", "rgb", "depth", "alpha"]
    covered = found["depth"] > 0
    assert_close(found["normal"].norm(dim=-1), covered.float())
    centre = found["normal"][:, 12, 12]  # the pixel in the middle sees the side that faces the camera
    assert ((centre * cameras.positions).sum(-1) > 0).all()
    assert torch.equal(found["rgb"], render(vertices, faces, cameras, colours=mesh.colours).rgb)
    uvs, texture = torch.rand(len(faces), 3, 2), torch.full((2, 2, 3), 0.25)
    textured = render_channels(Mesh(vertices, faces, corner_uvs=uvs, texture=texture), cameras)["rgb"]
    assert_close(textured, 0.25 * found["alpha"][..., None].expand(-1, -1, -1, 3))
    with pytest.raises(ValueError, match="unknown channel 'colour'"):
        render_channels(mesh, cameras, ["colour"])


def test_empty_mesh():
    mesh = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    found = render_channels(
        mesh, make_cameras(2, 4, 5), ("rgb", "alpha", "depth", "normal"), background=(0.1, 0.2, 0.3)
    )
    assert_close(found["rgb"], torch.tensor([0.1, 0.2, 0.3]).expand(2, 4, 5, 3))
    assert not any(found[name].any() for name in ("alpha", "depth", "normal"))
