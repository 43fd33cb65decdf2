import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nerfkit import options, resume
from nerfkit.errors import CheckpointError, ConfigError


def save(folder: Path, **changes: object) -> None:
    config = options.compose("train", ["scene=kaolin", "scene.root=clock.zip"])
    for key, value in changes.items():
        config[key] = value
    OmegaConf.save(config, folder / "config.yaml")


def test_a_resumed_run_keeps_its_own_config(tmp_path: Path) -> None:
    save(tmp_path, seed=5)
    config = resume.resumed(tmp_path, [f"resume={tmp_path}", "trainer.max_steps=900", "scene.root=moved.zip"])
    assert (config.seed, config.trainer.max_steps, config.scene.name) == (5, 900, "kaolin")
    assert (config.scene.root, config.resume) == ("moved.zip", str(tmp_path))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("scene=clock", r"scene=clock: a resumed run keeps its scene"),
        ("preset=smoke", r"a resumed run keeps its preset"),
        ("trainer.max_step=3", r"did you mean trainer.max_steps\?"),
        ("seed=x", r"seed=x: expected a whole number, such as 0"),
    ],
)
def test_a_resumed_run_refuses_what_does_not_fit(tmp_path: Path, word: str, message: str) -> None:
    save(tmp_path)
    with pytest.raises(ConfigError, match=message):
        resume.resumed(tmp_path, [f"resume={tmp_path}", word])


def test_a_run_from_before_a_key_was_there_gets_its_default(tmp_path: Path) -> None:
    save(tmp_path, seed=5)
    old = OmegaConf.load(tmp_path / "config.yaml")
    del old.refine.remesh, old.timelapse, old.scene.holdout
    old.refine.faces = 123
    old.gone = 1
    OmegaConf.save(old, tmp_path / "config.yaml")
    config = resume.resumed(tmp_path, [f"resume={tmp_path}", "refine.remesh=3"])
    fresh = options.compose("train", ["scene=kaolin", "scene.root=clock.zip"])
    assert (config.refine.remesh, config.refine.faces, config.seed) == (3, 123, 5)
    assert (config.timelapse, config.scene) == (fresh.timelapse, fresh.scene)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no config.yaml"),
        ("a: [", "cannot be read"),
        ("- 1", "expected keys and values"),
        ("field: [1, 2]", "cannot be read"),
        ("scene: {name: '${nope}'}", "cannot be read"),
    ],
)
def test_a_damaged_config_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path)) + ".*" + message):
        resume.load(tmp_path)


def test_a_run_is_read_inside_another_program_of_hydra(tmp_path: Path) -> None:
    save(tmp_path, seed=5)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "main.yaml").write_text("mine: 1\n")
    with initialize_config_dir(str(tmp_path / "other"), version_base="1.3"):
        assert resume.load(tmp_path).seed == 5
        assert compose("main") == {"mine": 1}
