"""What a harmonic field is: its shape (``FieldSpec``) and its numbers (``FieldWeights``)."""

import math
from typing import NamedTuple

from torch import Tensor

ACTIVATIONS = ("relu", "softplus")
DENSITY_ACTIVATIONS = ("exp", "softplus")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


class FieldSpec(NamedTuple):
    """The shape of a harmonic field.

    octaves, direction_octaves: number of octaves K of the two embeddings, frequencies omega0 2^k for k < K.
    omega0: lowest angular frequency, radians per unit length; pi makes [-1,1] one period of octave 0.
    append_input: whether the embedding also holds the input itself.
    activation: "relu" or "softplus"; density_activation: "exp" or "softplus"; beta: the softplus' sharpness.
    skip: the hidden layer, counted from 0, whose input is [h, e(x)] instead of h; None for no such layer.
    precision: of the operands of matrix products, "fp32", "tf32", "bf16" or "fp16"; sums, positions, phases,
        compositing and the weights themselves are float32 whatever it is. A CPU takes "bf16" where it has AVX512-BF16
        and the activation is "relu"; it computes everything else in float32.
    """

    octaves: int = 8
    direction_octaves: int = 3
    omega0: float = math.pi
    append_input: bool = True
    activation: str = "relu"
    density_activation: str = "exp"
    beta: float = 10.0
    skip: int | None = None
    precision: str = "fp32"

    @property
    def position_size(self) -> int:
        """Length E of the position embedding."""
        return 6 * self.octaves + 3 * self.append_input

    @property
    def direction_size(self) -> int:
        """Length of the direction embedding."""
        return 6 * self.direction_octaves + 3 * self.append_input


class FieldWeights(NamedTuple):
    """Weights of a harmonic field of width w, matrices as (out, in).

    hidden: ((w,E), (w,)), then ((w,w), (w,)) a layer, (w,w+E) where the embedding is fed in again;
    density: ((1,w), (1,)); feature: ((c,w), (c,)) into the color layer; direction: (c, E_d), the same layer's part for
    the direction; color: ((3,c), (3,)).
    """

    hidden: tuple[tuple[Tensor, Tensor], ...]
    density: tuple[Tensor, Tensor]
    feature: tuple[Tensor, Tensor]
    direction: Tensor
    color: tuple[Tensor, Tensor]

    def flat(self) -> tuple[Tensor, ...]:
        """All tensors in one fixed order; ``unflatten`` is the inverse."""
        pairs = (*self.hidden, self.density, self.feature, self.color)
        return (*(t for pair in pairs for t in pair), self.direction)

    @staticmethod
    def unflatten(tensors: tuple[Tensor, ...]) -> "FieldWeights":
        pairs = tuple((tensors[i], tensors[i + 1]) for i in range(0, len(tensors) - 1, 2))
        return FieldWeights(pairs[:-3], pairs[-3], pairs[-2], tensors[-1], pairs[-1])
