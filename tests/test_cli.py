import csv
import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

import nerfkit
from nerfkit import cli, options, store
from nerfkit.__main__ import main
from nerfkit.config import RenderOptions, TrainOptions
from nerfkit.errors import SceneError
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run, find

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps

ROOT = Path(__file__).parent.parent
Command = Callable[..., int]


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An empty room in place of the pipeline, whose own tests are elsewhere."""
    module = ModuleType("nerfkit.pipeline")
    monkeypatch.setitem(sys.modules, "nerfkit.pipeline", module)
    monkeypatch.setattr(nerfkit, "pipeline", module, raising=False)
    return module


@pytest.fixture
def runs(pipeline: ModuleType) -> list[Any]:
    """What the commands hand to the pipeline."""
    configs: list[Any] = []
    pipeline.render = configs.append
    pipeline.run = lambda config, words=None: configs.append(config)
    return configs


@pytest.fixture
def command(command_leaves_nothing: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command in an empty folder and returns its exit code."""
    monkeypatch.chdir(tmp_path)

    def call(entry: Callable[[], None], *words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["command", *words])
        try:
            entry()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        return 0

    return call


def test_train_hands_the_config_over_and_hydra_writes_nothing(
    command: Command, runs: list[Any], tmp_path: Path
) -> None:
    assert command(cli.train, "scene=clock", "preset=smoke", "trainer.max_steps=3", "stages=[field]") == 0
    assert len(runs) == 1
    assert (runs[0].scene.name, runs[0].trainer.max_steps, runs[0].stages) == ("clock", 3, ["field"])
    assert isinstance(runs[0], TrainOptions)
    assert list(tmp_path.iterdir()) == []


def test_hydra_explains_itself_and_nerfkit_its_version(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(cli.train, "--hydra-help") == 0
    assert "Hydra" in capsys.readouterr().out
    assert command(main, "--version") == 0
    assert capsys.readouterr().out == f"nerfkit {nerfkit.__version__}\n"
    assert command(cli.train, "--version") == 0
    assert capsys.readouterr().out == f"nerfkit {nerfkit.__version__}, with Hydra {hydra.__version__}\n"


@pytest.mark.parametrize("words", ["train --help", "doctor"])
def test_a_reader_that_leaves_is_no_error(words: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "nerfkit", *words.split()], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b"" and child.wait() == 141


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


def test_a_sweep_says_what_each_run_has_and_ends_with_a_table(
    command: Command, pipeline: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: Any, words: list[str] | None = None) -> Path:
        record = Run.create(config.output, "clock", config, words)
        record.update_metrics({"scene": {"size": 2.5}, "field": {"psnr": 30.0 + config.seed, "steps": 9}})
        return record.folder

    pipeline.run = run
    assert command(cli.train, "-m", "output=out", "seed=1,2", "field.width=32,64") == 0
    text = capsys.readouterr().out
    assert "run 3 of 4: seed=2 field.width=32\n" in text
    (kept,) = (tmp_path / "out").glob("sweep_*.txt")
    table = kept.read_text().splitlines()
    assert table[0].split() == ["seed", "field.width", "field", "PSNR", "seconds", "run"] and len(table) == 6
    assert [row.split()[:3] for row in table[3:5]] == [["2", "64", "32.000"], ["1", "32", "31.000"]]  # best first
    assert table[3] in text
    rows = list(csv.DictReader(kept.with_suffix(".csv").open()))
    assert [(row["seed"], row["field.width"], float(row["field PSNR"])) for row in rows][1] == ("2", "64", 32.0)


def test_a_sweep_runs_once_for_each_value(command: Command, runs: list[Any]) -> None:
    assert command(cli.train, "-m", "seed=3,4", "preset=smoke") == 0
    assert [config.seed for config in runs] == [3, 4]
    runs.clear()
    assert command(cli.train, "-m", "seed=3,x", "preset=smoke") == 2
    assert runs == []  # the second job's mistake is found before the first job starts


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


def test_help_lists_groups_and_keys(command: Command, capsys: pytest.CaptureFixture) -> None:
    assert command(cli.train, "--help") == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    keys = re.findall(r"^  ([a-z_.0-9]+)=", text, re.MULTILINE)
    every = {leaf.key for leaf in store.leaves(OmegaConf.structured(options.compose("train")))}
    assert every - set(keys) == {"scene.name", "field.name", "sampler.name"}  # chosen by scene=NAME
    assert re.search(r"preset=fast +A mesh in half a minute on two cores", text)
    assert re.search(r"experiment=nmr_draw +Neural 3D Mesh Renderer, example 1", text)
    assert text.index("\nscene: ") < text.index("\nfield: ") < text.index("\nrefine: ") < text.index("\nvideo: ")
    assert command(cli.train, "--help", "sampler=stratified", "seed=7") == 0
    text = capsys.readouterr().out
    assert "sampler.count=128" in text and "sampler.hull" not in text and "  seed=7 " in text
    assert command(cli.train, "--help", "sampler=stratifed") == 2
    assert command(cli.render, "--help") == 0
    assert "elevation=20.0" in capsys.readouterr().out


def test_help_of_a_group_or_a_key_leaves_nothing_out(command: Command, capsys: pytest.CaptureFixture) -> None:
    assert command(cli.train, "--help", "trainer", "preset=smoke") == 0
    text = capsys.readouterr().out
    assert "extract." not in text and re.search(r"trainer.max_steps=200 ", text)
    assert re.search(r"trainer.max_seconds=null .*\n.*\n? .*\(a number above 0, or\s+null\)\n", text)
    assert command(main, "options", "field", "rasterizer.dibr") == 0
    text = capsys.readouterr().out
    assert re.search(r"field=planes +Features as products", text) and "rasterizer.dibr.knum" in text
    assert "rasterizer.nmr" not in text
    capsys.readouterr()
    assert command(cli.train, "--help", "trainr") == 2
    assert capsys.readouterr().err.startswith("error: --help trainr: no such group or key; did you mean trainer?")


def test_nerfkit_names_its_commands(command: Command, runs: list[Any], capsys: pytest.CaptureFixture) -> None:
    assert command(main) == 0
    assert "doctor" in capsys.readouterr().out
    assert command(main, "docter") == 2
    assert (
        capsys.readouterr().err == "error: docter: unknown command; did you mean doctor? "
        "Known: train, render, prepare, synthesize, eval, verify, report, compare, runs, view, options, doctor, "
        "completion\n"
    )
    assert command(main, "train", "seed=6", "preset=smoke") == 0
    assert runs[0].seed == 6


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


# ---- paths, letter for letter


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


def test_paths_in_a_sweep(command: Command, runs: list[Any], tmp_path: Path) -> None:
    assert command(cli.train, "-m", "scene=kaolin", "scene.root=it's,${x} (1)", "output=a b") == 0
    assert [(config.scene.root, config.output) for config in runs] == [("it's", "a b"), ("${x} (1)", "a b")]
    (tmp_path / "it's,${x} (1)").mkdir()
    assert command(cli.train, "-m", "scene=kaolin", "scene.root=it's,${x} (1)", "seed=1,2") == 0
    assert [(config.scene.root, config.seed) for config in runs[2:]] == [("it's,${x} (1)", 1), ("it's,${x} (1)", 2)]


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
