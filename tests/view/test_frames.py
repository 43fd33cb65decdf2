from pathlib import Path
from types import SimpleNamespace

import imageio.v3 as iio
import numpy as np
import pytest

from nerfkit.runs import progress
from nerfkit.view.frames import render_frames


class Renderer:
    """Counts what it renders; stops like Ctrl-C at frame ``stop_at``."""

    def __init__(self, stop_at: int | None = None, offset: int = 0) -> None:
        self.done: list[int] = []
        self.stop_at, self.offset = stop_at, offset

    def __call__(self, frame: int) -> dict[str, np.ndarray]:
        if frame == self.stop_at:
            raise KeyboardInterrupt
        self.done.append(frame)
        return {name: np.full((5, 7, 3), 10 * frame + i + self.offset, np.uint8) for i, name in enumerate("ab")}


def test_frames_are_numbered_files(tmp_path: Path) -> None:
    paths = render_frames(Renderer(), 3, tmp_path / "frames", ["a", "b"], {"size": 5})
    assert paths["b"] == [tmp_path / "frames" / "b" / f"{i:04d}.png" for i in (1, 2, 3)]
    assert [int(iio.imread(path)[0, 0, 0]) for path in paths["b"]] == [1, 11, 21]
    assert iio.imread(paths["a"][0]).shape == (5, 7, 3)


def test_a_stopped_render_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        render_frames(Renderer(stop_at=2), 4, tmp_path, ["a", "b"], {"size": 5})
    rest = Renderer()
    paths = render_frames(rest, 4, tmp_path, ["a", "b"], {"size": 5})
    assert rest.done == [2, 3]
    assert [int(iio.imread(path)[0, 0, 0]) for path in paths["a"]] == [0, 10, 20, 30]


def test_another_channel_renders_again_but_a_subset_does_not(tmp_path: Path) -> None:
    render_frames(Renderer(), 2, tmp_path, ["a"], {"size": 5})
    both, one = Renderer(), Renderer()
    render_frames(both, 2, tmp_path, ["a", "b"], {"size": 5})
    render_frames(one, 2, tmp_path, ["b"], {"size": 5})
    assert (both.done, one.done) == ([0, 1], [])


def test_frames_of_other_settings_are_removed(tmp_path: Path) -> None:
    render_frames(Renderer(), 3, tmp_path, ["a", "b"], {"step": 100})
    again = Renderer(offset=5)
    lines: list[str] = []
    paths = render_frames(again, 2, tmp_path, ["a"], {"step": 200}, lines.append)
    assert lines == [f"removed earlier frames from {tmp_path}: what they show has changed"]
    assert again.done == [0, 1]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["0001.png", "0002.png"]
    assert not (tmp_path / "b").exists()
    assert int(iio.imread(paths["a"][0])[0, 0, 0]) == 5


def test_a_frame_that_fails_to_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:20])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(OSError, match="No space"):
        render_frames(Renderer(), 2, tmp_path, ["a"], {})
    assert list((tmp_path / "a").iterdir()) == []


def test_without_a_terminal_a_line_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 6.0, 12.0, 18.0, 24.0])  # the start, then six seconds a frame
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    lines: list[str] = []
    render_frames(Renderer(), 5, tmp_path, ["a"], {}, lines.append)
    assert lines == ["frames  40%: 2 of 5  0:18 left", "frames  80%: 4 of 5  0:06 left"]
