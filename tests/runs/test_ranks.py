"""Several processes that share a run's training, as torchrun starts them, on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfkit.errors import ConfigError
from nerfkit.runs import checkpoints
from nerfkit.runs.ranks import ALONE, Ranks
from tests.scenes.builders import ring, write_kaolin
from tests.torture import ROOT, SMALL, log_of, run_in

STEPS = 60
WORDS = [*(word for word in SMALL if not word.startswith("field.")), "stages=[field]", "trainer.checkpoint_every=0"]
FIELDS = {
    "harmonic": ["field.width=16", "field.depth=2", "field.octaves=3"],
    "hash_grid": ["field=hash_grid", "field.width=16", "field.surface=sdf"],
}


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaolin(tmp_path_factory.mktemp("data") / "sphere", ring(12, size=(40, 48)))


def start(views: Path, output: Path, count: int, *words: str) -> subprocess.Popen:
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}"]
    torchrun += ["--standalone", "train.py"]
    place = [f"scene.root={views}", f"output={output}", f"trainer.max_steps={STEPS}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*torchrun, *WORDS, *place, *words], cwd=ROOT, env=environment, **pipes)


def finished(process: subprocess.Popen) -> str:
    """What the process, which must have ended well, wrote to standard error."""
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return said


def found_in(output: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    run = run_in(output)
    assert run is not None
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
def test_two_processes_train_as_one_does_and_the_same_twice(views: Path, tmp_path: Path, field: str) -> None:
    for name, count in (("one", 1), ("two", 2), ("again", 2)):
        finished(start(views, tmp_path / name, count, *FIELDS[field]))
    (one, weights), (two, shared), (again, _) = (found_in(tmp_path / name) for name in ("one", "two", "again"))
    assert two["fingerprints"] == again["fingerprints"] != one["fingerprints"]
    assert two["field"]["psnr"] == pytest.approx(one["field"]["psnr"], abs=0.3)
    assert two["field"]["samples"] == pytest.approx(one["field"]["samples"], rel=0.02)
    for name, weight in weights.items():
        if weight.is_floating_point():
            off = (shared[name] - weight).abs().mean()
            assert off <= 0.05 * weight.abs().mean() + 1e-4, name


@pytest.mark.slow
def test_a_run_whose_process_is_gone_says_so_and_goes_on_with_another_number(views: Path, tmp_path: Path) -> None:
    process = start(views, tmp_path, 2, *FIELDS["harmonic"])
    while (run := run_in(tmp_path)) is None or not checkpoints.steps(run):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(second_of(process.pid), signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0 and "error: another process of this run is gone" in said
    before = checkpoints.steps(run)[0]
    assert before < STEPS
    subprocess.run([sys.executable, "train.py", "resume=auto", f"output={tmp_path}"], cwd=ROOT, check=True)
    assert checkpoints.steps(run)[0] == STEPS and f"going on from step {before}" in log_of(run)


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
