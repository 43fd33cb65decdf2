"""What two processes do together for ``test_ranks``, in one start: ``python -m tests.runs.together FOLDER VIEWS``."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from nerfkit import options, pipeline, resume
from nerfkit.fit.refine_measure import evaluate_mesh
from nerfkit.fit.specular import Specular
from nerfkit.mesh.shapes import icosphere
from nerfkit.runs.ranks import Ranks, join
from nerfkit.scenes import open_scene
from tests.torture import SMALL

STEPS = 40
WORDS = [*(word for word in SMALL if not word.startswith("field.")), "stages=[field]", "trainer.checkpoint_every=0"]
FIELDS = {
    "harmonic": ["field.width=16", "field.depth=2", "field.octaves=3"],
    "hash_grid": ["field=hash_grid", "field.width=16", "field.surface=sdf"],
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
    ranks.leave()


if __name__ == "__main__":
    main()
