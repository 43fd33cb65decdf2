"""A texture on fragments: the two operations that it is, float64 gradients, in Numba and Triton: see ``ladder.py``."""

import numba
import pytest
import torch
from torch import Tensor

from nerfkit.kernels import use
from nerfkit.kernels.interpolate import interpolate
from nerfkit.kernels.texture import sample_texture
from nerfkit.kernels.textured import textured
from tests.kernels import ladder

CASES = [(1, 1, 1, 1, 1, 1), (3, 7, 11, 9, 8, 3), (2, 40, 33, 500, 64, 3), (1, 5, 1, 4, 1, 5), (2, 0, 3, 4, 6, 3)]
NAMES = ("image", "barycentrics", "texture")


def make(case: tuple[int, ...], dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[Tensor, ...]:
    """Faces (N,H,W), barycentrics, corners' coordinates, some of them beyond the texture, and a texture."""
    views, height, width, faces, side, channels = case
    generator = torch.Generator().manual_seed(sum(case))
    face = torch.randint(-1, faces, (views, height, width), generator=generator).int()
    barycentrics = torch.rand(views, height, width, 3, generator=generator) + 0.01
    barycentrics = barycentrics / barycentrics.sum(-1, keepdim=True) * (face >= 0)[..., None]
    corner_uvs = 1.4 * torch.rand(faces, 3, 2, generator=generator) - 0.2
    texture = torch.rand(side, side + 2, channels, generator=generator)
    return face.to(device), *(x.to(device, dtype) for x in (barycentrics, corner_uvs, texture))


def two_operations(face: Tensor, barycentrics: Tensor, corner_uvs: Tensor, texture: Tensor) -> Tensor:
    corners = torch.arange(3 * len(corner_uvs), device=face.device).view(-1, 3)
    uv = interpolate(face, barycentrics, corners, corner_uvs.reshape(-1, 2))
    color = sample_texture(texture, uv, face >= 0)
    return torch.cat([color, (face >= 0)[..., None].to(color)], -1)


def results(function, backend: str, case: tuple[int, ...], dtype=torch.float32, device="cpu") -> list[Tensor]:
    """The image, and the gradients for a seeded weighting."""
    face, barycentrics, corner_uvs, texture = make(case, dtype, device)
    leaves = barycentrics.requires_grad_(), texture.requires_grad_()
    with use(backend):
        image = function(face, barycentrics, corner_uvs, texture)
        weight = torch.rand(image.shape, generator=torch.Generator().manual_seed(2)).to(device, dtype)
        gradients = torch.autograd.grad((image * weight).sum(), leaves)
    return [image.detach(), *gradients]


def assert_agrees(backend: str, case: tuple[int, ...], device: str = "cpu") -> list[Tensor]:
    exact, same = (results(textured, "reference", case, dtype) for dtype in (torch.float64, torch.float32))
    found = results(textured, backend, case, device=device)
    for name, mine, peer, double in zip(NAMES, found, same, exact, strict=True):
        assert mine.shape == double.shape, name
        ladder.assert_error_at_most_twice(mine, peer, double, name)
    return found


@pytest.mark.parametrize("case", CASES)
def test_it_has_the_bits_of_the_two_operations(case: tuple[int, ...]) -> None:
    for mine, other in zip(results(textured, "cpu", case), results(two_operations, "cpu", case), strict=True):
        assert torch.equal(mine, other)


def test_gradients() -> None:
    face, barycentrics, corner_uvs, texture = make((2, 3, 3, 4, 5, 2), torch.float64)
    leaves = barycentrics.requires_grad_(), texture.requires_grad_()
    assert torch.autograd.gradcheck(lambda b, t: textured(face, b, corner_uvs, t), leaves)


def test_by_hand() -> None:
    """Corners at the centers of three texels: a pixel half way between two of them shows the mean of these."""
    texture = torch.tensor([[[1.0], [2.0]], [[4.0], [8.0]]])
    corner_uvs = torch.tensor([[[0.25, 0.75], [0.75, 0.75], [0.25, 0.25]]])
    face = torch.tensor([[[0, 0, -1]]], dtype=torch.int32)
    barycentrics = torch.tensor([[[[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]])
    assert textured(face, barycentrics, corner_uvs, texture)[0, 0].tolist() == [[1.5, 1.0], [4.0, 1.0], [0.0, 0.0]]


def test_wrong_arguments() -> None:
    face, barycentrics, corner_uvs, texture = make(CASES[1])
    with pytest.raises(ValueError, match="barycentrics: expected"):
        textured(face, barycentrics[..., :2], corner_uvs, texture)
    with pytest.raises(ValueError, match="corner_uvs: expected"):
        textured(face, barycentrics, corner_uvs[0], texture)
    with pytest.raises(ValueError, match="texture: expected"):
        textured(face, barycentrics, corner_uvs, texture[..., :0])
    with pytest.raises(ValueError, match="face: expected numbers below 3"):
        textured(face, barycentrics, corner_uvs[:3], texture)


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_cpu_agrees(case: tuple[int, ...]) -> None:
    assert_agrees("cpu", case)


@pytest.mark.usefixtures("all_threads")
def test_threads_do_not_change_the_bits() -> None:
    found, threads = [], numba.get_num_threads()
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            found.append(results(textured, "cpu", CASES[2]))
    finally:
        numba.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_triton_agrees(case: tuple[int, ...]) -> None:
    assert_agrees("triton", case)


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_gpu(case: tuple[int, ...]) -> None:
    found, again = assert_agrees("triton", case, "cuda"), results(textured, "triton", case, device="cuda")
    assert all(torch.equal(mine, other) for mine, other in zip(found, again, strict=True))
