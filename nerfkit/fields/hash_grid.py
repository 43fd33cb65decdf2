"""A radiance field of features in hashed grids (Mueller et al. 2022), as a module that holds the weights."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from nerfkit.fields.features import FeatureField, FeatureOptions
from nerfkit.fields.field import FIELDS
from nerfkit.kernels.feature_field import MOST_LEVELS, MOST_ROWS, FeatureSpec
from nerfkit.schema import option

INITIAL = 1e-4  # features start from uniform numbers between minus this and this, as the paper's


@FIELDS.register
@dataclass
class HashGridOptions(FeatureOptions):
    """Features in hashed grids and two small layers; see ``HashGridField``."""

    suits: ClassVar[dict[str, dict[str, Any]]] = {
        "best": {"surface": "auto", "width": 64, "log2_table": 18, "finest": 512}
    }

    name: str = "hash_grid"
    levels: int = option(8, "grids, each finer than the one before", least=1, most=MOST_LEVELS)
    features: int = option(2, "numbers at a node of a grid: 2, 4 or 8", least=2, most=8)
    log2_table: int = option(16, "rows of a level at the most, as a power of 2", least=4, most=MOST_ROWS)

    def check(self) -> None:
        super().check()
        self.expect("features", self.features in (2, 4, 8), "2, 4 or 8")

    def spec(self) -> FeatureSpec:
        return FeatureSpec(self.levels, self.features, self.log2_table, self.coarsest, self.finest)

    def build(self, *, scale: float = 1.0, seed: int = 0, device: torch.device | str = "cpu") -> "HashGridField":
        """As ``FieldOptions.build``."""
        self.check_device(device)
        return HashGridField(self, scale=scale, seed=seed)


class HashGridField(FeatureField):
    """A ``FeatureField`` of grids whose fine levels are hashed.

    Args:
        options: the sizes.
        scale, seed: as ``FeatureField`` takes them.
    """

    def __init__(self, options: HashGridOptions | None = None, *, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__(HashGridOptions() if options is None else options, (-INITIAL, INITIAL), scale=scale, seed=seed)
