"""Interpolation over fragments: the ladder (see ``ladder.py``), and what every backend must reproduce."""

import numba
import pytest
import torch
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.kernels.interpolate import interpolate
from tests.kernels import ladder

# Shape of the attributes, and whether each of the three views has a list of faces of its own.
CASES = [((8, 4), False), ((8, 1), True), ((3, 8, 5), False), ((3, 8, 2), True), ((1, 8, 2), True), ((8, 33), False)]
NAMES = ("image", "barycentrics", "attributes")


def fragments(views=3, height=7, width=11, faces=9, vertices=8, seed=0, listed=False):
    """Which face is where (N,H,W), barycentrics (N,H,W,3), faces (F,3), or (N,F,3) with padding and pixels on it."""
    generator = torch.Generator().manual_seed(seed)
    face = torch.randint(-1, faces, (views, height, width), generator=generator).int()
    barycentrics = torch.rand(views, height, width, 3, generator=generator)
    barycentrics = barycentrics / barycentrics.sum(-1, keepdim=True) * (face >= 0)[..., None]
    lists = views if listed else 1
    corners = torch.stack([torch.randperm(vertices, generator=generator)[:3] for _ in range(lists * faces)])
    corners = corners.view(lists, faces, 3)
    if not listed:
        return face, barycentrics, corners[0]
    for view in range(views):
        corners[view, faces - 1 - view :] = -1
    return face, barycentrics, corners


def run(backend, *arguments):
    with use(backend):
        return interpolate(*arguments)


def results(backend, dtype, shape, listed, device="cpu"):
    """The image and its gradients, for a seeded weighting."""
    views = shape[0] if len(shape) == 3 else 3
    face, barycentrics, faces = (x.to(device) for x in fragments(views=views, listed=listed))
    attributes = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device)
    leaves = [x.to(dtype, copy=True).requires_grad_() for x in (barycentrics, attributes)]
    image = run(backend, face, leaves[0], faces, leaves[1])
    weight = torch.rand(image.shape, generator=torch.Generator().manual_seed(2)).to(device, dtype)
    (image * weight).sum().backward()
    return image.detach(), leaves[0].grad, leaves[1].grad


def assert_agrees(backend, shape, listed):
    expected = results("reference", torch.float64, shape, listed)
    for name, actual, exact in zip(NAMES, results(backend, torch.float32, shape, listed), expected, strict=True):
        assert actual.shape == exact.shape, name
        assert actual.dtype == torch.float32, name
        scale = exact.abs().max().item()
        assert_close(actual.double(), exact, rtol=1e-6, atol=1e-6 * scale, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.usefixtures("all_threads")
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(("shape", "listed"), CASES)
def test_cpu_equals_reference(shape, listed):
    assert_agrees("cpu", shape, listed)


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(("shape", "listed"), CASES)
def test_triton_equals_reference(shape, listed):
    assert_agrees("triton", shape, listed)


@pytest.mark.parametrize("listed", [False, True])
def test_reference_gradcheck(listed):
    face, barycentrics, faces = fragments(views=2, height=3, width=3, listed=listed)
    attributes = torch.randn(2, 8, 3, dtype=torch.float64, requires_grad=True)
    function = lambda b, a: interpolate(face, b, faces, a)  # noqa: E731
    assert torch.autograd.gradcheck(function, (barycentrics.double().requires_grad_(), attributes))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_corners_and_constants_come_back(backend):
    face, barycentrics, faces = fragments()
    constant = run(backend, face, barycentrics, faces, torch.full((8, 2), 3.0))
    assert_close(constant, 3.0 * (face >= 0)[..., None].expand(-1, -1, -1, 2).float())
    at_corner = torch.zeros_like(barycentrics)
    at_corner[..., 1] = 1
    values = torch.randn(8, 2)
    expected = torch.where((face >= 0)[..., None], values[faces[face.clamp(min=0).long(), 1]], 0.0)
    assert torch.equal(run(backend, face, at_corner, faces, values), expected)


def nothing_to_interpolate(backend):
    for views, faces, channels in ((0, 9, 3), (2, 0, 3), (2, 9, 0)):
        face = torch.full((views, 3, 4), -1, dtype=torch.int32)
        values = torch.ones(8, channels, requires_grad=True)
        image = run(backend, face, torch.zeros(views, 3, 4, 3), torch.zeros(faces, 3, dtype=torch.int64), values)
        assert image.shape == (views, 3, 4, channels)
        assert not image.any()
        image.sum().backward()
        assert not values.grad.any()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_nothing_to_interpolate(backend):
    nothing_to_interpolate(backend)


@pytest.mark.interpreted
def test_triton_with_nothing_to_interpolate():
    nothing_to_interpolate("triton")


@pytest.mark.parametrize("asked", [0, 1])
def test_only_the_gradients_asked_for(asked):
    gradients_asked_for("cpu", asked)


@pytest.mark.interpreted
@pytest.mark.parametrize("asked", [0, 1])
def test_triton_only_the_gradients_asked_for(asked):
    gradients_asked_for("triton", asked)


def gradients_asked_for(backend, asked):
    full = results(backend, torch.float32, (8, 2), False)
    face, barycentrics, faces = fragments()
    leaves = [barycentrics, torch.randn(8, 2, generator=torch.Generator().manual_seed(1))]
    leaves[asked].requires_grad_()
    image = run(backend, face, leaves[0], faces, leaves[1])
    image.backward(torch.rand(image.shape, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(leaves[asked].grad, full[1 + asked])
    assert leaves[1 - asked].grad is None


@pytest.mark.usefixtures("all_threads")
def test_threads_do_not_change_a_bit():
    face, barycentrics, faces = fragments(height=33, width=21)
    outcomes = []
    before = numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        leaves = barycentrics.clone().requires_grad_(), torch.linspace(0, 1, 24).view(8, 3).requires_grad_()
        image = run("cpu", face, leaves[0], faces, leaves[1])
        image.square().sum().backward()
        outcomes.append((image, leaves[0].grad, leaves[1].grad))
    for one, many in zip(*outcomes, strict=True):
        assert torch.equal(one, many)


def test_bad_input():
    face, barycentrics, faces = fragments()
    with pytest.raises(ValueError, match="barycentrics"):
        interpolate(face, barycentrics[:, 1:], faces, torch.ones(8, 3))
    with pytest.raises(ValueError, match="faces"):
        interpolate(face, barycentrics, faces.float(), torch.ones(8, 3))
    with pytest.raises(ValueError, match="faces"):
        interpolate(face, barycentrics, faces.expand(2, -1, -1), torch.ones(8, 3))
    with pytest.raises(ValueError, match="attributes"):
        interpolate(face, barycentrics, faces, torch.ones(2, 8, 3))
    with pytest.raises(ValueError, match="rows of attributes"):
        interpolate(face, barycentrics, faces, torch.ones(7, 3))
    with pytest.raises(ValueError, match="not among the 8 faces"):
        interpolate(face, barycentrics, faces[:-1], torch.ones(8, 3))


SIGNATURE = {
    **{f"{name}_ptr": "*fp32" for name in ("barycentrics", "attributes", "image", "grad_image", "grad_barycentrics")},
    **{"face_ptr": "*i32", "faces_ptr": "*i64"},
    **dict.fromkeys(("pixels", "area", "faces", "attributes", "channels"), "i32"),
}


@pytest.mark.slow
@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budgets(target, width):
    from nerfkit.kernels.interpolate import triton

    shape = {"LISTED": True, "OWN": True, "PIXELS": triton.LANES // width, "WIDTH": width}
    options = {"num_warps": triton.WARPS}
    ladder.check_budget("interpolate.forward", target, triton.forward_kernel, SIGNATURE, shape, **options)
    ladder.check_budget("interpolate.backward", target, triton.backward_kernel, SIGNATURE, shape, **options)


@pytest.mark.gpu
@pytest.mark.parametrize(("shape", "listed"), CASES)
def test_gpu(shape, listed, poison):
    exact = results("reference", torch.float64, shape, listed, "cuda")
    peer = results("reference", torch.float32, shape, listed, "cuda")
    actual, again = (results("triton", torch.float32, shape, listed, "cuda") for _ in range(2))
    for i, name in enumerate(NAMES):
        assert torch.equal(actual[i], again[i]), name
        ladder.assert_error_at_most_twice(actual[i], peer[i], exact[i], name)
