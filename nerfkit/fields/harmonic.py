"""The harmonic-embedding MLP radiance field (Mildenhall et al. 2020), as a module that holds the weights."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from nerfkit.kernels.harmonic_field import FieldSpec, FieldWeights, harmonic_density, harmonic_field


class HarmonicField(nn.Module):
    """Density and view-dependent colour from an MLP over harmonic embeddings.

    Args:
        width: columns of every layer; depth: number of trunk layers.
        octaves, direction_octaves, omega0, append_input, activation, density_activation, beta: see ``FieldSpec``.
        density_bias: initial bias of the raw density.
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
        density_bias: float = 0.0,
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.spec = FieldSpec(octaves, direction_octaves, omega0, append_input, activation, density_activation, beta)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = [self.spec.position_size] + [width] * depth
            self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
            self.density_head = nn.Linear(width, 1)
            self.feature = nn.Linear(width, width)
            self.direction = nn.Linear(self.spec.direction_size, width, bias=False)
            self.colour = nn.Linear(width, 3)
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
            (self.colour.weight, self.colour.bias),
        )

    def density(self, positions: Tensor) -> Tensor:
        """sigma (S,) per unit length at positions (S,3)."""
        return harmonic_density(positions * self.scale, self.weights(), self.spec)

    def normals(self, positions: Tensor) -> Tensor:
        """-grad sigma / |grad sigma| at positions (S,3): unit vectors out of the solid; zero where sigma is flat."""
        pieces = []
        for piece in positions.detach().split(65536):
            with torch.enable_grad():
                piece = piece.clone().requires_grad_()
                (gradient,) = torch.autograd.grad(self.density(piece).sum(), piece)
            pieces.append(-torch.nn.functional.normalize(gradient, dim=-1))
        return torch.cat(pieces)

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Density (S,) and colour (S,3) of packed samples: positions (S,3), offsets (R+1,), directions (R,3)."""
        return harmonic_field(positions * self.scale, offsets, directions, self.weights(), self.spec)
