"""``composite`` against values worked out by hand, and what it refuses."""

import math

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.composite import composite


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_two_samples_by_hand(backend):
    """Optical depths ln 2 and ln 4: weights 1/2 and 1/2 * 3/4; a homogeneous ray has opacity 1 - exp(-sigma L)."""
    density = torch.tensor([math.log(2) / 0.5, math.log(4) / 0.25])
    color = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])
    t_start, t_end = torch.tensor([1.0, 1.5]), torch.tensor([1.5, 1.75])
    with use(backend):
        result = composite(density, color, t_start, t_end, torch.tensor([0, 2]))
    torch.testing.assert_close(result.weights, torch.tensor([0.5, 0.375]))
    torch.testing.assert_close(result.color, torch.tensor([[0.5, 0.375, 0.4375]]))
    torch.testing.assert_close(result.opacity, torch.tensor([0.875]))
    torch.testing.assert_close(result.depth, torch.tensor([0.5 * 1.25 + 0.375 * 1.625]))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_homogeneous_medium(backend):
    """Density sigma over length L: opacity 1 - exp(-sigma L), whatever the steps; raw opacity does not see them."""
    edges = torch.tensor([0.0, 0.1, 0.15, 0.4, 0.9, 1.0, 1.3])
    density = torch.full((6,), 1.7)
    arguments = (density, torch.ones(6, 3), edges[:-1], edges[1:], torch.tensor([0, 6]))
    with use(backend):
        by_length = composite(*arguments).opacity
        raw = composite(*arguments, opacity="raw").opacity
    torch.testing.assert_close(by_length, torch.tensor([1 - math.exp(-1.7 * 1.3)]))
    torch.testing.assert_close(raw, torch.tensor([1 - math.exp(-1.7 * 6)]))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(("density", "opacity", "slope"), [(0.0, 0.0, 1e10), (1e-3, 1.0, 0.0), (math.inf, 1.0, 0.0)])
def test_infinite_far_plane(backend, density, opacity, slope):
    """The last interval, without end and behind a transmittance of 1/2: empty space stays empty, all else is opaque."""
    density = torch.tensor([math.log(2), density], requires_grad=True)
    t_start, t_end = torch.tensor([1.0, 3.0]), torch.tensor([2.0, math.inf])
    with use(backend):
        result = composite(density, torch.ones(2, 3), t_start, t_end, torch.tensor([0, 2]))
    result.opacity.sum().backward()
    torch.testing.assert_close(result.weights, torch.tensor([0.5, 0.5 * opacity]))
    torch.testing.assert_close(result.depth, torch.tensor([0.5 * 1.5 + 0.5 * opacity * 3.0]))
    torch.testing.assert_close(density.grad, torch.tensor([0.5 * (1 - opacity), 0.5 * slope]))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("density", [0.0, 1e6, math.inf])
def test_an_interval_without_length_holds_nothing(backend, density):
    density = torch.tensor([density, math.log(2)], requires_grad=True)
    color = torch.tensor([[1.0, 0, 0], [0, 1, 0]], requires_grad=True)
    edges = torch.tensor([1.0, 1.0, 2.0])
    with use(backend):
        result = composite(density, color, edges[:-1], edges[1:], torch.tensor([0, 2]))
    result.color.sum().backward()
    torch.testing.assert_close(result.color, torch.tensor([[0, 0.5, 0]]))
    torch.testing.assert_close(density.grad, torch.tensor([0, 0.5]))
    torch.testing.assert_close(color.grad, torch.tensor([0, 0.5])[:, None].expand(2, 3))


def test_early_stop_keeps_the_sample_that_crosses_it():
    """Transmittances 1, 1/2, 1/4, 1/8: a stop at 1/4 keeps three samples, one just above it keeps two."""
    arguments = (torch.full((4,), math.log(2)), torch.ones(4, 3), torch.zeros(4), torch.ones(4), torch.tensor([0, 4]))
    for stop, opacity in ((0.2499, 0.875), (0.2501, 0.75)):
        for backend in ("reference", "cpu"):
            with use(backend):
                result = composite(*arguments, early_stop=stop)
            torch.testing.assert_close(result.opacity, torch.tensor([opacity]))
            torch.testing.assert_close(result.weights[-1], torch.tensor(0.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"density": torch.zeros(4, 1)}, r"density: expected .*\(S,\)"),
        ({"color": torch.zeros(4, 4)}, r"color: expected .*\(4,3\)"),
        ({"t_end": torch.zeros(4).double()}, "t_end: expected torch.float32"),
        ({"offsets": torch.tensor([0, 4], dtype=torch.int32)}, "offsets: expected torch.int64"),
        ({"offsets": torch.tensor([0, 3])}, "offsets: expected to run from 0 to 4, got 0 to 3"),
        ({"opacity": "alpha"}, "opacity: expected 'density' or 'raw'"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"density": torch.zeros(4), "color": torch.zeros(4, 3), "t_start": torch.zeros(4)}
    arguments |= {"t_end": torch.ones(4), "offsets": torch.tensor([0, 4])}
    with pytest.raises(ValueError, match=message):
        composite(**(arguments | change))
