"""Exposure and white balance of every photo, learned beside the field: phones choose both anew for each.

A ray of photo v that the field shows in color c (premultiplied, opacity a) is compared with the photo as

    exp(g_v - mean g) c + a b_v

with three logarithms of gains g and three offsets b a photo, both 0 at first and held there by their squares. Only
differences of gains show, so the mean over the training photos is taken out: the field keeps the mean exposure.
"""

import torch
from torch import Tensor, nn

WEIGHT = 0.01  # of the squares, against a loss of colors in [0,1]
RATE = 0.3  # of the field's learning rate


class Exposure(nn.Module):
    """The corrections of N photos.

    Args:
        count: N.
        train: numbers of the photos that are trained on; the others keep the mean exposure. Of no photo where the field
            is done and keeps the exposure that it has: then no mean is taken out.
    """

    train_views: Tensor

    def __init__(self, count: int, train: list[int]) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(count, 3))
        self.offset = nn.Parameter(torch.zeros(count, 3))
        self.register_buffer("train_views", torch.tensor(train, dtype=torch.int64))

    def forward(self, color: Tensor, opacity: Tensor, view: Tensor) -> Tensor:
        """Colors (R,3) with opacities (R,) as the photos ``view`` (R,) have them."""
        mean = self.log_gain[self.train_views].mean(0) if len(self.train_views) else 0.0
        gain = (self.log_gain[view] - mean).exp()
        return color * gain + opacity[:, None] * self.offset[view]

    def penalty(self) -> Tensor:
        """What keeps gains and offsets small."""
        return WEIGHT * (self.log_gain.square().mean() + self.offset.square().mean())


def aligned(predicted: Tensor, true: Tensor, known: Tensor) -> Tensor:
    """A picture (H,W,3) with the gain and the offset a channel that bring it closest to a photo, in least squares.

    The exposure of a photo that was held out is unknown; so it is taken out before the two are compared (Martin-Brualla
    et al., "NeRF in the Wild", 2021, do so on half of the photo). ``known`` (H,W) bool: the pixels that count.
    """
    p, t = predicted[known].double(), true[known].double()  # (P, 3)
    mean_p, mean_t = p.mean(0), t.mean(0)
    variance = ((p - mean_p) ** 2).mean(0)
    gain = torch.where(variance > 1e-8, ((p - mean_p) * (t - mean_t)).mean(0) / variance.clamp_min(1e-12), 1.0)
    return ((predicted.double() - mean_p) * gain + mean_t).clamp(0, 1).to(predicted)
