"""Bad numbers at the doors of the kernels: ``python -m tests.kernels.fuzz SEED TRIES``, a process that must not crash.

Every try calls one public operation with random sizes, of which some do not fit, with numbers of rays, vertices, faces
and pixels out of range, with NaN, infinity and huge values. It must return, or raise a ValueError that begins with the
name of what is wrong. The exit code is 1 where something else is raised; a crash speaks for itself.
"""

import random
import re
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nerfkit.kernels import (
    antialias,
    composite,
    edge_gradient,
    feature_field,
    harmonic_field,
    interpolate,
    lazy_adam,
    march,
    pixel_loss,
    rasterize,
    sample_rays,
    shape_terms,
    soft_mask,
    texel_ties,
    texture,
)

NASTY = (-(2**63), -(10**7), -2, -1, 0, 1, 2, 3, 5, 10**7, 2**31, 2**62)
ODD = (float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 1e-30, 0.0)


class Dice:
    """Random arguments; about every second call gets none that is bad."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.spoil = self.random.random() < 0.5

    def odd(self, share: float = 0.15) -> bool:
        return self.spoil and self.random.random() < share

    def size(self) -> int:
        return self.random.choice((0, 1, 2, 3, 7))

    def floats(self, *shape: int) -> Tensor:
        sizes = [size + 1 if self.odd(0.04) else size for size in shape]
        values = torch.randn(sizes, generator=self.generator)
        for _ in range(3 if self.odd() and values.numel() else 0):
            values.view(-1)[self.random.randrange(values.numel())] = self.random.choice(ODD)
        return values.double() if self.odd(0.03) else values

    def numbers(self, below: int, *shape: int, least: int = 0, dtype: torch.dtype = torch.int64) -> Tensor:
        sizes = [size + 1 if self.odd(0.04) else size for size in shape]
        values = torch.randint(least, max(below, least + 1), sizes, generator=self.generator)
        for _ in range(2 if (self.odd(0.4) or below <= least) and values.numel() else 0):
            values.view(-1)[self.random.randrange(values.numel())] = self.random.choice(NASTY)
        return values.to(torch.int64 if self.odd(0.05) else dtype)

    def offsets(self, rays: int, samples: int) -> Tensor:
        ends = self.numbers(samples + 1, max(rays - 1, 0)).sort().values if not self.odd(0.3) else None
        inner = self.numbers(samples + 1, max(rays - 1, 0)) if ends is None else ends
        last = [samples] if rays else []
        return torch.cat([torch.zeros(1, dtype=torch.int64), inner, torch.tensor(last, dtype=torch.int64)])


def packed(d: Dice) -> tuple[Any, ...]:
    rays, samples = d.size(), d.size()
    start = d.floats(samples)
    return rays, samples, march.Samples(d.numbers(rays, samples), start, start + 0.1, d.offsets(rays, samples))


def field_weights(d: Dice, spec: harmonic_field.FieldSpec) -> harmonic_field.FieldWeights:
    def layer(out: int, into: int) -> tuple[Tensor, Tensor]:
        return d.floats(out, into), d.floats(out)

    hidden = (layer(32, spec.position_size), layer(32, 32))
    return harmonic_field.FieldWeights(
        hidden, layer(1, 32), layer(32, 32), d.floats(32, spec.direction_size), layer(3, 32)
    )


def features_case(d: Dice) -> object:
    rays, samples, packs = packed(d)
    finest = d.random.choice(NASTY) if d.odd(0.1) else 4
    hashed, log2_table = d.random.random() < 0.5, d.random.choice((2, 5))
    spec: feature_field.Spec = feature_field.PlaneSpec(2, 16, 2, finest)
    spec = feature_field.FeatureSpec(2, 2, log2_table, 2, finest) if hashed else spec
    width = d.random.choice((1, 16, 20))
    rows = spec.rows if 2 <= spec.finest <= 4096 else 8
    hidden, heads = (d.floats(width, spec.size), d.floats(width)), (d.floats(1, width), d.floats(1))
    feature, color = (d.floats(width, width), d.floats(width)), (d.floats(3, width), d.floats(3))
    table = d.floats(rows, spec.features)
    weights = feature_field.FeatureWeights(table, hidden, heads, feature, d.floats(width, 16), color)
    x, directions = d.floats(samples, 3), d.floats(rays, 3)
    inputs = [t for t in (x, directions, *weights.flat()) if d.random.random() < 0.7]
    for tensor in inputs:
        tensor.requires_grad_()
    found: Any = [
        lambda: (feature_field.feature_density(x, weights, spec),),
        lambda: feature_field.feature_field(x, packs.offsets, directions, weights, spec),
        lambda: feature_field.feature_render(x, packs, directions, weights, spec, early_stop=0.1),
    ][d.random.randrange(3)]()
    wanted = [t.sum() for t in found if t.requires_grad]
    return torch.autograd.grad(wanted, inputs, allow_unused=True) if wanted else found


def optimizer_case(d: Dice) -> object:
    size = d.random.choice((0, 1, 15, 40))
    state = [d.floats(size) for _ in range(3)] + [d.floats(size).abs()]
    if d.odd(0.1):
        state[d.random.randrange(4)] = d.floats(2 * size)[::2]
    lazy_adam.lazy_adam(*state, d.random.choice(NASTY) if d.odd() else 1, 0.1, (0.9, 0.99), 1e-15)
    return state


def rays_case(d: Dice) -> object:
    rays, samples, packs = packed(d)
    spec = harmonic_field.FieldSpec(octaves=2, direction_octaves=1)
    which = d.random.randrange(5)
    if which == 0:
        return composite.composite(d.floats(samples), d.floats(samples, 3), packs.t_start, packs.t_end, packs.offsets)
    if which == 1:
        return march.positions(packs, d.floats(rays, 3), d.floats(rays, 3))
    if which == 2:
        weights, directions = field_weights(d, spec), d.floats(rays, 3)
        return harmonic_field.harmonic_field(d.floats(samples, 3), packs.offsets, directions, weights, spec)
    if which == 3:
        weights, directions = field_weights(d, spec), d.floats(rays, 3)
        return harmonic_field.harmonic_render(d.floats(samples, 3), packs, directions, weights, spec)
    near, far = march.intersect_box(origins := d.floats(rays, 3), directions := d.floats(rays, 3))
    grid = torch.rand(4, 4, 4, generator=d.generator) > 0.5
    return march.march(origins, directions, near, far, grid, 0.1, max_samples_per_ray=50)


def pixels_case(d: Dice) -> object:
    views, rays = d.size(), d.size()
    poses, lenses = d.floats(views, 3, 4), d.floats(views, 4)
    if d.random.random() < 0.5:
        row, column = d.numbers(10**6, rays), d.numbers(10**6, rays)
        return sample_rays.rays_from_pixels(poses, lenses, d.numbers(views, rays), row, column)
    return sample_rays.sample_rays(
        poses, lenses, d.size(), d.size(), rays, seed=1, step=2, views=d.numbers(views, d.size())
    )


def photos_case(d: Dice) -> object:
    views, rays = d.size(), d.size()
    if d.random.random() < 0.5:
        color, opacity = d.floats(rays, 3).requires_grad_(), d.floats(rays).requires_grad_()
        weight = d.random.choice((0.0, 0.5))
        found = pixel_loss.pixel_loss(color, opacity, d.floats(rays, 4), d.floats(rays, 3), 0.1, weight)
        terms = [found.color] if found.silhouette is None else [found.color, found.silhouette]
        return torch.autograd.grad(sum(terms), (color, opacity), allow_unused=True)
    sizes = [(d.random.choice((1, 2, 40)), d.random.choice((1, 3, 50))) for _ in range(views)]
    counts = [height * width for height, width in sizes]
    total, widths = sum(counts), torch.tensor([width for _, width in sizes], dtype=torch.int64)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    for values in (offsets, widths):
        if d.odd() and len(values):
            values[d.random.randrange(len(values))] = d.random.choice(NASTY)
    chosen = sample_rays.PixelSet(total + 1 if d.odd(0.05) else total)
    chosen.add(d.random.choice((-1, 1, 10**7)) if d.odd() else 0, torch.rand(total, generator=d.generator) > 0.5)
    part = (d.random.choice(NASTY), d.random.choice(NASTY)) if d.odd() else None
    photos = d.numbers(256, total, 4).to(torch.uint8)
    poses, lenses, count = d.floats(views, 3, 4), d.floats(views, 4), d.random.choice(NASTY) if d.odd() else rays
    return sample_rays.sample_photos(
        poses, lenses, photos, offsets, widths, chosen, min(count, 10**6), seed=1, step=2, among=part
    )


def mesh_case(d: Dice) -> object:
    views, vertices, count, height, width = d.random.choice((1, 2)), d.size(), d.size(), d.size(), d.size()
    points = d.floats(views, vertices, 3).requires_grad_()
    faces, face = d.numbers(vertices, count, 3), d.numbers(count, views, height, width, least=-1, dtype=torch.int32)
    image = d.floats(views, height, width, 3)
    edges = d.numbers(vertices, d.size(), 4)
    pairs = d.numbers(min(views * height * width, vertices), 3, 4)
    calls: list[Callable[[], Any]] = [
        lambda: rasterize.rasterize(points, faces, height, width),
        lambda: interpolate.interpolate(face, d.floats(views, height, width, 3), faces, d.floats(vertices, 2)),
        lambda: antialias.antialias(image, points, faces, edges, face),
        lambda: antialias.blend(image, points, pairs, d.floats(3).double().abs()),
        lambda: antialias.blend_pixels(image, points, pairs),
        lambda: soft_mask.dibr_mask(points, faces, face),
        lambda: soft_mask.soft_rasterize(points, faces, d.floats(vertices, 3), height, width),
        lambda: edge_gradient.edge_grad(image, points, faces, face, d.floats(views, height, width, 3)),
        lambda: edge_gradient.neural_renderer(image, points, faces, face),
        lambda: shape_case(d, points[0], faces),
    ]
    result = d.random.choice(calls)()
    wanted = [
        t for t in (result if isinstance(result, tuple) else (result,)) if isinstance(t, Tensor) and t.requires_grad
    ]
    return torch.autograd.grad([t.sum() for t in wanted], points, allow_unused=True) if wanted else result


def shape_case(d: Dice, vertices: Tensor, faces: Tensor) -> object:
    count, edges, pairs = len(vertices), d.size(), d.size()
    ends, beside = d.numbers(count, edges, 2), d.numbers(len(faces), pairs, 2)
    lists = shape_terms.Lists.of(faces, ends, beside, d.floats(pairs), count)
    return shape_terms.shape_terms(vertices, lists, d.floats(count), d.floats(edges))


def texture_case(d: Dice) -> object:
    if d.random.random() < 0.3:
        height, width = d.size(), d.size()
        tied = d.floats(height, width, 3).requires_grad_()
        value = texel_ties.texel_ties(tied, d.floats(4, height, width), d.random.choice((0.02, 1.0, 0.0, -1.0)))
        return torch.autograd.grad(value, tied)
    image, places = d.floats(d.size(), d.size(), 2).requires_grad_(), d.size()
    found = texture.sample_texture(image, d.floats(places, 2), None, d.floats(places) if d.spoil else None)
    return torch.autograd.grad(found.sum(), image)


CASES = (
    rays_case,
    rays_case,
    features_case,
    pixels_case,
    photos_case,
    mesh_case,
    mesh_case,
    texture_case,
    optimizer_case,
)


def main(seed: int, tries: int) -> int:
    """Runs the tries; the number of those that raised what they must not."""
    torch.set_num_threads(1)
    bad, refused = 0, 0
    for number in range(seed, seed + tries):
        dice = Dice(number)
        case = dice.random.choice(CASES)
        try:
            case(dice)
        except ValueError as error:
            refused += 1
            name = str(error).split(":")[0].split(" ")[0]
            if not re.fullmatch(r"[a-z_.]+(\[\d\])*", name):
                bad += 1
                print(f"{number}: {case.__name__}: no argument is named: {error}")
        except Exception as error:
            bad += 1
            print(f"{number}: {case.__name__}: {type(error).__name__}: {str(error)[:150]}")
    print(f"{tries} tries, {refused} refused, {bad} wrongly")
    return bad


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1]), int(sys.argv[2])), 1))
