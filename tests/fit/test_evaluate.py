"""Means over views, with views that have no finite PSNR."""

import json
import math

import pytest

from nerfkit.fit.evaluate import EXACT, means


def test_exact_views_and_empty_masks() -> None:
    views = [
        {"view": 3, "psnr": math.inf, "ssim": 1.0, "psnr_inside": math.nan},
        {"view": 5, "psnr": 20.0, "ssim": 0.5, "psnr_inside": 30.0},
    ]
    found = means(views)
    assert found["psnr"] == pytest.approx((EXACT + 20) / 2)
    assert found["ssim"] == 0.75 and found["psnr_inside"] == 30.0
    assert [row["view"] for row in found["views"]] == [3, 5] and found["views"][0]["psnr"] == EXACT
    json.dumps(found["views"][1], allow_nan=False)
    assert math.isnan(means(views[:1])["psnr_inside"])
