"""A field of all of space: positions beyond [-1,1]^3 are drawn into the shell around it, out to 2.

    y = x where m <= 1,    y = (2 - 1/m) x / m beyond,    m = max(|x_1|, |x_2|, |x_3|)

after Barron et al., "Mip-NeRF 360", 2022, equation 10, with the largest coordinate for the length, so that the cube
itself stays as it is (as in Reiser et al., "MERF", 2023).
"""

from typing import Any, Literal

from torch import Tensor

from nerfkit.fields.field import Field
from nerfkit.kernels.composite import Rendered
from nerfkit.kernels.march import Samples

REACH = 2.0  # largest coordinate of what is contracted


def contract(positions: Tensor) -> Tensor:
    """y of positions (...,3)."""
    m = positions.abs().amax(-1, keepdim=True).clamp_min(1)
    return positions * ((2 - 1 / m) / m)


class ContractedField(Field):
    """``inner``, a field of positions in [-2,2]^3, as one of all positions."""

    def __init__(self, inner: Field) -> None:
        super().__init__()
        self.inner = inner

    def parameter_groups(self) -> list[dict[str, Any]]:
        return self.inner.parameter_groups()

    def before_step(self, share: float) -> None:
        self.inner.before_step(share)

    def penalties(self, step: int) -> dict[str, Tensor]:
        return self.inner.penalties(step)

    def density(self, positions: Tensor) -> Tensor:
        return self.inner.density(contract(positions))

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        density, color = self.inner(contract(positions), offsets, directions)
        return density, color

    def render(
        self,
        positions: Tensor,
        samples: Samples,
        directions: Tensor,
        opacity: Literal["density", "raw"] = "density",
        early_stop: float = 0.0,
    ) -> Rendered:
        return self.inner.render(contract(positions), samples, directions, opacity, early_stop)
