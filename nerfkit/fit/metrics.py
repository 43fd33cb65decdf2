"""Image metrics of 8-bit-quantized images, as viewers and papers see them: PSNR, SSIM (Wang et al. 2004), mask IoU."""

import math

import torch
from torch import Tensor

_WINDOW = 11  # scikit-image's, for a sigma of 1.5


def quantize(image: Tensor) -> Tensor:
    """``image`` clamped to [0,1] and rounded to the nearest of the 256 values that an 8-bit file can hold, float32."""
    return (image.float().clamp(0, 1) * 255).round() / 255


def psnr(predicted: Tensor, true: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB, -10 log10(mean squared error), of two quantized images.

    Args:
        predicted, true: (H,W,C) in [0,1].
        mask: (H,W); only pixels where it exceeds 1/2 count. None counts them all.

    Returns:
        Decibels; infinity where the quantized images are equal, NaN where the mask is empty.
    """
    _check(predicted, true)
    squared = (quantize(predicted) - quantize(true)) ** 2  # (H, W, C)
    if mask is not None:
        squared = squared[mask > 0.5]  # (P, C)
    error = squared.double().mean().item()
    return -10 * math.log10(error) if error != 0 else math.inf


def ssim(predicted: Tensor, true: Tensor) -> float:
    """Structural similarity of two quantized images: an 11x11 Gaussian window of sigma 1.5, K = (0.01, 0.03), range 1.

    ``(2 mu_p mu_t + C1)(2 cov_pt + C2) / ((mu_p^2 + mu_t^2 + C1)(var_p + var_t + C2))`` under the window, averaged over
    the windows that lie wholly inside the image and over channels.

    Args:
        predicted, true: (H,W,C) in [0,1], at least 11 pixels high and wide.
    """
    _check(predicted, true)
    if min(predicted.shape[:2]) < _WINDOW:
        raise ValueError(f"SSIM needs images of at least {_WINDOW}x{_WINDOW} pixels, got {tuple(predicted.shape)}")
    from skimage.metrics import structural_similarity  # slow to import

    p, t = (quantize(image).double().numpy(force=True) for image in (predicted, true))
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(p, t, channel_axis=-1, data_range=1, **window))


def mask_iou(predicted: Tensor, true: Tensor) -> float:
    """Intersection over union, sum min(p, t) / sum max(p, t), of two coverages (H,W) in [0,1]; 1 where both are 0."""
    _check(predicted, true)
    union = torch.maximum(predicted, true).sum().item()
    return torch.minimum(predicted, true).sum().item() / union if union else 1.0


def _check(predicted: Tensor, true: Tensor) -> None:
    if predicted.shape != true.shape:
        raise ValueError(f"images of different shape: {tuple(predicted.shape)} and {tuple(true.shape)}")
