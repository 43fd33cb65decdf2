"""The field of features that suits the photos, by what was measured on a CPU (docs/kernels_log.md)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from nerfkit.fields.field import FIELDS, FieldOptions
from nerfkit.fields.hash_grid import HashGridOptions
from nerfkit.fields.planes import PlanesOptions
from nerfkit.schema import option


@FIELDS.register
@dataclass
class AutoOptions(FieldOptions):
    """The field of features that reaches most in a given time: with a signed distance where a mesh is to come of it."""

    trainer: ClassVar[dict[str, Any]] = HashGridOptions.trainer

    name: str = "auto"
    surface: str = option(
        "auto",
        "where it ends: density, its own; sdf, a signed distance beside it; auto: sdf where photos have masks",
        choices=("density", "sdf", "auto"),
    )

    def chosen(self, masked: bool, mesh: bool) -> tuple[FieldOptions, str]:
        """As ``FieldOptions.chosen``."""
        if not masked:
            return HashGridOptions(
                surface=self.surface
            ), "of photos without masks the hash grid makes the best pictures"
        if mesh and self.surface != "density":
            return HashGridOptions(surface=self.surface), "with a signed distance it makes the best meshes"
        if self.surface == "sdf":
            return HashGridOptions(surface=self.surface), "beside a signed distance it is the fastest"
        return PlanesOptions(surface="density"), "of photos with masks planes make the best pictures"
