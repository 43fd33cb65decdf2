import numpy as np
import pytest
from PIL import Image

from nerfkit.runs.plot import COLORS, line_chart, ticks


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
