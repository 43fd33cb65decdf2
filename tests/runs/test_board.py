from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from nerfkit.runs.board import Board
from nerfkit.runs.table import table


def read(folder: Path) -> Any:
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def test_everything_is_in_one_event_file(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert list(tmp_path.iterdir()) == []  # no file before the first value
    board.scalar("loss/color", torch.tensor(0.25), 10)
    board.scalar_by_second("psnr", 30.0, 12.4)
    board.image("test/3", np.zeros((4, 6, 3), np.float32), 10)
    board.image("depth", torch.full((4, 6), 255, dtype=torch.uint8), 10)
    board.text("config", "    seed: 0")
    board.close()
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == len(list(tmp_path.iterdir())) == 1
    events = read(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("loss/color")] == [(10, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("psnr_by_second")] == [(12, 30.0)]
    images = [events.Images(tag)[0] for tag in ("test/3", "depth")]
    assert [(image.width, image.height) for image in images] == [(6, 4), (6, 4)]
    assert "config/text_summary" in events.Tags()["tensors"]


def hparams(folder: Path) -> dict[str, Any]:
    """The options that TensorBoard's tab HPARAMS shows of a run."""
    content = read(folder).PluginTagToContent("hparams")[metadata.SESSION_START_INFO_TAG]
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in values.items()}


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def test_steps_that_are_done_again_are_there_once(tmp_path: Path) -> None:
    """In the fit that goes on alone: every fit counts its own steps."""
    first = Board(tmp_path)
    for step in (1, 2, 3, 4):
        first.scalar("field/loss", step, step)
        first.scalar("refine/loss", step, step)
        first.scalar_by_second("refine/psnr", step, 20 * step)
        first.image("refine/true", np.full((2, 2), step / 4, np.float32), step)
    first.close()
    (earlier,) = tmp_path.iterdir()
    with earlier.open("ab") as file:
        file.write(b"\x10\0\0")  # it was killed while it wrote
    second = Board(tmp_path)
    second.text("config", "    seed: 0")
    second.forget(("refine/", "loss/"), 2, 40.4)
    for step in (3, 4, 5):
        second.scalar("refine/loss", 10 * step, step)
        second.scalar_by_second("refine/psnr", 10 * step, 20 * step)
    second.close()
    assert points(tmp_path, "refine/loss") == [(1, 1), (2, 2), (3, 30), (4, 40), (5, 50)]
    assert points(tmp_path, "refine/psnr_by_second") == [(20, 1), (40, 2), (60, 30), (80, 40), (100, 50)]
    assert points(tmp_path, "field/loss") == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert [image.step for image in read(tmp_path).Images("refine/true")] == [1, 2]
    Board(tmp_path).forget(("refine/",))
    assert read(tmp_path).Tags()["scalars"] == ["field/loss"]
    assert len(list(tmp_path.iterdir())) == 2


def test_hparams_are_those_of_the_last_start(tmp_path: Path) -> None:
    asked = {"field.width": 32, "trainer.poses": "on", "fused": True}
    for figures in ({"field_psnr": 20.0, "mesh_psnr": 19.0}, {"field_psnr": 30.0}):
        board = Board(tmp_path)
        board.scalar("loss", 0.5, 0)
        board.outcome(asked, figures)
        board.close()
        asked = {"field.width": 64, "seed": 1}
    found = hparams(tmp_path)
    assert found == {"field.width": 64, "seed": 1}
    events = read(tmp_path)
    assert events.PluginTagToContent("hparams").keys() == {"_hparams_/session_start_info", "_hparams_/session_end_info"}
    assert sorted(events.Tags()["scalars"]) == ["Final/field_psnr", "loss"]
    assert points(tmp_path, "Final/field_psnr") == [(0, 30)]
    assert points(tmp_path, "loss") == [(0, 0.5), (0, 0.5)]


def test_a_clock_that_was_set_back_does_not_mix_up_what_came_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step, now in ((1, 5000.0), (2, 3000.0), (3, 1000.0)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        board = Board(tmp_path)
        board.scalar("loss", step, step)
        board.close()
    assert points(tmp_path, "loss") == [(1, 1), (2, 2), (3, 3)]


def test_table_aligns_and_marks_what_is_missing() -> None:
    text = table(["mesh", "PSNR", "faces"], [["coarse", 28.12345, 20000], ["refined", None, 9]])
    assert text.splitlines() == [
        "mesh       PSNR  faces",
        "-------  ------  -----",
        "coarse   28.123  20000",
        "refined       -      9",
    ]
