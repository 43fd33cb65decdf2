"""The harmonic field as a module: its shapes, its plain PyTorch twin, and what it renders."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from nerfkit.fields.field import Field
from nerfkit.fields.harmonic import HarmonicField, HarmonicOptions
from nerfkit.kernels.march import Samples

COUNTS = [5, 0, 130, 1, 17]


def scene(seed: int = 0) -> tuple[torch.Tensor, Samples, torch.Tensor]:
    """Positions of packed samples, the samples, and the rays' directions."""
    g = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *COUNTS]).cumsum(0)
    ray = torch.repeat_interleave(torch.tensor(COUNTS))
    start = 0.01 * (torch.arange(len(ray)) - offsets[ray])
    directions = torch.nn.functional.normalize(torch.randn(len(COUNTS), 3, generator=g), dim=-1)
    return torch.rand(len(ray), 3, generator=g) * 2 - 1, Samples(ray, start, start + 0.01, offsets), directions


def fields(scale: float = 1.0, **changes: Any) -> list[HarmonicField]:
    """The same field twice: fused and plain."""
    options = HarmonicOptions(width=12, octaves=4, **changes)
    made = [HarmonicField(replace(options, fused=fused), scale=scale, seed=7) for fused in (True, False)]
    for field in made:
        torch.nn.init.constant_(field.density_head.bias, 1.5)
    return made


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize(("depth", "skip"), [(1, None), (3, None), (3, 1), (3, 2)])
def test_the_plain_field_is_the_same_function(activation: str, depth: int, skip: int | None) -> None:
    points, samples, directions = scene()
    results = []
    for field in fields(activation=activation, depth=depth, skip=skip, scale=0.7):
        density, color = field(points, samples.offsets, directions)
        rendered = field.render(points, samples, directions, "density", 1e-4)
        assert density.shape == (len(points),) and color.shape == (len(points), 3)
        (rendered.color.sum() + rendered.depth.sum() + rendered.opacity.square().sum()).backward()
        gradients = [p.grad for p in field.parameters()]
        results.append([density, color, field.density(points), *rendered, *gradients])
    for fused, plain in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain, rtol=2e-4, atol=2e-5)
    assert results[1][1].std() > 1e-3  # not a field that is the same everywhere


def test_rendering_is_compositing_the_samples() -> None:
    points, samples, directions = scene(1)
    field = fields(depth=2)[0]
    for opacity in ("density", "raw"):
        own = field.render(points, samples, directions, opacity, 0.0)
        general = Field.render(field, points, samples, directions, opacity, 0.0)
        for a, b in zip(own, general, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        assert own.opacity[1] == 0 and own.opacity[2] > own.opacity[3] > 0


def test_the_skip_layer_sees_the_position_again() -> None:
    field = HarmonicField(HarmonicOptions(width=8, depth=4, octaves=3, skip=2), seed=1)
    shapes = [layer.weight.shape[1] for layer in field.hidden]  # type: ignore[union-attr]
    embedded = 6 * 3 + 3
    assert shapes == [embedded, 8, 8 + embedded, 8]
    with torch.no_grad():
        field.hidden[1].weight.zero_()  # nothing but the skip carries the position on
    points, _, _ = scene()
    assert field.density(points).std() > 1e-3


def test_a_field_of_no_kind() -> None:
    with pytest.raises(NotImplementedError):
        Field().density(torch.zeros(1, 3))
    with pytest.raises(NotImplementedError):
        Field()(torch.zeros(1, 3), torch.tensor([0, 1]), torch.zeros(1, 3))
