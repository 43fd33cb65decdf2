"""The rasterizer in Triton: interpreted against the reference, compiled for every target, on a GPU (``ladder.py``)."""

import pytest
import torch
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.kernels.rasterize import rasterize
from tests.dry_run import fewer
from tests.kernels import ladder
from tests.kernels.test_rasterize import FACE, homogeneous, soup

tiles = pytest.importorskip("nerfkit.kernels.rasterize.triton", reason="Triton is not installed")
from nerfkit.kernels.rasterize import triton_backward, triton_tiles  # noqa: E402  Triton is there


def outputs_and_gradient(backend, points, faces, height, width, wanted=(1, 2), near=1e-3):
    """Face, barycentrics, depth, and the gradient of a seeded weighting of the ``wanted`` ones."""
    leaf = points.clone().requires_grad_()
    with use(backend):
        outputs = rasterize(leaf, faces, height, width, near)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.rand(o.shape, generator=generator) for o in outputs]
    sum((outputs[k] * weights[k].to(outputs[k])).sum() for k in wanted).backward()
    return *(o.detach() for o in outputs), leaf.grad


def assert_equals_reference(points, faces, height, width, **keywords):
    exact = outputs_and_gradient("reference", points.double().cpu(), faces.cpu(), height, width, **keywords)
    actual = [x.cpu() for x in outputs_and_gradient("triton", points, faces, height, width, **keywords)]
    assert torch.equal(actual[0], exact[0])
    for mine, expected in zip(actual[1:3], exact[1:3], strict=True):
        assert mine.dtype == torch.float32
        assert_close(mine.double(), expected, rtol=1e-6, atol=1e-6)
    assert_close(actual[3].double(), exact[3], rtol=1e-6, atol=1e-6 * exact[3].abs().max().item())
    return actual


# Rung 3: the interpreter.


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("behind", [0.0, 0.3])
def test_interpreted(behind):
    points, faces = soup(2, 8, seed=2, behind=behind)
    face, *_ = assert_equals_reference(points, faces, 17, 19)
    assert (face >= 0).float().mean() > 0.2
    assert len(face.unique()) > 4


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("wanted", [(1,), (2,)], ids=["barycentrics", "depth"])
def test_interpreted_one_gradient(wanted):
    points, faces = soup(1, 5, seed=4)
    assert_equals_reference(points, faces.int(), 9, 11, wanted=wanted)


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("most", [4, 13])
def test_interpreted_in_pieces(most, monkeypatch):
    """Views, rows and columns of tiles and the backward pass's views one by one, each with faces of its own."""
    monkeypatch.setattr(tiles, "MOST", most)
    monkeypatch.setattr(triton_backward, "PIXELS", 1)
    points, faces = soup(2, 6, seed=6)
    padded = torch.full((2, 4, 3), -1)
    padded[0, :3], padded[1, 1:] = faces[:3], faces[3:]
    assert_equals_reference(points, padded, 18, 20)


@pytest.mark.interpreted
def test_interpreted_more_faces_than_pixels():
    points, faces = soup(2, 8, seed=8)
    assert_equals_reference(points, faces, 2, 3)


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
def test_interpreted_invisible_faces():
    """Edge-on, a point, behind, in the camera plane, NaN, infinite, beside, between centers; the last one is seen."""
    nan, inf = float("nan"), float("inf")
    x = [0.5, 4.5, 8.5, 3, 3, 3, 0, 9, 0, 0, 9, 0, 0, 9, nan, 0, 9, inf, 20, 29, 20, 4.6, 4.9, 4.6, 0, 9, 0]
    y = [0.5, 4.5, 8.5, 3, 3, 3, 0, 0, 9, 0, 0, 9, 0, 0, 9, 0, 0, 9, 0, 0, 9, 4.6, 4.6, 4.9, 0, 0, 9]
    w = [1.0, 2, 3, 1, 1, 1, -1, -1, -2, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 5, 5]
    faces = torch.arange(27).view(9, 3)
    face, _, _, gradient = assert_equals_reference(homogeneous([x], [y], [w]).float(), faces, 9, 9)
    assert face.unique().tolist() == [-1, 8]
    assert gradient.isfinite().all()


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
def test_interpreted_ties_and_shared_edges():
    """Two equal triangles and a square cut along a diagonal through pixels' centers: lower number, no hole."""
    points = homogeneous([[0.0, 8, 8, 0]], [[0.0, 0, 8, 8]], [[1.0, 2, 1.5, 3]]).float()
    faces = torch.tensor([[0, 1, 2], [2, 1, 0], [2, 3, 0]])
    face, *_ = assert_equals_reference(points, faces, 8, 8)
    assert face.unique().tolist() == [0, 2]


@pytest.mark.interpreted
@pytest.mark.parametrize(("views", "vertices", "faces"), [(2, 3, 0), (2, 0, 0), (0, 3, 1)])
def test_interpreted_nothing_to_draw(views, vertices, faces):
    points = torch.ones(views, vertices, 3)
    face, barycentrics, depth, gradient = outputs_and_gradient("triton", points, FACE[:faces], 3, 4)
    assert (face == -1).all()
    assert not barycentrics.any()
    assert not depth.any()
    assert not gradient.any()


@pytest.mark.interpreted
def test_interpreted_same_bits_twice_and_as_on_the_cpu():
    points, faces = soup(1, 8, seed=9)
    results = [outputs_and_gradient(b, points, faces, 16, 16) for b in ("triton", "triton", "cpu")]
    for values in zip(*results, strict=True):
        assert torch.equal(values[0], values[1])
        assert torch.equal(values[0], values[2])


# Rung 4: compiled without a GPU.

POINTERS = {
    "points_ptr": "*fp32", "faces_ptr": "*i64", "box_ptr": "*i16", "count_ptr": "*i32", "end_ptr": "*i32",
    "tile_ptr": "*i32", "face_ptr": "*i32", "list_ptr": "*i32", "offsets_ptr": "*i64", "barycentrics_ptr": "*fp32",
    "depth_ptr": "*fp32", "d_barycentrics_ptr": "*fp32", "d_depth_ptr": "*fp32", "key_ptr": "*i32", "out_ptr": "*fp64",
    "number_ptr": "*i32", "sums_ptr": "*fp64", "near": "fp32",
}  # fmt: skip
SIZES = (*tiles.SIZES, "pairs", "all_faces", "steps", "pixels", "count")


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
@pytest.mark.parametrize("name", ["count", "emit", "tile", "pixel", "corner"])
def test_budget(name, target):
    module = {"count": tiles, "emit": triton_tiles, "tile": tiles}.get(name, triton_backward)
    constants = {
        "count": {"TILE": tiles.TILE, "BLOCK": tiles.FACES},
        "emit": {"BLOCK": tiles.FACES},
        "tile": {"TILE": tiles.TILE},
        "pixel": {"HAS_BARYCENTRICS": True, "HAS_DEPTH": True, "BLOCK": triton_backward.BLOCK},
        "corner": {"BLOCK": triton_backward.BLOCK},
    }[name]
    signature = POINTERS | dict.fromkeys(SIZES, "i32")
    options = {"num_warps": module.WARPS} | tiles.AS_WRITTEN
    ladder.check_budget(f"rasterize.{name}", target, getattr(module, f"{name}_kernel"), signature, constants, **options)


# Rung 5: on a GPU.


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(("views", "count", "height", "width"), [(3, 40, 37, 50), (1, 300, 128, 64), (2, 50, 3, 2)])
def test_gpu(views, count, height, width):
    points, faces = soup(views, count, seed=12, behind=0.1)
    points[..., :2] *= max(height, width) / 30
    first = assert_equals_reference(points.cuda(), faces.cuda(), height, width)
    second = outputs_and_gradient("triton", points.cuda(), faces.cuda(), height, width)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other.cpu())


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
def test_gpu_equals_the_cpu_at_full_size():
    """60,000 small faces and a few that fill the picture, 700 x 900, two meshes."""
    count, height, width = fewer(60_000, 600), fewer(700, 70), fewer(900, 90)
    generator = torch.Generator().manual_seed(13)
    center = torch.rand(2, count, 1, 2, generator=generator) * width
    xy = center + 8 * torch.rand(2, count, 3, 2, generator=generator) - 4
    xy[:, :: count // 3] = 10 * width / 3 * torch.rand(2, 3, 3, 2, generator=generator) - 10 * width / 9
    w = 1 + torch.rand(2, count, 3, 1, generator=generator)
    points = torch.cat([xy * w, w], -1).view(2, -1, 3)
    faces = torch.arange(3 * count).view(count, 3)
    faces = torch.stack([faces, faces.flip(0)])
    faces[1, ::7] = -1
    device = outputs_and_gradient("triton", points.cuda(), faces.cuda(), height, width)
    host = outputs_and_gradient("cpu", points, faces, height, width)
    assert torch.equal(device[0].cpu(), host[0])
    assert_close(device[1].cpu(), host[1], rtol=1e-6, atol=1e-6)
    assert_close(device[2].cpu(), host[2], rtol=1e-6, atol=0)
    assert_close(device[3].cpu(), host[3], rtol=1e-5, atol=1e-6 * host[3].abs().max().item())
