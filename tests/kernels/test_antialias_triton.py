"""Both antialiasings in Triton: interpreted against the reference; compiled, inside budgets; on a GPU."""

import pytest
import torch
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.kernels.antialias import antialias, antialias_pixels, blend, blend_pixels, find_pairs, find_pixel_pairs
from nerfkit.kernels.rasterize import rasterize
from nerfkit.raster.contour import contour_candidates, opposite_vertices
from tests.kernels import ladder
from tests.kernels.test_antialias import soup
from tests.kernels.test_antialias_surfaces import balls, project, rectangles
from tests.kernels.test_edge_peers import scene


def ordered(pairs, *values):
    """Rows in order of their pixels, for backends emit them in orders of their own."""
    order = sorted(range(len(pairs)), key=lambda k: sorted(pairs[k, :2].tolist()))
    return [x.cpu()[order] for x in (pairs, *values)]


def case(name, height=9, width=11):
    """Points (2,V,3) float32, faces, creases and the rasterized faces and depths, by the CPU."""
    if name == "soup":
        points, faces = soup(2, 14, seed=1)
        points = points * torch.tensor([0.5, 0.5, 1])
    elif name == "bowl":
        vertices, faces = balls(0, [(-0.2, 0.1, 0.6), (0.3, -0.2, -0.4)], 0.7)
        points = torch.stack([project(vertices, 10), project(vertices.roll(1, 1), 10)])
    else:
        points, faces = rectangles((-9.0, -9.0, 4.8, 19.0, 1.0), (-9.0, 1.7, 8.2, 6.3, 2.0))
        points = torch.stack([points, points[:, [1, 0, 2]]])
    points = points.float()
    creases = torch.arange(len(contour_candidates(faces))) % 2 == 0
    if name == "soup":  # each view has a mesh of its own
        faces = torch.stack([faces, torch.cat([faces[4:9], torch.full((9, 3), -1)])])
        creases = torch.arange(contour_candidates(faces).shape[1]) % 2 == torch.tensor([[0], [1]])
    parts = [rasterize(points[n : n + 1], faces[n] if faces.ndim == 3 else faces, height, width) for n in range(2)]
    face, depth = (torch.cat([part[k] for part in parts]) for k in (0, 2))
    return points, faces, creases, face, depth


def gradients(function, image, points, weight, backend):
    """The blended image and both gradients."""
    leaves = [image.clone().requires_grad_(), points.clone().requires_grad_()]
    with use(backend):
        out = function(*leaves)
    (out * weight.to(out)).sum().backward()
    return out.detach(), leaves[0].grad, leaves[1].grad


def compare(found, expected):
    for name, actual, exact in zip(("image", "grad image", "grad points"), found, expected, strict=True):
        scale = exact.abs().max().item()
        assert scale > 0
        assert_close(
            actual.double(), exact.double(), rtol=1e-4, atol=1e-5 * scale, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("name", ["soup", "bowl", "sheets"])
def test_contours_equal_reference(name):
    points, faces, creases, face, _ = case(name)
    edges = contour_candidates(faces)
    arguments = faces, edges, face, 1e-3, creases
    with use("triton"):
        pairs, slopes = find_pairs(points, *arguments)
    with use("reference"):
        expected = find_pairs(points.double(), *arguments)
    (pairs, slopes), (expected, expected_slopes) = ordered(pairs, slopes), ordered(*expected)
    assert len(pairs) > 20
    assert pairs.tolist() == expected.tolist()
    assert_close(slopes, expected_slopes)
    generator = torch.Generator().manual_seed(0)
    image, weight = torch.rand(2, *face.shape, 3, generator=generator)
    found = gradients(lambda i, p: blend(i, p, pairs, slopes), image, points, weight, "triton")
    exact = gradients(
        lambda i, p: blend(i, p, pairs, slopes), image.double(), points.double(), weight.double(), "reference"
    )
    compare(found, exact)
    again = gradients(lambda i, p: blend(i, p, pairs, slopes), image, points, weight, "triton")
    assert all(torch.equal(one, two) for one, two in zip(found, again, strict=True))


@pytest.mark.interpreted
def test_of_two_sides_that_meet_the_later_one_counts():
    """Corners in pixels' centers: with the first one there are 72 pairs."""
    given = scene("aligned")
    arguments = given.faces, opposite_vertices(given.faces), given.face, given.depth
    with use("triton"):
        pairs = find_pixel_pairs(given.points.float(), *arguments)
    with use("reference"):
        expected = find_pixel_pairs(given.points, *arguments)
    assert len(expected) == 70
    assert sorted(pairs.tolist()) == sorted(expected.tolist())


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("name", ["soup", "bowl", "sheets"])
def test_pixels_equal_reference(name):
    points, faces, _, face, depth = case(name)
    arguments = faces, opposite_vertices(faces), face, depth
    with use("triton"):
        pairs = find_pixel_pairs(points, *arguments)
    with use("reference"):
        expected = find_pixel_pairs(points.double(), *arguments)
    assert len(pairs) > 10
    assert sorted(pairs.tolist()) == sorted(expected.tolist())
    generator = torch.Generator().manual_seed(0)
    image, weight = torch.rand(2, *face.shape, 5, generator=generator)
    found = gradients(lambda i, p: blend_pixels(i, p, pairs), image, points, weight, "triton")
    exact = gradients(
        lambda i, p: blend_pixels(i, p, pairs), image.double(), points.double(), weight.double(), "reference"
    )
    compare(found, exact)


@pytest.mark.interpreted
def test_nothing_to_blend():
    no_faces = torch.zeros(0, 3, dtype=torch.int64)
    for views, vertices in ((2, 3), (2, 0), (0, 3)):
        points = torch.ones(views, vertices, 3, requires_grad=True)
        image = torch.rand(views, 3, 4, 2, requires_grad=True)
        face = torch.full((views, 3, 4), -1, dtype=torch.int32)
        with use("triton"):
            out = antialias(image, points, no_faces, contour_candidates(no_faces), face)
            other = antialias_pixels(image, points, no_faces, no_faces, face, face.float())
        assert torch.equal(out, image)
        assert torch.equal(other, image)
        (out + other).sum().backward()
        assert (image.grad == 2).all()
        assert not points.grad.any()


@pytest.mark.interpreted
def test_bad_points_stay_alone():
    points = torch.tensor([[[0.0, 0, 1], [50, 0, 1e-9], [0, 50, -1]], [[0, 0, 1], [50, 0, 0], [0, float("nan"), 1]]])
    points.requires_grad_()
    faces = torch.tensor([[0, 1, 2]])
    face, _, depth = rasterize(points.detach(), faces, 6, 6)
    mask = (face >= 0)[..., None].float()
    with use("triton"):
        out = antialias(mask, points, faces, contour_candidates(faces), face)
        other = antialias_pixels(mask, points, faces, opposite_vertices(faces), face, depth)
    (out + other).sum().backward()
    assert torch.isfinite(out + other).all()
    assert torch.isfinite(points.grad).all()


def kernels():
    """Name, kernel, signature, constants and options of every kernel."""
    from nerfkit.kernels.antialias import pixels_triton, triton, triton_blend

    f32, f64, i64, i32, i8 = "*fp32", "*fp64", "*i64", "*i32", "*i8"
    sizes = dict.fromkeys(triton.MORE_SIZES + triton.SIZES, "i32") | {"lanes": "i64", "near": "fp32"}
    search = {"points_ptr": f32, "faces_ptr": i64, "edges_ptr": i64, "face_ptr": i32, "kind_ptr": i8, "item_ptr": i64}
    search |= {"creases_ptr": "*u8", "count_ptr": i32, "end_ptr": i64, "pair_ptr": i64, "verdict_ptr": "*u8"}
    search |= {"merit_ptr": f64, "slope_ptr": f64, "depth_ptr": f32, "opposite_ptr": i64, "code_ptr": i8} | sizes
    search["own_opposite"] = "i32"
    apart = {"num_warps": triton.WARPS} | triton.AS_WRITTEN
    yield "sort", triton.sort_kernel, search, {"BLOCK": triton.EDGES}, apart
    yield "judge", triton.judge_kernel, search, {"BLOCK": triton.EDGES}, apart
    yield "mark", pixels_triton.mark_kernel, search, {"BLOCK": pixels_triton.PIXELS}, apart
    mix = dict.fromkeys(("points_ptr", "image_ptr", "out_ptr", "grad_ptr", "values_ptr", "result_ptr"), f32)
    mix |= dict.fromkeys(("slopes_ptr", "weights_ptr", "rates_ptr", "totals_ptr", "parts_ptr"), f64)
    mix |= {"pairs_ptr": i64, "rows_ptr": i64, "table_ptr": i32, "softening": "fp32"}
    mix |= dict.fromkeys(("pairs", "pixels", "vertices", "height", "width", "channels"), "i32")
    options = {"num_warps": triton_blend.WARPS}
    block = {"BLOCK": triton_blend.PAIRS}
    for areas, name in ((True, "contour"), (False, "pixels")):
        yield f"{name}.weigh", triton_blend.weigh_kernel, mix, block | {"AREAS": areas}, options
        yield f"{name}.ends", triton_blend.ends_kernel, mix, block | {"SHARE": areas}, options
        for backward in (False, True):
            constants = {"SHARE": areas, "BACKWARD": backward, "BLOCK": triton_blend.PIXELS, "CHANNELS": 4}
            label = f"{name}.{'backward' if backward else 'forward'}"
            yield label, triton_blend.gather_kernel, mix, constants, options


NAMES = [
    *("sort", "judge", "mark"),
    *(f"{rule}.{part}" for rule in ("contour", "pixels") for part in ("weigh", "ends", "forward", "backward")),
]


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_budget(name, target):
    pytest.importorskip("triton", reason="Triton is not installed")
    found = {label: rest for label, *rest in kernels()}
    kernel, signature, constants, options = found[name]
    ladder.check_budget(f"antialias.{name}", target, kernel, signature, constants, **options)


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("name", ["soup", "bowl", "sheets"])
def test_gpu(name):
    points, faces, creases, face, depth = case(name, 61, 67)
    generator = torch.Generator().manual_seed(0)
    image, weight = torch.rand(2, *face.shape, 3, generator=generator)

    def both(kernels_on, dtype):
        move = {"device": kernels_on}
        topology = [x.to(**move) for x in (faces, contour_candidates(faces), opposite_vertices(faces))]
        shown, far, jumps = (x.to(**move) for x in (face, depth, creases))
        leaves = [x.to(kernels_on, dtype, copy=True).requires_grad_() for x in (image, points)]
        one = antialias(*leaves, topology[0], topology[1], shown, creases=jumps)
        two = antialias_pixels(*leaves, topology[0], topology[2], shown, far)
        ((one + 2 * two) * weight.to(dtype).to(**move)).sum().backward()
        return one.detach(), two.detach(), *(leaf.grad for leaf in leaves)

    with use("reference"):
        exact, same = both("cpu", torch.float64), both("cpu", torch.float32)
    found, again = both("cuda", torch.float32), both("cuda", torch.float32)
    for what, a, b, c, d in zip(("contour", "pixels", "image", "points"), found, again, same, exact, strict=True):
        assert torch.equal(a, b)
        ladder.assert_error_at_most_twice(a, c, d, what)
