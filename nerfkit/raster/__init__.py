"""Mesh + cameras -> fragments -> shaded pixels, differentiably."""

from nerfkit.kernels.texture import mipmaps, sample_texture
from nerfkit.raster.contour import antialias
from nerfkit.raster.fragments import Fragments, homogeneous_points, interpolate, interpolate_corners, rasterize
from nerfkit.raster.shade import Rendering, render, render_channels
from nerfkit.raster.texture import pad_texture, texture_levels
from nerfkit.raster.visibility import VISIBILITIES, RasterizerOptions, pick_visibility

__all__ = [
    "VISIBILITIES",
    "Fragments",
    "RasterizerOptions",
    "Rendering",
    "antialias",
    "homogeneous_points",
    "interpolate",
    "interpolate_corners",
    "mipmaps",
    "pad_texture",
    "pick_visibility",
    "rasterize",
    "render",
    "render_channels",
    "sample_texture",
    "texture_levels",
]
