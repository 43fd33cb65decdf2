"""How sharp and how bright a picture is, and whether the camera moved between two of them."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE = 1000  # longer side at which sharpness is measured: what is blurred at full size only does not matter
THUMBNAIL = (64, 36)
ROUNDING = (4 * 1 + 4**2) / 12  # the Laplacian's variance where there is nothing but rounding to whole levels


def gray_at(image: Image.Image, side: int = SIDE) -> np.ndarray:
    """Gray values (h,w) float32, 0 to 255, of a picture whose longer side is at most ``side``, box-filtered."""
    scale = side / max(image.size)
    gray = image.convert("L")
    if scale < 1:
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        gray = gray.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(gray, np.float32)


def sharpness(gray: np.ndarray) -> float:
    """The variance of the Laplacian of gray values (h,w): large where edges are sharp, and where there are many."""
    if min(gray.shape) < 3:
        return 0.0
    center = gray[1:-1, 1:-1]
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * center
    return float(laplacian.var(dtype=np.float64))


def crispness(image: Image.Image) -> float:
    """The sharpness of a picture over that of its half: how much of its detail is fine, however much it has.

    A plain thing has few edges and little sharpness; this is about as high for it as for a patterned one (0.3 to 0.6),
    and half as high or less where the picture is blurred. 0 where there is no detail at all.
    """
    side = min(SIDE, max(image.size))
    fine, coarse = (max(0.0, sharpness(gray_at(image, size)) - ROUNDING) for size in (side, side // 2))
    return fine / coarse if coarse > 0 else 0.0


def brightness(gray: np.ndarray) -> float:
    """The mean light of gray values (h,w) in sRGB, in stops: log2 of the mean of (gray / 255)^2.2."""
    return math.log2(float(np.mean((gray / 255.0) ** 2.2, dtype=np.float64)) + 1e-6)


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """A (36,64) float32 copy of a picture without its mean: small enough for noise to average out."""
    small = Image.fromarray(picture).convert("L").resize(THUMBNAIL, Image.Resampling.BOX)
    values = np.asarray(small, np.float32)
    return values - values.mean()


def moved(before: np.ndarray, after: np.ndarray, least: float = 1.0) -> bool:
    """Whether two ``thumbnail``s differ by more than ``least`` levels on average, as noise and flicker do not."""
    return float(np.abs(before - after).mean()) > least


def beside(values: Sequence[float], reach: int = 3) -> list[float]:
    """For each value, the median of the up to ``reach`` before and after it; NaN where there are none."""
    medians = []
    for index in range(len(values)):
        others = [*values[max(0, index - reach) : index], *values[index + 1 : index + 1 + reach]]
        medians.append(float(np.median(others)) if others else math.nan)
    return medians
