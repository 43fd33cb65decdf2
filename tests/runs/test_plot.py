import numpy as np
import pytest
from PIL import Image

from nerfkit.runs.plot import COLORS, line_chart, shows, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 60.0, [1, 2, 5, 10, 20, 50]),
        (21.0, 27.0, [22, 24, 26]),
        (0.0013, 0.0019, [0.0014, 0.0016, 0.0018]),
        (1.0, 1.0001, [1.0, 1.00002, 1.00004, 1.00006, 1.00008, 1.0001]),
    ],
)
def test_an_axis_has_round_numbers(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_lines_of_a_chart_can_be_told_apart(tmp_path):
    assert len(set(COLORS)) == len(COLORS)
    rgb = np.array([[int(color[k : k + 2], 16) for k in (1, 3, 5)] for color in COLORS])
    apart = np.abs(rgb[:, None] - rgb).sum(-1) + 1000 * np.eye(len(rgb), dtype=int)
    assert apart.min() > 90
    path = line_chart(tmp_path / "chart.png", "title", "steps", "error", {"a": [(0, 2.0), (5, 1.5)], "b": [(0, 2.0)]})
    assert Image.open(path).size == (760, 440)
    with pytest.raises(ValueError, match="positive values"):
        line_chart(tmp_path / "chart.png", "title", "steps", "error", {"a": [(0, 0.0)]})


def test_two_logarithmic_axes_make_a_power_a_straight_line(tmp_path):
    words, cube = ("title", "size", "time"), {"cube": [(1, 1.0), (10, 1e3), (100, 1e6)]}
    path = line_chart(tmp_path / "chart.png", *words, cube, log_x=True)
    rgb = np.asarray(Image.open(path).convert("RGB")).astype(int)
    y, x = np.nonzero((np.abs(rgb - [0x1B, 0x6C, 0xA8]).sum(-1) < 30)[:, :600])  # left of the legend
    assert np.abs(np.polynomial.Polynomial.fit(x, y, 1)(x) - y).max() < 6  # a dot's radius is 3
    with pytest.raises(ValueError, match="positive values"):
        line_chart(tmp_path / "chart.png", *words, {"a": [(0, 1.0)]}, log_x=True)


def test_a_chart_knows_what_it_shows(tmp_path):
    words, lines = ("title", "steps", "error"), {"a": [(0, 2.0), (5, 1.5)]}
    path = tmp_path / "chart.png"
    assert not shows(path, *words, lines)
    line_chart(path, *words, lines)
    assert shows(path, *words, lines)
    assert not shows(path, *words, {"a": [(0, 2.0), (5, 1.6)]}) and not shows(path, *words, lines, log_x=True)
