from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nerfkit.runs.board import Board
from nerfkit.runs.report import table


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


def test_a_resumed_run_replaces_the_steps_done_twice(tmp_path: Path) -> None:
    first = Board(tmp_path)
    for step in (1, 2, 3, 4):
        first.scalar("psnr", step, step)
    first.close()
    second = Board(tmp_path)
    second.text("config", "    seed: 0")
    second.resume_at(3)
    for step in (3, 4, 5):
        second.scalar("psnr", 10 * step, step)
    second.close()
    assert [(e.step, e.value) for e in read(tmp_path).Scalars("psnr")] == [(1, 1), (2, 2), (3, 30), (4, 40), (5, 50)]


def test_table_aligns_and_marks_what_is_missing() -> None:
    text = table(["mesh", "PSNR", "faces"], [["coarse", 28.12345, 20000], ["refined", None, 9]])
    assert text.splitlines() == [
        "mesh       PSNR  faces",
        "-------  ------  -----",
        "coarse   28.123  20000",
        "refined       -      9",
    ]
