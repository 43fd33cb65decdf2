"""Fields of features, in hashed grids and on planes: the kernels and PyTorch, on the rays of ``gpu_fields``.

Of F features in all and width w the layers' products are

    forward = 2 (F w + w^2 + 4 w)      backward = 2 forward: the features need a gradient

in float32, which no tensor core has. Look-ups count no FLOPs, and the table as bytes, read once by each pass.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.gpu_fields import Case, Pixels, Render
from benchmarks.gpu_floors import Flops
from nerfkit.kernels import use
from nerfkit.kernels.feature_field import HARMONICS, FeatureSpec, FeatureWeights, PlaneSpec, feature_render

OPAQUE = 3.0  # bias of the raw density: a ray of seven samples blocks about half of the light


class FeatureShape(NamedTuple):
    """A field of features and the width of its layers, in place of a ``gpu_fields.Shape``."""

    spec: FeatureSpec | PlaneSpec
    width: int

    @property
    def flops(self) -> Flops:
        forward = 2 * (self.spec.size * self.width + self.width * self.width + 4 * self.width)
        return Flops(forward, 2 * forward)

    @property
    def precision(self) -> str:
        return "fp32"

    @property
    def checked_in(self) -> torch.dtype:
        return torch.float64


SHAPES: Mapping[str, FeatureShape] = {
    "hash_grid": FeatureShape(FeatureSpec(), 32),
    "planes": FeatureShape(PlaneSpec(), 32),
}


def new_weights(shape: FeatureShape, device: str | torch.device) -> FeatureWeights:
    """Seeded weights, of a scale that keeps features near 1, that want gradients."""
    generator = torch.Generator().manual_seed(0)
    spec, width = shape.spec, shape.width

    def layer(outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
        matrix = torch.randn(outputs, inputs, generator=generator) * math.sqrt(2 / inputs)
        return matrix.to(device).requires_grad_(), torch.zeros(outputs, device=device, requires_grad=True)

    table = (0.5 + torch.rand(spec.rows, spec.features, generator=generator)).to(device).requires_grad_()
    hidden, density, feature = layer(width, spec.size), layer(1, width), layer(width, width)
    with torch.no_grad():
        density[0].mul_(0.1)  # so that no sample is so dense that gradients cancel
        density[1].fill_(OPAQUE)
    return FeatureWeights(table, hidden, density, feature, layer(width, HARMONICS)[0], layer(3, width))


def one_kernel(case: Case) -> Pixels:
    """From positions to pixels by the project's kernels."""
    x, samples, directions = case.batch
    return feature_render(x, samples, directions, case.weights, case.shape.spec)[:2]  # type: ignore[arg-type]


def plain(case: Case) -> Pixels:
    """By the project's references in plain PyTorch, in the precision of their inputs: the oracle."""
    with use("reference"):
        return one_kernel(case)


RENDERS: Mapping[str, Callable[[], Render]] = {"one_kernel": lambda: one_kernel, "pytorch": lambda: plain}
