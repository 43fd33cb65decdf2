"""What ``growth`` measures: series of one size each, and the exponents of the work that they do.

A series makes, for a size n, a call that is timed. ``time`` and ``memory`` are the exponents of what it has to do and
to hold: 1 where twice the size is twice the work, 2 for the pixels of a side, 0 where the size should not matter.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.gpu_fields import new_batch
from benchmarks.many_photos import write_photos
from benchmarks.raster_gradients import four_cameras
from benchmarks.raster_speed import prepare
from nerfkit.fields.field import FieldOptions
from nerfkit.fields.harmonic import HarmonicOptions
from nerfkit.fields.hash_grid import HashGridOptions
from nerfkit.fields.planes import PlanesOptions
from nerfkit.fit.build import load_scene
from nerfkit.fit.large_steps import LargeSteps
from nerfkit.kernels.texel_ties import texel_ties
from nerfkit.kernels.texture import sample_texture
from nerfkit.mesh.clean import decimate
from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.extract import extract_mesh
from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.measures import surface_distance
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.remeshing.remesh import remesh
from nerfkit.mesh.repair import repair
from nerfkit.mesh.shapes import icosphere
from nerfkit.mesh.unwrap import unwrap
from nerfkit.options import compose
from nerfkit.results import new_fit
from nerfkit.runs.folder import Run
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import OccupancyOptions

Call = Callable[[], object]
RADIUS = 0.6  # of the ball that is extracted and looked at
PHOTO = 64  # pixels along a side of a small photo
PHOTO_BUDGET = 0.05  # scene.memory_gb: 3,000 such photos
POINTS = 20_000  # on each of two surfaces that are compared


class Series(NamedTuple):
    """``make(n)`` returns what is timed; ``chart`` is the picture it is drawn in.

    ``once``: a call changes what the next one finds, so that each size is called once. ``mapped``: part of the memory
    may be a file's, which does not count.
    """

    chart: str
    about: str
    axis: str
    sizes: tuple[int, ...]
    time: float
    memory: float
    make: Callable[[int], Call]
    once: bool = False
    mapped: bool = False
    after: str = ""


def field_step(options: FieldOptions, rays: int, samples: int) -> Call:
    """Pixels of so many rays of so many samples each, and the gradients of all parameters."""
    field = options.build()
    batch = new_batch(torch.full((rays,), samples), "cpu")
    weights = list(field.parameters())

    def step() -> object:
        color = field.render(*batch).color
        return torch.autograd.grad(color.square().sum(), weights, allow_unused=True)

    return step


def field_picture(side: int) -> Call:
    """A picture of side x side pixels of an untrained field of features in a ball."""
    sampler = OccupancyOptions(hull=False).build()
    cells = len(sampler.occupied)
    squared = ((torch.arange(cells) + 0.5) * 2 / cells - 1).square()
    sampler.occupied.copy_(squared[:, None, None] + squared[:, None] + squared < RADIUS**2)
    model, cameras = RadianceModel(HashGridOptions().build(), sampler), four_cameras(side)
    return lambda: model.render_view(cameras, 0)


def sphere(faces: int) -> Mesh:
    """An icosphere of 20 * 4^k faces."""
    return icosphere(round(math.log(faces / 20, 4)), RADIUS)


def raster_step(faces: int, side: int) -> Call:
    """A picture of a sphere, forward and backward to vertices and colors."""
    return prepare(round(math.log(faces / 20, 4)), side, 1)[0]["step"]


def texture_step(side: int) -> Call:
    """A texture looked up at 512 x 512 pixels, tied texel to texel, and its gradient."""
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(side, side, 3, generator=generator).requires_grad_()
    uv = torch.rand(512, 512, 2, generator=generator)
    level = torch.full((512, 512), 0.5)
    weights = torch.rand(4, side, side, generator=generator)

    def step() -> object:
        value = sample_texture(texture, uv, level=level).square().mean() + texel_ties(texture, weights, 0.1)
        return torch.autograd.grad(value, texture)

    return step


def extraction(side: int) -> Call:
    """The surface of a ball of soft density on a lattice of side^3 points."""

    def density(points: torch.Tensor) -> torch.Tensor:
        return torch.exp(40 * (RADIUS - points.norm(dim=-1)))

    return lambda: extract_mesh(density, resolution=side)


def smooth_step(faces: int) -> Call:
    """What smooths the steps of a mesh's vertices is set up, and smooths one."""
    mesh = sphere(faces)
    vertices, edges = mesh.vertices.clone(), EdgeTable.of(mesh.faces, len(mesh.vertices)).ends
    vertices.grad = torch.ones_like(vertices)
    return lambda: LargeSteps(vertices, edges, 1.0).step(1e-3)


def remeshed(faces: int) -> Call:
    """Half as many faces, by splits, collapses and flips."""
    mesh = sphere(faces)
    corners = mesh.vertices[mesh.faces]
    target = math.sqrt(2) * (corners - corners.roll(1, 1)).norm(dim=-1).mean().item()
    return lambda: remesh(mesh.vertices, mesh.faces, target)


def of_mesh(function: Callable[[Mesh], object]) -> Callable[[int], Call]:
    """A series of a function of a sphere."""

    def make(faces: int) -> Call:
        mesh = sphere(faces)
        return lambda: function(mesh)

    return make


class Photos:
    """Photos of a shaded ball in a folder that goes with this object, and the fit that was made of them last."""

    latest: "Photos"

    def __init__(self, count: int) -> None:
        Photos.latest = self
        self.folder = tempfile.TemporaryDirectory()
        write_photos(Path(self.folder.name), count, PHOTO, PHOTO, masked=True)

    def load(self) -> None:
        """Photos read, a scene and a fit made of them, and its first step."""
        words = ["scene=auto", f"scene.root={self.folder.name}", f"scene.memory_gb={PHOTO_BUDGET}"]
        config = compose("train", [*words, "preset=cpu", "trainer.max_steps=1000"])
        self.fit = new_fit(config, load_scene(config), Run(Path(self.folder.name) / "run"), torch.device("cpu"))
        self.fit.step()


def loading(count: int) -> Call:
    """So many photos loaded."""
    return Photos(count).load


def training(count: int) -> Call:
    """A step of training on the photos that ``loading`` has left."""
    return Photos.latest.fit.step


def decimated(mesh: Mesh) -> object:
    """A quarter of the faces."""
    return decimate(mesh, len(mesh.faces) // 4)


def compared(mesh: Mesh) -> object:
    """Distances between two surfaces, by points on both."""
    return surface_distance(mesh, mesh, POINTS)


FACES = (1280, 5120, 20_480, 81_920, 327_680)
VIEWS = (10, 100, 1000, 10_000)
SERIES: Mapping[str, Series] = {
    "rays": Series(
        "fields", "harmonic field, 16 samples a ray: pixels and gradients", "rays",
        (1024, 2048, 4096, 8192, 16_384, 32_768), 1, 1, lambda n: field_step(HarmonicOptions(precision="fp32"), n, 16),
    ),
    "samples": Series(
        "fields", "the same, 1,024 rays", "samples a ray",
        (8, 16, 32, 64, 128, 256, 512), 1, 1, lambda n: field_step(HarmonicOptions(precision="fp32"), 1024, n),
    ),
    "width": Series(
        "fields", "the same, 8,192 samples, by its width", "columns",
        (16, 32, 64, 128, 256, 512), 2, 2, lambda n: field_step(HarmonicOptions(width=n, precision="fp32"), 512, 16),
    ),
    "levels": Series(
        "fields", "hashed grids, 65,536 samples: pixels and gradients", "levels",
        (1, 2, 4, 8, 16), 1, 1, lambda n: field_step(HashGridOptions(levels=n, coarsest=128, finest=128), 4096, 16),
    ),
    "table": Series(
        "fields", "the same, by the table of each level", "rows",
        tuple(4**k for k in range(5, 11)), 1, 1,
        lambda n: field_step(HashGridOptions(log2_table=n.bit_length() - 1, coarsest=64), 4096, 16),
    ),
    "planes": Series(
        "fields", "planes of one level, 65,536 samples: pixels and gradients", "cells along a side",
        (64, 128, 256, 512, 1024), 2, 2,
        lambda n: field_step(PlanesOptions(levels=1, coarsest=n, finest=n), 4096, 16),
    ),
    "field_picture": Series(
        "pictures", "a field of features drawn, without gradients", "pixels along a side",
        (64, 128, 256, 512, 1024), 2, 2, field_picture,
    ),
    "mesh_picture": Series(
        "pictures", "20,480 faces drawn, with gradients", "pixels along a side",
        (128, 256, 512, 1024, 2048), 2, 2, lambda n: raster_step(20_480, n),
    ),
    "texture": Series(
        "pictures", "texture looked up at 512x512 and tied, with gradients", "texels along a side",
        (256, 512, 1024, 2048, 4096), 2, 2, texture_step,
    ),
    "extraction": Series(
        "pictures", "surface of a density", "lattice points along a side",
        (32, 64, 128, 192, 256, 384), 3, 3, extraction,
    ),
    "faces": Series("meshes", "512x512 drawn, with gradients", "faces", FACES, 1, 1, lambda n: raster_step(n, 512)),
    "smooth_step": Series("meshes", "smooth steps: set up, and one made", "faces", FACES[:4], 1.5, 1.5, smooth_step),
    "remesh": Series("meshes", "remeshed to half as many", "faces", FACES[:4], 1, 1, remeshed),
    "intersections": Series("meshes", "self-intersections found", "faces", FACES, 1, 1, of_mesh(self_intersections)),
    "repair": Series("meshes", "repaired", "faces", FACES, 1, 1, of_mesh(repair)),
    "decimate": Series(
        "meshes", "decimated to a quarter", "faces", FACES, 1, 1, of_mesh(decimated)
    ),
    "distance": Series(
        "meshes", "compared with another, 20,000 points each", "faces", FACES, 1, 1,
        of_mesh(compared),
    ),
    "unwrap": Series("meshes", "unwrapped", "faces", FACES[:3], 1, 1, of_mesh(unwrap)),
    "loading": Series(
        "photos", "photos read, a scene and a fit made, a first step", "photos",
        VIEWS, 1, 1, loading, once=True, mapped=True,
    ),
    "training": Series("photos", "a step of training", "photos", VIEWS, 0, 0, training, mapped=True, after="loading"),
}  # fmt: skip
