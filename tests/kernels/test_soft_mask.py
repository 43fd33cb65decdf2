"""Both soft masks up the kernels' ladder (see ``ladder.py``), and what no mesh may break."""

import numba
import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.soft_mask import dibr_mask, soft_rasterize
from tests.kernels.soft_mask_cases import (
    HEIGHT,
    MASK,
    SOFT,
    WIDTH,
    assert_near,
    at,
    covering,
    grid,
    mask_and_gradient,
    picture_and_gradients,
    soup,
)

TINY = {"sigma": 1e-4, "gamma": 1e-4, "background": [0.2, 0.5, 0.9]}  # SoftRas' own
FACE = torch.tensor([[0, 1, 2]])


def colors_of(count: int, channels: int = 3, seed: int = 9) -> torch.Tensor:
    return torch.rand(count, channels, generator=torch.Generator().manual_seed(seed))


def exact_mask(points, faces, face, **settings) -> dict[str, torch.Tensor]:
    with use("reference"):
        return mask_and_gradient(points.double(), faces, face, **settings)


def exact_picture(points, faces, colors, **settings) -> dict[str, torch.Tensor]:
    with use("reference"):
        colors = colors if colors is None else colors.double()
        return picture_and_gradients(points.double(), faces, colors, **settings)


# Rung 1: the reference, against float64 finite differences.


def test_gradcheck_of_the_mask():
    points, faces = soup(2, 4)
    points = points * torch.tensor([0.4, 0.4, 1.0])
    face = covering(points, faces, 6, 7)
    assert (face < 0).any() and (face >= 0).any()

    def mask(p: torch.Tensor) -> torch.Tensor:
        return dibr_mask(p, faces, face, sigmainv=5.0, boxlen=0.3, knum=2)

    assert torch.autograd.gradcheck(mask, points.double().requires_grad_(), eps=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("far", [3.0, 10.0])
def test_gradcheck_of_the_picture(far):
    points, faces = grid()
    points = points * torch.tensor([0.4, 0.4, 1.0])
    colors = colors_of(9, 2).double().requires_grad_()

    def picture(p: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        settings = {"sigma": 0.05, "gamma": 0.2, "far": far, "background": [0.3, 0.6]}
        return soft_rasterize(p, faces, c, 6, 7, **settings)

    assert torch.autograd.gradcheck(picture, (points.double().requires_grad_(), colors), eps=1e-7)


# Rung 2: the CPU kernel.


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("settings", [MASK, {}, {"sigmainv": 300.0, "boxlen": 0.5}], ids=["few", "kaolin", "wide"])
def test_cpu_mask(settings):
    for points, faces in (soup(3, 40), grid()):
        face = covering(points, faces)
        assert_near(mask_and_gradient(points, faces, face, **settings), exact_mask(points, faces, face, **settings))


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("settings", [SOFT, TINY, SOFT | {"through_barycentrics": False}], ids=["soft", "tiny", "cut"])
def test_cpu_picture(settings):
    for points, faces in (soup(3, 20), grid()):
        colors = colors_of(points.shape[1])
        found = picture_and_gradients(points, faces, colors, **settings)
        assert_near(found, exact_picture(points, faces, colors, **settings), 3e-6)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_colors_of_vertices_corners_and_views(backend):
    points, faces = soup(2, 6)
    colors = colors_of(18)
    with use(backend):
        first = picture_and_gradients(points, faces, colors, **SOFT)
        others = (
            picture_and_gradients(points, faces, colors.expand(2, -1, -1), **SOFT),
            picture_and_gradients(points, faces, colors[faces], corners=True, **SOFT),
            picture_and_gradients(points, faces, colors[faces].expand(2, -1, -1, -1), corners=True, **SOFT),
        )
        alpha = soft_rasterize(points, faces, None, HEIGHT, WIDTH, sigma=SOFT["sigma"])
    sums = [others[0]["d_colors"].sum(0), others[1]["d_colors"].reshape(18, 3)]
    sums.append(others[2]["d_colors"].sum(0).reshape(18, 3))
    for other, total in zip(others, sums, strict=True):
        assert torch.equal(other["picture"], first["picture"])
        torch.testing.assert_close(total, first["d_colors"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(other["d_points"], first["d_points"], rtol=1e-5, atol=1e-5)
    assert torch.equal(alpha[..., 0], first["picture"][..., 3])


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_topology_for_each_view(backend):
    """Meshes of different sizes, padded, against each by itself."""
    points, faces = soup(2, 6)
    both = torch.stack([faces.flip(0), torch.cat([faces[:4], torch.full((2, 3), -1)])])
    face = covering(points[:1], faces.flip(0)), covering(points[1:], faces[:4])
    colors = colors_of(18)
    with use(backend):
        mask = mask_and_gradient(points, both, torch.cat(face), **MASK)
        picture = picture_and_gradients(points, both, colors, **SOFT)
        for n, own in enumerate((faces.flip(0), faces[:4])):
            assert torch.equal(mask["mask"][n : n + 1], dibr_mask(points[n : n + 1], own, face[n], **MASK))
            one = soft_rasterize(points[n : n + 1], own, colors, HEIGHT, WIDTH, **SOFT)
            torch.testing.assert_close(picture["picture"][n : n + 1], one, rtol=0, atol=1e-6)
    if backend == "cpu":
        assert_near(picture, exact_picture(points, both, colors, **SOFT), 3e-6)
    assert not mask["d_points"][1, 12:].any() and not picture["d_points"][1, 12:].any()
    assert mask["d_points"][1, :12].any() and picture["d_points"][1, :12].any()


@pytest.mark.usefixtures("all_threads")
def test_threads_and_reruns_do_not_change_a_bit():
    points, faces = soup(2, 60)
    face, colors = covering(points, faces), colors_of(180)
    results = []
    before = numba.get_num_threads()
    try:
        for threads in (1, before, before):
            numba.set_num_threads(threads)
            mask = mask_and_gradient(points, faces, face, **MASK)
            results.append((*mask.values(), *picture_and_gradients(points, faces, colors, **SOFT).values()))
    finally:
        numba.set_num_threads(before)
    for first, *others in zip(*results, strict=True):
        assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("x", "y", "w"),
    [
        ([0.5, 4.5, 8.5], [0.5, 4.5, 8.5], [2.0, 2, 3]),  # edge-on, through centers of pixels
        ([3.5, 3.5, 3.5], [3.5, 3.5, 3.5], [2.0, 2, 2]),  # a point on a center
        ([3.5, 3.5, 7.5], [2.5, 2.5, 2.5], [2.0, 2, 2]),  # two corners in one place
        ([0.0, 9, 9], [4.5, 4.5 - 1e-6, 4.5 + 1e-6], [2.0, 2, 2.5]),  # a sliver around centers
        ([0.0, 9, 0], [0.0, 0, 9], [-2.0, -2, -3]),  # behind the camera
        ([0.0, 9, 0], [0.0, 0, 9], [2.0, -2, 3]),  # one corner behind it
        ([0.0, 9, 0], [0.0, 0, 9], [0.0, 0, 0]),  # in the camera plane
        ([0.0, 9, float("nan")], [0.0, 0, 9], [2.0, 2, 2]),
        ([0.0, float("inf"), 3], [0.0, 0, 9], [2.0, 2, 2]),
        ([-1e9, 1e9, 0.0], [-1e9, -1e9, 1e9], [2.0, 2, 2]),
    ],
)
@pytest.mark.parametrize("settings", [SOFT, TINY], ids=["soft", "tiny"])
def test_no_face_breaks_a_gradient(backend, x, y, w, settings):
    whole = at([[1.0, 7, 2]], [[1.0, 2, 8]], [[2.5, 2.5, 3]])
    points = torch.cat([whole, at([x], [y], [w])], 1).float()
    faces = torch.arange(6).reshape(2, 3)
    face = torch.full((1, 9, 9), -1, dtype=torch.int32)
    with use(backend):
        mask = mask_and_gradient(points, faces, face, **MASK)
        picture = picture_and_gradients(points, faces, colors_of(6), 9, 9, **settings)
        alone = picture_and_gradients(points[:, :3], FACE, colors_of(6)[:3], 9, 9, **settings)
    for name, value in (mask | picture).items():
        assert value.isfinite().all(), name
    if min(w) <= 0 or not points.isfinite().all():
        torch.testing.assert_close(picture["picture"], alone["picture"], rtol=0, atol=1e-6)
        assert not picture["d_points"][0, 3:].any() and not picture["d_colors"][3:].any()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(("views", "vertices", "faces"), [(2, 3, 0), (2, 0, 0), (0, 3, 1), (0, 0, 0)])
def test_nothing_to_draw(backend, views, vertices, faces):
    points = torch.ones(views, vertices, 3)
    with use(backend):
        mask = mask_and_gradient(points, FACE[:faces], torch.full((views, 3, 4), -1, dtype=torch.int32))
        picture = picture_and_gradients(points, FACE[:faces], colors_of(vertices), 3, 4)
    assert mask["mask"].shape == (views, 3, 4) and not mask["mask"].any()
    assert picture["picture"].shape == (views, 3, 4, 4) and not picture["picture"].any()
    assert mask["d_points"].shape == picture["d_points"].shape == points.shape
    assert not mask["d_points"].any() and not picture["d_points"].any() and not picture["d_colors"].any()


def test_the_default_dtype_changes_nothing():
    points, faces = soup(1, 3)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        mask = dibr_mask(points, faces, torch.full((1, 3, 4), -1, dtype=torch.int32))
        picture = soft_rasterize(points, faces, None, 3, 4)
    finally:
        torch.set_default_dtype(before)
    assert mask.dtype == picture.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.ones(3, 3)}, "points"),
        ({"points": torch.ones(1, 3, 3, dtype=torch.int64)}, "points"),
        ({"faces": FACE.float()}, "faces"),
        ({"faces": FACE.expand(2, 1, 3)}, "faces"),
        ({"faces": FACE + 1}, "faces"),
        ({"face": torch.zeros(2, 4, 4, dtype=torch.int32)}, "face"),
        ({"face": torch.zeros(1, 4, 4)}, "face"),
        ({"sigmainv": 0.0}, "sigmainv"),
        ({"boxlen": -0.1}, "boxlen"),
        ({"knum": 0}, "knum"),
    ],
)
def test_bad_input_of_the_mask(change, message):
    good = {"points": torch.ones(1, 3, 3), "faces": FACE, "face": torch.zeros(1, 4, 4, dtype=torch.int32)}
    with pytest.raises(ValueError, match=message):
        dibr_mask(**(good | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.ones(3, 3)}, "points"),
        ({"faces": FACE[0]}, "faces"),
        ({"colors": torch.ones(4, 3)}, "colors"),
        ({"colors": torch.ones(2, 3, 3)}, "colors"),
        ({"colors": torch.ones(3, 3), "corners": True}, "colors"),
        ({"colors": torch.ones(3, 3, dtype=torch.int64)}, "colors"),
        ({"background": [0.0, 1.0]}, "background"),
        ({"height": 0}, "image size"),
        ({"sigma": 0.0}, "sigma"),
        ({"gamma": -1.0}, "gamma"),
        ({"near": 5.0, "far": 4.0}, "near"),
        ({"dist_eps": 0.5}, "dist_eps"),
    ],
)
def test_bad_input_of_the_picture(change, message):
    good = {"points": torch.ones(1, 3, 3), "faces": FACE, "colors": torch.ones(3, 3), "height": 4, "width": 4}
    with pytest.raises(ValueError, match=message):
        soft_rasterize(**(good | change))
