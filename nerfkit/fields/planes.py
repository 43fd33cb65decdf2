"""A radiance field of features on planes (Fridovich-Keil et al., "K-Planes", 2023), as a module with the weights."""

from dataclasses import dataclass
from typing import Any

import torch

from nerfkit.fields.features import FeatureField, FeatureOptions
from nerfkit.fields.field import FIELDS
from nerfkit.kernels.feature_field import MOST_CELLS, MOST_PLANES, PlaneSpec
from nerfkit.schema import option

INITIAL = 0.1, 0.5  # features start from uniform numbers between these, as the paper's: of 0 a product has no gradient
RATE = 3.0  # of the optimizer for the planes, a factor on the trainer's


@FIELDS.register
@dataclass
class PlanesOptions(FeatureOptions):
    """Features as products of three planes, and two small layers; see ``PlanesField``."""

    name: str = "planes"
    levels: int = option(3, "of three planes each, finer than those before", least=1, most=MOST_PLANES)
    features: int = option(16, "numbers at a node of a plane: 16 or 32", least=16, most=32)
    coarsest: int = option(32, "cells along a side of the first planes", least=1, most=MOST_CELLS)
    finest: int = option(128, "cells along a side of the last planes", least=1, most=MOST_CELLS)

    def check(self) -> None:
        super().check()
        self.expect("features", self.features in (16, 32), "16 or 32")

    def spec(self) -> PlaneSpec:
        return PlaneSpec(self.levels, self.features, self.coarsest, self.finest)

    def build(self, *, scale: float = 1.0, seed: int = 0, device: torch.device | str = "cpu") -> "PlanesField":
        """As ``FieldOptions.build``."""
        self.check_device(device)
        return PlanesField(self, scale=scale, seed=seed)


class PlanesField(FeatureField):
    """A ``FeatureField`` whose features are products of three planes.

    Args:
        options: the sizes.
        scale, seed: as ``FeatureField`` takes them.
    """

    def __init__(self, options: PlanesOptions | None = None, *, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__(PlanesOptions() if options is None else options, INITIAL, scale=scale, seed=seed)

    def parameter_groups(self) -> list[dict[str, Any]]:
        layers, table = super().parameter_groups()
        return [layers, {**table, "scale": RATE}]
