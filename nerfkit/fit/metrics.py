"""Image metrics of 8-bit-quantized images, as viewers and papers see them: PSNR, SSIM (Wang et al. 2004), mask IoU."""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfkit.kernels.jit import jit

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


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
    p, t = (quantize(image).double().flatten(1).numpy(force=True) for image in (predicted, true))  # (H, W C)
    window = np.exp(-0.5 * ((np.arange(_WINDOW) - _WINDOW // 2) / _SIGMA) ** 2)
    return float(_similarity(p, t, window / window.sum(), predicted.shape[2]).mean())


@jit
def _similarity(p: np.ndarray, t: np.ndarray, window: np.ndarray, channels: int) -> np.ndarray:
    """Means over the rows of windows, (H - 10,), of pictures (H,W C).

    The four moments are those of s = p + t and d = p - t: 2 mu_p mu_t = (mu_s^2 - mu_d^2) / 2, and so on.
    """
    length = p.shape[1]
    wide = length - (_WINDOW - 1) * channels
    means = np.empty(len(p) - _WINDOW + 1)
    for i in prange(len(means)):
        down = np.zeros((4, length))
        for k in range(_WINDOW):
            for x in range(length):
                s, d = p[i + k, x] + t[i + k, x], p[i + k, x] - t[i + k, x]
                down[0, x] += window[k] * s
                down[1, x] += window[k] * d
                down[2, x] += window[k] * s * s
                down[3, x] += window[k] * d * d
        across = np.zeros((4, wide))
        for moment in range(4):
            for k in range(_WINDOW):
                for x in range(wide):
                    across[moment, x] += window[k] * down[moment, x + k * channels]
        total = 0.0
        for x in range(wide):
            ss, dd = across[0, x] ** 2, across[1, x] ** 2
            product, squares = (ss - dd) / 2, (ss + dd) / 2
            covariance, variances = (across[2, x] - across[3, x]) / 2, (across[2, x] + across[3, x]) / 2
            structure = (covariance - product + _C2) / (variances - squares + _C2)
            total += (product + _C1) / (squares + _C1) * structure
        means[i] = total / wide
    return means


def mask_iou(predicted: Tensor, true: Tensor) -> float:
    """Intersection over union, sum min(p, t) / sum max(p, t), of two coverages (H,W) in [0,1]; 1 where both are 0."""
    _check(predicted, true)
    union = torch.maximum(predicted, true).sum().item()
    return torch.minimum(predicted, true).sum().item() / union if union else 1.0


def _check(predicted: Tensor, true: Tensor) -> None:
    if predicted.shape != true.shape:
        raise ValueError(f"images of different shape: {tuple(predicted.shape)} and {tuple(true.shape)}")
