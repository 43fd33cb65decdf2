"""A run folder of version 0.1.0 is still read."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from nerfkit import resume, store
from nerfkit.fit.build import load_scene
from nerfkit.fit.evaluate import evaluate_field
from nerfkit.fit.specular import Specular
from nerfkit.mesh.files.io import load_mesh
from nerfkit.results import new_fit
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run
from nerfkit.schema import default_of

OLD = Path(__file__).parent / "data" / "run_0_1_0"


def test_its_config_is_read() -> None:
    """Options that are newer than the run have their defaults, but for those that would change what it learns."""
    config = resume.load(OLD)
    saved = OmegaConf.load(OLD / "config.yaml")
    for leaf in store.leaves(OmegaConf.structured(config)):
        group, _, key = leaf.key.rpartition(".")
        default = resume.BEFORE.get(group, {}).get(key, default_of(leaf.declared))
        expected = OmegaConf.select(saved, leaf.key, default=default)
        assert leaf.value == ("fp32" if leaf.key == "field.precision" else expected), leaf.key  # it ran on a CPU
    assert resume.resumed(OLD, [f"resume={OLD}", "trainer.max_steps=40"]).trainer.max_steps == 40


@pytest.mark.slow
def test_its_field_is_rendered_and_goes_on(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD, tmp_path / "run")
    config = resume.load(folder)
    assert config.field.precision == "fp32"  # as a CPU had it then
    scene = load_scene(config)
    fit = new_fit(config, scene, Run(folder), torch.device("cpu"))
    fit.load_state_dict(checkpoints.load_latest(folder)[1], str(folder))
    found, recorded = evaluate_field(fit.average, scene), json.loads((folder / "metrics.json").read_text())["field"]
    assert fit.progress.step == recorded["steps"] == 30
    assert [row["psnr"] for row in found["views"]] == pytest.approx([r["psnr"] for r in recorded["views"]], abs=2e-3)
    assert all(int(state["step"]) == 30 for state in fit.optimizer.state.values())
    fit.step()
    fit.save()
    assert checkpoints.steps(folder) == [31, 30]


def test_its_mesh_and_highlights_are_read() -> None:
    mesh, highlights = load_mesh(OLD / "mesh" / "mesh.glb"), Specular.load(OLD / "mesh" / "specular.npz")
    assert mesh.texture is not None and 200 < len(mesh.faces) <= 400
    assert highlights.color.shape == (len(highlights.sharpness), 3) and bool((highlights.color >= 0).all())
