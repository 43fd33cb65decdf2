"""Mesh + cameras -> fragments -> shaded pixels, differentiably."""

from nerfkit.kernels.texture import sample_texture
from nerfkit.raster.contour import antialias
from nerfkit.raster.fragments import Fragments, homogeneous_points, interpolate, interpolate_corners, rasterize
from nerfkit.raster.shade import Rendering, render, render_channels
from nerfkit.raster.visibility import VISIBILITIES

__all__ = [
    "VISIBILITIES",
    "Fragments",
    "Rendering",
    "antialias",
    "homogeneous_points",
    "interpolate",
    "interpolate_corners",
    "rasterize",
    "render",
    "render_channels",
    "sample_texture",
]
