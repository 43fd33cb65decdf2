import numpy as np
import pytest

from nerfkit.cameras.channels import CHANNELS
from nerfkit.runs.files import to_bytes
from nerfkit.view.colors import depth_colors, picture


def rendered() -> dict[str, np.ndarray]:
    return {
        "rgb": np.array([[[0.0, 0.5, 1.0], [2.0, -1.0, np.nan]]]),
        "depth": np.array([[1.0, 3.0]]),
        "normal": np.array([[[1.0, 0.0, -1.0], [np.nan, 0.0, 0.0]]]),
        "alpha": np.array([[1.0, 0.0]]),
    }


def test_pictures_of_each_channel() -> None:
    rgb, depth, normal, alpha = (picture(channel, rendered(), 1.0, 3.0) for channel in CHANNELS)
    assert rgb.tolist() == [[[0, 128, 255], [255, 0, 0]]]
    assert alpha.tolist() == [[[255] * 3, [0] * 3]]
    assert normal.tolist() == [[[255, 128, 0], [0, 0, 0]]]
    assert depth[0, 0].sum() > 600  # near is bright
    assert depth[0, 1].tolist() == [0, 0, 0]  # nothing there


def test_transparent_pictures_are_not_premultiplied() -> None:
    views = {
        "rgb": np.array([[[0.0, 0.25, 0.5], [0.0, 0.0, 0.0]]]),
        "depth": np.array([[1.0, 0.0]]),
        "normal": np.array([[[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]]]),
        "alpha": np.array([[0.5, 0.0]]),
    }
    rgb, depth, normal, alpha = (picture(channel, views, 1.0, 3.0, transparent=True) for channel in CHANNELS)
    assert rgb.tolist() == [[[0, 128, 255, 128], [0, 0, 0, 0]]]
    assert normal[0, 0].tolist() == [255, 128, 0, 128]
    assert np.array_equal(depth[0, 0, :3], to_bytes(depth_colors(np.zeros(1)))[0])
    assert depth[0, :, 3].tolist() == [128, 0]
    assert alpha.tolist() == [[[128] * 3, [0] * 3]]


@pytest.mark.parametrize("channel", CHANNELS)
def test_every_picture_is_rgb_bytes(channel: str) -> None:
    result = picture(channel, rendered(), 1.0, 3.0)
    assert (result.shape, result.dtype) == ((1, 2, 3), np.uint8)


def test_lightness_falls_with_depth() -> None:
    luminance = depth_colors(np.linspace(0, 1, 200)) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) < 0).all()


def test_depth_beyond_the_scale_is_clipped() -> None:
    ends = depth_colors(np.array([0.0, 1.0]))
    assert np.array_equal(depth_colors(np.array([-5.0, -np.inf])), ends[[0, 0]])
    assert np.array_equal(depth_colors(np.array([7.0, np.inf, np.nan])), ends[[1, 1, 1]])


def test_bytes_are_rounded() -> None:
    assert to_bytes(np.array([0.49 / 255, 0.51 / 255, 254.5001 / 255])).tolist() == [0, 1, 255]
