"""Units and axes of files: the shortest turns, and that points and cameras go the same way."""

import numpy as np
import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.scenes.frame import AXES
from nerfkit.scenes.placement import SAME, UNITS, Placement, shortest_turn
from nerfkit.scenes.scene import Similarity

POINTS = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
WHOLE = Similarity(0.5, (0.1, -0.2, 0.3))


@pytest.mark.parametrize("end", AXES)
@pytest.mark.parametrize("start", [*AXES.values(), (0.6, 0.0, -0.8), (0.0, -1 + 1e-12, 1e-6)])
def test_the_shortest_turn(start: tuple[float, float, float], end: str) -> None:
    matrix, a, b = np.array(shortest_turn(start, AXES[end])), np.array(start), np.array(AXES[end])
    np.testing.assert_allclose(matrix @ a, b, atol=1e-5)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1)) == pytest.approx(
        np.arccos(np.clip(a @ b, -1, 1)), abs=1e-4
    )


def test_axes_are_turned_exactly() -> None:
    for start in AXES.values():
        assert shortest_turn(start, start) == SAME
        for end in AXES.values():
            assert set(np.abs(shortest_turn(start, end)).ravel()) == {0.0, 1.0}


@pytest.mark.parametrize("end", AXES)
def test_cameras_see_in_a_file_what_they_see_in_the_scene(end: str) -> None:
    place = Placement(WHOLE.enlarged(UNITS["mm"])).turned_up((0.0, 1.0, 0.0), AXES[end])
    pose = look_at(torch.tensor([[3.0, 1, 2], [-2, 3, 0.5]]), torch.zeros(3), torch.tensor([0.0, 1, 0])).double()
    cameras = Cameras(pose, torch.tensor([[400.0, 410, 160, 120]]).double().expand(2, -1), 240, 320)
    moved = place.invert(POINTS)
    torch.testing.assert_close(place.apply(moved), POINTS)
    own = WHOLE.invert(POINTS).norm(dim=-1)
    torch.testing.assert_close(moved.norm(dim=-1), 1000 * own)
    there = cameras.changed(torch.from_numpy(place.poses(pose.float())))
    torch.testing.assert_close(there.project(moved)[0], cameras.project(POINTS)[0], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(place.turned(np.array([[0.0, 1.0, 0.0]]))[0], AXES[end], atol=1e-12)
