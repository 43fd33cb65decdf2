"""The harmonic-embedding MLP radiance field (Mildenhall et al. 2020), as a module that holds the weights."""

import math
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from nerfkit.fields.field import FIELDS, Field, FieldOptions
from nerfkit.kernels.composite import Rendered
from nerfkit.kernels.harmonic_field import (
    ACTIVATIONS,
    DENSITY_ACTIVATIONS,
    PRECISIONS,
    FieldSpec,
    FieldWeights,
    harmonic_density,
    harmonic_field,
    harmonic_render,
    reference,
)
from nerfkit.kernels.harmonic_field.packing import DEPTHS, MOST_OCTAVES, WIDTHS
from nerfkit.kernels.march import Samples
from nerfkit.schema import option


@FIELDS.register
@dataclass
class HarmonicOptions(FieldOptions):
    """Harmonic-embedding MLP; see ``HarmonicField``."""

    suits: ClassVar[dict[str, dict[str, Any]]] = {"gpu": {"width": 128, "depth": 4, "octaves": 10}}

    name: str = "harmonic"
    width: int = option(64, "columns of every layer", least=1)
    depth: int = option(3, "hidden layers", least=1)
    octaves: int = option(8, "of positions", least=1, most=MOST_OCTAVES)
    direction_octaves: int = option(3, "of directions", least=1, most=MOST_OCTAVES)
    omega0: float = option(math.pi, "lowest angular frequency, radians per normalized unit", above=0)
    append_input: bool = option(True, "the position itself beside its harmonics")
    activation: str = option("relu", "of the layers", choices=ACTIVATIONS)
    density_activation: str = option("exp", "of the density", choices=DENSITY_ACTIVATIONS)
    beta: float = option(10.0, "sharpness of softplus", above=0)
    density_bias: float = option(0.0, "initial bias of the raw density")
    skip: int | None = option(None, "hidden layer, from 0, that is fed the embedding again; null: none", least=1)
    precision: str = option(
        "auto",
        "of matrix products; auto: bf16 where the GPU or CPU (AVX512-BF16) has it, else fp32; "
        "a CPU takes all but bf16 of fused relu fields as fp32",
        choices=("auto", *PRECISIONS),
    )
    fused: bool = option(True, "false: the plain PyTorch field, the same to rounding, of any width on a GPU")
    store: bool = option(False, "fused on a GPU: keep the layers' outputs for the backward; faster, more memory")

    def check(self) -> None:
        super().check()
        layers = f"a hidden layer from 1 to {self.depth - 1}, counted from 0, or null" if self.depth > 1 else "null"
        self.expect("skip", self.skip is None or self.skip < self.depth, layers)

    def check_device(self, device: torch.device | str) -> None:
        """As ``FieldOptions.check_device``: a precision or a size that the fused kernel is not made for is refused."""
        if torch.device(device).type == "cpu":
            return
        self.expect(
            "precision",
            self.precision != "bf16" or _has_bf16(torch.device(device)),
            "auto, fp32, tf32 or fp16: this GPU has no bf16",
        )
        if not self.fused:
            plain = self.precision not in ("tf32", "fp16")
            self.expect("precision", plain, "auto, fp32 or bf16 (tf32 and fp16 only with field.fused=true)")
            return
        for key, sizes in (("width", WIDTHS), ("depth", DEPTHS)):
            known = f"on a GPU one of {', '.join(map(str, sizes))}; field.fused=false takes any"
            self.expect(key, getattr(self, key) in sizes, known)

    def for_rendering(self, device: torch.device | str) -> "HarmonicOptions":
        """As ``device`` can compute a field that may have been trained on another one.

        Where the device's fused kernel is not made for the field's sizes, the plain field is taken: the same to
        rounding.
        """
        if torch.device(device).type == "cpu" or (self.width in WIDTHS and self.depth in DEPTHS):
            return self
        return replace(self, fused=False, precision="auto")

    def on(self, device: torch.device | str) -> "HarmonicOptions":
        """As ``FieldOptions.on``: which precision auto is."""
        if self.precision != "auto":
            return self
        return replace(self, precision="bf16" if _has_bf16(torch.device(device)) else "fp32")

    def build(self, *, scale: float = 1.0, seed: int = 0, device: torch.device | str = "cpu") -> "HarmonicField":
        """As ``FieldOptions.build``."""
        self.check_device(device)
        return HarmonicField(self.on(device), scale=scale, seed=seed)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cpu":
        return import_module("nerfkit.kernels.halves").AVAILABLE  # with Numba
    return torch.cuda.is_bf16_supported(including_emulation=False)


class HarmonicField(Field):
    """Density and view-dependent color from an MLP over harmonic embeddings (``FieldSpec``).

    Args:
        options: the network's sizes; ``precision=auto`` is fp32 here.
        scale: positions are multiplied by it before they are embedded.
        seed: of the initial weights: Kaiming uniform for ReLU and no bias in ``hidden`` and ``feature``, torch's own
            elsewhere.
    """

    def __init__(self, options: HarmonicOptions | None = None, *, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        o = HarmonicOptions() if options is None else options
        self.scale, self.fused, self.store, width, depth, skip = scale, o.fused, o.store, o.width, o.depth, o.skip
        self.spec = FieldSpec(
            o.octaves,
            o.direction_octaves,
            o.omega0,
            o.append_input,
            o.activation,
            o.density_activation,
            o.beta,
            skip=skip,
            precision="fp32" if o.precision == "auto" else o.precision,
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
        nn.init.constant_(self.density_head.bias, o.density_bias)

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
