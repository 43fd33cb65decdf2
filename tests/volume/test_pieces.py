"""Gradients of pictures rendered in pieces: those of the whole, without keeping the whole."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nerfkit.fields.harmonic import HarmonicField, HarmonicOptions
from nerfkit.kernels.march import Samples
from nerfkit.kernels.philox import Draw
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import StratifiedSampler

RAYS = 11


def rays() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    origins = torch.tensor([0.0, 0.0, 2.0]) + 0.2 * torch.randn(RAYS, 3, generator=g)
    return origins, torch.nn.functional.normalize(0.4 * torch.randn(RAYS, 3, generator=g) - origins, dim=-1)


def gradients(piece: int | None, cameras: bool, draw: Draw | None) -> tuple[Any, int, list[Tensor]]:
    field = HarmonicField(HarmonicOptions(width=8, depth=2, octaves=3, density_bias=-2.0), seed=1)
    origins, directions = (t.requires_grad_(cameras) for t in rays())
    sampler = StratifiedSampler(1.0, 3.0, 20)
    pixels, samples = RadianceModel(field, sampler).render_rays(origins, directions, draw, piece=piece)
    weight = torch.arange(1.0, RAYS + 1)
    ((pixels.color.square().sum(-1) + pixels.depth) * weight + pixels.opacity.square()).sum().backward()
    return pixels, samples, [p.grad for p in (*field.parameters(), *([origins, directions] if cameras else []))]  # type: ignore[misc]


@pytest.mark.parametrize("cameras", [False, True])
@pytest.mark.parametrize("draw", [None, Draw(5, 3, 100)])
@pytest.mark.parametrize("piece", [1, 4, 11, 50])
def test_gradients_are_those_of_the_whole(piece: int, draw: Draw | None, cameras: bool) -> None:
    whole, count, expected = gradients(None, cameras, draw)
    pixels, samples, found = gradients(piece, cameras, draw)
    assert samples == count == RAYS * 20
    for a, b in zip(pixels, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_some_weights_frozen_and_some_pixels_unused() -> None:
    results = []
    for piece in (None, 3):
        field = HarmonicField(HarmonicOptions(width=8, depth=2, octaves=3), seed=1)
        field.hidden[0].requires_grad_(False)
        pixels, _ = RadianceModel(field, StratifiedSampler(1.0, 3.0, 9)).render_rays(*rays(), piece=piece)
        pixels.opacity.sum().backward()  # the color layers get none
        assert field.hidden[0].weight.grad is None
        results.append([field.hidden[1].weight.grad, field.density_head.weight.grad])
        assert field.color.weight.grad is None or not field.color.weight.grad.any()
    for a, b in zip(*results, strict=True):
        assert isinstance(a, Tensor) and isinstance(b, Tensor) and b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_no_rays_in_pieces() -> None:
    field = HarmonicField(HarmonicOptions(width=8, depth=2, octaves=3))
    model = RadianceModel(field, StratifiedSampler(1.0, 3.0, 9))
    pixels, samples = model.render_rays(torch.zeros(0, 3), torch.zeros(0, 3), piece=4)
    assert samples == 0 and pixels.color.shape == (0, 3)


def test_one_piece_is_held_at_a_time() -> None:
    """No sample of an earlier piece is alive when a later one is rendered, forward or backward."""
    import weakref

    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    class Watched(HarmonicField):
        def render(self, positions: Tensor, samples: Samples, *rest: Any, **options: Any) -> Any:
            nonlocal most
            most = max(most, len(alive))
            alive.add(positions)
            return super().render(positions, samples, *rest, **options)

    field = Watched(HarmonicOptions(width=8, depth=2, octaves=3))
    pixels, _ = RadianceModel(field, StratifiedSampler(1.0, 3.0, 9)).render_rays(*rays(), piece=3)
    pixels.color.sum().backward()
    assert most == 0
