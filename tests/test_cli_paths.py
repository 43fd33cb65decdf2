"""Paths in the words of the commands, letter for letter."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nerfkit import cli
from nerfkit.runs.folder import Run
from tests.conftest import Command

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps

PATHS = ["素材", "it's ${x}", "a,b = [c] {d: e}"]  # more in test_options.py


@pytest.mark.parametrize("path", PATHS)
def test_paths_of_every_command(
    command: Command, runs: list[Any], capsys: pytest.CaptureFixture, tmp_path: Path, path: str
) -> None:
    assert command(cli.train, "scene=kaolin", f"scene.root={path}", f"output={path}/out") == 0
    assert (runs[-1].scene.root, runs[-1].output) == (path, f"{path}/out")
    capsys.readouterr()
    assert command(cli.train, "scene=kaolin", f"scene.root={path}", f"output={path}/out", "--cfg", "job") == 0
    assert OmegaConf.create(capsys.readouterr().out).scene.root == path

    run = Run.create(runs[-1].output, "kaolin", runs[-1])
    run.close()
    assert command(cli.train, f"resume={path}/out/kaolin/latest", "trainer.max_steps=77") == 0
    assert (runs[-1].scene.root, runs[-1].resume) == (path, str(run.folder.resolve()))
    assert command(cli.train, f"resume={path}/out/kaolin/latest", "--cfg", "job") == 0
    assert OmegaConf.create(capsys.readouterr().out).resume == str(run.folder.resolve())
    assert command(cli.render, f"run={path}/out/kaolin/latest", f"output={path}/video") == 0
    assert (runs[-1].run, runs[-1].output) == (f"{path}/out/kaolin/latest", f"{path}/video")

    (tmp_path / path / "preset").mkdir(parents=True)
    (tmp_path / path / "preset" / "mine.yaml").write_text("# @package _global_\nseed: 9\n")
    for words in (["--config-dir", path], [f"--config-dir={path}"]):
        assert command(cli.train, *words, "preset=mine", "trainer.max_steps=1") == 0
        assert (runs[-1].seed, runs[-1].trainer.max_steps) == (9, 1)


def test_a_tilde_is_the_home_folder(
    command: Command, runs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert command(cli.train, "output=~/runs", "preset=cpu") == 0
    run = Run.create(runs[-1].output, "clock", runs[-1])
    assert run.folder.parent == tmp_path / "runs" / "clock"
    assert command(cli.render, "run=~/runs/clock/latest") == 0
    (tmp_path / "more" / "preset").mkdir(parents=True)
    (tmp_path / "more" / "preset" / "mine.yaml").write_text("# @package _global_\nseed: 9\n")
    assert command(cli.train, "--config-dir=~/more", "preset=mine") == 0
    assert runs[-1].seed == 9
    assert command(cli.train, "-m", "output=~/sweep", "seed=1,2") == 0
    assert (tmp_path / "sweep" / "multirun.yaml").exists() and not (tmp_path / "~").exists()
