"""Wavefront rendering against rendering everything: the same pixels, from no more samples than can be seen."""

import pytest
import torch
from torch import Tensor

from nerfkit.fields.field import Field
from nerfkit.fields.harmonic import HarmonicField, HarmonicOptions
from nerfkit.kernels.composite import Rendered
from nerfkit.kernels.march import Samples, positions
from nerfkit.volume.wavefront import WAVES, Waves, parts, render_waves

STOP = 1e-4


class Fog(Field):
    """Density ``thickness`` (1 + sin 9x), a color of position and direction; counts what it is asked for."""

    def __init__(self, thickness: float) -> None:
        super().__init__()
        self.thickness, self.asked = thickness, 0

    def density(self, positions: Tensor) -> Tensor:
        return self.thickness * (1 + (9 * positions[:, 0]).sin())

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        assert offsets[0] == 0 and offsets[-1] == len(positions) and len(offsets) == len(directions) + 1
        self.asked += len(positions)
        ray = torch.repeat_interleave(offsets.diff())
        return self.density(positions), (positions + directions[ray]).sigmoid()


def rays(counts: list[int], seed: int = 0) -> tuple[Samples, Tensor, Tensor]:
    """Rays with so many samples each, steps of uneven length, and their origins and directions."""
    g = torch.Generator().manual_seed(seed)
    origins = torch.rand(len(counts), 3, generator=g) - 0.5
    directions = torch.nn.functional.normalize(torch.randn(len(counts), 3, generator=g), dim=-1)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    ray = torch.repeat_interleave(torch.tensor(counts, dtype=torch.int64))
    number = torch.arange(len(ray)) - offsets[ray]
    start = 0.02 * number + 0.005 * torch.rand(len(ray), generator=g)
    return Samples(ray, start, start + 0.015, offsets), origins, directions


def looked(samples: Samples, origins: Tensor, directions: Tensor) -> tuple[Tensor, Samples, Tensor]:
    """What ``render_waves`` takes of rays."""
    return positions(samples, origins, directions), samples, directions


def everything(field: Field, samples: Samples, origins: Tensor, directions: Tensor) -> Rendered:
    return field.render(positions(samples, origins, directions), samples, directions, "density", STOP)


def needed(field: Fog, samples: Samples, origins: Tensor, directions: Tensor) -> Tensor:
    """(R,) samples of each ray that light reaches, one ray after the other."""
    depth = field.density(positions(samples, origins, directions)) * (samples.t_end - samples.t_start)
    found = []
    for a, b in zip(samples.offsets[:-1].tolist(), samples.offsets[1:].tolist(), strict=True):
        before = torch.cat([torch.zeros(1), depth[a:b].double().cumsum(0)[:-1]]) if b > a else torch.zeros(0)
        found.append(int((torch.exp(-before) >= STOP).sum()))
    return torch.tensor(found)


def close(found: Rendered, full: Rendered, samples: Samples) -> None:
    """Light behind ``STOP`` is all that may differ; in a depth it counts with its distance."""
    farthest = float(samples.t_end.max()) if len(samples.t_end) else 0.0
    for a, b, weight in zip(found, full, (1.0, 1.0, max(farthest, 1.0)), strict=True):
        torch.testing.assert_close(a, b, atol=1.01 * STOP * weight, rtol=0)


@pytest.mark.parametrize("waves", [Waves(1, 1), Waves(40, 3), Waves(100, 8), Waves(1 << 15, 8)])
@pytest.mark.parametrize("thickness", [0.0, 3.0, 60.0, 1e6])
def test_pixels_are_those_of_rendering_everything(waves: Waves, thickness: float) -> None:
    field = Fog(thickness)
    scene = rays([17, 0, 1, 64, 0, 33, 128, 5, 0])
    full = everything(field, *scene)
    field.asked = 0
    found, evaluated = render_waves(field, *looked(*scene), early_stop=STOP, waves=waves)
    close(found, full, scene[0])
    assert evaluated == field.asked <= len(scene[0].t_start)
    assert all(t[1] == 0 for t in (found.color[:, 0], found.opacity, found.depth))


def test_no_more_is_evaluated_than_is_needed() -> None:
    field, scene = Fog(40.0), rays([200] * 12 + [3])
    least = needed(field, *scene)
    assert least.min() >= 3 and least.sum() < 0.4 * len(scene[0].t_start)
    counts = scene[0].offsets.diff()
    for waves in (Waves(1, 1), Waves(1, 7), Waves(300, 4)):
        found, evaluated = render_waves(field, *looked(*scene), early_stop=STOP, waves=waves)
        close(found, everything(field, *scene), scene[0])
        given = torch.zeros_like(least)
        # By hand: every ray that needs more gives the same number of samples, cut at its own end.
        while (alive := given < least).any():
            each = max(waves.least, waves.samples // int(alive.sum()))
            given = torch.where(alive, torch.minimum(given + each, counts), given)
        assert evaluated == given.sum()
        assert evaluated == least.sum() or waves != Waves(1, 1)


def test_a_transparent_scene_is_seen_through_to_its_end() -> None:
    field, scene = Fog(0.0), rays([9, 30, 2])
    found, evaluated = render_waves(field, *looked(*scene), early_stop=STOP, waves=Waves(6, 2))
    assert evaluated == 41 and all((t == 0).all() for t in found)


@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0]])
def test_nothing_to_render(counts: list[int]) -> None:
    scene = rays(counts)
    for waves in (None, Waves(0, 1)):
        found, evaluated = render_waves(Fog(1.0), *looked(*scene), early_stop=STOP, waves=waves)
        assert evaluated == 0
        assert found.color.shape == (len(counts), 3) and found.opacity.shape == found.depth.shape == (len(counts),)
        assert all((t == 0).all() for t in found)


@pytest.mark.parametrize("most", [1, 40, 64, 10_000])
def test_parts_are_whole_rays_and_all_of_them(most: int) -> None:
    points, samples, directions = looked(*rays([17, 0, 1, 64, 0, 33, 0, 0]))
    found = list(parts(points, samples, directions, most))
    assert all(len(p) <= most or int((s.offsets.diff() > 0).sum()) == 1 for p, s, _ in found)
    assert torch.equal(torch.cat([p for p, _, _ in found]), points)
    assert torch.equal(torch.cat([d for _, _, d in found]), directions)
    assert torch.equal(torch.cat([s.offsets.diff() for _, s, _ in found]), samples.offsets.diff())
    for p, s, d in found:
        assert torch.equal(s.ray_index, torch.repeat_interleave(s.offsets.diff())) and len(d) == len(s.offsets) - 1
        assert len(p) == len(s.t_start) == len(s.t_end) == s.offsets[-1]


def test_one_long_ray() -> None:
    samples, origins, directions = rays([100_000])
    thin = samples._replace(t_start=samples.t_start * 1e-3, t_end=samples.t_end * 1e-3)
    for thickness in (0.5, 50.0):
        field = Fog(thickness)
        found, evaluated = render_waves(field, *looked(thin, origins, directions), early_stop=STOP)
        close(found, everything(field, thin, origins, directions), thin)
        reached = int(needed(field, thin, origins, directions))
        assert reached <= evaluated <= reached + WAVES["cpu"].samples


def test_raw_opacity_and_a_harmonic_field() -> None:
    field = HarmonicField(HarmonicOptions(width=8, depth=2, octaves=3, density_bias=1.0), seed=3)
    samples, origins, directions = rays([40, 0, 7, 90], seed=5)
    with torch.no_grad():
        full = field.render(positions(samples, origins, directions), samples, directions, "raw", STOP)
    found, evaluated = render_waves(field, *looked(samples, origins, directions), "raw", STOP, Waves(16, 4))
    close(found, full, samples)
    assert evaluated < len(samples.t_start)


def test_nan_stays_in_its_ray() -> None:
    class Spoiled(Fog):
        def density(self, positions: Tensor) -> Tensor:
            return torch.where(positions[:, 0] > 0.45, torch.nan, super().density(positions))

    samples, origins, directions = rays([20, 20])
    origins, directions = torch.tensor([[0.4, 0, 0], [-0.4, 0, 0]]), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    found, _ = render_waves(Spoiled(1.0), *looked(samples, origins, directions), early_stop=STOP, waves=Waves(8, 4))
    assert found.color[0].isnan().all() and found.opacity[0].isnan()
    assert found.color[1].isfinite().all() and found.opacity[1] > 0
