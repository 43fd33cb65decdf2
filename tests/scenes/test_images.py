"""Decoding and the box filter."""

import numpy as np
import pytest

from nerfkit.scenes.images import Picture, shrink, straight, working_size


def brute_force(rgba: np.ndarray, height: int, width: int) -> np.ndarray:
    """The area-weighted mean by repeating every pixel until the ratio is whole."""
    premultiplied = rgba.astype(np.float64)
    premultiplied[..., :3] *= premultiplied[..., 3:] / 255
    fine = premultiplied.repeat(height, axis=0).repeat(width, axis=1)
    return fine.reshape(height, rgba.shape[0], width, rgba.shape[1], 4).mean(axis=(1, 3))


@pytest.mark.parametrize("size", [(12, 16), (6, 8), (5, 7), (11, 16), (1, 1), (4, 3)])
def test_box_filter_is_area_weighted_and_premultiplied(size: tuple[int, int]) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (12, 16, 4), dtype=np.uint8)
    rgba[:4, :4, 3] = 0
    assert np.abs(shrink(straight(rgba), *size) - brute_force(rgba, *size)).max() <= 0.5 + 1e-9


def test_extremes_stay_exact() -> None:
    white = np.full((7, 9, 4), 255, np.uint8)
    assert (shrink(straight(white), 3, 4) == 255).all()
    assert (shrink(straight(white * 0), 3, 4) == 0).all()


def test_weight_other_than_alpha() -> None:
    rgba = np.full((2, 2, 4), 100, np.uint8)
    weight = np.array([[255, 0], [0, 255]], np.uint8)
    assert shrink(Picture(rgba, weight), 1, 1)[0, 0].tolist() == [50, 50, 50, 100]


def test_working_size() -> None:
    assert working_size(600, 800, 400) == (300, 400)
    assert working_size(800, 601, 400) == (400, 300)
    assert working_size(600, 800, None) == (600, 800)
    assert working_size(600, 800, 900) == (600, 800)
    assert working_size(1, 800, 8) == (1, 8)
