"""The six visibility gradients: how a picture learns that a surface's outline moves.

A hard-rasterized picture has no derivative where one surface ends and another begins. Each class below is one answer;
``render(..., visibility=...)`` takes one of them, or its name for the defaults.

| name | picture | gradient |
| --- | --- | --- |
| ``contour`` | antialiased by covered areas | of those areas; follows the mesh's contour edges |
| ``antialias`` | antialiased along the axes | nvdiffrast's rule: follows the visible triangles' edges |
| ``dibr`` | hard, with a soft mask around it | DIB-R's mask; colours by interpolation alone |
| ``softras`` | every face blurred | exact for the blurred picture |
| ``nmr`` | hard | Neural 3D Mesh Renderer's estimate |
| ``edge_grad`` | hard | DRTK's estimate |
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

from torch import Tensor

from nerfkit.raster.contour import antialias
from nerfkit.raster.fragments import Fragments


class Visibility(Protocol):
    """What ``render`` asks of a visibility gradient.

    Attributes:
        name: its word in a config.
        margin: pixels around the picture that must be rasterized too.
    """

    name: ClassVar[str]
    margin: ClassVar[int]

    def apply(
        self,
        image: Tensor,
        fragments: Fragments,
        faces: Tensor,
        *,
        vertex_colours: Tensor | None = None,
        corner_colours: Tensor | None = None,
    ) -> Tensor:
        """The picture with this gradient, (N,H,W,4).

        Args:
            image: (N,H,W,4) hard, premultiplied RGB and coverage, 0 where nothing is.
            fragments: where it came from.
            faces: (F,3) or (N,F,3) vertex numbers.
            vertex_colours, corner_colours: (V,3) or (F,3,3) (or one of either for each view), the colours that
                ``image`` interpolates, where it does that: corners may differ where they meet.
        """
        ...


@dataclass(frozen=True)
class Contour:
    """Contour antialiasing, nerfkit's own: see ``nerfkit.kernels.antialias``."""

    name: ClassVar[str] = "contour"
    margin: ClassVar[int] = 1  # a contour may cross a border pixel's outer half

    def apply(
        self,
        image: Tensor,
        fragments: Fragments,
        faces: Tensor,
        *,
        vertex_colours: Tensor | None = None,
        corner_colours: Tensor | None = None,
    ) -> Tensor:
        return antialias(image, fragments, faces)


VISIBILITIES: dict[str, type[Visibility]] = {kind.name: kind for kind in (Contour,)}


def pick_visibility(visibility: Visibility | str) -> Visibility:
    """The visibility gradient of that name with its default settings; an object is returned as it is.

    Raises:
        ValueError: an unknown name.
    """
    if not isinstance(visibility, str):
        return visibility
    if visibility not in VISIBILITIES:
        raise ValueError(f"unknown visibility {visibility!r}; expected one of {', '.join(VISIBILITIES)}")
    return VISIBILITIES[visibility]()


def visibility_of(options: Mapping[str, Any]) -> Visibility:
    """What ``conf/rasterizer`` asks for: ``visibility`` names the class, and the block of that name its settings.

    Raises:
        ValueError: an unknown name.
    """
    kind = type(pick_visibility(options["visibility"]))
    settings = options.get(kind.name) or {}
    return kind(**{field.name: settings[field.name] for field in fields(kind) if field.name in settings})  # type: ignore[arg-type]
