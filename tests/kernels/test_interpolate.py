"""Interpolation over fragments: the Numba kernel against the reference, and both against what they must reproduce."""

import numba
import pytest
import torch
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.kernels.interpolate import interpolate


def fragments(views=3, height=7, width=11, faces=9, vertices=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    face = torch.randint(-1, faces, (views, height, width), generator=generator).int()
    barycentrics = torch.rand(views, height, width, 3, generator=generator)
    barycentrics = barycentrics / barycentrics.sum(-1, keepdim=True) * (face >= 0)[..., None]
    corners = torch.stack([torch.randperm(vertices, generator=generator)[:3] for _ in range(faces)])
    return face, barycentrics, corners


def run(backend, *arguments):
    with use(backend):
        return interpolate(*arguments)


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("shape", [(8, 4), (8, 1), (3, 8, 5), (1, 8, 2)])
def test_cpu_equals_reference(shape):
    face, barycentrics, faces = fragments(views=shape[0] if len(shape) == 3 else 3)
    attributes = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    results = []
    for backend, dtype in (("cpu", torch.float32), ("reference", torch.float64)):
        leaves = [x.to(dtype, copy=True).requires_grad_() for x in (barycentrics, attributes)]
        image = run(backend, face, leaves[0], faces, leaves[1])
        weight = torch.rand(image.shape, generator=torch.Generator().manual_seed(2))
        (image * weight.to(dtype)).sum().backward()
        covered = (face >= 0)[..., None]  # the barycentrics of empty pixels are constants
        results.append((image, leaves[0].grad * covered, leaves[1].grad))
    for name, actual, expected in zip(("image", "barycentrics", "attributes"), *results, strict=True):
        assert actual.shape == expected.shape, name
        assert_close(actual.double(), expected, rtol=1e-5, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


def test_reference_gradcheck():
    face, barycentrics, faces = fragments(views=2, height=3, width=3)
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


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_nothing_to_interpolate(backend):
    for views, faces, channels in ((0, 9, 3), (2, 0, 3), (2, 9, 0)):
        face = torch.full((views, 3, 4), -1, dtype=torch.int32)
        values = torch.ones(8, channels, requires_grad=True)
        image = run(backend, face, torch.zeros(views, 3, 4, 3), torch.zeros(faces, 3, dtype=torch.int64), values)
        assert image.shape == (views, 3, 4, channels)
        assert not image.any()
        image.sum().backward()
        assert not values.grad.any()


def test_threads_do_not_change_a_bit():
    face, barycentrics, faces = fragments(height=33, width=21)
    results = []
    before = numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        leaves = barycentrics.clone().requires_grad_(), torch.linspace(0, 1, 24).view(8, 3).requires_grad_()
        image = run("cpu", face, leaves[0], faces, leaves[1])
        image.square().sum().backward()
        results.append((image, leaves[0].grad, leaves[1].grad))
    for one, many in zip(*results, strict=True):
        assert torch.equal(one, many)


def test_bad_input():
    face, barycentrics, faces = fragments()
    with pytest.raises(ValueError, match="barycentrics"):
        interpolate(face, barycentrics[:, 1:], faces, torch.ones(8, 3))
    with pytest.raises(ValueError, match="faces"):
        interpolate(face, barycentrics, faces.float(), torch.ones(8, 3))
    with pytest.raises(ValueError, match="attributes"):
        interpolate(face, barycentrics, faces, torch.ones(2, 8, 3))
