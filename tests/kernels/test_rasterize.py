"""The rasterizer: the Numba kernel against the brute-force reference, and the reference against geometry by hand."""

import numba
import pytest
import torch
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.kernels.rasterize import rasterize

FACE = torch.tensor([[0, 1, 2]])


def homogeneous(x, y, w):
    """(w x, w y, w) of vertices given in pixels and depth."""
    x, y, w = (torch.as_tensor(value, dtype=torch.float64) for value in (x, y, w))
    return torch.stack([x * w, y * w, w], -1)


def soup(views, faces, seed, behind=0.0):
    """Random triangles of all sizes around a 23 x 17 picture; the share ``behind`` of the corners lies behind the
    camera."""
    generator = torch.Generator().manual_seed(seed)
    x, y = 40 * torch.rand(2, views, 3 * faces, generator=generator) - 8
    w = 1 + 3 * torch.rand(views, 3 * faces, generator=generator)
    w[torch.rand(w.shape, generator=generator) < behind] *= -0.3
    return homogeneous(x, y, w).float(), torch.randperm(3 * faces, generator=generator).view(faces, 3)


def run(backend, points, *arguments):
    with use(backend):
        return rasterize(points, *arguments)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("behind", [0.0, 0.2])
def test_cpu_equals_reference(behind):
    points, faces = soup(3, 25, seed=1, behind=behind)
    fast = run("cpu", points.requires_grad_(), faces, 23, 17)
    exact_points = points.detach().double().requires_grad_()
    exact = run("reference", exact_points, faces, 23, 17)
    assert (exact[0] >= 0).float().mean() > 0.3
    assert torch.equal(fast[0], exact[0])
    for name, actual, expected in zip(("barycentrics", "depth"), fast[1:], exact[1:], strict=True):
        assert actual.dtype == torch.float32, name
        assert_close(actual.double(), expected, rtol=1e-6, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
    generator = torch.Generator().manual_seed(2)
    weights = [torch.rand(o.shape, generator=generator) for o in fast[1:]]
    grads = []
    for leaf, outputs in ((points, fast), (exact_points, exact)):
        sum((o * w.to(o)).sum() for o, w in zip(outputs[1:], weights, strict=True)).backward()
        grads.append(leaf.grad.double())
    assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-5 * grads[1].abs().max().item())


def test_reference_gradcheck():
    points, faces = soup(2, 3, seed=5)

    def outputs(p):
        return rasterize(p, faces, 5, 6)[1:]

    assert (rasterize(points.double(), faces, 5, 6)[0] >= 0).any()
    assert torch.autograd.gradcheck(outputs, points.double().requires_grad_(), eps=1e-7)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_barycentrics_find_the_point_on_the_ray(backend):
    """sum b_i (w x, w y, w)_i must be depth (x, y, 1) at the pixel's center: perspective-correct by definition."""
    points, faces = soup(2, 10, seed=3, behind=0.15)
    face, barycentrics, depth = run(backend, points.double() if backend == "reference" else points, faces, 9, 20)
    view, row, column = (face >= 0).nonzero(as_tuple=True)
    assert len(view) > 50
    corners = points.double()[view[:, None], faces[face[view, row, column].long()]]  # (P, 3, 3)
    found = (barycentrics[view, row, column].double()[..., None] * corners).sum(1)
    d = depth[view, row, column].double()
    assert_close(found, torch.stack([d * (column + 0.5), d * (row + 0.5), d], -1), rtol=1e-4, atol=1e-4)
    assert (barycentrics >= 0).all()
    assert (depth[face >= 0] >= 1e-3).all()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_empty_pixels_are_zero(backend):
    points = homogeneous([[2.0, 4, 2]], [[2.0, 2, 4]], [[1.0, 1, 1]]).float()
    face, barycentrics, depth = run(backend, points, FACE, 7, 9)
    empty = face < 0
    assert face.max() == 0
    assert empty.any()
    assert (barycentrics[empty] == 0).all()
    assert (depth[empty] == 0).all()
    assert_close(depth[~empty], torch.ones_like(depth[~empty]))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_ties_go_to_the_lower_face_and_both_sides_count(backend):
    points = homogeneous([[-9.0, 30, -9]], [[-9.0, -9, 30]], [[2.0, 2, 2]]).float()
    for faces in ([[0, 1, 2], [0, 2, 1]], [[0, 2, 1], [0, 1, 2]]):
        assert (run(backend, points, torch.tensor(faces), 5, 5)[0] == 0).all()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_no_holes_where_faces_share_an_edge(backend):
    """A square cut along its diagonal, which passes through the centers of pixels, and a fan around a pixel's
    center."""
    square = homogeneous([[0.0, 8, 8, 0]], [[0.0, 0, 8, 8]], [[1.0, 2, 1.5, 3]]).float()
    assert (run(backend, square, torch.tensor([[0, 1, 2], [2, 3, 0]]), 8, 8)[0] >= 0).all()
    angle = torch.arange(7) * (2 * torch.pi / 7)
    x, y = 4.5 + 9 * angle.cos(), 3.5 + 9 * angle.sin()
    x, y = torch.cat([x, x.new_tensor([4.5])]), torch.cat([y, y.new_tensor([3.5])])
    depths = 1.0 + torch.rand(100, 8, generator=torch.Generator().manual_seed(0))
    fans = homogeneous(x.expand(100, -1), y.expand(100, -1), depths).float()
    faces = torch.tensor([[i, (i + 1) % 7, 7] for i in range(7)])
    assert (run(backend, fans, faces, 7, 8)[0] >= 0).all()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("x", "y", "w"),
    [
        ([0.5, 4.5, 8.5], [0.5, 4.5, 8.5], [1.0, 2, 3]),  # edge-on, through pixel centers
        ([3.0, 3, 3], [3.0, 3, 3], [1.0, 1, 1]),  # a point
        ([0.0, 9, 0], [0.0, 0, 9], [-1.0, -1, -2]),  # behind the camera
        ([0.0, 9, 0], [0.0, 0, 9], [0.0, 0, 0]),  # in the camera plane
        ([0.0, 9, float("nan")], [0.0, 0, 9], [1.0, 1, 1]),
        ([0.0, 9, float("inf")], [0.0, 0, 9], [1.0, 1, 1]),
        ([0.0, 9, 0], [0.0, 0, 9], [1.0, 1, float("nan")]),
        ([20.0, 29, 20], [0.0, 0, 9], [1.0, 1, 1]),  # beside the picture
    ],
)
def test_invisible_faces_leave_no_trace(backend, x, y, w):
    points = homogeneous([x], [y], [w]).float().requires_grad_()
    face, barycentrics, depth = run(backend, points, FACE, 9, 9)
    assert (face == -1).all()
    assert not barycentrics.any()
    assert not depth.any()
    (barycentrics.sum() + depth.sum()).backward()
    assert (points.grad == 0).all()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_slivers_have_finite_gradients(backend):
    """A face 1e-7 pixels thick that contains a row of centers."""
    points = homogeneous([[0.0, 9, 9]], [[4.5, 4.5 - 1e-7, 4.5 + 1e-7]], [[1.0, 1, 2]])
    points = points.to(torch.float64 if backend == "reference" else torch.float32).requires_grad_()
    _, barycentrics, depth = run(backend, points, FACE, 9, 9)
    (barycentrics[..., 0].sum() + depth.sum()).backward()
    assert torch.isfinite(points.grad).all()
    assert points.grad.abs().max() < 100


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_face_through_the_camera_plane(backend):
    """A floor one unit below the eye that runs from behind the camera to the horizon: depth is known at every row."""
    corners = torch.tensor([[-50.0, 1, -5], [50, 1, -5], [0, 1, 200]])  # camera axes: x right, y down, z forward
    focal, center = 10.0, 8.0
    points = torch.stack(
        [focal * corners[:, 0] + center * corners[:, 2], focal + center * corners[:, 2], corners[:, 2]], 1
    )
    face, _, depth = run(backend, points[None], FACE, 16, 16)
    y = torch.arange(16) + 0.5
    assert (face[0, 8:] == 0).all()
    assert (face[0, :8] == -1).all()
    expected = (focal / (y - center))[8:, None].expand(-1, 16)
    assert_close(depth[0, 8:], expected, rtol=1e-4, atol=0)
    cut = run(backend, points[None], FACE, 16, 16, 2.0)[0]
    assert torch.equal(cut[0, 8:] == 0, expected >= 2)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(("views", "vertices", "faces"), [(2, 3, 0), (2, 0, 0), (0, 3, 1), (0, 0, 0)])
def test_nothing_to_draw(backend, views, vertices, faces):
    points = torch.ones(views, vertices, 3, requires_grad=True)
    face, barycentrics, depth = run(backend, points, FACE[:faces], 3, 4)
    assert face.shape == depth.shape == (views, 3, 4)
    assert barycentrics.shape == (views, 3, 4, 3)
    assert (face == -1).all()
    assert not barycentrics.any()
    (barycentrics.sum() + depth.sum()).backward()
    assert not points.grad.any()


@pytest.mark.usefixtures("all_threads")
def test_threads_do_not_change_a_bit():
    points, faces = soup(2, 60, seed=7)
    results = []
    before = numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        leaf = points.clone().requires_grad_()
        outputs = run("cpu", leaf, faces, 31, 29)
        (outputs[1].square().sum() + outputs[2].square().sum()).backward()
        results.append((*outputs, leaf.grad))
    for one, many in zip(*results, strict=True):
        assert torch.equal(one, many)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_each_view_its_own_mesh(backend):
    """Faces (N,F,3) padded with -1 give what each view's faces give alone, gradients too."""
    points, faces = soup(3, 12, seed=11)
    points = points.double() if backend == "reference" else points
    own = [faces[:12], faces[3:7].flip(0), faces[:0]]
    padded = torch.full((3, 14, 3), -1)
    for view, some in enumerate(own):
        padded[view, 1 : 1 + len(some)] = some  # padding before and behind
    leaf = points.clone().requires_grad_()
    face, barycentrics, depth = run(backend, leaf, padded, 13, 19)
    (barycentrics[..., 1].sum() + depth.square().sum()).backward()
    for view, some in enumerate(own):
        alone = points[view : view + 1].clone().requires_grad_()
        expected = run(backend, alone, some, 13, 19)
        assert torch.equal(face[view], torch.where(expected[0][0] >= 0, expected[0][0] + 1, -1))
        assert torch.equal(barycentrics[view], expected[1][0])
        assert torch.equal(depth[view], expected[2][0])
        (expected[1][..., 1].sum() + expected[2].square().sum()).backward()
        assert_close(leaf.grad[view], alone.grad[0], rtol=1e-6, atol=1e-6)
    assert (face[2] == -1).all()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("row", [[0, 1, 3], [0, -1, 1], [-1, -1, 0], [-2, -2, -2], [0, 1, 2**40]])
def test_vertex_numbers_out_of_range(backend, row):
    points = torch.ones(1, 3, 3, dtype=torch.float64 if backend == "reference" else torch.float32)
    faces = torch.tensor([[0, 1, 2], row])
    for _ in range(2):  # the answer is remembered
        with pytest.raises(ValueError, match="row 1 is"):
            run(backend, points, faces, 4, 4)
    faces[1] = torch.tensor([2, 1, 0])
    run(backend, points, faces, 4, 4)


@pytest.mark.parametrize(
    ("points", "faces", "height", "near", "message"),
    [
        (torch.ones(3, 3), FACE, 4, 1e-3, "points"),
        (torch.ones(1, 3, 3, dtype=torch.int64), FACE, 4, 1e-3, "points"),
        (torch.ones(1, 3, 3), FACE.float(), 4, 1e-3, "faces"),
        (torch.ones(1, 3, 3), FACE[0], 4, 1e-3, "faces"),
        (torch.ones(1, 3, 3), FACE.bool(), 4, 1e-3, "faces"),
        (torch.ones(1, 3, 3), FACE.expand(2, 1, 3), 4, 1e-3, "faces"),
        (torch.ones(1, 3, 3), FACE, 0, 1e-3, "image size"),
        (torch.ones(1, 3, 3), FACE, 4, 0.0, "near"),
        (torch.ones(1, 3, 3), FACE, 4, 1e-50, "near"),  # 0 in float32
        (torch.ones(1, 3, 3), FACE, 4, 1e40, "near"),
    ],
)
def test_bad_input(points, faces, height, near, message):
    with pytest.raises(ValueError, match=message):
        rasterize(points, faces, height, 4, near)
