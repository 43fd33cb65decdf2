from pathlib import Path

from nerfkit.runs import curves
from nerfkit.runs.board import Board
from nerfkit.runs.curves import write_losses


def test_a_chart_for_every_fit_and_none_for_other_curves(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    board = Board(tmp_path)
    for step in range(1, 4):
        board.scalar("loss/color", 1 / step, step)
        board.scalar("loss/depth", 0.0, step)  # has no logarithm
        board.scalar("train/psnr", 20.0, step)
        board.scalar("refine/image", 0.5, step)
        board.scalar("refine/loss", 0.6, step)
        board.scalar("refine/held_out_psnr", 30.0, step)
    board.scalar("short/loss", 1.0, 1)
    for step in range(2):  # a fit that was begun anew
        board.scalar("refine/image", 0.25, step)
    board.flush()
    drawn = {}
    monkeypatch.setattr(curves, "line_chart", lambda path, title, x, y, lines: drawn.setdefault(path.name, lines))
    write_losses(tmp_path)
    assert {name: list(lines) for name, lines in drawn.items()} == {
        "loss_field.png": ["color"],
        "loss_refine.png": ["image", "loss"],
    }
    assert drawn["loss_field.png"]["color"][:2] == [(1, 1.0), (2, 0.5)]
    assert drawn["loss_refine.png"]["image"] == [(0, 0.25), (1, 0.25)]
    monkeypatch.undo()
    paths = write_losses(tmp_path)
    assert [path.stat().st_size > 0 for path in paths] == [True, True]
    board.close()
