"""What fields of interpolated features share: two small layers behind an encoding whose numbers stand in one table."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from nerfkit.cameras import Cameras
from nerfkit.fields.field import Field, FieldOptions
from nerfkit.kernels.composite import Rendered
from nerfkit.kernels.feature_field import (
    HARMONICS,
    MOST_CELLS,
    MOST_WIDTH,
    FeatureWeights,
    Spec,
    feature_density,
    feature_field,
    feature_render,
)
from nerfkit.kernels.feature_view import Surface, feature_view
from nerfkit.kernels.march import Samples
from nerfkit.schema import option

BETAS = (0.9, 0.99)  # of Adam, as those of Mueller et al. 2022


@dataclass
class FeatureOptions(FieldOptions):
    """Base of the options of such fields; ``spec`` is what they come to."""

    trainer: ClassVar[dict[str, Any]] = {"ema": 0.0}

    name: str = ""
    levels: int = option(1, "grids, each finer than the one before", least=1)
    features: int = option(2, "numbers at a node of a grid", least=2)
    coarsest: int = option(16, "cells along a side of the first grid", least=1, most=MOST_CELLS)
    finest: int = option(256, "cells along a side of the last grid", least=1, most=MOST_CELLS)
    width: int = option(32, "columns of the hidden layer and of the color layer", least=1)
    density_bias: float = option(0.0, "initial bias of the raw density")

    def check(self) -> None:
        super().check()
        self.expect("finest", self.finest >= self.coarsest, f"at least field.coarsest={self.coarsest}")

    def check_device(self, device: torch.device | str) -> None:
        """As ``FieldOptions.check_device``: a width that the GPU's kernels are not made for is refused."""
        if torch.device(device).type != "cpu":
            self.expect("width", self.width <= MOST_WIDTH, f"{MOST_WIDTH} at most on a GPU, or device=cpu")

    def spec(self) -> Spec:
        """The encoding's sizes."""
        raise NotImplementedError


class FeatureField(Field):
    """Density and view-dependent color from interpolated features (``nerfkit.kernels.feature_field`` has the formula).

    Args:
        options: the sizes.
        initial: of the table: uniform numbers between these two.
        scale: positions are multiplied by it; the encoding lies over [-1,1]^3 of what that gives.
        seed: of the initial weights: Kaiming uniform for ReLU and no bias in ``hidden`` and ``feature``, torch's own
            elsewhere.
    """

    def __init__(
        self, options: FeatureOptions, initial: tuple[float, float], *, scale: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__()
        self.scale, self.mirrors = scale, options.surface == "sdf"
        self.spec, width = options.spec(), options.width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.table = nn.Parameter(torch.empty(self.spec.rows, self.spec.features).uniform_(*initial))
            self.hidden = nn.Linear(self.spec.size, width)
            self.density_head = nn.Linear(width, 1)
            self.feature = nn.Linear(width, width)
            self.direction = nn.Linear(HARMONICS * (1 + self.mirrors), width, bias=False)
            self.color = nn.Linear(width, 3)
            for layer in (self.hidden, self.feature):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.constant_(self.density_head.bias, options.density_bias)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The table apart: a step reaches few of its rows."""
        layers = [p for name, p in self.named_parameters() if name != "table"]
        return [{"params": layers, "betas": BETAS}, {"params": [self.table], "betas": BETAS, "lazy": True}]

    def weights(self) -> FeatureWeights:
        """The weights as the kernel takes them."""
        hidden, density, feature, color = (
            (layer.weight, layer.bias) for layer in (self.hidden, self.density_head, self.feature, self.color)
        )
        return FeatureWeights(self.table, hidden, density, feature, self.direction.weight, color)

    def density(self, positions: Tensor) -> Tensor:
        """sigma (S,) per unit length at positions (S,3)."""
        return feature_density(self._scaled(positions), self.weights(), self.spec)

    def forward(
        self, positions: Tensor, offsets: Tensor, directions: Tensor, mirrored: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As ``Field.forward``; ``mirrored`` (S,3) where the field ``mirrors``."""
        return feature_field(self._scaled(positions), offsets, directions, self.weights(), self.spec, mirrored)

    def render(
        self,
        positions: Tensor,
        samples: Samples,
        directions: Tensor,
        opacity: Literal["density", "raw"] = "density",
        early_stop: float = 0.0,
    ) -> Rendered:
        """As ``Field.render``, in one kernel."""
        return feature_render(
            self._scaled(positions), samples, directions, self.weights(), self.spec, opacity=opacity,
            early_stop=early_stop,
        )  # fmt: skip

    def view(
        self,
        cameras: Cameras,
        view: int,
        occupancy: Tensor,
        step_size: float,
        early_stop: float,
        surface: Surface | None = None,
    ) -> Rendered | None:
        """As ``Field.view``; ``surface`` where the field ``mirrors``."""
        if self.scale != 1:
            return None
        camera = cameras.camera_to_world[view], cameras.intrinsics[view], *cameras.sizes[view]
        return feature_view(
            *camera, occupancy, step_size, self.weights(), self.spec, surface, early_stop=early_stop
        )  # fmt: skip

    def _scaled(self, positions: Tensor) -> Tensor:
        return positions if self.scale == 1 else positions * self.scale
