"""What the field stage counts: the steps so far, and what one step did."""

import math
from dataclasses import dataclass

from torch import Tensor

from nerfkit.fit.loop import Progress

FIRST_RAYS = 1024


@dataclass
class FieldProgress(Progress):
    """Counts ``samples`` and ``skipped`` bad steps, too, and knows how many ``rays`` the next step takes."""

    samples: int = 0
    rays: int = FIRST_RAYS
    skipped: int = 0


@dataclass
class Step:
    """What one step did. The ``terms`` of the loss and the sum of ``squared`` color errors are still on the device.

    The rays are drawn from ``share`` of the photos' pixels; the others have the mean squared error ``outside``.
    """

    terms: dict[str, Tensor]
    squared: Tensor
    learning_rate: float
    rays: int
    samples: int
    share: float = 1.0
    outside: float = 0.0

    def logged(self) -> dict[str, float]:
        """What to log of it, by tag. Waits for the device."""
        values = {f"loss/{name}": term.item() for name, term in self.terms.items()}
        error = self.share * self.squared.item() / (3 * self.rays) + (1 - self.share) * self.outside
        return values | {
            "train/psnr": -10 * math.log10(max(error, 1e-10)),  # of whole pictures
            "train/learning_rate": self.learning_rate,
            "train/rays": self.rays,
            "train/samples": self.samples,
        }
