"""Contour antialiasing: the Numba kernel against the reference, and the reference against areas worked out by hand."""

import numba
import pytest
import torch
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.kernels.antialias import antialias, blend, find_pairs
from nerfkit.kernels.antialias.reference import covered_share, crossing
from nerfkit.kernels.rasterize import rasterize
from nerfkit.raster.contour import contour_candidates

SQUARE = torch.tensor([[0, 1, 2], [2, 3, 0]])


def homogeneous(x, y, w):
    x, y, w = (torch.as_tensor(value, dtype=torch.float64) for value in (x, y, w))
    return torch.stack([x * w, y * w, w], -1)


def coverage(points, faces, height, width, backend="reference"):
    """Antialiased mask of a mesh, (H,W)."""
    with use(backend):
        face, *_ = rasterize(points[None], faces, height, width)
        mask = (face >= 0)[..., None].to(points)
        return antialias(mask, points[None], faces, contour_candidates(faces), face)[0, ..., 0]


def soup(views, faces, seed):
    """Random triangles, many of them smaller than a pixel, at depths 1 to 4 around a 19 x 23 picture."""
    generator = torch.Generator().manual_seed(seed)
    middle = 26 * torch.rand(views, faces, 1, 2, generator=generator) - 3
    size = 0.3 + 12 * torch.rand(views, faces, 1, 1, generator=generator) ** 3
    x, y = (middle + size * torch.randn(views, faces, 3, 2, generator=generator)).flatten(1, 2).unbind(-1)
    w = 1 + 3 * torch.rand(views, 3 * faces, generator=generator)
    return homogeneous(x, y, w), torch.arange(3 * faces).view(faces, 3)


def test_covered_share_is_the_mean_of_the_clipped_line():
    z = torch.linspace(-1.2, 2.2, 41, dtype=torch.float64)[:, None]
    slope = torch.tensor([0.0, 0.01, 0.3, 1.0], dtype=torch.float64)
    y = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000 - 0.5
    expected = (z[..., None] + slope[:, None] * y).clamp(0, 1).mean(-1)
    assert_close(covered_share(z, slope), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("right", [3.0, 3.2, 3.5, 3.7, 3.999])
def test_upright_edge_gives_exact_areas(backend, right):
    """A face over rows 0 to 6 whose right side stands at x = ``right``: pixel j is covered by clip(right - j, 0, 1)."""
    points = homogeneous([-4.0, right, right, -4], [-4.0, -4, 11, 11], [1.0, 2, 1, 3]).float()
    mask = coverage(points, SQUARE, 7, 9, backend)
    expected = (right - torch.arange(9)).clamp(0, 1).expand(7, 9)
    assert_close(mask, expected.float(), atol=1e-5, rtol=0)
    assert_close(coverage(points[:, [1, 0, 2]], SQUARE, 9, 7, backend), expected.T.float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("slope", [0.2, 0.6, 0.97, 1.4])
def test_slanted_edge_gives_exact_areas(slope):
    """The half plane x < 5.3 + slope (y - 6); areas by 64 x 64 samples a pixel."""
    y = torch.tensor([-20.0, 40])
    x = 5.3 + slope * (y - 6)
    points = homogeneous([-90, x[0], x[1], -90], [y[0], y[0], y[1], y[1]], [1.0, 1, 1, 1])
    mask = coverage(points, SQUARE, 12, 12)
    fine = (torch.arange(12 * 64) + 0.5) / 64
    expected = (fine < 5.3 + slope * (fine[:, None] - 6)).double().view(12, 64, 12, 64).mean((1, 3))
    assert_close(mask[2:-2, 2:-2], expected[2:-2, 2:-2], atol=0.01, rtol=0)


def test_moving_an_edge_changes_the_area_by_its_length():
    """d(sum of the mask)/d(shift) is the side's length in pixels, and only that side's vertices feel it."""
    points = homogeneous([2.3, 9.6, 9.6, 2.3], [3.0, 3, 11, 11], [2.0, 2, 2, 2]).requires_grad_()
    coverage(points, SQUARE, 14, 14).sum().backward()
    per_pixel = points.grad[:, 0] * 2  # x = (w x) / w
    assert_close(per_pixel[1] + per_pixel[2], torch.tensor(8.0, dtype=torch.float64))
    assert_close(per_pixel[0] + per_pixel[3], torch.tensor(-8.0, dtype=torch.float64))


def test_folds_count_and_flat_edges_do_not():
    """Of a square cut in two the diagonal is no contour; folded over along it, it is."""
    flat = homogeneous([1.0, 9, 9, 1], [1.0, 1, 9, 9], [1.0, 1, 1, 1])
    folded = homogeneous([1.0, 9, 9, 8], [1.0, 1, 9, 2], [1.0, 1, 1, 1.2])
    for points, expected in ((flat, False), (folded, True)):
        with use("reference"):
            face, *_ = rasterize(points[None], SQUARE, 10, 10)
            pairs, _ = find_pairs(points[None], SQUARE, contour_candidates(SQUARE), face)
        diagonal = (pairs[:, 2:] == torch.tensor([0, 2])).all(1)
        assert bool(diagonal.any()) is expected


def test_the_outermost_edge_wins():
    """Two faces end between the same pixels: the farther side is the contour."""
    x, y = [-9.0, 4.6, 4.7, -9, -9, 4.9, 4.8, -9], [-9.0, -9, 19, 19] * 2
    points = homogeneous(x, y, [1.0] * 4 + [2.0] * 4)
    faces = torch.cat([SQUARE, SQUARE + 4])
    with use("reference"):
        face, *_ = rasterize(points[None], faces, 9, 9)
        pairs, slopes = find_pairs(points[None], faces, contour_candidates(faces), face)
    assert pairs[:, :2].tolist() == [[9 * i + 4, 9 * i + 5] for i in range(9)]
    assert (pairs[:, 2:] == torch.tensor([5, 6])).all()
    assert_close(slopes, torch.full((9,), 0.1 / 28, dtype=torch.float64))


def test_nearer_surface_blends_over_the_one_behind():
    """A white half plane up to x = 4.8 in front of a gray one: the pixel under the edge takes 0.8 of the white."""
    x, y = [-9.0, 4.8, 4.8, -9, -50, 50, 50, -50], [-9.0, -9, 19, 19, -50, -50, 50, 50]
    points = homogeneous(x, y, [1.0] * 4 + [3.0] * 4)
    faces = torch.cat([SQUARE, SQUARE + 4])
    with use("reference"):
        face, *_ = rasterize(points[None], faces, 9, 9)
        image = torch.where(face < 2, 1.0, 0.5)[..., None].double()
        out = antialias(image, points[None], faces, contour_candidates(faces), face)[0, ..., 0]
    assert_close(out[:, :4], torch.ones(9, 4, dtype=torch.float64))
    assert_close(out[:, 4], torch.full((9,), 0.9, dtype=torch.float64))
    assert_close(out[:, 5:], torch.full((9, 4), 0.5, dtype=torch.float64))


def test_hidden_contours_change_nothing():
    x, y = [-9.0, 4.8, 4.8, -9, -50, 50, 50, -50], [-9.0, -9, 19, 19, -50, -50, 50, 50]
    points = homogeneous(x, y, [3.0] * 4 + [1.0] * 4)
    faces = torch.cat([SQUARE, SQUARE + 4])
    with use("reference"):
        face, *_ = rasterize(points[None], faces, 9, 9)
        pairs, _ = find_pairs(points[None], faces, contour_candidates(faces), face)
    assert len(pairs) == 0


@pytest.mark.usefixtures("all_threads")
@pytest.mark.usefixtures("poison")
def test_cpu_equals_reference():
    points, faces = soup(2, 40, seed=0)
    points = points.float()
    edges = contour_candidates(faces)
    with use("cpu"):
        face, *_ = rasterize(points, faces, 19, 23)
        pairs, slopes = find_pairs(points, faces, edges, face)
    with use("reference"):
        expected_pairs, expected_slopes = find_pairs(points.double(), faces, edges, face)

    def ordered(numbers, values):
        rows = sorted(zip(numbers.tolist(), values.tolist(), strict=True))
        return [row for row, _ in rows], torch.tensor([value for _, value in rows])

    assert len(pairs) > 200
    assert ordered(pairs, slopes)[0] == ordered(expected_pairs, expected_slopes)[0]
    assert_close(ordered(pairs, slopes)[1], ordered(expected_pairs, expected_slopes)[1])

    generator = torch.Generator().manual_seed(1)
    image, weight = torch.rand(2, 2, 19, 23, 4, generator=generator)
    results = []
    for backend, dtype in (("cpu", torch.float32), ("reference", torch.float64)):
        leaves = [x.to(dtype, copy=True).requires_grad_() for x in (image, points)]
        with use(backend):
            out = blend(*leaves, pairs, slopes)
        (out * weight.to(dtype)).sum().backward()
        results.append((out, leaves[0].grad, leaves[1].grad))
    for name, actual, expected in zip(("image", "grad image", "grad points"), *results, strict=True):
        scale = expected.abs().max().item()
        assert_close(actual.double(), expected, rtol=1e-4, atol=1e-5 * scale, msg=lambda m, name=name: f"{name}: {m}")


def test_crowded_pixels_stay_convex_combinations():
    """Triangle soup has pixels with blends on all four sides; the weights' sum is then above 1."""
    points, faces = soup(1, 200, seed=4)
    points = points.float()
    with use("cpu"):
        face, *_ = rasterize(points, faces, 19, 23)
        pairs, slopes = find_pairs(points, faces, contour_candidates(faces), face)
        t = crossing(points.double(), pairs, 19, 23)
        kept = torch.cat([1 - covered_share(t + 0.5, slopes), covered_share(t - 0.5, slopes)])
        total = torch.zeros(19 * 23, dtype=torch.float64).index_add(0, pairs[:, :2].T.reshape(-1), kept)
        assert (total > 1.01).any()
        out = blend((face >= 0)[..., None].float(), points, pairs, slopes)
    assert out.min() >= 0
    assert out.max() <= 1 + 1e-6


@pytest.mark.slow
def test_reference_gradcheck():
    points, faces = soup(1, 60, seed=3)
    face, *_ = rasterize(points, faces, 9, 8)
    pairs, slopes = find_pairs(points, faces, contour_candidates(faces), face)
    assert len(pairs) > 10
    image = torch.rand(1, 9, 8, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda i, p: blend(i, p, pairs, slopes), (image, points.requires_grad_()), eps=1e-7)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_nothing_to_blend(backend):
    no_faces = torch.zeros(0, 3, dtype=torch.int64)
    for views, vertices in ((2, 3), (2, 0), (0, 3)):
        points = torch.ones(views, vertices, 3, requires_grad=True)
        image = torch.rand(views, 3, 4, 2, requires_grad=True)
        face = torch.full((views, 3, 4), -1, dtype=torch.int32)
        with use(backend):
            out = antialias(image, points, no_faces, contour_candidates(no_faces), face)
        assert torch.equal(out, image)
        out.sum().backward()
        assert (image.grad == 1).all()
        assert points.grad is None or not points.grad.any()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_edges_at_or_behind_the_camera_are_left_alone(backend):
    points = torch.tensor([[[0.0, 0, 1], [50, 0, 1e-9], [0, 50, -1]], [[0, 0, 1], [50, 0, 0], [0, float("nan"), 1]]])
    points.requires_grad_()
    with use(backend):
        face, *_ = rasterize(points, SQUARE[:1], 6, 6)
        mask = (face >= 0)[..., None].float()
        out = antialias(mask, points, SQUARE[:1], contour_candidates(SQUARE[:1]), face)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(points.grad).all()


@pytest.mark.usefixtures("all_threads")
def test_threads_do_not_change_a_bit():
    points, faces = soup(3, 50, seed=2)
    edges = contour_candidates(faces)
    results = []
    before = numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        leaf = points.float().requires_grad_()
        with use("cpu"):
            face, *_ = rasterize(leaf, faces, 19, 23)
            out = antialias((face >= 0)[..., None].float(), leaf, faces, edges, face)
        out.square().sum().backward()
        results.append((out, leaf.grad))
    for one, many in zip(*results, strict=True):
        assert torch.equal(one, many)


def test_bad_input():
    points, faces = soup(1, 2, seed=0)
    edges = contour_candidates(faces)
    face, *_ = rasterize(points, faces, 4, 4)
    with pytest.raises(ValueError, match="points"):
        find_pairs(points[0], faces, edges, face)
    with pytest.raises(ValueError, match="edges"):
        find_pairs(points, faces, edges[:, :2], face)
    with pytest.raises(ValueError, match="faces"):
        find_pairs(points, faces[:, :2], edges, face)
    with pytest.raises(ValueError, match="face:"):
        find_pairs(points, faces, edges, face[0])
    with pytest.raises(ValueError, match="creases"):
        find_pairs(points, faces, edges, face, creases=torch.ones(2, 2, dtype=torch.bool))
    pairs, slopes = find_pairs(points, faces, edges, face)
    with pytest.raises(ValueError, match="image"):
        blend(torch.ones(2, 4, 4, 1), points, pairs, slopes)
    with pytest.raises(ValueError, match="pairs"):
        blend(torch.ones(1, 4, 4, 1), points, pairs[:, :2], slopes)


@pytest.mark.parametrize("row", [[0, 6, 1, -1], [0, 1, 2**40, -1], [0, -1, 1, 2], [0, 1, -1, -1], [0, 1, 2, -2]])
def test_edges_out_of_range(row):
    points, faces = soup(1, 2, seed=0)
    face, *_ = rasterize(points, faces, 4, 4)
    edges = contour_candidates(faces).clone()
    good, edges[3] = edges[3].clone(), torch.tensor(row)
    for _ in range(2):  # the answer is remembered
        with pytest.raises(ValueError, match="edges: row 3"):
            find_pairs(points, faces, edges, face)
    edges[3] = good
    find_pairs(points, faces, edges, face)


def test_numbers_that_lead_nowhere():
    points, faces = soup(1, 2, seed=0)
    edges = contour_candidates(faces)
    face, *_ = rasterize(points, faces, 4, 4)
    with pytest.raises(ValueError, match="faces: row 1"):
        find_pairs(points, torch.tensor([[0, 1, 2], [3, 4, 2**40]]), edges, face)
    with pytest.raises(ValueError, match="face: expected numbers below 2"):
        find_pairs(points, faces, edges, torch.full((1, 4, 4), 2, dtype=torch.int32))
    for shape in ((1, 4, 5, 1), (1, 6, 4, 1), (4, 4, 1)):
        with pytest.raises(ValueError, match=r"image: expected \(1,4,4,C\)"):
            antialias(torch.ones(shape), points, faces, edges, face)
    for pair in ([0, 1, 0, 6], [16, 1, 0, 1], [0, 2**40, 0, 1], [0, 1, -1, 1]):
        with pytest.raises(ValueError, match="pairs"):
            blend(torch.ones(1, 4, 4, 1), points, torch.tensor([pair]), torch.ones(1))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_faces_that_use_a_vertex_twice_are_flat(backend):
    """Rounding does not say on which side of such an edge its face lies, so it hides nothing of what is behind."""
    generator = torch.Generator().manual_seed(4)
    ends = torch.rand(20, 2, 2, generator=generator, dtype=torch.float64) * 8
    points = homogeneous(ends[..., 0], ends[..., 1], 1 + torch.rand(20, 2, generator=generator, dtype=torch.float64))
    behind = homogeneous([-9.0, 30, -9], [-9.0, -9, 30], [4.0, 4, 4]).expand(20, -1, -1)
    edges = torch.tensor([[0, 1, 1, 1], [0, 1, 0, -1], [0, 1, 1, 0]])
    with use(backend):
        pairs, _ = find_pairs(
            torch.cat([points, behind], 1).float(), torch.tensor([[2, 3, 4]]), edges, torch.zeros(20, 8, 8).int()
        )
    assert len(pairs) == 0


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_no_channels(backend):
    points, faces = soup(1, 2, seed=0)
    face, *_ = rasterize(points, faces, 4, 4)
    with use(backend):
        assert antialias(torch.ones(1, 4, 4, 0), points, faces, contour_candidates(faces), face).shape == (1, 4, 4, 0)
