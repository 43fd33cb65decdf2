"""A run made again gives the same bits, and `verify` says where it does not."""

import json
import shutil
from pathlib import Path

import numba
import pytest
import torch

from nerfkit import options, pipeline, resume
from nerfkit.errors import CheckpointError
from nerfkit.runs.files import write_text
from nerfkit.runs.fingerprint import FILES, of_stage, of_state
from nerfkit.runs.folder import Run
from nerfkit.runs.threads import MOST
from nerfkit.verify_command import main as verify
from tests.scenes.builders import ring, write_kaolin
from tests.test_pipeline import TINY

STEPS = 100


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verified")
    views = write_kaolin(folder / "sphere", ring(12, size=(40, 48)))
    words = [*TINY, f"scene.root={views}", f"output={folder}", "threads=1", f"trainer.max_steps={STEPS}"]
    return pipeline.run(options.compose("train", words))


@pytest.mark.slow
def test_every_stage_comes_out_again_with_another_number_of_threads(
    run_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    if MOST < 2:
        pytest.skip("one thread alone is here")
    config = (run_folder / "config.yaml").read_text("utf-8")
    write_text(run_folder / "config.yaml", config.replace("threads: 1", "threads: 2"))
    assert verify([str(run_folder), "--all"]) == 0
    assert torch.get_num_threads() == numba.get_num_threads() == 2
    said = capsys.readouterr().out
    rows = [line for line in said.splitlines() if line.endswith("  same")]
    found = json.loads((run_folder / "metrics.json").read_text())["fingerprints"]
    assert found.keys() == FILES.keys() - {"texture"} and {"step 10", "step 100", "state"} <= found["field"].keys()
    assert len(rows) == sum(map(len, found.values())) >= 9


@pytest.mark.slow
def test_first_steps_are_compared(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert verify([str(run_folder)]) == 0
    said = capsys.readouterr().out
    assert "step 10 " in said and "step 100 " in said and "coarse" not in said
    other = shutil.copytree(run_folder, tmp_path / "other")
    config = (other / "config.yaml").read_text("utf-8")
    write_text(other / "config.yaml", config.replace("seed: 0", "seed: 1"))
    facts = (other / "environment.yaml").read_text("utf-8")
    write_text(other / "environment.yaml", facts.replace("torch: 2", "torch: 1"))
    assert verify([str(other), "--steps", "10"]) == 1
    said = capsys.readouterr().out
    assert "differs: " in said and "torch was 1" in said


@pytest.mark.slow
def test_a_resumed_run_is_the_same_as_one_in_one_go(run_folder: Path, capsys: pytest.CaptureFixture) -> None:
    words = [f"resume={run_folder}", "stages=[extract,refine,export]"]
    pipeline.run(resume.resumed(run_folder, words))
    assert verify([str(run_folder), "--all"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "max_seconds", "message"),
    [
        ({}, "null", "metrics.json has no fingerprints of a field"),
        ({"field": {"step 10": "0"}}, "20", "trainer.max_seconds=20.0: its learning rate followed the clock"),
        ({"field": {"state": "0"}}, "null", "it has fewer than 10 steps"),
    ],
)
def test_what_cannot_be_verified(tmp_path: Path, section: dict, max_seconds: str, message: str) -> None:
    config = options.compose("train", ["scene=clock", f"trainer.max_seconds={max_seconds}"])
    run = Run.create(tmp_path, "clock", config, [])
    run.update_metrics({"fingerprints": section})
    with pytest.raises(CheckpointError, match=message):
        verify([str(run.folder)])


def test_a_fingerprint_sees_every_bit_but_seconds() -> None:
    state = {"w": torch.zeros(3), "progress": {"step": 1, "seconds": 2.0}, "groups": [{"lr": 0.1}]}
    others = [
        state | {"w": torch.tensor([0.0, 0.0, -0.0])},
        state | {"w": torch.zeros(3, 1)},
        state | {"w": torch.zeros(3, dtype=torch.int32)},
        state | {"progress": {"step": 2, "seconds": 2.0}},
        state | {"groups": [{"lr": 0.2}]},
        state | {"groups": [{"lr": 0.1}, {}]},
    ]
    assert of_state(state | {"progress": {"step": 1, "seconds": 3.0}}) == of_state(state)
    assert len({of_state(one) for one in [state, *others]}) == 1 + len(others)


def test_files_of_a_stage_have_one_fingerprint_a_pattern(tmp_path: Path) -> None:
    assert of_stage(tmp_path, "field") == {}
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "field_000.png").write_bytes(b"a")
    first = of_stage(tmp_path, "field")
    (tmp_path / "images" / "field_000.png").rename(tmp_path / "images" / "field_001.png")
    assert first.keys() == {"images/field_*.png"} and of_stage(tmp_path, "field") != first
