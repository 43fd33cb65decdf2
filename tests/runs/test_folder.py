import errno
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.mesh.files.io import load_mesh, save_mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.runs import folder as folders, output
from nerfkit.runs.files import followed
from nerfkit.runs.folder import Run, find, refuse_held
from nerfkit.runs.unfinished import newest_unfinished
from nerfkit.scenes import open_scene
from tests.scenes.builders import ring, write_blender


@pytest.fixture
def config() -> DictConfig:
    return OmegaConf.create({"seed": 0, "output": "o", "where": "${output}/x", "trainer": {"max_steps": None}})


def test_create_records_the_question_and_the_machine(tmp_path: Path, config: DictConfig) -> None:
    run = Run.create(tmp_path, "clock", config, ["seed=0", "output=o"])
    assert run.folder.parent == tmp_path / "clock"
    time.strptime(run.folder.name, "%Y-%m-%d_%H-%M-%S")
    assert OmegaConf.load(run.folder / "config.yaml").where == "o/x"  # resolved
    assert list(OmegaConf.load(run.folder / "overrides.yaml")) == ["seed=0", "output=o"]
    facts = OmegaConf.load(run.folder / "environment.yaml")
    assert torch.__version__.startswith(facts.torch)  # builds for CUDA leave their tag out of the metadata
    assert {"python", "numba", "device", "nerfkit"} <= set(facts)
    log = (run.folder / "log.txt").read_text()
    assert "seed=0 output=o" in log
    assert facts.device in log


def test_two_runs_in_one_second_get_two_folders_and_latest_is_the_newer(tmp_path: Path, config: DictConfig) -> None:
    runs = [Run.create(tmp_path, "clock", config) for _ in range(3)]
    assert len({run.folder for run in runs}) == 3
    latest = tmp_path / "clock" / "latest"
    assert not latest.is_symlink() and latest.read_text() == runs[-1].folder.name  # a link would be one more run
    assert find(latest) == Run.open(latest).folder == runs[-1].folder.resolve()
    assert len(list((tmp_path / "clock").iterdir())) == 4  # no temporary file stays


def test_latest_is_followed_wherever_it_stands_in_a_path(tmp_path: Path, config: DictConfig) -> None:
    folder = Run.create(tmp_path, "clock", config).folder
    latest = tmp_path / "clock" / "latest"
    assert followed(latest / "mesh" / "mesh.obj") == folder / "mesh" / "mesh.obj"
    assert followed(tmp_path / "latest" / "mesh.obj") == tmp_path / "latest" / "mesh.obj"  # there is none
    assert followed("~/a") == Path.home() / "a"
    save_mesh(icosphere(0).without_appearance(), folder / "mesh" / "mesh", ["obj"])
    assert len(load_mesh(latest / "mesh" / "mesh.obj").faces) == 20
    write_blender(folder / "cameras", ring(6))
    assert open_scene("blender", latest / "cameras").provenance["path"] == str(folder / "cameras")


def test_a_full_disk_leaves_no_run_folder(tmp_path: Path, config: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = Run.create(tmp_path, "clock", config)

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(folders, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        Run.create(tmp_path, "clock", config)
    assert sorted(path.name for path in (tmp_path / "clock").iterdir()) == [earlier.folder.name, "latest"]
    assert find(tmp_path / "clock" / "latest") == earlier.folder.resolve()


@pytest.mark.parametrize("output", ["taken", "taken/below", "link", "."])
def test_a_place_that_is_no_folder_is_named(tmp_path: Path, config: DictConfig, output: str) -> None:
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "clock").touch()  # the name of the scene
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"is not a folder, so nothing can be kept in .*output=FOLDER"):
        Run.create(tmp_path / output, "clock", config)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here that even root cannot write")
@pytest.mark.parametrize("output", ["/proc", "/proc/none/deeper"])
def test_a_folder_that_cannot_be_written_is_named(config: DictConfig, output: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^/proc cannot be written \(.+\), so nothing can be kept in {output}/clock"
    ):
        Run.create(output, "clock", config)


def test_a_check_of_the_output_leaves_nothing(tmp_path: Path) -> None:
    output.check_output(tmp_path)
    output.check_output(tmp_path / "deep" / "deeper")
    assert list(tmp_path.iterdir()) == []


def test_going_on_with_another_config_says_what_changed(
    tmp_path: Path, config: DictConfig, capsys: pytest.CaptureFixture
) -> None:
    run = Run.create(tmp_path, "clock", config, ["seed=0"])
    config.trainer.max_steps = 500
    Run.open(run.folder).go_on(config)
    assert "trainer.max_steps: null -> 500\n" in capsys.readouterr().out
    assert list(OmegaConf.load(run.folder / "overrides.yaml")) == ["seed=0", "trainer.max_steps=500"]
    assert OmegaConf.load(run.folder / "config.yaml").trainer.max_steps == 500


def test_open_leaves_the_record(tmp_path: Path, config: DictConfig) -> None:
    run = Run.create(tmp_path, "clock", config, ["seed=0"])
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    Run.open(run.folder)
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


def test_open_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run folder; expected OUTPUT/SCENE/DATE_TIME"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"not a run folder: it has no config.yaml; it holds nothing"):
        Run.open(tmp_path)
    (tmp_path / "cat.png").touch()
    with pytest.raises(CheckpointError, match=r"it holds cat.png"):
        Run.open(tmp_path)
    for content in (b"\xff\xfe" * 4000, b"many words\n" * 4000, b"", b"\0"):
        (tmp_path / "cat.png").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cat.png: a file, not a run folder"):
            Run.open(tmp_path / "cat.png")
        (tmp_path / "latest").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"latest: (a file, not a|no such|not a) run folder"):
            Run.open(tmp_path / "latest")


def test_log_prints_and_keeps(tmp_path: Path, config: DictConfig, capsys: pytest.CaptureFixture) -> None:
    run = Run.create(tmp_path, "clock", config)
    run.log("first")
    run.log("second: 38.5 dB")
    assert capsys.readouterr().out == "first\nsecond: 38.5 dB\n"
    assert (run.folder / "log.txt").read_text().endswith("first\nsecond: 38.5 dB\n")


def test_metrics_hold_the_newest_sections_and_only_what_was_measured(tmp_path: Path, config: DictConfig) -> None:
    run = Run.create(tmp_path, "clock", config)
    run.update_metrics({"device": "cpu", "field": {"psnr": np.float32(30.5), "steps": 10, "chamfer": None}})
    views = [(1.0, float("inf")), {"psnr": 2.0, "ssim": None}]
    run.update_metrics({"field": {"psnr": torch.tensor(31.0), "ssim": float("nan"), "views": views}})
    text = (run.folder / "metrics.json").read_text()
    kept = {"psnr": 31.0, "views": [[1.0, None], {"psnr": 2.0}]}  # no steps: an earlier field's
    assert json.loads(text) == {"device": "cpu", "field": kept}


def test_a_metric_that_no_longer_holds_is_null(tmp_path: Path, config: DictConfig) -> None:
    run = Run.create(tmp_path, "clock", config)
    run.update_metrics({"export": {"scale": 0.5, "meters_per_unit": 0.5}, "mesh": {"coarse": {"genus": 1}}})
    for _ in range(2):
        run.update_metrics({"export": {"scale": 1, "meters_per_unit": None}, "mesh": {"coarse": {"genus": None}}})
        found = json.loads((run.folder / "metrics.json").read_text())
        assert found == {"export": {"scale": 1, "meters_per_unit": None}, "mesh": {"coarse": {"genus": None}}}


def test_damaged_metrics_are_named_not_overwritten(tmp_path: Path, config: DictConfig) -> None:
    run = Run.create(tmp_path, "clock", config)
    (run.folder / "metrics.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"metrics.json: not valid JSON"):
        run.update_metrics({"device": "cpu"})
    assert (run.folder / "metrics.json").read_text() == "{"


def test_stage_measures_its_own_memory(tmp_path: Path, config: DictConfig) -> None:
    run = Run.create(tmp_path, "clock", config)
    with run.stage("big"):
        block = np.ones(60_000_000 // 8)
    del block
    with run.stage("small"):
        pass
    stages = run.metrics()["stages"]
    assert stages["big"]["peak_memory_bytes"] > 60_000_000
    if Path("/proc/self/clear_refs").exists():
        assert stages["small"]["peak_memory_bytes"] < stages["big"]["peak_memory_bytes"] - 40_000_000


def test_a_stopped_stage_is_measured_and_a_resumed_one_adds_up(
    tmp_path: Path, config: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 130.0, 7.0, 19.5, 50.0, 54.25])
    monkeypatch.setattr(folders, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    run = Run.create(tmp_path, "clock", config)

    def seconds() -> float:
        return run.metrics()["stages"]["field"]["seconds"]

    def stopped() -> None:
        with run.stage("field"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert seconds() == 30.0
    with run.stage("field", continued=True):
        pass
    assert seconds() == 42.5
    with run.stage("field"):
        pass
    assert seconds() == 4.25


def test_the_newest_unfinished_run_is_found(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="resume=auto: no unfinished run with a checkpoint in"):
        newest_unfinished(tmp_path)
    stages = {"field": {"state": "0"}, "extract": {}, "refine": {}}
    states: dict[str, dict] = {  # name -> fingerprints
        "2026-01-01_00-00-01": {"field": {"step 10": "0"}},
        "2026-01-01_00-00-02": {name: stages[name] for name in ("field", "extract")},
        "2026-01-01_00-00-03": stages,
        "2026-01-01_00-00-04": {"field": {"step 10": "0"}},  # it has no checkpoint
    }
    for scene, (name, found) in zip(("a", "b", "a", "b"), states.items(), strict=True):
        run = Run(tmp_path / scene / name)
        run.folder.mkdir(parents=True)
        OmegaConf.save(OmegaConf.create({"stages": list(stages)}), run.folder / "config.yaml")
        run.update_metrics({"fingerprints": found})
        if name != "2026-01-01_00-00-04":
            (run.folder / "checkpoints").mkdir()
            (run.folder / "checkpoints" / "step_00000010.pt").touch()
    assert newest_unfinished(tmp_path).name == "2026-01-01_00-00-02"
    held = Run(tmp_path / "b" / "2026-01-01_00-00-02")
    held.hold()
    assert newest_unfinished(tmp_path).name == "2026-01-01_00-00-01", "the newer one is being trained"
    held.close()
    assert newest_unfinished(tmp_path).name == "2026-01-01_00-00-02"
    (tmp_path / "b" / "2026-01-01_00-00-02" / "config.yaml").unlink()
    assert newest_unfinished(tmp_path).name == "2026-01-01_00-00-01"
    run = Run(tmp_path / "a" / "2026-01-01_00-00-01")
    run.update_metrics({"stages": {stage: {"seconds": 1.0} for stage in stages}})
    assert newest_unfinished(tmp_path) == run.folder.resolve()
    (run.folder / "metrics.json").write_text(json.dumps({"stages": run.metrics()["stages"]}))  # of an older version
    with pytest.raises(CheckpointError, match="resume=auto"):
        newest_unfinished(tmp_path)


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path, config: DictConfig) -> None:
    first = Run.create(tmp_path, "clock", config, [])
    message = re.escape(str(first.folder)) + ": another process is training this run"
    with pytest.raises(CheckpointError, match=message):
        Run.open(first.folder).hold()
    with pytest.raises(CheckpointError, match=message):
        refuse_held(first.folder)
    first.close()
    refuse_held(first.folder)
    second = Run.open(first.folder)
    second.hold()
    second.log("mine")
    assert second.folder.joinpath("log.txt").read_text().endswith("mine\n")
    second.close()


def test_a_run_that_cannot_be_written_is_refused(tmp_path: Path, config: DictConfig) -> None:
    run = Run.create(tmp_path, "clock", config, [])
    run.close()

    def read_only(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "locked", read_only)
        with pytest.raises(CheckpointError, match=r"cannot be written \(log\.txt: Read-only file system\)"):
            run.hold()


def test_what_a_killed_program_has_half_written_is_removed_on_going_on(tmp_path: Path, config: DictConfig) -> None:
    run = Run.create(tmp_path, "clock", config, [])
    (run.folder / "checkpoints").mkdir()
    halves = [run.folder / "checkpoints" / ".step_00000010.77.part.pt", run.folder / ".metrics.77.part.json"]
    for path in halves:
        path.touch()
    (run.folder / "video" / ".frames.77.part").mkdir(parents=True)
    run.go_on(config)
    assert not any(run.folder.rglob(".*.part*")) and (run.folder / "video").exists()
