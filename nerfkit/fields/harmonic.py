"""The harmonic-embedding MLP radiance field (Mildenhall et al. 2020), as a module that holds the weights."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from nerfkit.fields.field import Field
from nerfkit.kernels.composite import Rendered
from nerfkit.kernels.harmonic_field import (
    FieldSpec,
    FieldWeights,
    harmonic_density,
    harmonic_field,
    harmonic_render,
    reference,
)
from nerfkit.kernels.march import Samples


class HarmonicField(Field):
    """Density and view-dependent color from an MLP over harmonic embeddings.

    Args:
        width: columns of every layer; depth: number of trunk layers.
        octaves, direction_octaves, omega0, append_input, activation, density_activation, beta, skip, precision: see
            ``FieldSpec``.
        density_bias: initial bias of the raw density.
        fused: False computes the field by its plain PyTorch reference, on any device and for any width: the same
            function to rounding. On a GPU bf16 and fp16 are then autocast's.
        store: on a GPU, the fused kernel keeps the layers' outputs for the backward: faster, and more memory.
        scale: positions are multiplied by it before they are embedded.
        seed: of the initial weights: Kaiming uniform for ReLU and no bias in ``hidden`` and ``feature``, torch's own
            elsewhere.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        depth: int = 3,
        octaves: int = 8,
        direction_octaves: int = 3,
        omega0: float = math.pi,
        append_input: bool = True,
        activation: str = "relu",
        density_activation: str = "exp",
        beta: float = 10.0,
        skip: int | None = None,
        precision: str = "fp32",
        density_bias: float = 0.0,
        fused: bool = True,
        store: bool = False,
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.scale, self.fused, self.store = scale, fused, store
        self.spec = FieldSpec(
            octaves,
            direction_octaves,
            omega0,
            append_input,
            activation,
            density_activation,
            beta,
            skip=skip,
            precision=precision,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inputs = [self.spec.position_size] + [width] * (depth - 1)
            if skip is not None:
                inputs[skip] += self.spec.position_size
            self.hidden = nn.ModuleList(nn.Linear(size, width) for size in inputs)
            self.density_head = nn.Linear(width, 1)
            self.feature = nn.Linear(width, width)
            self.direction = nn.Linear(self.spec.direction_size, width, bias=False)
            self.color = nn.Linear(width, 3)
            for layer in (*self.hidden, self.feature):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.constant_(self.density_head.bias, density_bias)

    def weights(self) -> FieldWeights:
        """The weights as the kernel takes them."""
        return FieldWeights(
            tuple((layer.weight, layer.bias) for layer in self.hidden),  # type: ignore[misc]
            (self.density_head.weight, self.density_head.bias),
            (self.feature.weight, self.feature.bias),
            self.direction.weight,
            (self.color.weight, self.color.bias),
        )

    def density(self, positions: Tensor) -> Tensor:
        """sigma (S,) per unit length at positions (S,3)."""
        if self.fused:
            return harmonic_density(self._scaled(positions), self.weights(), self.spec)
        with self._autocast(positions):
            return reference.harmonic_density(self._scaled(positions), self.weights(), self.spec).to(positions.dtype)

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Density (S,) and color (S,3) of packed samples: positions (S,3), offsets (R+1,), directions (R,3)."""
        if self.fused:
            return harmonic_field(self._scaled(positions), offsets, directions, self.weights(), self.spec)
        ray_index = torch.repeat_interleave(offsets.diff(), output_size=len(positions))  # (S,)
        with self._autocast(positions):
            density, color = reference.harmonic_field(
                self._scaled(positions), ray_index, directions, self.weights(), self.spec
            )
        return density.to(positions.dtype), color.to(positions.dtype)

    def render(
        self,
        positions: Tensor,
        samples: Samples,
        directions: Tensor,
        opacity: Literal["density", "raw"] = "density",
        early_stop: float = 0.0,
    ) -> Rendered:
        """As ``Field.render``; where ``fused``, in one kernel on a GPU."""
        if not self.fused:
            return super().render(positions, samples, directions, opacity, early_stop)
        return harmonic_render(
            self._scaled(positions),
            samples,
            directions,
            self.weights(),
            self.spec,
            opacity=opacity,
            early_stop=early_stop,
            store=self.store,
        )

    def _scaled(self, positions: Tensor) -> Tensor:
        return positions if self.scale == 1 else positions * self.scale

    def _autocast(self, positions: Tensor) -> torch.autocast:
        """The unfused path's precision: the matrix products of bf16 and fp16 on a GPU, float32 elsewhere."""
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        kind = kinds.get(self.spec.precision) if positions.is_cuda else None
        return torch.autocast(positions.device.type, dtype=kind, enabled=kind is not None)
