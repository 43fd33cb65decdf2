"""Several processes that share a run, on this machine: one start for what two of them do, one to kill one of them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from omegaconf import OmegaConf

from nerfkit import pipeline, resume
from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.runs import checkpoints, elastic
from nerfkit.runs.configs import load_config
from nerfkit.runs.folder import Run
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.runs.unfinished import newest_unfinished
from tests.runs.together import FIELDS, STEPS, WORDS, look, refine, show, train
from tests.scenes.builders import ring, write_kaolin
from tests.torture import ROOT, log_of, outcome, run_in


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaolin(tmp_path_factory.mktemp("data") / "sphere", ring(12, size=(40, 48)))


@pytest.fixture(scope="module")
def made(views: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process made, and what two did together: see ``tests.runs.together``."""
    folder = tmp_path_factory.mktemp("ranks")
    for field in FIELDS:
        train(folder / field / "one", views, field)
    for name in ("one", "two"):
        shutil.copytree(folder / "harmonic" / "one", folder / "shown" / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.runs.together", str(folder), str(views)]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=ROOT, env=os.environ | place | {"RANK": r}, **pipes) for r in "01"]
    show(newest(folder / "shown" / "one"))
    for process in both:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    return folder


def newest(output: Path) -> Path:
    run = run_in(output)
    assert run is not None
    return run


def found_in(output: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    run = newest(output)
    return json.loads((run / "metrics.json").read_text()), checkpoints.load_latest(run)[1]["model"]


@pytest.mark.parametrize(("total", "count"), [(10, 3), (1, 4), (0, 2), (64, 1)])
def test_the_parts_are_all_and_about_alike(total: int, count: int) -> None:
    parts = [Ranks(rank, count).part(total) for rank in range(count)]
    assert [k for part in parts for k in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_alone_does_nothing_else() -> None:
    p = torch.zeros(2, requires_grad=True)
    values = torch.ones(3)
    assert ALONE.add_up([p], values) is values and p.grad is None
    assert ALONE.copied(values) is values and ALONE.first
    ALONE.wait()


@pytest.mark.slow
@pytest.mark.parametrize("field", FIELDS)
def test_two_processes_train_as_one_does_and_the_same_twice(made: Path, field: str) -> None:
    (one, weights), (two, shared), (again, _) = (found_in(made / field / name) for name in ("one", "two", "again"))
    assert two["fingerprints"] == again["fingerprints"] != one["fingerprints"]
    assert two["field"]["psnr"] == pytest.approx(one["field"]["psnr"], abs=0.3)
    assert ("mesh" in two) == ("refine" in two["fingerprints"]) == (field == "harmonic")
    assert two["field"]["samples"] == pytest.approx(one["field"]["samples"], rel=0.02)
    for name, weight in weights.items():
        if weight.is_floating_point():
            off = (shared[name] - weight).abs().mean()
            assert off <= 0.05 * weight.abs().mean() + 1e-4, name


@pytest.mark.slow
def test_pictures_of_two_processes_are_those_of_one(made: Path, views: Path) -> None:
    one, two = (newest(made / "shown" / name) for name in ("one", "two"))
    assert "going on from step" in log_of(two)
    assert outcome(one) == outcome(two)
    frames = list(one.glob("video/frames/*/*/*.png"))
    assert len(frames) == 2 * 12  # of two channels
    for path in frames:
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()
    found = json.loads((made / "mesh.json").read_text())
    assert found == look(views, ALONE) and len(found["views"]) == 6 and found["psnr"] != found["psnr_specular"]


@pytest.mark.slow
def test_gradients_of_two_processes_are_those_of_one(made: Path, views: Path) -> None:
    alone, (two, again) = refine(views, ALONE), torch.load(made / "refined.pt")
    assert set(alone) == set(two) and len(alone) == 2 * (8 + 9) + 3 - 2  # no masks, no term of theirs
    for name, value in alone.items():
        assert torch.equal(two[name], again[name]), name
        rtol, atol = (0.01, 1e-3) if name in ("vertices", "texture") else (1e-4, 1e-7)  # Adam's first steps are signs
        torch.testing.assert_close(
            two[name], value, rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
def test_a_run_whose_process_is_gone_says_so_and_goes_on_with_another_number(views: Path, tmp_path: Path) -> None:
    run, code, said = stopped(tmp_path, views, "0", 400, ["stages=[field]"])
    missed = "error: another process of this run is gone" in said
    assert code != 0 and (missed or "stopped; go on with:" in log_of(run))  # torchrun ends the first, too
    before = checkpoints.steps(run)[0]
    assert before < 400
    steps = before + 5
    pipeline.run(resume.resumed(newest_unfinished(tmp_path), [f"trainer.max_steps={steps}"]))
    assert checkpoints.steps(run)[0] == steps and f"going on from step {before}" in log_of(run)


@pytest.mark.slow
def test_processes_that_torchrun_starts_again_end_as_if_none_had_been_killed(
    made: Path, views: Path, tmp_path: Path
) -> None:
    run, code, said = stopped(tmp_path, views, "1", STEPS, kind="refine")
    assert code == 0, said
    assert len(list(tmp_path.glob("*/*/config.yaml"))) == 1 and "refine: going on from step" in log_of(run)
    (found, weights), (whole, expected) = found_in(tmp_path), found_in(made / "harmonic" / "two")
    assert found["fingerprints"] == whole["fingerprints"] and found["field"]["psnr"] == whole["field"]["psnr"]
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


@pytest.mark.slow
def test_processes_that_are_told_to_stop_in_refinement_save_it(views: Path, tmp_path: Path) -> None:
    more = ["refine.steps=200", "refine.checkpoint_every=0.3"]
    run, code, said = stopped(tmp_path, views, "0", STEPS, more, "refine", of_all=True)
    assert code != 0 and "another process" not in said and "stopped; go on with:" in log_of(run)
    (step, *_) = checkpoints.steps(run, "refine")
    pipeline.run(resume.resumed(run, []))
    assert f"refine: going on from step {step}" in log_of(run) and "mesh" in json.loads(
        (run / "metrics.json").read_text()
    )


def test_a_restart_finds_the_run_of_its_torchrun_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for key, value in (place | {"TORCHELASTIC_MAX_RESTARTS": "2"}).items():
        monkeypatch.setenv(key, value)
    run = Run.create(tmp_path, "clock", OmegaConf.create({"a": 1}), ["a=1"])
    run.close()
    assert elastic.begun() is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert elastic.begun() is None  # stopped before it had a run
    elastic.note(run.folder)
    assert elastic.begun() == run.folder
    other = dist.TCPStore("127.0.0.1", 0, is_master=True)
    monkeypatch.setenv("MASTER_PORT", str(other.port))
    assert elastic.begun() is None
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    with pytest.raises(ConfigError, match="go on by hand with resume=auto"):
        elastic.begun()


def test_a_run_that_saved_nothing_begins_anew_in_its_folder(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "clock", OmegaConf.create({"a": 1}), ["a=1"])
    run.log("first")
    run.update_metrics({"field": {"psnr": 1.0}})
    (run.folder / "images").mkdir()
    with pytest.raises(CheckpointError, match="another process is training"):
        Run.create(tmp_path, "clock", OmegaConf.create({"a": 1}), ["a=1"], run.folder)
    run.close()
    anew = Run.create(tmp_path, "clock", OmegaConf.create({"a": 1}), ["a=1"], run.folder)
    anew.close()
    assert anew.folder == run.folder and anew.metrics() == {} and not (run.folder / "images").exists()
    assert "first" in log_of(run.folder) and load_config(run.folder / "overrides.yaml") == ["a=1"]


def stopped(
    output: Path,
    views: Path,
    restarts: str,
    steps: int,
    more: Sequence[str] = (),
    kind: str = "step",
    of_all: bool = False,
) -> tuple[Path, int, str]:
    """A run of two processes, the second of which is killed after the first checkpoint of its ``kind``, or ``of_all``
    of which are told to stop; its end, and what it said."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    place = [f"scene.root={views}", f"output={output}", f"trainer.max_steps={steps}"]
    command = [*torchrun, f"--max-restarts={restarts}", "train.py", *WORDS, *place, *FIELDS["harmonic"], *more]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)
    while (run := run_in(output)) is None or not checkpoints.steps(run, kind):
        assert process.poll() is None
        time.sleep(0.02)
    if of_all:
        process.terminate()
    else:
        os.kill(second_of(process.pid), signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    return run, process.returncode, said


def second_of(torchrun: int) -> int:
    """The process of rank 1."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    ranks = {
        Path(f"/proc/{child}/environ").read_bytes().split(b"\0").count(b"RANK=1"): int(child) for child in children
    }
    return ranks[1]


def test_what_several_processes_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from nerfkit import options, pipeline

    monkeypatch.setattr(pipeline, "join", lambda device: Ranks(0, 2))
    with pytest.raises(ConfigError, match=r"trainer\.max_seconds=3\.0: the clocks of 2 processes differ"):
        pipeline.run(options.compose("train", ["scene=clock", "trainer.max_seconds=3"]))
    with pytest.raises(ConfigError, match="a recipe is for one process"):
        pipeline.run(options.compose("train", ["scene=clock", "experiment=silhouette_fit"]))
