"""Mesh to pictures: colors from vertices or a texture, with antialiased coverage."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.cameras import Cameras
from nerfkit.cameras.channels import CHANNELS, check_channels
from nerfkit.kernels.checks import FLOATS, expect
from nerfkit.kernels.texture import sample_texture
from nerfkit.kernels.textured import textured
from nerfkit.mesh.mesh import Mesh, face_normals, vertex_normals
from nerfkit.raster.fragments import Fragments, interpolate, interpolate_corners, rasterize
from nerfkit.raster.lights import Light, Material, shade
from nerfkit.raster.texture import texture_levels
from nerfkit.raster.visibility import Drawn, Visibility, pick_visibility


class Rendering(NamedTuple):
    """rgb (N,H,W,3), premultiplied unless a background was given; alpha (N,H,W); the fragments they came from."""

    rgb: Tensor
    alpha: Tensor
    fragments: Fragments


def render(
    vertices: Tensor,
    faces: Tensor,
    cameras: Cameras,
    *,
    colors: Tensor | None = None,
    corner_colors: Tensor | None = None,
    corner_uvs: Tensor | None = None,
    texture: Tensor | None = None,
    mipmaps: bool = False,
    lights: Sequence[Light] | None = None,
    material: Material | None = None,
    flat: bool = False,
    background: Tensor | Sequence[float] | None = None,
    visibility: Visibility | str = "contour",
    supersampling: int = 1,
    near: float = 1e-3,
) -> Rendering:
    """Pictures of a mesh, differentiable with respect to vertices, colors, texture, UVs, lights and cameras.

    Args:
        vertices: (V,3) float32, world; or (N,V,3), a mesh of its own for each camera.
        faces: (F,3) int64; pass the same tensor each time, its edges are remembered. Or (N,F,3), padded with rows of
            -1.
        cameras: N cameras.
        colors: (V,3) or (N,V,3) of the vertices; or
        corner_colors: (F,3,3) or (N,F,3,3) of the faces' corners: they may jump from face to face; or
        corner_uvs, texture: (F,3,2) and (A,B,3), or (N,F,3,2) and (N,A,B,3), see ``sample_texture``. With none of them
            the mesh is white.
        mipmaps: look the texture up trilinearly, at the level of detail of every pixel.
        lights, material: see ``nerfkit.raster.lights.shade``; colors are as they are without lights.
        flat: lit by the faces' normals, not by normals interpolated from the vertices.
        background: (3,), (H,W,3), (N,1,1,3) or (N,H,W,3) color behind the mesh; none leaves rgb premultiplied.
        visibility: one of ``nerfkit.raster.visibility``, or its name: how outlines get a gradient.
        supersampling: the picture is rasterized this many times finer each way, 1 or more, and averaged; ``fragments``
            are the fine ones.
        near: smallest visible distance in front of the camera plane. The masks of ``dibr`` and ``softras`` know only
            their own rules: faces that reach beyond it still blur.

    Raises:
        ValueError: more than one of the ways to give colors, or half of one, or not one for each vertex or corner; an
            unknown visibility; a shape is wrong.
    """
    if (corner_uvs is None) != (texture is None):
        raise ValueError("render: corner_uvs and texture go together; one of them is missing")
    if sum(given is not None for given in (colors, corner_colors, texture)) > 1:
        raise ValueError("render: give colors, or corner_colors, or corner_uvs and texture, or none of them")
    if not isinstance(supersampling, int) or supersampling < 1:
        raise ValueError(f"supersampling: expected a whole number, at least 1, got {supersampling}")
    chosen = pick_visibility(visibility)
    fine = cameras
    if supersampling != 1:
        fine = cameras.resized(supersampling * cameras.height, supersampling * cameras.width)
    fragments = rasterize(vertices, faces, fine.padded(chosen.margin), near)
    views, corners = len(cameras), (faces.shape[-2], 3)
    for name, given, shape in (
        ("colors", colors, (vertices.shape[-2], 3)),
        ("corner_colors", corner_colors, (*corners, 3)),
        ("corner_uvs", corner_uvs, (*corners, 2)),
        ("texture", texture, ("A", "B", 3)),
    ):
        if given is not None:
            expect(name, given, shape, (views, *shape), dtype=FLOATS)
    covered = fragments.covered[..., None].to(vertices)  # (N, H, W, 1)
    whole: Tensor | None = None  # rgb and coverage, where one operation makes both
    if texture is not None and corner_uvs is not None:
        one = texture.ndim == corner_uvs.ndim == 3 and not corner_uvs.requires_grad
        if one and lights is None and not mipmaps:
            whole = textured(fragments.face, fragments.barycentrics, corner_uvs, texture)
            rgb = whole[..., :-1]
        else:
            uv = interpolate_corners(fragments, corner_uvs)
            level = texture_levels(fragments, faces, corner_uvs, texture.shape[-3:-1]) if mipmaps else None
            rgb = sample_texture(texture, uv, fragments.covered, level)
    elif corner_colors is not None:
        rgb = interpolate_corners(fragments, corner_colors)
    elif colors is not None:
        rgb = interpolate(fragments, faces, colors)
    else:
        rgb = covered.expand(-1, -1, -1, 3)
    own: dict[str, Tensor | None] = {"vertex_colors": colors, "corner_colors": corner_colors}
    if lights is not None:
        normals = _normals(vertices, faces, flat)
        spread = interpolate_corners(fragments, normals) if flat else interpolate(fragments, faces, normals)
        at = interpolate(fragments, faces, vertices)  # (N, H, W, 3)
        rgb = covered * shade(rgb, spread, at, cameras.positions.to(vertices), lights, material)
        jumps = [values for values in (corner_colors, normals if flat else None) if values is not None]
        if len({values.ndim for values in jumps}) == 2:  # one of them is the same in every view
            jumps = [values.expand(len(cameras), -1, -1, -1) for values in jumps]
        own = {"corner_jumps": torch.cat(jumps, -1) if jumps else None}
    hard = torch.cat([rgb, covered], -1) if whole is None else whole
    rgba = chosen.apply(Drawn(hard, fragments, faces, near, **own))  # (N, H, W, 4)
    if chosen.margin:
        rgba = rgba[:, chosen.margin : -chosen.margin, chosen.margin : -chosen.margin]
    if supersampling != 1:
        rgba = rgba.unflatten(2, (-1, supersampling)).unflatten(1, (-1, supersampling)).mean((2, 4))
    rgb, alpha = rgba.split([3, 1], -1)  # one backward pass for both
    if background is not None:
        rgb = rgb + (1 - alpha) * _behind(background, rgb)
    return Rendering(rgb, alpha[..., 0], fragments.cropped(chosen.margin))


def _behind(background: Tensor | Sequence[float], rgb: Tensor) -> Tensor:
    """The background as a tensor that broadcasts to ``rgb`` (N,H,W,3); two dimensions could be views or columns."""
    behind = torch.as_tensor(background, dtype=rgb.dtype, device=rgb.device)
    sizes = zip(reversed(behind.shape), reversed(rgb.shape), strict=False)
    if behind.ndim not in (1, 3, 4) or behind.shape[-1] != 3 or any(own not in (1, full) for own, full in sizes):
        expected = f"(3,), {tuple(rgb.shape[1:])}, {(len(rgb), 1, 1, 3)} or {tuple(rgb.shape)}"
        raise ValueError(f"background: expected {expected}, got {tuple(behind.shape)}")
    return behind


def _normals(vertices: Tensor, faces: Tensor, flat: bool) -> Tensor:
    """Normals of the vertices (V,3) or, if ``flat``, of the faces' corners (F,3,3); each view's own in a batch."""
    if vertices.ndim == 3 or faces.ndim == 3:
        count = len(vertices if vertices.ndim == 3 else faces)
        each = zip(vertices.expand(count, -1, -1), faces.expand(count, -1, -1), strict=True)
        found = [_normals(own, some, flat) for own, some in each]
        shape = (faces.shape[-2], 3, 3) if flat else (vertices.shape[-2], 3)
        return torch.stack(found) if found else vertices.new_zeros(0, *shape)
    real = (faces >= 0).all(1)  # (F,), the others are padding
    if not flat:
        return vertex_normals(vertices, faces[real])
    normals = torch.zeros(len(faces), 3).to(vertices).index_put((real,), face_normals(vertices, faces[real]))
    return normals[:, None].expand(-1, 3, -1)


def render_channels(
    mesh: Mesh, cameras: Cameras, channels: Sequence[str] = ("rgb",), background: Tensor | Sequence[float] | None = None
) -> dict[str, Tensor]:
    """The named pictures of a mesh.

    ``rgb`` (N,H,W,3) from its texture, else its vertex colors, else white, premultiplied unless a background is given;
    ``alpha`` (N,H,W); ``depth`` (N,H,W) along the camera's axis in normalized units, 0 where nothing is; ``normal``
    (N,H,W,3) smooth unit normals in the world's axes, 0 where nothing is. Depth and normals are not antialiased.

    Raises:
        ValueError: an unknown channel.
    """
    return _pictures(mesh, _drawn(mesh, cameras, background), channels)


def _drawn(mesh: Mesh, cameras: Cameras, background: Tensor | Sequence[float] | None) -> Rendering:
    """The mesh in its own colors."""
    textured = mesh.texture is not None
    return render(
        mesh.vertices,
        mesh.faces,
        cameras,
        colors=None if textured else mesh.colors,
        corner_uvs=mesh.corner_uvs if textured else None,
        texture=mesh.texture,
        background=background,
    )


def _pictures(
    mesh: Mesh, drawn: Rendering, channels: Sequence[str], normals: Tensor | None = None
) -> dict[str, Tensor]:
    """The named pictures of what was drawn; ``normals`` (V,3) are the mesh's, where known."""
    check_channels(channels)
    pictures = {"rgb": drawn.rgb, "alpha": drawn.alpha, "depth": drawn.fragments.depth}
    if "normal" in channels:
        normals = vertex_normals(mesh.vertices, mesh.faces) if normals is None else normals
        smooth = interpolate(drawn.fragments, mesh.faces, normals)
        pictures["normal"] = normalize(smooth, dim=-1, eps=1e-20)
    return {name: pictures[name] for name in channels}


class MeshSource:
    """A mesh as something to look at, many times: what no camera changes is found once. Without gradients.

    Args:
        mesh: what is shown.
        background: the color behind it; None leaves ``rgb`` premultiplied.
    """

    def __init__(self, mesh: Mesh, background: Sequence[float] | None) -> None:
        self.mesh, self.background = mesh, background
        self.normals = vertex_normals(mesh.vertices, mesh.faces).detach()  # (V, 3)

    def render(self, cameras: Cameras, view: int, channels: Sequence[str] = CHANNELS) -> dict[str, Tensor]:
        """One view of ``pictures``: ``rgb`` and ``normal`` (H,W,3), ``depth`` and ``alpha`` (H,W)."""
        return {name: picture[0] for name, picture in self.pictures(cameras[view], channels).items()}

    @torch.no_grad()
    def pictures(self, cameras: Cameras, channels: Sequence[str]) -> dict[str, Tensor]:
        """The named pictures of ``render_channels``."""
        return _pictures(self.mesh, self.drawn(cameras), channels, self.normals)

    def drawn(self, cameras: Cameras) -> Rendering:
        """What the pictures are made of."""
        return _drawn(self.mesh, cameras, self.background)

    def points(self) -> Tensor:
        """The vertices (V,3)."""
        return self.mesh.vertices
