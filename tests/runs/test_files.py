"""Files written whole or not at all."""

import contextlib
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from nerfkit.runs.files import AHEAD, png_writer


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 5, 7, 3), np.uint8))


def test_all_pictures_are_written_when_the_block_ends(tmp_path: Path) -> None:
    made = pictures(3 * AHEAD)
    with png_writer() as write:
        for number, picture in enumerate(made):
            write(tmp_path / f"{number}.png", picture, number % 10)
    for number, picture in enumerate(made):
        assert np.array_equal(iio.imread(tmp_path / f"{number}.png"), picture)
    assert len(list(tmp_path.iterdir())) == len(made), "nothing but the pictures"


def test_errors_of_writing_are_raised(tmp_path: Path) -> None:
    (picture,) = pictures(1)
    with pytest.raises(FileNotFoundError, match="missing"), png_writer() as write:
        write(tmp_path / "missing" / "0.png", picture, 1)


def stopped(folder: Path) -> None:
    with png_writer() as write:
        write(folder / "0.png", *pictures(1), 1)
        raise KeyboardInterrupt


def test_what_was_made_before_an_error_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]


def started_before_an_error(folder: Path) -> int:
    started = 0
    with contextlib.suppress(FileNotFoundError), png_writer() as write:
        for number in range(3 * AHEAD):
            write(folder / "missing" / f"{number}.png", *pictures(1), 1)
            started += 1
    return started


def test_a_later_call_tells_of_an_error(tmp_path: Path) -> None:
    assert started_before_an_error(tmp_path) == AHEAD
