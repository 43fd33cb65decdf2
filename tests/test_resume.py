import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from nerfkit import options, resume
from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.runs.folder import Run

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps


def save(folder: Path, *words: str) -> None:
    config = options.compose("train", ["scene=kaolin", "scene.root=clock.zip", *words])
    OmegaConf.save(config, folder / "config.yaml")


def edit(folder: Path, change: Any) -> None:
    saved = OmegaConf.load(folder / "config.yaml")
    assert isinstance(saved, DictConfig)
    change(saved)
    OmegaConf.save(saved, folder / "config.yaml")


def test_a_resumed_run_keeps_its_own_config(tmp_path: Path) -> None:
    save(tmp_path, "seed=5")
    config = resume.resumed(tmp_path, [f"resume={tmp_path}", "trainer.max_steps=900", "scene.root=moved.zip"])
    assert (config.seed, config.trainer.max_steps, config.scene.name) == (5, 900, "kaolin")
    assert (config.scene.root, config.resume) == ("moved.zip", str(tmp_path))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("scene=clock", r"scene=clock: a resumed run keeps its scene"),
        ("preset=smoke", r"a resumed run keeps its preset"),
        ("trainer.max_step=3", r"did you mean trainer.max_steps\?"),
        ("seed=x", r"seed=x: expected a whole number from 0 to 2\^63 - 1, such as 0"),
        ("field.name=other", r"field.name=other: cannot be set"),
        ("sampler.step_size=0", r"sampler.step_size=0: expected a number above 0"),
        ("seed=1,2", r"seed=1,2: several values"),
    ],
)
def test_a_resumed_run_refuses_what_does_not_fit(tmp_path: Path, word: str, message: str) -> None:
    save(tmp_path)
    with pytest.raises(ConfigError, match=message):
        resume.resumed(tmp_path, [f"resume={tmp_path}", word])


def test_a_run_from_before_a_key_was_there_gets_its_default(tmp_path: Path) -> None:
    save(tmp_path, "seed=5")

    def older(saved: DictConfig) -> None:
        del saved.refine.remesh, saved.timelapse, saved.scene.holdout, saved.sampler.share
        saved.refine.faces, saved.gone, saved.trainer.gone = 123, 1, 2

    edit(tmp_path, older)
    config = resume.resumed(tmp_path, [f"resume={tmp_path}", "refine.remesh=3"])
    fresh = options.compose("train", ["scene=kaolin", "scene.root=clock.zip"])
    assert (config.refine.remesh, config.refine.faces, config.seed) == (3, 123, 5)
    assert (config.timelapse, config.scene, config.sampler) == (fresh.timelapse, fresh.scene, fresh.sampler)


def test_a_run_from_before_a_term_of_the_loss_goes_on_without_it(tmp_path: Path) -> None:
    save(tmp_path)
    assert (resume.load(tmp_path).trainer.depth_weight, resume.load(tmp_path).trainer.exposure) == (None, "auto")

    def older(saved: DictConfig) -> None:
        del saved.trainer.depth_weight, saved.trainer.exposure

    edit(tmp_path, older)
    assert (resume.load(tmp_path).trainer.depth_weight, resume.load(tmp_path).trainer.exposure) == (0.0, "off")
    config = resume.resumed(tmp_path, [f"resume={tmp_path}", "trainer.depth_weight=0.1"])
    assert config.trainer.depth_weight == 0.1


def test_a_run_of_another_sampler_and_of_a_recipe(tmp_path: Path) -> None:
    save(tmp_path, "experiment=nerf_tutorial", "sampler.count=32")
    config = resume.load(tmp_path)
    assert asdict(config.sampler) == {"name": "stratified", "near": 0.1, "far": 3.0, "count": 32}
    OmegaConf.save(options.compose("train", ["experiment=visibility_study"]), tmp_path / "config.yaml")

    def british(saved: DictConfig) -> None:
        del saved.recipe.color_rate
        saved.recipe.colour_rate = 0.25

    edit(tmp_path, british)
    assert resume.load(tmp_path).recipe.color_rate == 0.25


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no config.yaml"),
        ("a: [", "cannot be read"),
        ("- 1", "expected keys and values"),
        ("field: [1, 2]", "cannot be read .*field"),
        ("field: {name: nope}", "cannot be read .field=nope: unknown field. Known: .*harmonic"),
        ("scene: {name: '${nope}'}", "cannot be read"),
        ("seed: many", "cannot be read .*seed.*many"),
        ("seed: -1", "seed=-1: expected a whole number"),
        ("\0", "cannot be read"),
    ],
)
def test_a_damaged_config_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path)) + ".*" + message):
        resume.load(tmp_path)


@pytest.mark.parametrize("path", ["it's ${x}", "a,b [1]", "\\${oc.env:HOME}", "back\\", "2024", "null", "素材"])
def test_paths_read_back_the_same(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run.create(
        "runs", "clock", options.compose("train", ["scene=kaolin", f"scene.root={path}", f"output={path}x"]), [path]
    )
    expected = None if path == "null" else path
    loaded = resume.load(run.folder)
    assert (loaded.scene.root, loaded.output) == (expected, path + "x")
    assert OmegaConf.load(run.folder / "config.yaml").scene.root == expected
    again = resume.resumed(run.folder, [f"resume={run.folder}", f"scene.root={path}y"])
    assert again.scene.root == path + "y"
    run.go_on(again)
    assert resume.load(run.folder).scene.root == path + "y"
    assert next(iter(OmegaConf.load(run.folder / "overrides.yaml"))) == path


def test_a_run_is_read_inside_another_program_of_hydra(tmp_path: Path) -> None:
    GlobalHydra.instance().clear()  # what another test may have left
    save(tmp_path, "seed=5")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "main.yaml").write_text("mine: 1\n")
    with initialize_config_dir(str(tmp_path / "other"), version_base="1.3"):
        assert resume.resumed(tmp_path, [f"resume={tmp_path}"]).seed == 5
        assert compose("main") == {"mine": 1}
