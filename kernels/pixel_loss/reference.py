"""The oracle: plain PyTorch, any float dtype."""

from torch import Tensor


def pseudo_huber(error: Tensor, scale: float) -> Tensor:
    """Mean of scale (sqrt(1 + (e / scale)^2) - 1): squared below ``scale``, linear above (Charbonnier et al. 1994)."""
    return ((1 + (error / scale) ** 2).sqrt() - 1).mean() * scale


def pixel_loss(
    color: Tensor, opacity: Tensor, rgba: Tensor, background: Tensor, scale: float, mask_weight: float
) -> tuple[Tensor, Tensor | None, Tensor]:
    """See the package."""
    true, alpha = rgba[:, :3], rgba[:, 3]
    error = color - true + (alpha - opacity)[:, None] * background  # (R, 3)
    silhouette = mask_weight * pseudo_huber(opacity - alpha, scale) if mask_weight else None
    return pseudo_huber(error, scale), silhouette, error.detach().square().sum()
