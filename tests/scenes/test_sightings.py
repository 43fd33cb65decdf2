"""Sightings of tracks: which are kept, and how well a point is known."""

import numpy as np
import pytest

from nerfkit.scenes.sightings import sightings


@pytest.mark.parametrize("error", [-1.0, 0.0, np.inf, np.nan])
def test_a_point_of_unknown_error_weighs_1_and_has_no_say_in_the_mean(error: float) -> None:
    found = sightings([7, 3], np.array([3, 7, 3, 5]), np.array([0, 1, 2, 2]), np.array([error, 0.5, 1.5]))
    assert found.view.tolist() == [1, 0, 1]
    np.testing.assert_allclose(found.weight, [1, np.exp(-0.25), np.exp(-2.25)], rtol=1e-6)
