"""``composite`` in plain PyTorch on rays padded to equal length; any float dtype, gradients by autograd."""

import torch

from . import ENDLESS


def _steps(t_start: torch.Tensor, t_end: torch.Tensor, by_length: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What a density is multiplied by, and the middle, of each interval: (S,) and (S,)."""
    length = (t_end - t_start).clamp(max=ENDLESS)
    middle = torch.where(length < ENDLESS, (t_start + t_end) / 2, t_start)
    return length if by_length else torch.ones_like(length), middle


def composite(
    density: torch.Tensor,
    color: torch.Tensor,
    t_start: torch.Tensor,
    t_end: torch.Tensor,
    offsets: torch.Tensor,
    by_length: bool,
    early_stop: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """See the package for the formula, the shapes and the results."""
    t_start, t_end = t_start.detach(), t_end.detach()
    lengths = offsets.diff()  # (R,)
    longest = int(lengths.max()) if lengths.numel() else 0
    inside = torch.arange(longest, device=offsets.device) < lengths[:, None]  # (R, K)

    def pad(values: torch.Tensor) -> torch.Tensor:
        dense = values.new_zeros(*inside.shape, *values.shape[1:])  # (R, K, ...)
        dense[inside] = values  # row by row, which is the packed order
        return dense

    step, middle = _steps(t_start, t_end, by_length)  # (S,), (S,)
    tau = pad(torch.where(step == 0, 0, density * step))  # (R, K)
    before = torch.cat([torch.zeros_like(tau[:, :1]), tau[:, :-1]], dim=1).cumsum(1)  # (R, K)
    transmittance = torch.exp(-before)  # (R, K)
    alpha = -torch.expm1(-tau)  # (R, K)
    weights = torch.where(transmittance >= early_stop, transmittance * alpha, 0)  # (R, K)
    return (
        (weights[..., None] * pad(color)).sum(1),  # (R, 3)
        weights.sum(1),  # (R,)
        (weights * pad(middle)).sum(1),  # (R,)
        weights[inside],  # (S,)
    )
