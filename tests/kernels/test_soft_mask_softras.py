"""SoftRas' picture: against brute force, against pixels by hand, its cut-off, its depth range, its background."""

import math

import numpy as np
import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.soft_mask import soft_rasterize
from tests.kernels.soft_mask_cases import HEIGHT, SOFT, WIDTH, at, from_ndc, picture_and_gradients, soup

BACKENDS = ("reference", "cpu")
FACE = torch.tensor([[0, 1, 2]])
RED = torch.tensor([[1.0, 0, 0]]).expand(3, 3)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def brute_force(points, faces, colors, height, width, background, sigma, gamma, near, far, eps=1e-3, dist_eps=1e-4):
    views, channels = len(points), colors.shape[1]
    picture = np.zeros((views, height, width, channels + 1))
    for n, i, j in np.ndindex(picture.shape[:3]):
        p = np.array([(j + 0.5) / width * 2 - 1, 1 - (i + 0.5) / height * 2])
        terms, missed = [(math.exp(eps / gamma), np.asarray(background))], 1.0
        for face in faces:
            corners = points[n][face]
            xy = corners[:, :2] / corners[:, 2:] / [width, height] * 2 - 1
            xy[:, 1] *= -1
            b = np.linalg.solve(np.vstack([xy.T, np.ones(3)]), [*p, 1.0])
            inside = ((b > 0) & (b < 1)).all()
            squared = math.inf
            for k in range(3):
                step = xy[(k + 1) % 3] - xy[k]
                t = np.clip(np.dot(p - xy[k], step) / np.dot(step, step), 0, 1)
                squared = min(squared, np.sum((xy[k] + t * step - p) ** 2))
            if not inside and squared >= sigma * math.log(1 / dist_eps - 1):
                continue
            share = sigmoid((squared if inside else -squared) / sigma)
            missed *= 1 - share
            b = np.clip(b, 0, 1)
            b /= b.sum()
            depth = 1 / (b / corners[:, 2]).sum()
            if near <= depth <= far:
                weight = share * math.exp((far - depth) / (far - near) / gamma)
                terms.append((weight, b @ colors[face]))
        total = sum(weight for weight, _ in terms)
        picture[n, i, j] = [*(sum(weight * color for weight, color in terms) / total), 1 - missed]
    return picture


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gamma", [3e-2, 1.0])
def test_equals_brute_force(backend, gamma):
    points, faces = soup(2, 8)
    colors = torch.rand(24, 3, generator=torch.Generator().manual_seed(3))
    settings = SOFT | {"gamma": gamma}
    arrays = points.double().numpy(), faces.numpy(), colors.double().numpy()
    expected = brute_force(*arrays, HEIGHT, WIDTH, **settings)
    assert ((expected[..., 3] > 0.01) & (expected[..., 3] < 0.99)).mean() > 0.2
    with use(backend):
        picture = soft_rasterize(points, faces, colors, HEIGHT, WIDTH, **settings)
    np.testing.assert_allclose(picture.numpy(), expected, rtol=2e-4 if backend == "reference" else 2e-6, atol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_alpha_by_hand(backend):
    """A triangle (0, 0), (0.5, 0), (0, 0.5) in a picture of 8 x 8, centers at odd eighths."""
    points = from_ndc([[0, 0.5, 0]], [[0, 0, 0.5]], 2.0, 8, 8).float()
    with use(backend):
        alpha = soft_rasterize(points, FACE, None, 8, 8, sigma=0.01, dist_eps=1e-4)[0, ..., 0]
    assert alpha[3, 4].item() == pytest.approx(sigmoid(0.125**2 / 0.01), rel=1e-5)  # (0.125, 0.125), inside
    assert alpha[4, 4].item() == pytest.approx(sigmoid(-(0.125**2) / 0.01), rel=1e-5)  # below
    assert alpha[4, 3].item() == pytest.approx(sigmoid(-2 * 0.125**2 / 0.01), rel=1e-5)  # beside the corner
    assert alpha[2, 5].item() == pytest.approx(sigmoid(-(0.25**2) / 2 / 0.01), rel=1e-5)  # the slanted edge


@pytest.mark.parametrize("backend", BACKENDS)
def test_cut_off(backend):
    """d^2 = 0.015625 at the pixel below: left out where sigma log(1 / dist_eps - 1) is not more than that."""
    points = from_ndc([[0, 0.5, 0]], [[0, 0, 0.5]], 2.0, 8, 8).float()
    share = sigmoid(-(0.125**2) / 0.005)
    with use(backend):
        kept, cut = (
            soft_rasterize(points, FACE, RED, 8, 8, sigma=0.005, dist_eps=share * factor)[0, 4, 4]
            for factor in (0.999, 1.001)
        )
    assert kept[3].item() == pytest.approx(share, rel=1e-4)
    assert kept[0] > 0
    assert not cut.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_reach_is_never_cut_short(backend):
    """Softness far beyond the face: every pixel within the cut-off has a share, all others none."""
    points = from_ndc([[-0.1, 0.1, 0.02]], [[-0.1, 0.03, 0.1]], 2.0, 21, 34).float()
    with use("reference"):
        exact = soft_rasterize(points.double(), FACE, None, 21, 34, sigma=0.02)
    with use(backend):
        alpha = soft_rasterize(points, FACE, None, 21, 34, sigma=0.02)
    assert torch.equal(alpha > 0, exact > 0)
    assert 0.1 < (alpha > 0).float().mean() < 0.9
    assert alpha[alpha > 0].min() >= 0.99e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_there_is_background(backend):
    points, faces = soup(2, 3)
    behind = torch.tensor([0.1, 0.6, 0.3])
    with use(backend):
        for some in (faces[:0], torch.full((2, 3, 3), -1)):
            picture = soft_rasterize(points, some, torch.rand(9, 3), 4, 5, background=behind)
            assert torch.equal(picture[..., :3], behind.expand(2, 4, 5, 3))
            assert not picture[..., 3].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_background_weighs_exp_eps_over_gamma(backend):
    points = at([[-9.0, 30, -9]], [[-9.0, -9, 30]], 40.0).float()
    settings = {"gamma": 0.5, "eps": 0.3, "near": 10.0, "far": 60.0, "background": [0.0, 0.0, 1.0]}
    with use(backend):
        red, _, blue, alpha = soft_rasterize(points, FACE, RED, 5, 5, **settings)[0, 2, 2].tolist()
    weight, behind = math.exp((60 - 40) / 50 / 0.5), math.exp(0.3 / 0.5)
    assert (red, blue) == pytest.approx((weight / (weight + behind), behind / (weight + behind)), rel=1e-5)
    assert alpha == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("w", [0.9, 101.0])
def test_out_of_depth_range_has_coverage_but_no_color(backend, w):
    points = at([[-9.0, 30, -9]], [[-9.0, -9, 30]], w).float()
    with use(backend):
        found = picture_and_gradients(points, FACE, RED.clone(), 5, 5, background=[0.0, 1.0, 0.0], sigma=1.0)
    assert torch.equal(found["picture"][..., :3], torch.tensor([0.0, 1.0, 0.0]).expand(1, 5, 5, 3))
    assert (found["picture"][..., 3] > 0.5).all()
    assert found["d_points"].any()
    assert not found["d_colors"].any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_face_shows(backend, order):
    points = torch.cat([at([[-9.0, 30, -9]], [[-9.0, -9, 30]], w) for w in (3.0, 3.2)], 1).float()
    colors = torch.eye(2).repeat_interleave(3, 0)
    faces = torch.arange(6).reshape(2, 3)[order]
    with use(backend):
        picture = soft_rasterize(points, faces, colors, 5, 5)
    hidden = math.exp(-(3.2 - 3.0) / 99 / 1e-4)  # 2e-9 at the default gamma and range
    torch.testing.assert_close(picture, torch.tensor([1.0, hidden, 1]).expand(1, 5, 5, 3), rtol=5e-3, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_barycentrics_are_clipped_outside(backend):
    """Beyond the corner (0.5, 0) the color is that corner's; beside an edge it lies between its two ends."""
    points = from_ndc([[0, 0.5, 0]], [[0, 0, 0.5]], 2.0, 8, 8).float()
    with use(backend):
        color = soft_rasterize(points, FACE, torch.eye(3), 8, 8, sigma=0.1, background=[9.0] * 3)[0, ..., :3]
    torch.testing.assert_close(color[4, 6], torch.tensor([0.0, 1, 0]))  # (0.625, -0.125): b = (0, 1.25, -0.25)
    torch.testing.assert_close(color[4, 4], torch.tensor([1.0, 0.25, 0]) / 1.25)  # b = (1, 0.25, -0.25)


@pytest.mark.parametrize("backend", BACKENDS)
def test_full_coverage_keeps_gradients_exact(backend):
    """One face with D = 1 within rounding hides what others add to alpha, and nothing is divided by 1 - D."""
    big = at([[-90.0, 300, -90]], [[-90.0, -90, 300]], 3.0)
    points = torch.cat([big, at([[1.0, 4, 1]], [[1.0, 4.5, 8]], 2.0)], 1).float()
    faces = torch.arange(6).reshape(2, 3)
    with use(backend):
        found = picture_and_gradients(points, faces, None, 9, 9, sigma=1e-2)
        alone = picture_and_gradients(points[:, 3:], FACE, None, 9, 9, sigma=1e-2)
    assert (found["picture"] == 1).all()
    assert found["d_points"].isfinite().all()
    assert found["d_points"].abs().max() < 1e-12
    assert alone["d_points"].abs().max() > 1e-2


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_the_gradient_through_barycentrics(backend):
    """It is the derivative where color and depth do not vary over a face, and not where they do."""
    generator = torch.Generator().manual_seed(4)
    points, faces = soup(1, 5)
    w = torch.tensor([2.5, 2.6, 2.8, 3.0, 3.1]).repeat_interleave(3)[None, :, None]
    points = points / points[..., 2:] * w
    flat, varied = torch.rand(5, 1, 3, generator=generator).expand(5, 3, 3), torch.rand(5, 3, 3, generator=generator)
    with use(backend):
        for colors, same in ((flat, True), (varied, False)):
            both = [
                picture_and_gradients(points, faces, colors, corners=True, through_barycentrics=through, **SOFT)
                for through in (True, False)
            ]
            xy, other = (found["d_points"] - found["d_points"] * torch.tensor([0, 0, 1.0]) for found in both)
            assert torch.equal(both[0]["picture"], both[1]["picture"])
            assert torch.allclose(xy, other, rtol=1e-4, atol=1e-5 * xy.abs().max().item()) == same
