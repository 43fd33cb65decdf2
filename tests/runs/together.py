"""What two processes do together for ``test_ranks``, in one start: ``python -m tests.runs.together FOLDER VIEWS``."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from nerfkit import options, pipeline, resume
from nerfkit.cameras import Cameras
from nerfkit.fit.refine import refine_mesh
from nerfkit.fit.refine_measure import evaluate_mesh
from nerfkit.fit.refine_options import RefineOptions
from nerfkit.fit.refine_phases import Colored, Textured
from nerfkit.fit.refine_targets import DepthTargets, Targets
from nerfkit.fit.specular import Specular
from nerfkit.fit.subject import masked
from nerfkit.mesh.bake import bake_vertex_colors
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.mesh.unwrap import unwrap
from nerfkit.raster import rasterize
from nerfkit.runs.ranks import Ranks, join
from nerfkit.scenes import open_scene
from tests.torture import SMALL

STEPS = 40
WORDS = [*(word for word in SMALL if not word.startswith("field.")), "trainer.checkpoint_every=0"]
WORDS += ["refine.checkpoint_every=0", "refine.steps=30", "refine.specular=false"]
FIELDS = {
    "harmonic": ["field.width=16", "field.depth=2", "field.octaves=3", "stages=[field,extract,refine]"],
    "hash_grid": ["field=hash_grid", "field.width=16", "field.surface=sdf", "stages=[field]"],
}


def train(output: Path, views: Path, field: str) -> None:
    """A short run in ``output``."""
    place = [f"scene.root={views}", f"output={output}", f"trainer.max_steps={STEPS}"]
    pipeline.run(options.compose("train", [*WORDS, *place, *FIELDS[field]]))


def show(run: Path) -> None:
    """A trained run evaluated once more, and its video."""
    pipeline.run(resume.resumed(run, ["stages=[field,video]", "video.source=field", "video.channels=[rgb,depth]"]))


def look(views: Path, ranks: Ranks) -> dict:
    """The figures of a mesh with highlights."""
    scene = open_scene("kaolin", views, holdout=2)
    mesh = replace(icosphere(2), texture=torch.linspace(0, 1, 192).reshape(8, 8, 3))
    lamp = torch.tensor([[0.0, 0.0, 1.0]])
    specular = Specular(mesh.texture, torch.ones(4, 4), lamp, torch.tensor([3.0]), torch.full((1, 3), 0.5))
    return evaluate_mesh(mesh, scene, scene.test, specular=specular, ranks=ranks)


def refine(views: Path, ranks: Ranks) -> dict[str, Tensor]:
    """Terms and gradients of a step at three views, with masks and without, and a mesh that was refined."""
    scene = open_scene("kaolin", views, holdout=4)
    pixel = torch.arange(0, 40 * 48, 7)
    depth = DepthTargets(dict.fromkeys(scene.train, pixel), dict.fromkeys(scene.train, 2 + pixel / 4000))
    o = RefineOptions(steps=6, geometry=0.5, views_per_step=3, texture=32, depth_weight=0.1)
    ball = replace(icosphere(2), colors=torch.linspace(0, 1, 486).reshape(162, 3))
    flat = replace(bake_vertex_colors(unwrap(ball, 32), 32), colors=None)
    found = {}
    ranks.keep(scene=scene)
    for masks in ("with", "without"):
        seen = replace(scene, has_masks=masks == "with")
        for kind, mesh in ((Colored, ball), (Textured, flat)):
            phase = kind(mesh, Targets(seen, o, 0, depth), o, "contour", ranks)
            terms = {f"{term} ": value for term, value in phase.losses(scene.train[:3]).items()}
            gradients = {"of vertices": phase.vertices.grad, "of colors": phase.colors.grad}
            for name, value in (terms | gradients).items():
                found[f"{kind.__name__} {masks} masks, {name}"] = value.detach()
    mesh = refine_mesh(ball, scene, o, color=painted, depth=depth, ranks=ranks)
    opacity = partial(shown, mesh, scene.cameras)
    found["masks"] = masked(replace(scene, has_masks=False), opacity, ranks=ranks).images.pixels
    ranks.forget("scene", "wanted", "surface")
    return found | {"vertices": mesh.vertices, "texture": mesh.texture}


def shown(mesh: Mesh, cameras: Cameras, view: int) -> Tensor:
    """Opacity of a mesh in a view."""
    return rasterize(mesh.vertices, mesh.faces, cameras[view]).covered[0].float()


def painted(points: Tensor, normals: Tensor) -> Tensor:
    """Colors (P,3) of a surface."""
    return (points * normals).abs().clamp(max=1)


def main() -> None:
    """All of it."""
    folder, views = map(Path, sys.argv[1:])
    for field in FIELDS:
        for name in ("two", "again"):
            train(folder / field / name, views, field)
    for run in sorted(folder.glob("shown/two/*/*/config.yaml")):
        show(run.parent)
    ranks = join(torch.device("cpu"))
    if not ranks.first:
        ranks.help()
        return
    (folder / "mesh.json").write_text(json.dumps(look(views, ranks)))
    torch.save([refine(views, ranks) for _ in range(2)], folder / "refined.pt")
    ranks.leave()


if __name__ == "__main__":
    main()
