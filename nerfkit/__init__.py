"""nerfkit: photos with known cameras in; a radiance field, and from it a clean, textured, refined mesh out.

What is named here is loaded when it is first used; docs/api.md has it in full.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

# A thread that waits for others asks 300,000 times before it sleeps: where another program keeps a processor busy, that
# is most of what is left. OpenMP reads this when torch is imported; whoever has set something else keeps it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Where what is offered lives.
_PLACES = {
    "nerfkit.scenes": "open_scene",
    "nerfkit.scenes.scene": "Scene",
    "nerfkit.studio.synthesize": "SynthesisOptions synthesize",
    "nerfkit.cameras": "Cameras look_at",
    "nerfkit.cameras.conventions": "from_opencv from_opengl from_pytorch3d",
    "nerfkit.fields": "Field",
    "nerfkit.fields.harmonic": "HarmonicOptions",
    "nerfkit.fields.hash_grid": "HashGridOptions",
    "nerfkit.fields.planes": "PlanesOptions",
    "nerfkit.volume.samplers": "OccupancyOptions StratifiedOptions",
    "nerfkit.volume.model": "RadianceModel",
    "nerfkit.fit.build": "build_model",
    "nerfkit.fit.field_options": "TrainerOptions",
    "nerfkit.fit.field": "FieldFit",
    "nerfkit.fit.evaluate": "evaluate_field",
    "nerfkit.fit.extract": "ExtractOptions coarse_mesh",
    "nerfkit.fit.refine_options": "RefineOptions",
    "nerfkit.fit.refine": "refine_mesh",
    "nerfkit.mesh.mesh": "Mesh",
    "nerfkit.mesh.shapes": "icosphere",
    "nerfkit.mesh.files.io": "load_mesh save_mesh",
    "nerfkit.mesh.remeshing.remesh": "remesh",
    "nerfkit.raster": "rasterize interpolate sample_texture antialias render",
    "nerfkit.raster.lights": "shade",
    "nerfkit.viewer.notebook": "show",
    "nerfkit.kernels.sample_rays": "sample_rays",
    "nerfkit.kernels.march": "march positions intersect_box",
    "nerfkit.kernels.composite": "composite",
}
_NAMES = {name: module for module, names in _PLACES.items() for name in names.split()}
# Modules that are worth a short name.
_MODULES = {"losses": "nerfkit.mesh.losses", "measures": "nerfkit.mesh.measures"}

if TYPE_CHECKING:
    from nerfkit.cameras import Cameras as Cameras, look_at as look_at
    from nerfkit.cameras.conventions import (
        from_opencv as from_opencv,
        from_opengl as from_opengl,
        from_pytorch3d as from_pytorch3d,
    )
    from nerfkit.fields import Field as Field
    from nerfkit.fields.harmonic import HarmonicOptions as HarmonicOptions
    from nerfkit.fields.hash_grid import HashGridOptions as HashGridOptions
    from nerfkit.fields.planes import PlanesOptions as PlanesOptions
    from nerfkit.fit.build import build_model as build_model
    from nerfkit.fit.evaluate import evaluate_field as evaluate_field
    from nerfkit.fit.extract import ExtractOptions as ExtractOptions, coarse_mesh as coarse_mesh
    from nerfkit.fit.field import FieldFit as FieldFit
    from nerfkit.fit.field_options import TrainerOptions as TrainerOptions
    from nerfkit.fit.refine import refine_mesh as refine_mesh
    from nerfkit.fit.refine_options import RefineOptions as RefineOptions
    from nerfkit.kernels.composite import composite as composite
    from nerfkit.kernels.march import intersect_box as intersect_box, march as march, positions as positions
    from nerfkit.kernels.sample_rays import sample_rays as sample_rays
    from nerfkit.mesh import losses as losses, measures as measures
    from nerfkit.mesh.files.io import load_mesh as load_mesh, save_mesh as save_mesh
    from nerfkit.mesh.mesh import Mesh as Mesh
    from nerfkit.mesh.remeshing.remesh import remesh as remesh
    from nerfkit.mesh.shapes import icosphere as icosphere
    from nerfkit.raster import (
        antialias as antialias,
        interpolate as interpolate,
        rasterize as rasterize,
        render as render,
        sample_texture as sample_texture,
    )
    from nerfkit.raster.lights import shade as shade
    from nerfkit.scenes import open_scene as open_scene
    from nerfkit.scenes.scene import Scene as Scene
    from nerfkit.studio.synthesize import SynthesisOptions as SynthesisOptions, synthesize as synthesize
    from nerfkit.viewer.notebook import show as show
    from nerfkit.volume.model import RadianceModel as RadianceModel
    from nerfkit.volume.samplers import OccupancyOptions as OccupancyOptions, StratifiedOptions as StratifiedOptions


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
