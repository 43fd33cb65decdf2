"""Mesh + cameras -> fragments -> shaded pixels, differentiably."""

from nerfkit.raster.contour import antialias, edge_faces
from nerfkit.raster.fragments import Fragments, homogeneous_points, interpolate, interpolate_corners, rasterize
from nerfkit.raster.shade import Rendering, render, render_channels, sample_texture

__all__ = [
    "Fragments",
    "Rendering",
    "antialias",
    "edge_faces",
    "homogeneous_points",
    "interpolate",
    "interpolate_corners",
    "rasterize",
    "render",
    "render_channels",
    "sample_texture",
]
