"""Interpolation over fragments: the Numba kernel against the reference, and both against what they must reproduce."""

import numba
import pytest
import torch
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.kernels.interpolate import interpolate
from nerfkit.kernels.texture import sample_texture


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


def samples(height, width, seed=0, count=500):
    """A texture (A,B,3), UVs (P,2) of which some lie outside [0,1], and which of them count (P,)."""
    generator = torch.Generator().manual_seed(seed)
    uv = 1.3 * torch.rand(count, 2, generator=generator) - 0.15
    return torch.rand(height, width, 3, generator=generator), uv, torch.rand(count, generator=generator) > 0.3


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (5, 2), (67, 33), (200, 150)])
def test_texture_cpu_equals_reference(height, width):
    texture, uv, covered = samples(height, width)
    weight = torch.rand(500, 3, generator=torch.Generator().manual_seed(1))
    results = []
    for backend in ("cpu", "reference"):
        leaves = texture.clone().requires_grad_(), uv.clone().requires_grad_()
        with use(backend):
            image = sample_texture(*leaves, covered)
        (image * weight).sum().backward()
        results.append((image, leaves[0].grad, leaves[1].grad))
    for name, actual, expected in zip(("image", "texture", "uv"), *results, strict=True):
        scale = max(1.0, expected.abs().max().item())
        assert_close(actual, expected, rtol=1e-4, atol=1e-5 * scale, msg=lambda m, name=name: f"{name}: {m}")


def test_texture_reference_is_the_librarys():
    """PyTorch's own sampler, in its coordinates."""
    texture, uv, _ = samples(6, 9)
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)[None, None]
    expected = torch.nn.functional.grid_sample(
        texture.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False
    )
    with use("reference"):
        assert_close(sample_texture(texture, uv, torch.ones(500, dtype=torch.bool)), expected[0, :, 0].T)


def test_texture_reference_gradcheck():
    texture, uv, covered = (x.double() if x.is_floating_point() else x for x in samples(4, 5, count=20))
    function = lambda t, x: sample_texture(t, x, covered)  # noqa: E731
    assert torch.autograd.gradcheck(function, (texture.requires_grad_(), uv.requires_grad_()))


def test_texture_threads_do_not_change_a_bit():
    texture, uv, covered = samples(9, 9, count=5000)
    results = []
    before = numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        leaves = texture.clone().requires_grad_(), uv.clone().requires_grad_()
        with use("cpu"):
            image = sample_texture(*leaves, covered)
        image.square().sum().backward()
        results.append((image, leaves[0].grad, leaves[1].grad))
    for one, many in zip(*results, strict=True):
        assert torch.equal(one, many)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_texture_without_samples_and_with_bad_ones(backend):
    texture, uv, covered = samples(3, 4)
    with use(backend):
        assert sample_texture(texture, uv[:0], covered[:0]).shape == (0, 3)
        assert not sample_texture(texture, uv, torch.zeros_like(covered)).any()
    with use("cpu"):
        far = torch.tensor([[float("nan"), 0.5], [1e30, -1e30], [float("inf"), -float("inf")]])
        assert torch.isfinite(sample_texture(texture, far[1:], covered[:2] | True)).all()
        sample_texture(texture, far, torch.ones(3, dtype=torch.bool))  # stays inside the texture's memory
    with pytest.raises(ValueError, match="texture"):
        sample_texture(texture[:0], uv, covered)
    with pytest.raises(ValueError, match="uv"):
        sample_texture(texture, uv, covered[1:])
