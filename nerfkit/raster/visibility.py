"""The six visibility gradients: how a picture learns that a surface's outline moves.

A hard-rasterized picture has no derivative where one surface ends and another begins. Each class below is one answer;
``render(..., visibility=...)`` takes one of them, or its name for the defaults.

| name | picture | gradient |
| --- | --- | --- |
| ``contour`` | antialiased by covered areas | of those areas; follows the mesh's contour edges |
| ``antialias`` | antialiased along the axes | nvdiffrast's rule: follows the visible triangles' edges |
| ``dibr`` | hard, with a soft mask around it | DIB-R's mask; colors by interpolation alone |
| ``softras`` | every face blurred | exact for the blurred picture |
| ``nmr`` | hard | Neural 3D Mesh Renderer's estimate |
| ``edge_grad`` | hard | DRTK's estimate |
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from nerfkit.kernels.edge_gradient import edge_grad, neural_renderer
from nerfkit.kernels.soft_mask import dibr_mask, soft_rasterize
from nerfkit.raster.contour import antialias, antialias_pixels, crease_edges
from nerfkit.raster.fragments import Fragments


@dataclass(frozen=True)
class Drawn:
    """A hard picture, and what it was drawn from.

    Attributes:
        image: (N,H,W,4) hard, premultiplied RGB and coverage, 0 where nothing is.
        fragments: where it came from.
        faces: (F,3) or (N,F,3) vertex numbers.
        near: smallest visible distance, as it was rasterized.
        vertex_colors, corner_colors: (V,3) or (F,3,3) (or one of either for each view), the colors that ``image``
            interpolates, where that is all it does.
        corner_jumps: (F,3,C), or (N,F,3,C): what else ``image`` depends on and may jump from face to face.
    """

    image: Tensor
    fragments: Fragments
    faces: Tensor
    near: float
    vertex_colors: Tensor | None = None
    corner_colors: Tensor | None = None
    corner_jumps: Tensor | None = None


class Visibility(Protocol):
    """What ``render`` asks of a visibility gradient.

    Attributes:
        name: its word in a config.
        margin: pixels around the picture that must be rasterized too.
    """

    name: ClassVar[str]
    margin: ClassVar[int]

    def apply(self, drawn: Drawn) -> Tensor:
        """The picture with this gradient, (N,H,W,4)."""
        ...


@dataclass(frozen=True)
class Contour:
    """Contour antialiasing, nerfkit's own: see ``nerfkit.kernels.antialias``."""

    name: ClassVar[str] = "contour"
    margin: ClassVar[int] = 1  # a contour may cross a border pixel's outer half

    def apply(self, drawn: Drawn) -> Tensor:
        jumps = [values for values in (drawn.corner_colors, drawn.corner_jumps) if values is not None]
        creases = crease_edges(drawn.faces, torch.cat(jumps, -1)) if jumps else None
        return antialias(drawn.image, drawn.fragments, drawn.faces, drawn.near, creases)


@dataclass(frozen=True)
class Antialias:
    """nvdiffrast's antialiasing: see ``nerfkit.kernels.antialias.pixels``."""

    name: ClassVar[str] = "antialias"
    margin: ClassVar[int] = 0

    def apply(self, drawn: Drawn) -> Tensor:
        return antialias_pixels(drawn.image, drawn.fragments, drawn.faces, drawn.near)


@dataclass(frozen=True)
class DIBR:
    """DIB-R: a soft mask in the last channel, colors as they are; see ``nerfkit.kernels.soft_mask.dibr_mask``.

    Attributes:
        sigmainv: sharpness. boxlen: margin of a face's box. knum: most faces at a pixel. All as Kaolin's.
    """

    sigmainv: float = 7000.0
    boxlen: float = 0.02
    knum: int = 30
    name: ClassVar[str] = "dibr"
    margin: ClassVar[int] = 0

    def apply(self, drawn: Drawn) -> Tensor:
        mask = dibr_mask(
            drawn.fragments.points,
            drawn.faces,
            drawn.fragments.face,
            sigmainv=self.sigmainv,
            boxlen=self.boxlen,
            knum=self.knum,
        )
        return torch.cat([drawn.image[..., :-1], mask[..., None].to(drawn.image)], -1)


@dataclass(frozen=True)
class SoftRas:
    """SoftRas: all of the picture is an aggregate over faces; see ``nerfkit.kernels.soft_mask.soft_rasterize``.

    Colors of vertices or corners are aggregated (over black) as SoftRas does. A texture or lights are shaded on the
    hard picture instead, and the mask alone is soft.

    Attributes:
        sigma, gamma: softness across the screen and in depth. near, far, dist_eps: as there.
        eps: as SoftRas' own, whose kernel counts it twice: the background weighs exp(2 eps / gamma).
        through_barycentrics: False leaves out the part of the derivative that SoftRas leaves out.
    """

    sigma: float = 1e-4
    gamma: float = 1e-4
    eps: float = 1e-3
    near: float = 1.0
    far: float = 100.0
    dist_eps: float = 1e-4
    through_barycentrics: bool = False
    name: ClassVar[str] = "softras"
    margin: ClassVar[int] = 0

    def apply(self, drawn: Drawn) -> Tensor:
        image, corners = drawn.image, drawn.corner_colors is not None
        settings = {field.name: getattr(self, field.name) for field in fields(self)} | {"eps": 2 * self.eps}
        soft = soft_rasterize(
            drawn.fragments.points,
            drawn.faces,
            drawn.corner_colors if corners else drawn.vertex_colors,
            *image.shape[1:3],
            corners=corners,
            **settings,
        ).to(image)  # (N, H, W, C + 1), C = 0 without colors
        return soft if soft.shape[-1] == image.shape[-1] else torch.cat([image[..., :-1], soft[..., -1:]], -1)


@dataclass(frozen=True)
class NMR:
    """Neural 3D Mesh Renderer: see ``nerfkit.kernels.edge_gradient.neural_renderer``.

    Attributes:
        eps: added to distances, in halves of the picture's side.
    """

    eps: float = 1e-3
    name: ClassVar[str] = "nmr"
    margin: ClassVar[int] = 0

    def apply(self, drawn: Drawn) -> Tensor:
        fragments = drawn.fragments
        return neural_renderer(drawn.image, fragments.points, drawn.faces, fragments.face, drawn.near, self.eps)


@dataclass(frozen=True)
class EdgeGrad:
    """DRTK's estimate: see ``nerfkit.kernels.edge_gradient.edge_grad``."""

    name: ClassVar[str] = "edge_grad"
    margin: ClassVar[int] = 0

    def apply(self, drawn: Drawn) -> Tensor:
        face, barycentrics = drawn.fragments.face, drawn.fragments.barycentrics
        return edge_grad(drawn.image, drawn.fragments.points, drawn.faces, face, barycentrics, drawn.near)


VISIBILITIES: dict[str, type[Visibility]] = {
    kind.name: kind for kind in (Contour, Antialias, DIBR, SoftRas, NMR, EdgeGrad)
}


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
