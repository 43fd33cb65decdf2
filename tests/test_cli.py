import errno
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from omegaconf import OmegaConf

from nerfkit import cli, options
from nerfkit.config import RenderOptions, TrainOptions
from nerfkit.errors import SceneError
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run, find
from tests.conftest import Command

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps

ROOT = Path(__file__).parent.parent


def test_train_hands_the_config_over_and_hydra_writes_nothing(
    command: Command, runs: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = ("trainer.max_steps=2", "trainer.max_steps=3")
    assert command(cli.train, "scene=clock", "preset=smoke", "preset=smoke", *twice, "stages=[field]") == 0
    note = "note: trainer.max_steps is given 2 values, 2 and 3; the last one counts\n"
    assert capsys.readouterr().err.endswith(note)
    assert len(runs) == 1
    assert (runs[0].scene.name, runs[0].trainer.max_steps, runs[0].stages) == ("clock", 3, ["field"])
    assert isinstance(runs[0], TrainOptions)
    assert list(tmp_path.iterdir()) == []


def test_the_preset_is_put_in(command: Command, pipeline: ModuleType, tmp_path: Path) -> None:
    folders: list[Path] = []

    def run(config: Any, words: list[str] | None = None) -> None:
        folders.append(Run.create(config.output, "clock", config, words).folder)

    pipeline.run = run
    for words in ((), ("preset=auto",), ("++seed=3", "hydra.verbose=false")):  # the last goes through Hydra
        assert command(cli.train, "device=cpu", *words) == 0
        recorded = OmegaConf.load(folders[-1] / "overrides.yaml")
        assert "preset=cpu" in recorded and "device=cpu" in recorded
    assert find(tmp_path / "outputs" / "clock" / "latest") == folders[-1].resolve()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scene=clok"], "error: scene=clok: unknown scene; did you mean clock?"),
        (["trainer.max_second=3"], "error: trainer.max_second: unknown key; did you mean trainer.max_seconds?"),
        (["stages=[feild]"], "error: stages=[feild]: unknown value feild; did you mean field?"),
        (["--cfg", "job", "seed=x"], "error: seed=x: expected a whole number"),
        (["resume=nowhere"], "error: nowhere: no such run folder"),
        (["resume="], "error: no run folder is named; expected OUTPUT/SCENE/DATE_TIME"),
        (["--preset", "fast"], "error: --preset: unknown flag; options are written preset=fast, and --help lists them"),
        (["-x"], "error: -x: unknown flag; options are written x=VALUE"),
        (["--config-name", "other"], "error: --config-name: not used here; --config-dir FOLDER adds configs"),
        (["--cfg", "jobs"], "error: argument --cfg/-c: invalid choice: 'jobs'"),
        (["--help", "tainer"], "error: --help tainer: no such group or key; did you mean trainer? Known: run, scene"),
        (["--scene=clock"], "error: --scene=clock: unknown flag; options are written scene=clock"),
        (["-m", "--cfg", "job", "seed=1,2"], "error: --multirun --cfg: one of them at a time"),
        (["--cfg"], "error: argument --cfg/-c: expected one argument"),
        (["--config-path=mine"], "error: --config-path: not used here; --config-dir FOLDER adds configs of your own"),
        (["--config-dir", "nowhere"], "error: --config-dir nowhere: no such folder"),
        (["-sc", "install=tcsh"], "error: -sc install=tcsh: expected install=SHELL; SHELL is one of bash, zsh, fish"),
        (["-m", "seed=glob(*)"], "error: seed=glob(*): glob picks among the options of a group, as in preset=glob(m*)"),
        (["preset=fast", "preset=minute"], "error: preset=fast preset=minute: preset is chosen twice; expected one of"),
        (["resume=nowhere", "seed=1", "seed=2"], "error: nowhere: no such run folder"),
        (["resume=."], "error: .: not a run folder: it has no config.yaml; it holds nothing"),
    ],
)
def test_bad_words_stop_before_anything_starts(
    command: Command, runs: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture, words: list, message: str
) -> None:
    assert command(cli.train, *words) == 2
    output = capsys.readouterr()
    assert output.err.startswith(message)
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert runs == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["-m", "seed=1,2"]], ids=["one run", "a sweep"])
@pytest.mark.parametrize("output", ["taken", "taken/below"])
def test_an_output_that_is_a_file(
    command: Command, runs: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture, output: str, words: list
) -> None:
    (tmp_path / "taken").write_text("mine")
    assert command(cli.train, *words, "preset=smoke", f"output={output}") == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: taken is not a folder") and printed.err.count("\n") == 1
    assert printed.out == ""
    assert runs == []
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken").read_text() == "mine"
    assert command(cli.train, "--cfg", "job", f"output={output}") == 0  # only looked at


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SceneError("3_rgb.png: truncated"), 2, "error: 3_rgb.png: truncated\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b.pt"),
            2,
            "error: the disk is full while writing a/b.pt;",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_of_the_pipeline(
    command: Command, pipeline: ModuleType, capsys: pytest.CaptureFixture, error: BaseException, code: int, message: str
) -> None:
    def fail(config: Any, words: list[str]) -> None:
        raise error

    pipeline.run = fail
    assert command(cli.train, "preset=smoke") == code
    output = capsys.readouterr().err
    assert output.startswith(message)
    assert "Traceback" not in output


def test_a_bug_keeps_its_traceback(command: Command, pipeline: ModuleType, capsys: pytest.CaptureFixture) -> None:
    def fail(config: Any, words: list[str] | None = None) -> None:
        raise ZeroDivisionError("in the pipeline")

    pipeline.run = fail
    with pytest.raises(ZeroDivisionError):
        command(cli.train, "preset=smoke")
    assert command(cli.train, "preset=smoke", "hydra.verbose=false") == 1  # through Hydra, which shows it itself
    assert "ZeroDivisionError: in the pipeline" in capsys.readouterr().err


def test_resume_uses_the_config_of_the_run(
    command: Command, runs: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = Run.create("outputs", "kaolin", options.compose("train", ["scene=kaolin", "scene.root=a.zip", "seed=8"]))
    assert command(cli.train, "resume=outputs/kaolin/latest") == 2
    assert f"error: {run.folder.resolve()}: another process is training" in capsys.readouterr().err
    run.close()
    words = ["resume=outputs/kaolin/latest", "trainer.max_steps=77", "scene.root=b.zip"]
    assert command(cli.train, *words) == 0
    assert (runs[0].seed, runs[0].scene.root, runs[0].trainer.max_steps) == (8, "b.zip", 77)
    assert Path(runs[0].resume) == run.folder.resolve()
    assert command(cli.train, *words, "--cfg", "job") == 0
    assert "max_steps: 77" in capsys.readouterr().out
    assert len(runs) == 1
    assert command(cli.train, "resume=outputs/kaolin/latest", "scene=clock") == 2
    capsys.readouterr()
    assert command(cli.train, "resume=auto", "output=elsewhere") == 2
    assert "error: resume=auto: no unfinished run with a checkpoint in elsewhere" in capsys.readouterr().err
    checkpoints.save(run.folder, 1, {})
    run.close()
    assert command(cli.train, "resume=auto", "trainer.max_steps=99") == 0
    assert (Path(runs[1].resume), runs[1].trainer.max_steps) == (run.folder.resolve(), 99)


def test_a_video_s_output_that_is_a_file(
    command: Command, runs: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    Run.create("outputs", "clock", options.compose("train"))
    (tmp_path / "taken").touch()
    assert command(cli.render, "run=outputs/clock/latest", "output=taken") == 2
    assert capsys.readouterr().err.startswith("error: taken is not a folder")
    assert runs == []


def test_render_hands_the_config_over(command: Command, runs: list[Any]) -> None:
    Run.create("outputs", "clock", options.compose("train"))
    assert command(cli.render, "run=outputs/clock/latest", "source=mesh", "channels=[rgb,depth]", "format=[gif]") == 0
    assert isinstance(runs[0], RenderOptions)
    assert (runs[0].run, runs[0].source, runs[0].channels) == ("outputs/clock/latest", "mesh", ["rgb", "depth"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: run: which run? Expected run=OUTPUT/SCENE/DATE_TIME"),
        (["run=nowhere"], "error: nowhere: no such run folder"),
        (["run=nowhere", "source=meshes"], "error: source=meshes: unknown value meshes; did you mean mesh?"),
        (["run=nowhere", "channels=[rgb,dept]"], "error: channels=[rgb,dept]: unknown value dept; did you mean depth?"),
        (["run=nowhere", "fps=0"], "error: fps=0: expected a number above 0, such as 30.0"),
    ],
)
def test_render_explains_bad_words(
    command: Command, runs: list[Any], capsys: pytest.CaptureFixture, words: list[str], message: str
) -> None:
    assert command(cli.render, *words) == 2
    assert capsys.readouterr().err.startswith(message)
    assert runs == []


def python(*arguments: str, cwd: Path) -> Any:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False, timeout=120)


def test_the_scripts_set_the_exit_code_and_a_console_is_shown_what_it_can_show(tmp_path: Path) -> None:
    train = python(str(ROOT / "train.py"), "scene=blender", "scene.root=сцена", cwd=tmp_path)
    assert (train.returncode, train.stdout) == (2, b"")
    assert train.stderr.startswith(b"error: ") and b"?????: no such file or folder" in train.stderr
    render = python(str(ROOT / "render.py"), "run=nowhere", cwd=tmp_path)
    assert (render.returncode, render.stdout) == (2, b"")
    assert render.stderr.startswith(b"error: nowhere: no such run folder")
    assert list(tmp_path.iterdir()) == []
