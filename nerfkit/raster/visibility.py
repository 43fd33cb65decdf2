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

from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from nerfkit.kernels.edge_gradient import edge_grad, neural_renderer
from nerfkit.kernels.soft_mask import dibr_mask, soft_rasterize
from nerfkit.raster.contour import antialias, antialias_pixels, crease_edges
from nerfkit.raster.fragments import Fragments
from nerfkit.schema import Options, nested, option


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
        local: whether a pixel depends on nothing but the pixels beside it and their faces, whatever the picture's size;
            then a part of a picture may be drawn by itself.
    """

    name: ClassVar[str]
    margin: ClassVar[int]
    local: ClassVar[bool]

    def apply(self, drawn: Drawn) -> Tensor:
        """The picture with this gradient, (N,H,W,4)."""
        ...


@dataclass(frozen=True)
class Contour:
    """Contour antialiasing, nerfkit's own: see ``nerfkit.kernels.antialias``."""

    name: ClassVar[str] = "contour"
    margin: ClassVar[int] = 1  # a contour may cross a border pixel's outer half
    local: ClassVar[bool] = True

    def apply(self, drawn: Drawn) -> Tensor:
        jumps = [values for values in (drawn.corner_colors, drawn.corner_jumps) if values is not None]
        creases = crease_edges(drawn.faces, torch.cat(jumps, -1)) if jumps else None
        return antialias(drawn.image, drawn.fragments, drawn.faces, drawn.near, creases)


@dataclass(frozen=True)
class Antialias:
    """nvdiffrast's antialiasing: see ``nerfkit.kernels.antialias.pixels``."""

    name: ClassVar[str] = "antialias"
    margin: ClassVar[int] = 0
    local: ClassVar[bool] = True

    def apply(self, drawn: Drawn) -> Tensor:
        return antialias_pixels(drawn.image, drawn.fragments, drawn.faces, drawn.near)


@dataclass
class DIBR(Options):
    """DIB-R: a soft mask in the last channel, colors as they are; see ``nerfkit.kernels.soft_mask.dibr_mask``."""

    group: ClassVar[str] = "rasterizer.dibr"
    sigmainv: float = option(7000.0, "sharpness, as Kaolin's", above=0)
    boxlen: float = option(0.02, "margin of a face's box, in halves of the picture, as Kaolin's", least=0)
    knum: int = option(30, "most faces at a pixel, as Kaolin's", least=1)
    name: ClassVar[str] = "dibr"
    margin: ClassVar[int] = 0
    local: ClassVar[bool] = False

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


@dataclass
class SoftRas(Options):
    """SoftRas: all of the picture is an aggregate over faces; see ``nerfkit.kernels.soft_mask.soft_rasterize``.

    Colors of vertices or corners are aggregated (over black) as SoftRas does. A texture or lights are shaded on the
    hard picture instead, and the mask alone is soft.
    """

    group: ClassVar[str] = "rasterizer.softras"
    sigma: float = option(1e-4, "softness across the screen", above=0)
    gamma: float = option(1e-4, "softness in depth", above=0)
    eps: float = option(1e-3, "as SoftRas' own, whose kernel counts it twice: over exp(2 eps / gamma)", above=0)
    near: float = option(1.0, "smallest depth of a face whose color counts", above=0)
    far: float = option(100.0, "largest depth of one", above=0)
    dist_eps: float = option(1e-4, "smallest coverage that counts", above=0, below=0.5)
    through_barycentrics: bool = option(False, "true adds the part of the derivative that SoftRas leaves out")
    name: ClassVar[str] = "softras"
    margin: ClassVar[int] = 0
    local: ClassVar[bool] = False

    def check(self) -> None:
        super().check()
        self.expect("near", self.near < self.far, f"less than rasterizer.softras.far={self.far}")

    def apply(self, drawn: Drawn) -> Tensor:
        image, corners = drawn.image, drawn.corner_colors is not None
        settings = asdict(self) | {"eps": 2 * self.eps}
        soft = soft_rasterize(
            drawn.fragments.points,
            drawn.faces,
            drawn.corner_colors if corners else drawn.vertex_colors,
            *image.shape[1:3],
            corners=corners,
            **settings,
        ).to(image)  # (N, H, W, C + 1), C = 0 without colors
        return soft if soft.shape[-1] == image.shape[-1] else torch.cat([image[..., :-1], soft[..., -1:]], -1)


@dataclass
class NMR(Options):
    """Neural 3D Mesh Renderer: see ``nerfkit.kernels.edge_gradient.neural_renderer``."""

    group: ClassVar[str] = "rasterizer.nmr"
    eps: float = option(1e-3, "added to distances, in halves of the picture's side", above=0)
    name: ClassVar[str] = "nmr"
    margin: ClassVar[int] = 0
    local: ClassVar[bool] = False

    def apply(self, drawn: Drawn) -> Tensor:
        fragments = drawn.fragments
        return neural_renderer(drawn.image, fragments.points, drawn.faces, fragments.face, drawn.near, self.eps)


@dataclass(frozen=True)
class EdgeGrad:
    """DRTK's estimate: see ``nerfkit.kernels.edge_gradient.edge_grad``."""

    name: ClassVar[str] = "edge_grad"
    margin: ClassVar[int] = 0
    local: ClassVar[bool] = True

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


@dataclass
class RasterizerOptions(Options):
    """How a mesh's outlines get a gradient; the blocks are the settings of three of the ways to."""

    group: ClassVar[str] = "rasterizer"

    visibility: str = option(
        "contour",
        "contour: nerfkit's own; antialias: nvdiffrast's rule; dibr: Kaolin; softras; nmr: Neural 3D Mesh Renderer; "
        "edge_grad: DRTK",
        choices=VISIBILITIES,
    )
    dibr: DIBR = nested(DIBR)
    softras: SoftRas = nested(SoftRas)
    nmr: NMR = nested(NMR)

    def chosen(self) -> Visibility:
        """The visibility gradient that ``visibility`` names, with its settings."""
        settings: Visibility | None = getattr(self, self.visibility, None)
        return settings if settings is not None else pick_visibility(self.visibility)
