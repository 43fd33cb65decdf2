"""What a radiance field is to the rest of the package: densities, colors, and rays composited through both."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from nerfkit.cameras import Cameras
from nerfkit.kernels.composite import Rendered, composite
from nerfkit.kernels.march import Samples
from nerfkit.runs.memory import by_rows
from nerfkit.schema import Options, Registry, option

FIELDS = Registry("field")
"""Name of a field -> its options, whose ``build`` makes it. A new field is one module with ``@FIELDS.register``."""


@dataclass
class FieldOptions(Options):
    """Base of the options of fields: what a model asks of them.

    Attributes:
        trainer: the trainer's values that suit the field, where they differ from its defaults.
    """

    trainer: ClassVar[dict[str, Any]] = {}

    surface: str = option(
        "density",
        "where it ends: density, its own; sdf, a signed distance beside it; auto: sdf where photos have masks",
        choices=("density", "sdf", "auto"),
    )

    def chosen(self, masked: bool, mesh: bool) -> "tuple[FieldOptions, str]":
        """The field that is meant, and in words why, where that depends on the photos; otherwise this one and "".

        Args:
            masked: whether the photos have masks.
            mesh: whether a mesh is to be made of it, and the sampler knows lengths, which a signed distance needs.
        """
        return self, ""

    def on(self, device: torch.device | str) -> "FieldOptions":
        """With what depends on the device decided, so that a run goes on elsewhere as it began."""
        return self

    def check_device(self, device: torch.device | str) -> None:
        """Checks what ``device`` can compute.

        Raises:
            ConfigError: it cannot compute this field.
        """

    def for_rendering(self, device: torch.device | str) -> "FieldOptions":
        """As ``device`` can compute a field that may have been trained on another one."""
        return self

    def build(self, *, scale: float = 1.0, seed: int = 0, device: torch.device | str = "cpu") -> "Field":
        """The field with its initial weights, still on the CPU.

        Args:
            scale: positions are multiplied by it.
            seed: of the initial weights.
            device: where it will compute.
        """
        raise NotImplementedError


class Field(nn.Module):
    """A density sigma(x) per unit length and a color c(x, d).

    A field has ``density`` and ``forward``. Where it knows a shorter way from positions to pixels than through the
    density and the color of every sample, it has a ``render`` of its own.

    Attributes:
        mirrors: whether ``forward`` takes a fourth argument, a unit direction (S,3) of each sample: the one in which a
            surface mirrors the view (see ``SurfaceField``).
    """

    mirrors = False

    def density(self, positions: Tensor) -> Tensor:
        """sigma (S,) per unit length at positions (S,3)."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trained parameters as an optimizer takes them; ``lazy`` marks tables of which a step touches few rows."""
        return [{"params": list(self.parameters())}]

    def before_step(self, share: float) -> None:
        """Called before a step's rays are rendered, ``share`` of the budget being used. ``penalties`` must follow."""

    def penalties(self, step: int) -> dict[str, Tensor]:
        """Weighted terms () of the loss that need no rays; the same names in every step.

        Asked for when all rays of a step have gone back, and before the optimizer moves: a field may keep from
        ``before_step`` to here what follows from its parameters.
        """
        return {}

    def thinned(self, positions: Tensor, samples: Samples) -> tuple[Tensor, Samples]:
        """The samples that anything is to be seen of, and their positions; all, unless a field knows cheaply."""
        return positions, samples

    def density_bounds(self, resolution: int) -> tuple[Tensor, Tensor] | None:
        """The least and the greatest density (G,G,G) in the cells of a grid over [-1,1]^3; None where not known."""
        return None

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Density (S,) and color (S,3) of packed samples.

        Args:
            positions: (S,3), ray after ray.
            offsets: (R+1,) int64: ray r owns samples offsets[r] to offsets[r+1] - 1.
            directions: (R,3), unit.
        """
        raise NotImplementedError

    def render(
        self,
        positions: Tensor,
        samples: Samples,
        directions: Tensor,
        opacity: Literal["density", "raw"] = "density",
        early_stop: float = 0.0,
    ) -> Rendered:
        """Pixels of rays through the field; the formula, ``opacity`` and ``early_stop`` are ``composite``'s.

        Args:
            positions: (S,3) the middles of the samples.
            samples: where they lie on their R rays.
            directions: (R,3), unit.

        Returns:
            premultiplied color (R,3), opacity (R,), depth (R,); a ray without samples is empty.
        """
        density, color = self(positions, samples.offsets, directions)
        pixels = composite(
            density, color, samples.t_start, samples.t_end, samples.offsets, opacity=opacity, early_stop=early_stop
        )
        return Rendered(*pixels[:3])

    def view(
        self, cameras: Cameras, view: int, occupancy: Tensor, step_size: float, early_stop: float
    ) -> Rendered | None:
        """The pixels of one view through occupied cells, row by row, in one kernel and without gradients.

        ``occupancy`` and what follows are as ``nerfkit.kernels.feature_view`` takes them. None where there is no such
        kernel for the field.
        """
        return None

    def normals(self, positions: Tensor) -> Tensor:
        """-grad sigma / |grad sigma| at positions (S,3): unit vectors out of the solid; zero where sigma is flat."""

        def found(points: Tensor) -> Tensor:
            with torch.enable_grad():
                points = points.clone().requires_grad_()
                (gradient,) = torch.autograd.grad(self.density(points).sum(), points)
            return -nn.functional.normalize(gradient, dim=-1)

        return torch.cat([normals for _, normals in by_rows("normals", found, positions.detach(), at_once=1 << 16)])
