"""nerfkit: photos with known cameras in; a radiance field, and from it a clean, textured, refined mesh out.

What is named here is loaded when it is first used; docs/api.md has it in full.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Name -> where it lives.
_NAMES = {
    "open_scene": "nerfkit.scenes",
    "Scene": "nerfkit.scenes.scene",
    "synthesize": "nerfkit.studio.synthesize",
    "Cameras": "nerfkit.cameras",
    "look_at": "nerfkit.cameras",
    "from_opencv": "nerfkit.cameras.conventions",
    "from_opengl": "nerfkit.cameras.conventions",
    "from_pytorch3d": "nerfkit.cameras.conventions",
    "Field": "nerfkit.fields",
    "HarmonicOptions": "nerfkit.fields.harmonic",
    "OccupancyOptions": "nerfkit.volume.samplers",
    "StratifiedOptions": "nerfkit.volume.samplers",
    "RadianceModel": "nerfkit.volume.model",
    "build_model": "nerfkit.fit.build",
    "TrainerOptions": "nerfkit.fit.field",
    "FieldFit": "nerfkit.fit.field",
    "evaluate_field": "nerfkit.fit.evaluate",
    "ExtractOptions": "nerfkit.fit.extract",
    "coarse_mesh": "nerfkit.fit.extract",
    "RefineOptions": "nerfkit.fit.refine",
    "refine_mesh": "nerfkit.fit.refine",
    "Mesh": "nerfkit.mesh.mesh",
    "icosphere": "nerfkit.mesh.shapes",
    "load_mesh": "nerfkit.mesh.files.io",
    "save_mesh": "nerfkit.mesh.files.io",
    "remesh": "nerfkit.mesh.remeshing.remesh",
    "rasterize": "nerfkit.raster",
    "interpolate": "nerfkit.raster",
    "sample_texture": "nerfkit.raster",
    "antialias": "nerfkit.raster",
    "shade": "nerfkit.raster.lights",
    "render": "nerfkit.raster",
    "sample_rays": "nerfkit.kernels.sample_rays",
    "march": "nerfkit.kernels.march",
    "positions": "nerfkit.kernels.march",
    "intersect_box": "nerfkit.kernels.march",
    "composite": "nerfkit.kernels.composite",
}
# Modules that are worth a short name.
_MODULES = {"losses": "nerfkit.mesh.losses", "measures": "nerfkit.mesh.measures"}

if TYPE_CHECKING:
    from nerfkit.cameras import Cameras as Cameras
    from nerfkit.cameras import look_at as look_at
    from nerfkit.cameras.conventions import from_opencv as from_opencv
    from nerfkit.cameras.conventions import from_opengl as from_opengl
    from nerfkit.cameras.conventions import from_pytorch3d as from_pytorch3d
    from nerfkit.fields import Field as Field
    from nerfkit.fields.harmonic import HarmonicOptions as HarmonicOptions
    from nerfkit.fit.build import build_model as build_model
    from nerfkit.fit.evaluate import evaluate_field as evaluate_field
    from nerfkit.fit.extract import ExtractOptions as ExtractOptions
    from nerfkit.fit.extract import coarse_mesh as coarse_mesh
    from nerfkit.fit.field import FieldFit as FieldFit
    from nerfkit.fit.field import TrainerOptions as TrainerOptions
    from nerfkit.fit.refine import RefineOptions as RefineOptions
    from nerfkit.fit.refine import refine_mesh as refine_mesh
    from nerfkit.kernels.composite import composite as composite
    from nerfkit.kernels.march import intersect_box as intersect_box
    from nerfkit.kernels.march import march as march
    from nerfkit.kernels.march import positions as positions
    from nerfkit.kernels.sample_rays import sample_rays as sample_rays
    from nerfkit.mesh import losses as losses
    from nerfkit.mesh import measures as measures
    from nerfkit.mesh.files.io import load_mesh as load_mesh
    from nerfkit.mesh.files.io import save_mesh as save_mesh
    from nerfkit.mesh.mesh import Mesh as Mesh
    from nerfkit.mesh.remeshing.remesh import remesh as remesh
    from nerfkit.mesh.shapes import icosphere as icosphere
    from nerfkit.raster import antialias as antialias
    from nerfkit.raster import interpolate as interpolate
    from nerfkit.raster import rasterize as rasterize
    from nerfkit.raster import render as render
    from nerfkit.raster import sample_texture as sample_texture
    from nerfkit.raster.lights import shade as shade
    from nerfkit.scenes import open_scene as open_scene
    from nerfkit.scenes.scene import Scene as Scene
    from nerfkit.studio.synthesize import synthesize as synthesize
    from nerfkit.volume.model import RadianceModel as RadianceModel
    from nerfkit.volume.samplers import OccupancyOptions as OccupancyOptions
    from nerfkit.volume.samplers import StratifiedOptions as StratifiedOptions


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _NAMES:
        raise AttributeError(f"module 'nerfkit' has no attribute {name!r}")
    found = getattr(import_module(_NAMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*_NAMES, *_MODULES, "__version__"]
