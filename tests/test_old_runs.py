"""A run folder of every released version is still read; one of a newer version is refused with one message."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from nerfkit import resume, store
from nerfkit.errors import CheckpointError
from nerfkit.fit.build import load_scene
from nerfkit.fit.evaluate import evaluate_field
from nerfkit.fit.specular import Specular
from nerfkit.mesh.files.io import load_mesh
from nerfkit.results import new_fit
from nerfkit.runs import checkpoints
from nerfkit.runs.files import write_text
from nerfkit.runs.folder import Run, find
from nerfkit.runs.unfinished import newest_unfinished
from nerfkit.schema import default_of

DATA = Path(__file__).parent / "data"
OLD = DATA / "run_0_1_0"


def test_every_released_version_has_a_run_here() -> None:
    """Releases are the headings of CHANGELOG.md; where this fails, a run of the new one is to be added."""
    headings = (Path(__file__).parent.parent / "CHANGELOG.md").read_text().splitlines()
    released = {line.split()[1] for line in headings if line.startswith("## ") and "unreleased" not in line}
    assert {f"run_{version.replace('.', '_')}" for version in released} == {path.name for path in DATA.glob("run_*")}


def test_a_run_and_a_checkpoint_say_their_format(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "clock", OmegaConf.create({"seed": 0}), [])
    assert OmegaConf.load(run.folder / "environment.yaml").format == checkpoints.FORMAT
    path = checkpoints.save(run.folder, 3, {"model": {}})
    assert torch.load(path, weights_only=True) == {"format": checkpoints.FORMAT, "model": {}}
    assert checkpoints.load_latest(run.folder) == (3, {"model": {}})


def test_a_newer_run_gets_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "written by a newer nerfkit, in format 2; this one, .*, reads formats up to 1. Update it"
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    folder = shutil.copytree(OLD, tmp_path / "clock" / "2026-01-01_00-00-00")
    checkpoints.save(folder, 40, {"model": {}})
    monkeypatch.undo()
    assert find(folder) == folder.resolve()  # as an older nerfkit that went on with it in part would leave it
    with pytest.raises(CheckpointError, match=f"step_00000040.pt: {said}"):
        checkpoints.load_latest(folder)
    write_text(folder / "environment.yaml", "format: 2\n")
    (folder / "metrics.json").unlink()  # so that it is unfinished
    for look in (lambda: find(folder), lambda: Run.open(folder), lambda: newest_unfinished(tmp_path)):
        with pytest.raises(CheckpointError, match=f"2026-01-01_00-00-00: {said}"):
            look()


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
