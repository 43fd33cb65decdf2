"""nvdiffrast's antialiasing: the Numba kernel against the reference, the reference against its rules worked out by
hand."""

import numba
import pytest
import torch
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.kernels.antialias import antialias_pixels, blend_pixels, find_pixel_pairs, pixels
from nerfkit.kernels.rasterize import rasterize
from nerfkit.raster.contour import opposite_vertices
from tests.kernels.test_antialias import SQUARE, homogeneous, soup
from tests.kernels.test_antialias_surfaces import balls, project, rectangles

BACKENDS = ["cpu", "reference"]


def picture(points, faces, colors, height, width, backend):
    with use(backend):
        face, _, depth = rasterize(points[None], faces, height, width)
        gray = torch.where(face >= 0, torch.as_tensor(colors).to(points)[face.clamp(min=0).long()], 0.0)
        return antialias_pixels(gray[..., None], points[None], faces, opposite_vertices(faces), face, depth)[0, :, :, 0]


def test_opposite_vertices():
    assert opposite_vertices(SQUARE).tolist() == [[-1, 3, -1], [-1, 1, -1]]
    book = torch.tensor([[0, 1, 2], [3, 0, 1], [1, 0, 4], [0, 1, 2]])  # pages on one spine, the first of them twice
    assert opposite_vertices(book)[:, :].tolist() == [[-1, -1, 3], [2, -1, -1], [-1, -1, -1], [-1, -1, 3]]
    degenerate = torch.tensor([[0, 1, 1], [-1, -1, -1], [0, 1, 2], [2, 1, 5]])
    expected = [[-1] * 3, [-1] * 3, [5, -1, -1], [-1, -1, 0]]
    assert opposite_vertices(degenerate).tolist() == expected
    assert opposite_vertices(torch.stack([degenerate, book])).tolist() == [expected, opposite_vertices(book).tolist()]
    assert opposite_vertices(torch.zeros(2, 0, 3, dtype=torch.int64)).shape == (2, 0, 3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("right", [3.0, 3.2, 3.5, 3.7, 3.999])
def test_upright_edge(backend, right):
    """One pixel of a row changes: the last covered one, or the first that is not."""
    points = homogeneous([-4.0, right, right, -4], [-4.0, -4, 11, 11], [1.0, 2, 1, 3]).float()
    expected = (right - torch.arange(9)).clamp(0, 1).expand(7, 9).float()
    assert_close(picture(points, SQUARE, [1.0, 1], 7, 9, backend), expected, atol=1e-5, rtol=0)
    turned = picture(points[:, [1, 0, 2]], SQUARE, [1.0, 1], 9, 7, backend)
    assert_close(turned, expected.T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_slanted_edge_follows_the_axis_not_the_area(backend):
    """The half plane x < 4.2 + 0.5 (y - 3): each row's crossing alone says how much."""
    x = [-60, 4.2 + 0.5 * -20, 4.2 + 0.5 * 20, -60]
    points = homogeneous(x, [-17.0, -17, 23, 23], [1.0] * 4).float()
    out = picture(points, SQUARE, [1.0, 1], 7, 12, backend)
    crossing = 4.2 + 0.5 * (torch.arange(7) + 0.5 - 3)
    expected = (crossing[:, None] - torch.arange(12)).clamp(0, 1)
    assert_close(out, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_nearer_triangle_counts(backend):
    """A border behind another sheet does nothing; the front sheet's blends over what is behind."""
    front, back = (-9.0, -9.0, 4.8, 19.0), (-50.0, -50.0, 50.0, 50.0)
    points, faces = rectangles((*front, 1.0), (*back, 3.0))
    out = picture(points.float(), faces, [1.0, 1, 0.5, 0.5], 9, 9, backend)
    assert_close(out, torch.tensor([1.0] * 4 + [0.9] + [0.5] * 4).expand(9, 9), atol=1e-5, rtol=0)
    points, faces = rectangles((*front, 3.0), (*back, 1.0))
    assert (picture(points.float(), faces, [1.0, 1, 0.5, 0.5], 9, 9, backend) == 0.5).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_two_equally_near_pixels_the_right_or_lower_one_counts(backend):
    points, faces = rectangles((-9.0, -9.0, 4.8, 19.0, 2.0), (4.8, -9.0, 19.0, 19.0, 2.0))
    for turned in (points, points[:, [1, 0, 2]]):
        with use(backend):
            face, _, depth = rasterize(turned[None], faces, 9, 9)
            pairs = find_pixel_pairs(turned[None], faces, opposite_vertices(faces), face, depth.round())
        assert (pairs[:, 0] > pairs[:, 1]).all()
        assert len(pairs) == 9


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sliver_loses_its_silhouette(backend):
    """The rule's known gap: a strip of faces below a pixel at the border hides the border from every pixel."""
    x = [-9.0, 4.55, 4.8, 4.8, 4.55, -9]
    points = homogeneous(x, [-9.0, -9, -9, 19, 19, 19], [1.0] * 6).float()
    faces = torch.tensor([[0, 1, 4], [4, 5, 0], [1, 2, 3], [3, 4, 1]])
    out = picture(points, faces, [1.0] * 4, 7, 9, backend)
    assert set(out.unique().tolist()) == {0.0, 1.0}


@pytest.mark.usefixtures("all_threads")
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("scene", ["soup", "balls"])
def test_cpu_equals_reference(scene):
    if scene == "soup":
        points, faces = soup(2, 40, seed=0)
    else:
        vertices, faces = balls(1, [(-0.25, 0.1, 0.9), (0.35, -0.2, -0.3)], 0.7)
        points = torch.stack([project(vertices, 20), project(vertices.roll(1, 1), 20)])
    points, opposite = points.float(), opposite_vertices(faces)
    with use("cpu"):
        face, _, depth = rasterize(points, faces, 19, 23)
        pairs = find_pixel_pairs(points, faces, opposite, face, depth)
    with use("reference"):
        expected = find_pixel_pairs(points.double(), faces, opposite, face, depth)
    assert sorted(pairs.tolist()) == sorted(expected.tolist())
    assert len(pairs) > 40

    generator = torch.Generator().manual_seed(1)
    image, weight = torch.rand(2, 2, 19, 23, 4, generator=generator)
    results = []
    for backend, dtype in (("cpu", torch.float32), ("reference", torch.float64)):
        leaves = [x.to(dtype, copy=True).requires_grad_() for x in (image, points)]
        with use(backend):
            out = blend_pixels(*leaves, pairs)
        (out * weight.to(dtype)).sum().backward()
        results.append((out, leaves[0].grad, leaves[1].grad))
    for name, actual, exact in zip(("image", "grad image", "grad points"), *results, strict=True):
        scale = exact.abs().max().item()
        assert_close(actual.double(), exact, rtol=1e-4, atol=1e-5 * scale, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.slow
def test_reference_gradcheck(monkeypatch):
    monkeypatch.setattr(pixels, "SOFTENING", 0.0)
    points, faces = soup(1, 60, seed=3)
    face, _, depth = rasterize(points, faces, 9, 8)
    pairs = find_pixel_pairs(points, faces, opposite_vertices(faces), face, depth)
    assert len(pairs) > 10
    image = torch.rand(1, 9, 8, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda i, p: blend_pixels(i, p, pairs), (image, points.requires_grad_()), eps=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_clipped_crossings_have_no_gradient(backend):
    """An edge 1/32 pixel beyond the neighbor's center still blends, by half, but a shift no longer tells."""
    points = homogeneous([-4.0, 3.5, 3.5, -4], [-4.0, -4, 11, 11], [1.0] * 4).float()
    face = torch.where(torch.arange(9) < 3, 0, -1).expand(1, 7, 9).int()  # as if the pixel on the edge were not covered
    for shift, moves in ((-0.25, True), (1 / 32, False), (1 / 8, None)):
        leaf = (points + torch.tensor([[0.0, 0, 0], [shift, 0, 0], [shift, 0, 0], [0, 0, 0]]))[None].requires_grad_()
        mask = (face >= 0)[..., None].float()
        with use(backend):
            out = antialias_pixels(mask, leaf, SQUARE, opposite_vertices(SQUARE), face, face.float() + 1)
        changed = out - mask
        out.sum().backward()
        if moves is None:
            assert not changed.any()
        else:
            assert changed.any()
        assert bool(leaf.grad.any()) is bool(moves)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_to_blend_and_bad_points(backend):
    no_faces = torch.zeros(0, 3, dtype=torch.int64)
    for views, vertices in ((2, 3), (2, 0), (0, 3)):
        points = torch.ones(views, vertices, 3, requires_grad=True)
        image = torch.rand(views, 3, 4, 2, requires_grad=True)
        face = torch.full((views, 3, 4), -1, dtype=torch.int32)
        with use(backend):
            out = antialias_pixels(image, points, no_faces, no_faces, face, face.float())
        assert torch.equal(out, image)
    points = torch.tensor([[[0.0, 0, 1], [50, 0, 1e-9], [0, 50, -1]], [[0, 0, 1], [50, 0, 0], [0, float("nan"), 1]]])
    points.requires_grad_()
    with use(backend):
        face, _, depth = rasterize(points, SQUARE[:1], 6, 6)
        mask = (face >= 0)[..., None].float().requires_grad_()
        out = antialias_pixels(mask, points, SQUARE[:1], opposite_vertices(SQUARE[:1]), face, depth)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert points.grad is None or torch.isfinite(points.grad).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_views_with_meshes_of_their_own(backend):
    points, faces = soup(2, 12, seed=5)
    points = points.float()
    own = [faces, faces[3:9].flip(1)]
    padded = torch.full((2, 12, 3), -1)
    padded[0], padded[1, :6] = own[0], own[1]
    image = torch.rand(2, 19, 23, 2, generator=torch.Generator().manual_seed(0))
    with use(backend):
        parts = [rasterize(points[n : n + 1], own[n], 19, 23) for n in range(2)]
        face, depth = (torch.cat([part[k] for part in parts]) for k in (0, 2))
        together = antialias_pixels(image, points, padded, opposite_vertices(padded), face, depth)
        for n in range(2):
            view = slice(n, n + 1)
            opposite = opposite_vertices(own[n])
            alone = antialias_pixels(image[view], points[view], own[n], opposite, face[view], depth[view])
            assert_close(together[view], alone, rtol=0, atol=1e-6)
            assert not torch.equal(alone, image[view])


@pytest.mark.usefixtures("all_threads")
def test_threads_do_not_change_a_bit():
    points, faces = soup(3, 50, seed=2)
    results = []
    before = numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        leaf = points.float().requires_grad_()
        with use("cpu"):
            face, _, depth = rasterize(leaf, faces, 19, 23)
            mask = (face >= 0)[..., None].float()
            out = antialias_pixels(mask, leaf, faces, opposite_vertices(faces), face, depth)
        out.square().sum().backward()
        results.append((out, leaf.grad))
    for one, many in zip(*results, strict=True):
        assert torch.equal(one, many)


def test_bad_input():
    points, faces = soup(1, 2, seed=0)
    opposite = opposite_vertices(faces)
    face, _, depth = rasterize(points, faces, 4, 4)
    with pytest.raises(ValueError, match="points"):
        find_pixel_pairs(points[0], faces, opposite, face, depth)
    with pytest.raises(ValueError, match="opposite"):
        find_pixel_pairs(points, faces, opposite[1:], face, depth)
    with pytest.raises(ValueError, match="depth"):
        find_pixel_pairs(points, faces, opposite, face, depth[:, 1:])
    with pytest.raises(ValueError, match=r"image: expected \(1,4,4,C\)"):
        antialias_pixels(torch.ones(1, 4, 5, 1), points, faces, opposite, face, depth)
    pairs = find_pixel_pairs(points, faces, opposite, face, depth)
    with pytest.raises(ValueError, match="image"):
        blend_pixels(torch.ones(2, 4, 4, 1), points, pairs)
    with pytest.raises(ValueError, match="pairs"):
        blend_pixels(torch.ones(1, 4, 4, 1), points, pairs[:, :2])


def test_numbers_that_lead_nowhere():
    points, faces = soup(1, 2, seed=0)
    opposite = opposite_vertices(faces)
    face, _, depth = rasterize(points, faces, 4, 4)
    with pytest.raises(ValueError, match="faces: row 1"):
        find_pixel_pairs(points, torch.tensor([[0, 1, 2], [3, 4, 2**40]]), opposite, face, depth)
    with pytest.raises(ValueError, match="opposite: row 0"):
        find_pixel_pairs(points, faces, torch.tensor([[0, 1, 6], [-1, -1, -1]]), face, depth)
    with pytest.raises(ValueError, match="face: expected numbers below 2"):
        find_pixel_pairs(points, faces, opposite, torch.full((1, 4, 4), 2, dtype=torch.int32), depth)
    with pytest.raises(ValueError, match="pairs"):
        blend_pixels(torch.ones(1, 4, 4, 1), points, torch.tensor([[0, 2**40, 0, 1]]))
