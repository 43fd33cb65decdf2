import pytest
import torch

from nerfkit import options
from nerfkit.cameras import Cameras, look_at
from nerfkit.kernels.soft_mask import soft_rasterize
from nerfkit.mesh.shapes import icosphere
from nerfkit.raster import homogeneous_points, render
from nerfkit.raster.visibility import DIBR, VISIBILITIES, SoftRas, pick_visibility


def cameras(size: int) -> Cameras:
    pose = look_at(torch.tensor([[0.0, 0.0, 3.0], [2.0, 1.0, 2.0]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    return Cameras(pose, torch.tensor([1.2 * size, 1.2 * size, size / 2, size / 2]).expand(2, 4), size, size)


@pytest.mark.parametrize("name", sorted(VISIBILITIES))
def test_every_gradient_grows_a_ball_that_is_too_small(name):
    ball = icosphere(2, 0.5)
    view = cameras(32)
    target = render(icosphere(2, 0.6).vertices, ball.faces, view, supersampling=4).alpha
    scale = torch.ones((), requires_grad=True)
    rendered = render(ball.vertices * scale, ball.faces, view, colors=torch.ones_like(ball.vertices), visibility=name)
    assert rendered.rgb.shape == (2, 32, 32, 3)
    assert rendered.alpha.min() >= 0
    assert rendered.alpha.max() <= 1
    (gradient,) = torch.autograd.grad((rendered.alpha - target).square().mean(), scale, retain_graph=True)
    assert gradient < 0
    (gradient,) = torch.autograd.grad((rendered.rgb - target[..., None]).square().sum(), scale, allow_unused=True)
    # DIB-R's colors know nothing of the outline; SoftRas' background is behind all but the far plane
    assert name in ("dibr", "softras") or gradient < 0


def test_a_batch_of_different_meshes_is_the_meshes_one_by_one():
    meshes = [icosphere(1, 0.6), icosphere(0, 0.8)]
    views = cameras(24)
    counts = [len(mesh.vertices) for mesh in meshes], [len(mesh.faces) for mesh in meshes]
    vertices, faces = torch.zeros(2, max(counts[0]), 3), torch.full((2, max(counts[1]), 3), -1)
    colors = torch.rand(2, max(counts[0]), 3)
    for k, mesh in enumerate(meshes):
        vertices[k, : counts[0][k]], faces[k, : counts[1][k]] = mesh.vertices, mesh.faces
    for name in VISIBILITIES:
        together = render(vertices, faces, views, colors=colors, visibility=name)
        for k, mesh in enumerate(meshes):
            own = colors[k, : counts[0][k]]
            alone = render(mesh.vertices, mesh.faces, views[k], colors=own, visibility=name)
            torch.testing.assert_close(together.rgb[k], alone.rgb[0], rtol=0, atol=1e-5)
            torch.testing.assert_close(together.alpha[k], alone.alpha[0], rtol=0, atol=1e-5)


def test_a_silhouette_cut_by_the_border_keeps_its_coverage():
    square = torch.tensor([[-9.0, -0.5, 0.0], [0.31, -0.5, 0.0], [0.31, 0.5, 0.0], [-9.0, 0.5, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    # x = 0.31 at depth 3 with f = 9: 0.93 pixels right of the middle, 5, in a picture 6 wide: in its last half pixel
    view = Cameras(cameras(8).camera_to_world[:1], torch.tensor([[9.0, 9.0, 5.0, 4.0]]), 8, 6)
    alpha = render(square, faces, view).alpha[0]
    assert alpha[4, 5] == pytest.approx(0.93, abs=1e-5)
    assert alpha[4, 4] == 1


@pytest.mark.parametrize("name", ["contour", "antialias", "nmr", "edge_grad"])
def test_what_lies_before_the_near_plane_changes_nothing(name):
    """A small triangle nearer than ``near``, before a large one: the same picture and gradient as without it."""
    view = Cameras(torch.eye(4)[None, :3], torch.tensor([[20.0, 20, 10, 10]]), 20, 20)
    far = [[-0.5, -0.5, -2], [0.6, -0.5, -2], [0.05, 0.6, -2]]
    close = [[-0.05, -0.05, -0.3], [0.08, -0.06, -0.3], [0.01, 0.09, -0.3]]
    generator = torch.Generator().manual_seed(0)
    colors, weight = torch.rand(6, 3, generator=generator), torch.rand(1, 20, 20, 3, generator=generator)
    results = []
    for faces in (torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 2], [3, 4, 5]])):
        vertices = torch.tensor(far + close, requires_grad=True)
        rgb = render(vertices, faces, view, colors=colors, visibility=name, near=0.5).rgb
        (rgb * weight).sum().backward()
        results.append((rgb.detach(), vertices.grad))
    for alone, both in zip(*results, strict=True):
        assert torch.equal(alone, both)


def test_supersampling_averages_the_finer_picture():
    ball, view = icosphere(1, 0.6), cameras(12)
    fine = render(ball.vertices, ball.faces, view.resized(36, 36), visibility="edge_grad").alpha
    coarse = render(ball.vertices, ball.faces, view, visibility="edge_grad", supersampling=3).alpha
    torch.testing.assert_close(coarse, fine.view(2, 12, 3, 12, 3).mean((2, 4)))


@pytest.mark.slow
def test_names_and_settings():
    assert pick_visibility("dibr") == DIBR()
    assert pick_visibility(SoftRas(sigma=1e-5)).sigma == 1e-5
    with pytest.raises(ValueError, match="unknown visibility 'hard'; expected one of"):
        pick_visibility("hard")
    config = options.compose("train", ["rasterizer.visibility=softras", "rasterizer.softras.sigma=0.01"])
    assert config.rasterizer.chosen() == SoftRas(sigma=0.01)
    for name, kind in VISIBILITIES.items():  # the config's defaults are the classes'
        assert options.compose("train", [f"rasterizer.visibility={name}"]).rasterizer.chosen() == kind()


def test_softras_counts_eps_twice_as_the_project_does(ball):
    """Where gamma is large the background shows through: with SoftRas' own numbers it weighs exp(2 eps / gamma)."""
    vertices, faces = ball
    view = cameras(16)
    colors = (vertices - vertices.amin(0)) / (vertices.amax(0) - vertices.amin(0))
    softness = {"gamma": 0.1, "near": 1.0, "far": 5.0}
    found = render(vertices, faces, view, colors=colors, visibility=SoftRas(eps=0.02, **softness)).rgb
    points = homogeneous_points(vertices, view)
    exact, other = (
        soft_rasterize(points, faces, colors, 16, 16, eps=eps, through_barycentrics=False, **softness)[..., :3]
        for eps in (0.04, 0.02)
    )
    assert torch.equal(found, exact)
    assert (found - other).abs().max() > 1e-3
