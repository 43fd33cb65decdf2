"""PSNR, SSIM and mask IoU against hand-computed values and the formula, window by window."""

import math

import pytest
import torch

from nerfkit.fit.metrics import mask_iou, psnr, quantize, ssim


def noisy_pair(height: int, width: int, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(height, width, channels, generator=generator)
    return (true + 0.1 * torch.randn(true.shape, generator=generator)), true


def test_psnr_of_a_constant_error() -> None:
    true = torch.full((5, 7, 3), 51 / 255)
    assert psnr(true + 51 / 255, true) == pytest.approx(-20 * math.log10(0.2), abs=1e-4)


def test_psnr_quantizes_and_clamps() -> None:
    true = torch.ones(4, 4, 3)
    assert psnr(true + 3, true) == math.inf
    assert psnr(true - 0.4 / 255, true) == math.inf
    assert psnr(true - 0.6 / 255, true) == pytest.approx(20 * math.log10(255), abs=1e-4)


def test_psnr_counts_only_the_mask() -> None:
    true = torch.zeros(2, 2, 3)
    predicted = true.clone()
    predicted[0, 0] = 1.0
    mask = torch.tensor([[1.0, 0.0], [1.0, 0.4]])
    assert psnr(predicted, true, mask) == pytest.approx(10 * math.log10(2))
    assert math.isnan(psnr(predicted, true, torch.zeros(2, 2)))


@pytest.mark.parametrize("shape", [(11, 11, 3), (33, 20, 3), (16, 47, 1)])
def test_ssim_window_by_window(shape: tuple[int, int, int]) -> None:
    predicted, true = noisy_pair(*shape)
    offset = torch.arange(-5, 6).double()
    weight = torch.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    weight = weight / weight.sum()
    found = []
    for i in range(shape[0] - 10):
        for j in range(shape[1] - 10):
            for c in range(shape[2]):
                p, t = (quantize(image)[i : i + 11, j : j + 11, c].double() for image in (predicted, true))
                mean_p, mean_t = (weight * p).sum(), (weight * t).sum()
                var_p, var_t = (weight * (p - mean_p) ** 2).sum(), (weight * (t - mean_t) ** 2).sum()
                cov = (weight * (p - mean_p) * (t - mean_t)).sum()
                luminance = (2 * mean_p * mean_t + 0.01**2) / (mean_p**2 + mean_t**2 + 0.01**2)
                found.append(luminance * (2 * cov + 0.03**2) / (var_p + var_t + 0.03**2))
    assert ssim(predicted, true) == pytest.approx(torch.stack(found).mean().item(), abs=1e-12)


def test_ssim_of_equal_images_is_one_and_small_images_are_refused() -> None:
    _, true = noisy_pair(15, 15)
    assert ssim(true, true) == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(ValueError, match="11x11"):
        ssim(true[:10], true[:10])


def test_mask_iou() -> None:
    a = torch.tensor([[1.0, 1.0, 0.0, 0.5]])
    b = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    assert mask_iou(a, b) == pytest.approx(1.5 / 4)
    assert mask_iou(a * 0, b * 0) == 1.0


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="different shape"):
        psnr(torch.zeros(2, 3, 3), torch.zeros(3, 2, 3))
