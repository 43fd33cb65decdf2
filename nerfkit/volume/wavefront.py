"""Wavefront rendering with compaction: a picture costs what its visible samples cost.

All rays are marched once, which asks no network. Then, wave after wave, each ray that still lets light through gives
its next few samples to the field. With a wave's color c, opacity a and depth z of a ray, behind the transmittance T of
the waves before it,

    color += T c,    opacity += T a,    depth += T z,    T *= 1 - a,

and a ray leaves once T is below ``early_stop`` or its samples are used up. As rays leave, the others give more samples
at once, so that a wave stays about full.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nerfkit.fields.field import Field
from nerfkit.kernels.composite import Rendered
from nerfkit.kernels.march import Samples, trust_samples


class Waves(NamedTuple):
    """How a wave is filled: ``samples`` in all, but at least ``least`` (or what is left) of every ray in it.

    Fewer samples than ``samples`` altogether are one wave.
    """

    samples: int
    least: int


# A wave of a GPU must be worth its launches and the wait for its size; on a CPU memory bounds it.
WAVES = {"cpu": Waves(1 << 17, 8), "cuda": Waves(1 << 20, 8)}


@torch.no_grad()
def render_waves(
    field: Field,
    points: Tensor,
    samples: Samples,
    directions: Tensor,
    opacity: Literal["density", "raw"] = "density",
    early_stop: float = 0.0,
    waves: Waves | None = None,
) -> tuple[Rendered, int]:
    """What ``field.render`` makes of the samples, without evaluating those that nothing can be seen of.

    Whether a ray has ended is looked at between waves, so color and opacity differ from those of ``field.render`` by
    no more than ``early_stop``, and depth by that times the ray's length. Without gradients.

    Args:
        field: what is rendered.
        points: (S,3), the middles of the samples.
        samples: of R rays.
        directions: (R,3).
        opacity: as ``composite`` takes it.
        early_stop: a ray whose transmittance is below it has ended.
        waves: None takes those of the device.

    Returns:
        ``Rendered`` and the number of samples that the field was asked for.
    """
    waves = WAVES.get(directions.device.type, WAVES["cpu"]) if waves is None else waves
    first, last = samples.offsets[:-1], samples.offsets[1:]  # (R,), the next sample and the end of each ray
    alive = (last > first).nonzero()[:, 0]  # (A,)
    first, last, at = first[alive], last[alive], directions[alive]
    color, light = directions.new_zeros(len(directions), 3), directions.new_ones(len(directions))  # (R, 3), (R,): T
    depth = directions.new_zeros(len(directions))
    if len(points) <= waves.samples and len(alive):
        offsets = torch.cat([first, last[-1:]])  # rays without samples between them take none
        ray = torch.repeat_interleave(last - first, output_size=len(points))  # (S,)
        wave = trust_samples(Samples(ray, samples.t_start, samples.t_end, offsets))
        seen = field.render(points, wave, at, opacity, early_stop)
        whole = Rendered(color, torch.zeros_like(light), depth)
        for values, part in zip(whole, seen, strict=True):
            values.index_copy_(0, alive, part)
        return whole, len(points)
    evaluated = 0
    while len(alive):
        taken = (last - first).clamp_max(max(waves.least, waves.samples // len(alive)))  # (A,)
        place, wave = _next_samples(points, samples, first, taken)
        seen = field.render(place, wave, directions[alive], opacity, early_stop)
        behind = light[alive]  # (A,)
        color[alive] += behind[:, None] * seen.color
        depth[alive] += behind * seen.depth
        behind = behind * (1 - seen.opacity)
        light[alive] = behind
        evaluated += len(place)
        first = first + taken
        going = ((first < last) & (behind >= early_stop)).nonzero()[:, 0]
        alive, first, last = alive[going], first[going], last[going]
    return Rendered(color, 1 - light, depth), evaluated


def _next_samples(points: Tensor, samples: Samples, first: Tensor, taken: Tensor) -> tuple[Tensor, Samples]:
    """The samples first[a] to first[a] + taken[a] - 1 of each ray a, packed anew, and their points."""
    offsets = torch.cat([taken.new_zeros(1), taken.cumsum(0)])  # (A+1,)
    count = int(offsets[-1])
    ray = torch.repeat_interleave(taken, output_size=count)  # (N,)
    index = torch.arange(count, device=ray.device) + (first - offsets[:-1])[ray]  # (N,)
    start, end = samples.t_start[index], samples.t_end[index]
    return points[index], trust_samples(Samples(ray, start, end, offsets))


def parts(points: Tensor, samples: Samples, directions: Tensor, most: int) -> Iterator[tuple[Tensor, Samples, Tensor]]:
    """Points, samples and directions of rays in turn, of as many whole rays as have ``most`` samples; one at least."""
    offsets, first = samples.offsets, 0
    while first < len(directions):
        begin = int(offsets[first])
        end = max(int(torch.searchsorted(offsets, begin + most, right=True)) - 1, first + 1)
        here = slice(begin, int(offsets[end]))
        ray, start, stop = (t[here] for t in samples[:3])
        part = trust_samples(Samples(ray - first, start, stop, offsets[first : end + 1] - begin))
        yield points[here], part, directions[first:end]
        first = end
