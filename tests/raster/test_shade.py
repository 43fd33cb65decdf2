"""Shading: backgrounds, textures, channels, and what gets a gradient."""

import pytest
import torch
from torch.testing import assert_close

from nerfkit.cameras.delta import CameraDelta
from nerfkit.mesh.mesh import Mesh
from nerfkit.raster import VISIBILITIES, render, render_channels, sample_texture
from nerfkit.raster.lights import Ambient, Directional, Point, SphericalHarmonics
from tests.raster.conftest import make_cameras


def test_background_shows_through_what_alpha_leaves(ball):
    vertices, faces = ball
    cameras = make_cameras(2, 33, 31)
    colors = torch.rand(len(vertices), 3, generator=torch.Generator().manual_seed(0))
    bare = render(vertices, faces, cameras, colors=colors)
    assert ((bare.alpha > 0.01) & (bare.alpha < 0.99)).any()
    assert (bare.rgb <= bare.alpha[..., None] + 1e-6).all()  # premultiplied
    for background in ((0.2, 0.5, 1.0), torch.rand(2, 1, 1, 3), torch.rand(2, 33, 31, 3)):
        over = render(vertices, faces, cameras, colors=colors, background=background)
        expected = bare.rgb + (1 - bare.alpha)[..., None] * torch.as_tensor(background)
        assert_close(over.rgb, expected)


def test_white_without_colors(ball):
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


@pytest.mark.parametrize("name", ["colors", "corner_colors", "corner_uvs"])
def test_one_color_for_each_vertex_or_corner(ball, name):
    vertices, faces = ball
    given = {"colors": torch.ones(len(vertices) - 1, 3), "corner_colors": torch.ones(len(faces) - 1, 3, 3)}
    given["corner_uvs"] = torch.ones(len(faces), 4, 2)
    texture = torch.ones(4, 4, 3) if name == "corner_uvs" else None
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        render(vertices, faces, make_cameras(1, 4, 4), texture=texture, **{name: given[name]})


@pytest.mark.parametrize("name", ["colors", "corner_colors", "texture", "corner_uvs"])
def test_a_fourth_channel_is_no_alpha(ball, name):
    vertices, faces = ball
    given = {"colors": torch.ones(len(vertices), 4), "corner_colors": torch.ones(len(faces), 3, 4)}
    given |= {"texture": torch.ones(4, 4, 4), "corner_uvs": torch.ones(len(faces), 3, 3)}
    arguments = {name: given[name]}
    if name in ("texture", "corner_uvs"):
        arguments = {"corner_uvs": torch.ones(len(faces), 3, 2), "texture": torch.ones(4, 4, 3)} | arguments
    with pytest.raises(ValueError, match=f"^{name}: expected .* got"):
        render(vertices, faces, make_cameras(2, 4, 4), **arguments)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (4, 3), (3, 1, 1, 3), (2, 4, 5, 3)])
def test_backgrounds_that_do_not_fit(ball, shape):
    with pytest.raises(ValueError, match=r"^background: expected"):
        render(*ball, make_cameras(2, 4, 4), background=torch.zeros(shape))


def test_vertices_and_supersampling_that_do_not_fit(ball):
    vertices, faces = ball
    for wrong in (vertices[None], vertices.expand(3, -1, -1), vertices[:, :2], vertices[0]):
        with pytest.raises(ValueError, match=r"^vertices: expected"):
            render(wrong, faces, make_cameras(2, 4, 4))
    with pytest.raises(ValueError, match=r"^supersampling: expected"):
        render(vertices, faces, make_cameras(2, 4, 4), supersampling=0)
    with pytest.raises(ValueError, match=r"^supersampling: expected"):
        render(vertices, faces, make_cameras(2, 4, 4), supersampling=1.5)


@pytest.mark.parametrize("given", ["uvs", "texture", "both"])
def test_colors_are_given_one_way(ball, given):
    vertices, faces = ball
    uvs, texture, colors = torch.zeros(len(faces), 3, 2), torch.ones(4, 4, 3), torch.ones(len(vertices), 3)
    arguments = {
        "uvs": {"corner_uvs": uvs},
        "texture": {"texture": texture},
        "both": {"corner_uvs": uvs, "texture": texture, "colors": colors},
    }[given]
    with pytest.raises(ValueError, match=r"go together|none of them"):
        render(vertices, faces, make_cameras(1, 4, 4), **arguments)


def test_texels_are_found_at_their_centers():
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
    mesh = Mesh(vertices, faces, colors=torch.rand(len(vertices), 3))
    cameras = make_cameras(2, 25, 25)
    found = render_channels(mesh, cameras, ["normal", "rgb", "depth", "alpha"])
    assert list(found) == ["normal", "rgb", "depth", "alpha"]
    covered = found["depth"] > 0
    assert_close(found["normal"].norm(dim=-1), covered.float())
    center = found["normal"][:, 12, 12]  # the pixel in the middle sees the side that faces the camera
    assert ((center * cameras.positions).sum(-1) > 0).all()
    assert torch.equal(found["rgb"], render(vertices, faces, cameras, colors=mesh.colors).rgb)
    uvs, texture = torch.rand(len(faces), 3, 2), torch.full((2, 2, 3), 0.25)
    textured = render_channels(Mesh(vertices, faces, corner_uvs=uvs, texture=texture), cameras)["rgb"]
    assert_close(textured, 0.25 * found["alpha"][..., None].expand(-1, -1, -1, 3))
    with pytest.raises(ValueError, match="unknown channel 'color'"):
        render_channels(mesh, cameras, ["color"])


def test_empty_mesh():
    mesh = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    found = render_channels(
        mesh, make_cameras(2, 4, 5), ("rgb", "alpha", "depth", "normal"), background=(0.1, 0.2, 0.3)
    )
    assert_close(found["rgb"], torch.tensor([0.1, 0.2, 0.3]).expand(2, 4, 5, 3))
    assert not any(found[name].any() for name in ("alpha", "depth", "normal"))


def test_lights_flat_and_smooth(ball):
    vertices, faces = ball
    cameras = make_cameras(2, 31, 31)
    toward = cameras.positions  # a lamp at each camera: full light where the surface faces it
    lamp = Point(toward, torch.ones(2, 3))
    smooth = render(vertices, faces, cameras, lights=[lamp], visibility="edge_grad")
    flat = render(vertices, faces, cameras, lights=[lamp], flat=True, visibility="edge_grad")
    for k, drawn in enumerate((smooth, flat)):
        assert drawn.rgb.max() <= 1 + 1e-5
        assert not drawn.rgb[drawn.alpha == 0].any()
        assert drawn.rgb[:, 15, 15].min() > (0.98, 0.85)[k]
    sun = [Directional(torch.tensor([0.2, 0.4, 1.0]), torch.ones(3))]
    flat = render(vertices, faces, cameras, lights=sun, flat=True, visibility="edge_grad")
    for face in flat.fragments.face[0].unique()[1:]:  # each face has one color
        assert flat.rgb[0][flat.fragments.face[0] == face].std(0, correction=0).max() < 1e-6
    dim = render(
        vertices, faces, cameras, colors=torch.full_like(vertices, 0.5), lights=[Ambient(torch.full((3,), 0.4))]
    )
    assert_close(dim.rgb, 0.2 * dim.alpha[..., None].expand(-1, -1, -1, 3))


def test_lights_and_flat_normals_of_a_batch(ball):
    vertices, faces = ball
    cameras = make_cameras(2, 17, 17)
    padded = torch.cat([faces, torch.full((3, 3), -1)])
    lights = [Directional(torch.tensor([0.3, 0.5, 1.0]), torch.tensor([0.9, 0.8, 0.7]))]
    for flat in (False, True):
        alone = render(vertices, faces, cameras, lights=lights, flat=flat)
        batch = render(vertices.expand(2, -1, -1), padded.expand(2, -1, -1), cameras, lights=lights, flat=flat)
        assert_close(batch.rgb, alone.rgb)


def test_flat_normals_and_corner_colors_of_one_mesh_or_a_batch(ball):
    vertices, faces = ball
    cameras = make_cameras(2, 17, 17)
    colors = torch.rand(len(faces), 3, 3, generator=torch.Generator().manual_seed(0))
    lights = [Directional(torch.tensor([0.3, 0.5, 1.0]), torch.tensor([0.9, 0.8, 0.7]))]
    look = lambda v, c: render(v, faces, cameras, corner_colors=c, lights=lights, flat=True).rgb  # noqa: E731
    alone = look(vertices, colors)
    assert_close(look(vertices.expand(2, -1, -1), colors), alone)
    assert_close(look(vertices, colors.expand(2, -1, -1, -1)), alone)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_no_views(ball, flat, listed):
    vertices, faces = ball
    lights = [Ambient(torch.ones(3))]
    faces = faces.expand(0, -1, -1) if listed else faces
    drawn = render(vertices.expand(0, -1, -1), faces, make_cameras(2, 5, 4)[[]], lights=lights, flat=flat)
    assert drawn.rgb.shape == (0, 5, 4, 3)


def test_mipmaps_average_a_fine_checker(ball):
    vertices, faces = ball
    uvs = torch.rand(len(faces), 3, 2, generator=torch.Generator().manual_seed(3))
    checker = ((torch.arange(256)[:, None] + torch.arange(256)) % 2).float()[..., None].expand(-1, -1, 3)
    drawn = [
        render(vertices, faces, make_cameras(1, 24, 24), corner_uvs=uvs, texture=checker, mipmaps=m) for m in (0, 1)
    ]
    inside = drawn[0].alpha == 1
    sharp, soft = ((x.rgb[inside] - 0.5).abs().mean().item() for x in drawn)
    assert soft < 0.05 < sharp


@pytest.mark.parametrize("mipmaps", [False, True])
def test_a_texture_for_each_view(ball, mipmaps):
    vertices, faces = ball
    generator = torch.Generator().manual_seed(4)
    uvs, textures = torch.rand(2, len(faces), 3, 2, generator=generator), torch.rand(2, 64, 32, 3, generator=generator)
    cameras = make_cameras(2, 24, 24)
    both = render(vertices, faces, cameras, corner_uvs=uvs, texture=textures, mipmaps=mipmaps).rgb
    for k in range(2):
        alone = render(vertices, faces, cameras[k], corner_uvs=uvs[k], texture=textures[k], mipmaps=mipmaps).rgb
        assert_close(both[k], alone[0])


@pytest.mark.parametrize("name", list(VISIBILITIES))
def test_autocast_rounds_nothing(ball, name):
    vertices, faces = ball
    guess = CameraDelta(make_cameras(2, 24, 24), focal="each")
    with torch.no_grad():
        guess.twist.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
    harmonics = torch.rand(9, 3, generator=torch.Generator().manual_seed(1))
    found = []
    for rounding in (False, True):
        leaf = vertices.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=rounding):
            lights = [SphericalHarmonics(harmonics), Point(torch.tensor([1.0, 2.0, 3.0]), torch.ones(3))]
            drawn = render(leaf, faces, guess.cameras(), lights=lights, visibility=name)
        (drawn.rgb.square().sum() + drawn.alpha.square().sum()).backward()
        found.append((drawn.rgb, drawn.alpha, leaf.grad, guess.twist.grad.clone()))
        guess.zero_grad()
    for exact, cast in zip(*found, strict=True):
        assert torch.equal(exact, cast)


@pytest.mark.parametrize("name", list(VISIBILITIES))
def test_faces_need_not_be_contiguous(ball, name):
    vertices, faces = ball
    strided = faces.T.contiguous().T
    assert not strided.is_contiguous()
    pictures = [render(vertices, own, make_cameras(1, 16, 16), visibility=name).alpha for own in (faces, strided)]
    assert torch.equal(*pictures)


@pytest.mark.parametrize("name", list(VISIBILITIES))
def test_the_default_dtype_changes_nothing(ball, name):
    vertices, faces = ball
    generator = torch.Generator().manual_seed(5)
    uvs, texture = torch.rand(len(faces), 3, 2, generator=generator), torch.rand(16, 8, 3, generator=generator)
    cameras = make_cameras(2, 16, 16)
    found = []
    for dtype in (torch.float32, torch.float64):
        leaves = [x.clone().requires_grad_() for x in (vertices, uvs, texture)]
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            drawn = render(
                leaves[0], faces, cameras, corner_uvs=leaves[1], texture=leaves[2], mipmaps=True, visibility=name
            )
            (drawn.rgb.square().sum() + drawn.fragments.depth.sum()).backward()
        finally:
            torch.set_default_dtype(before)
        found.append((drawn.rgb, drawn.alpha, *(leaf.grad for leaf in leaves)))
    for usual, other in zip(*found, strict=True):
        assert torch.equal(usual, other)
        assert usual.dtype == other.dtype
