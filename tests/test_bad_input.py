"""Bad input through the commands, with the real pipeline: one message that names the file or key, exit code 2, and
nothing half written.
"""

import errno
import json
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v3 as iio
import numpy as np
import pytest

from nerfkit import cli
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import find
from tests.scenes.builders import edit_json, ring, write_blender, write_kaolin

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps

SIZE = (12, 16)
VIEWS = 5
POSE = "camera_properties__tf_mat"
TINY = [
    *("device=cpu", "stages=[field]", "scene.holdout=3", "field.width=16", "field.depth=2", "field.octaves=3"),
    *("sampler.resolution=16", "sampler.step_size=0.08", "trainer.samples=512", "trainer.max_rays=256"),
    *("trainer.max_steps=6", "trainer.checkpoint_every=0", "trainer.log_every=1"),
]


class Result(NamedTuple):
    """What a command left: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    def message(self) -> str:
        """The one message of a command that refused its input, without the leading ``error: ``."""
        assert self.code == 2, self
        assert "Traceback" not in self.out + self.err
        assert self.err.count("error: ") == 1, self.err
        last = self.err.splitlines()[-1]
        assert last.startswith("error: "), self.err
        return last.removeprefix("error: ")


Command = Callable[..., Result]


@pytest.fixture
def command(
    command_leaves_nothing: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> Command:
    """Runs a command in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(entry: Callable[[], None], *words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["command", *words])
        capsys.readouterr()
        try:
            entry()
            code: Any = 0
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return call


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    write_kaolin(folder / "kaolin", ring(VIEWS, SIZE))
    write_blender(folder / "blender", ring(VIEWS, SIZE), ring(2, SIZE))
    return folder


@pytest.fixture
def data(pristine: Path, tmp_path: Path) -> Path:
    """The two data sets, to spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "data"))


def files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, and its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- data sets


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_pose(blender: Path, row: int, column: int, factor: float) -> None:
    path = blender / "transforms_train.json"
    content = json.loads(path.read_text())
    content["frames"][2]["transform_matrix"][row][column] *= factor
    path.write_text(json.dumps(content))


def mirror(kaolin: Path) -> None:
    matrix = json.loads((kaolin / "4_metadata.json").read_text())["camera_properties"]["tf_mat"]
    edit_json(kaolin / "4_metadata.json", **{POSE: [[-row[0], *row[1:]] for row in matrix]})


def clear_masks(kaolin: Path) -> None:
    for view in range(VIEWS):
        np.save(kaolin / f"{view}_semantic.npy", np.zeros(SIZE, np.int32))


def clear_alpha(blender: Path) -> None:
    for path in blender.glob("*/*.png"):
        iio.imwrite(path, np.zeros((*SIZE, 4), np.uint8))


def keep_one_view(kaolin: Path) -> None:
    for view in range(1, VIEWS):
        for path in kaolin.glob(f"{view}_*"):
            path.unlink()


def keep_one_frame(blender: Path) -> None:
    (blender / "transforms_test.json").unlink()
    content = json.loads((blender / "transforms_train.json").read_text())
    edit_json(blender / "transforms_train.json", frames=content["frames"][:1])


KAOLIN: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "missing folder": (shutil.rmtree, ["kaolin: no such file or folder", "scene.root"]),
    "truncated PNG": (lambda d: truncate(d / "4_rgb.png"), ["4_rgb.png: cannot be decoded"]),
    "malformed JSON": (lambda d: truncate(d / "4_metadata.json"), ["4_metadata.json: malformed JSON", "line 1"]),
    "NaN pose": (
        lambda d: edit_json(d / "4_metadata.json", **{POSE: np.full((4, 4), np.nan).tolist()}),
        ["4_metadata.json, camera_properties.tf_mat: the pose contains NaN"],
    ),
    "mirrored pose": (mirror, ["4_metadata.json, camera_properties.tf_mat: the pose is mirrored"]),
    "mask of another size": (
        lambda d: np.save(d / "4_semantic.npy", np.ones((12, 15), np.int32)),
        ["4_semantic.npy: the mask has shape (12, 15)", "(12, 16)", "4_rgb.png"],
    ),
    "zero masks": (clear_masks, ["kaolin: every mask is empty"]),
    "one empty mask": (
        lambda d: np.save(d / "4_semantic.npy", np.zeros(SIZE, np.int32)),
        ["1 of 3 training views", "empty mask", "4_rgb.png"],
    ),
    "a single view": (keep_one_view, ["kaolin: it has 0 training and 1 held-out views", "at least 2"]),
}
BLENDER: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "truncated PNG": (lambda d: truncate(d / "train" / "r_2.png"), ["r_2.png: cannot be decoded"]),
    "malformed JSON": (lambda d: truncate(d / "transforms_train.json"), ["transforms_train.json: malformed JSON"]),
    "NaN pose": (lambda d: spoil_pose(d, 1, 3, np.nan), ["transforms_train.json, frame 2", "NaN"]),
    "mirrored pose": (
        lambda d: [spoil_pose(d, row, 0, -1.0) for row in range(3)],
        ["transforms_train.json, frame 2", "mirrored"],
    ),
    "zero masks": (clear_alpha, ["blender: every mask is empty"]),
    "a single view": (keep_one_frame, ["blender: it has 0 training and 1 held-out views"]),
}
CASES = [
    pytest.param(name, *case, id=f"{name}: {title}")
    for name, cases in {"kaolin": KAOLIN, "blender": BLENDER}.items()
    for title, case in cases.items()
]


@pytest.mark.parametrize(("name", "spoil", "words"), CASES)
def test_a_bad_data_set_is_named_before_a_run_starts(
    command: Command, data: Path, name: str, spoil: Callable[[Path], Any], words: list[str]
) -> None:
    spoil(data / name)
    message = command(cli.train, f"scene={name}", f"scene.root={data / name}", "scene.holdout=3").message()
    for word in [str(data / name), *words]:
        assert word in message, message
    assert list(Path().iterdir()) == []


def test_a_sweep_over_a_bad_data_set_says_so_for_each_job_and_leaves_nothing(command: Command, data: Path) -> None:
    truncate(data / "kaolin" / "1_rgb.png")
    words = ["-m", "seed=1,2", "scene=kaolin", f"scene.root={data / 'kaolin'}", "scene.holdout=3"]
    found = command(cli.train, *words)
    assert found.code == 2 and "Traceback" not in found.out + found.err
    assert found.err.count("error: ") == 2 and found.err.count("1_rgb.png: cannot be decoded") == 2
    assert [path for path in files(Path()) if not path.endswith("multirun.yaml")] == []


# ---- words of the command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scene=clok"], "scene=clok: unknown scene; did you mean clock?"),
        (["scene=auto"], "scene.root is missing; scene=auto reads files"),
        (["field.target=0.01"], "field.target: unknown key; did you mean field."),
        (["extract.resolution=null"], "extract.resolution=null: expected a whole number from 4 to 1024, such as 192"),
        (
            ["refine.views_per_step=null"],
            "refine.views_per_step=null: expected a whole number of at least 1, such as 2",
        ),
        (["scene.background=blak"], "scene.background=blak: unknown color; did you mean black?"),
        (["scene=kaolin", "scene.root="], "scene.root=: expected a path, or null"),
        (["field=harmonics"], "field=harmonics: unknown field; did you mean harmonic?"),
        (["trainer.max_second=3"], "trainer.max_second: unknown key; did you mean trainer.max_seconds?"),
        (["scenes.root=x"], "scenes.root: unknown key; did you mean scene.root?"),
        (["trainer.decay=cosin"], "trainer.decay=cosin: unknown value cosin; did you mean cosine?"),
        (["export.formats=[glb,objs]"], "export.formats=[glb,objs]: unknown value objs; did you mean obj?"),
        (["trainer.max_steps=null"], "trainer.max_steps=null: expected a number, or one for trainer.max_seconds"),
        (["resume=nowhere"], "nowhere: no such run folder"),
        (["seed=-1"], "seed=-1: expected a whole number from 0"),
        (["field.activation=gelu"], "field.activation=gelu: unknown value gelu; did you mean relu? Known: relu"),
        (["sampler.resolution=4"], "sampler.resolution=4: expected a whole number from 8 to 512"),
        (["extract.resolution=3"], "extract.resolution=3: expected a whole number from 4 to 1024"),
    ],
)
def test_a_wrong_word_gets_a_suggestion(command: Command, words: list[str], message: str) -> None:
    assert command(cli.train, *words).message().startswith(message)
    assert list(Path().iterdir()) == []


# ---- run folders


@pytest.fixture
def trained(command: Command, data: Path) -> Path:
    """A short run's folder."""
    result = command(cli.train, *TINY, "scene=kaolin", f"scene.root={data / 'kaolin'}", "output=out")
    assert result.code == 0, result.err
    return find("out/kaolin/latest")


def test_a_run_folder_without_a_checkpoint(command: Command, trained: Path) -> None:
    shutil.rmtree(trained / "checkpoints")
    before = files(trained)
    message = command(cli.train, f"resume={trained}", "trainer.max_steps=9").message()
    assert message.startswith(f"{trained}: no checkpoint in its folder checkpoints/")
    for source, expected in (("auto", "neither a mesh nor a checkpoint"), ("field", "no checkpoint"), ("mesh", "mesh")):
        message = command(cli.render, f"run={trained}", f"source={source}", "frames=1").message()
        assert message.startswith(f"{trained}: ") and expected in message
    assert files(trained) == before


def test_the_best_checkpoint_is_of_fields_that_kept_one(command: Command, trained: Path) -> None:
    for source, expected in (("field", "trainer.keep_best=true keeps one"), ("mesh", "add source=field")):
        (trained / "mesh").mkdir(exist_ok=True)
        (trained / "mesh" / "mesh.glb").touch()
        message = command(cli.render, f"run={trained}", f"source={source}", "checkpoint=best", "frames=1").message()
        assert expected in message


def test_a_run_folder_with_a_damaged_config(command: Command, trained: Path) -> None:
    (trained / "config.yaml").write_text("scene: [")
    before = files(trained)
    for entry, word in ((cli.train, "resume"), (cli.render, "run")):
        assert command(entry, f"{word}={trained}").message().startswith(f"{trained / 'config.yaml'}: cannot be read")
    assert files(trained) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["field.width=32"], "Changed here: field.width: 16 -> 32"),
        (["sampler.resolution=32"], "checkpoint does not fit"),
        (["trainer.samples=0"], "trainer.samples=0: expected a whole number of at least 1"),
        (["scene.root=nowhere"], "nowhere: no such file or folder"),
        (["device=cuda"], "device=cuda: torch sees no GPU here"),
        (["stages=[refine]"], "coarse.ply: not there yet; add extract to stages"),
        (["stages=[export]"], "coarse.ply: not there yet; add extract to stages"),
        (["stages=[video]", "video.source=mesh"], "this run has no mesh/mesh.glb"),
    ],
)
def test_a_refused_resume_writes_nothing(command: Command, trained: Path, words: list[str], message: str) -> None:
    before = files(trained)
    assert message in command(cli.train, f"resume={trained}", *words).message()
    assert files(trained) == before


def test_an_accepted_resume_says_what_differs(command: Command, trained: Path) -> None:
    resumed = command(cli.train, f"resume={trained}", "trainer.max_steps=8", "stages=[field]")
    assert resumed.code == 0, resumed.err
    assert "trainer.max_steps: 6 -> 8\n" in resumed.out
    assert "trainer.samples" not in resumed.out
    assert "going on from step 6" in resumed.out


# ---- a full disk


class Disk:
    """Lets the first ``room`` files whose name holds ``part`` be written; of the next, half, and there it ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.part, self.room = "", 0
        for method in ("write_bytes", "write_text"):
            monkeypatch.setattr(Path, method, self.limited(getattr(Path, method)))

    def limited(self, write: Callable[..., int]) -> Callable[..., int]:
        def method(path: Path, content: Any, **options: Any) -> int:
            if self.part and self.part in path.name:
                self.room -= 1
                if self.room < 0:
                    write(path, content[: len(content) // 2], **options)
                    raise OSError(errno.ENOSPC, "No space left on device")  # as ``write`` says it: without a name
            return write(path, content, **options)

        return method


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_disk_that_fills_up_during_training(command: Command, disk: Disk, data: Path) -> None:
    disk.part, disk.room = "step_", 3
    words = [*TINY, "scene=kaolin", f"scene.root={data / 'kaolin'}", "output=out"]
    message = command(cli.train, *words).message()
    run = find("out/kaolin/latest")
    failed = f"out/kaolin/{run.name}/checkpoints/step_00000004.pt"
    assert message.startswith(f"the disk is full while writing {failed}; free some space")
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"step_00000002.pt", "step_00000003.pt"}
    warnings: list[str] = []
    assert checkpoints.load_latest(run, warn=warnings.append)[0] == 3
    assert warnings == []
    assert "field" in json.loads((run / "metrics.json").read_text())["stages"]

    disk.part = ""  # somebody has made room
    again = command(cli.train, f"resume={run}", "trainer.checkpoint_every=60")
    assert again.code == 0, again.err
    assert "going on from step 3" in again.out
    assert checkpoints.steps(run)[0] == 6


def test_a_disk_without_room_for_the_pictures(command: Command, disk: Disk, data: Path) -> None:
    disk.part = "field_003"
    words = [*TINY, "scene=kaolin", f"scene.root={data / 'kaolin'}", "output=out"]
    message = command(cli.train, *words).message()
    pictures = find("out/kaolin/latest") / "images"
    assert message.startswith("the disk is full while writing out/kaolin/") and "/images/field_003.png;" in message
    assert [path.name for path in pictures.iterdir()] == ["field_000.png"]
    assert iio.imread(pictures / "field_000.png").shape == (SIZE[0], 3 * SIZE[1], 3)


@pytest.mark.parametrize("name", ["overrides", "config", "environment"])
def test_a_disk_that_is_full_from_the_start(command: Command, disk: Disk, data: Path, name: str) -> None:
    disk.part = name
    words = [*TINY, "scene=kaolin", f"scene.root={data / 'kaolin'}", "output=out"]
    message = command(cli.train, *words).message()
    assert message.startswith("the disk is full while writing out/kaolin/") and f"/{name}.yaml;" in message
    assert list(Path("out/kaolin").iterdir()) == []  # neither a run folder nor ``latest``


@pytest.mark.slow
def test_a_disk_that_is_full_for_tensorboard(
    command: Command, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(self: RecordWriter, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)  # it writes in a thread of its own
    words = [*TINY, "scene=kaolin", f"scene.root={data / 'kaolin'}", "output=out", "trainer.max_steps=20"]
    message = command(cli.train, *words).message()
    run = find("out/kaolin/latest")
    assert message.startswith(f"the disk is full while writing out/kaolin/{run.name};")
    for thread in threading.enumerate():
        if type(thread).__name__ == "_AsyncWriterThread":
            thread.join(timeout=10)  # its traceback would come now
    assert capsys.readouterr().err == ""


def test_a_disk_without_room_for_the_clock(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nerfkit.studio import clock

    def full(folder: Path, *rest: Any) -> list[Path]:
        (folder / "0_rgb.png").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("NERFKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(clock, "write_view", full)
    message = command(cli.train, *TINY, "scene=clock", "scene.resolution=16").message()
    assert message.startswith(str(tmp_path / "cache")) and "No space left on device" in message
    assert "NERFKIT_CACHE" in message
    assert list((tmp_path / "cache").iterdir()) == []
    assert list(Path().iterdir()) == []
