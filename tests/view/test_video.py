import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from nerfkit.errors import ConfigError
from nerfkit.view.video import pad_to_even, write_video


def moving_square(count: int, height: int = 33, width: int = 47) -> list[np.ndarray]:
    frames = []
    for i in range(count):
        frame = np.full((height, width, 3), (20, 40, 60), np.uint8)
        frame[8:24, 4 * i : 4 * i + 16] = (230, 120, 30)
        frames.append(frame)
    return frames


def test_mp4_plays_in_browsers(tmp_path: Path) -> None:
    frames = moving_square(6)
    path = write_video(frames, tmp_path / "new" / "square.mp4", fps=12.5)
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    assert facts["codec"] == "h264"
    assert facts["pix_fmt"].startswith("yuv420p")
    assert facts["source_size"] == (48, 34)  # odd sizes are padded
    assert facts["fps"] == 12.5
    decoded = [np.frombuffer(data, np.uint8).reshape(34, 48, 3) for data in reader]
    assert len(decoded) == 6
    for frame, original in zip(decoded, frames, strict=True):
        assert np.abs(frame[:33, :47].astype(int) - original).mean() < 4  # rows, columns and channels in their order
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # the table of contents first
    assert [p.name for p in path.parent.iterdir()] == ["square.mp4"]


def test_gif_keeps_colors_and_rate(tmp_path: Path) -> None:
    frames = moving_square(5)
    path = write_video(frames, tmp_path / "square.gif", fps=20)
    with Image.open(path) as image:
        assert (image.size, image.n_frames, image.info["duration"], image.info["loop"]) == ((47, 33), 5, 50, 0)
    decoded = iio.imread(path)
    assert np.abs(decoded.astype(int) - np.stack(frames)).mean() < 2


def test_webm_keeps_alpha(tmp_path: Path) -> None:
    frames = [np.dstack([frame, np.where(frame[..., 0] > 100, 255, 60).astype(np.uint8)]) for frame in moving_square(4)]
    path = write_video(frames, tmp_path / "square.webm", fps=10)
    reader = imageio_ffmpeg.read_frames(
        str(path), pix_fmt="rgba", bits_per_pixel=32, input_params=["-c:v", "libvpx-vp9"]
    )
    facts = next(reader)
    assert (facts["codec"], facts["source_size"], facts["fps"]) == ("vp9", (48, 34), 10)
    decoded = [np.frombuffer(data, np.uint8).reshape(34, 48, 4) for data in reader]
    assert len(decoded) == 4
    for frame, original in zip(decoded, frames, strict=True):
        assert np.abs(frame[:33, :47].astype(int) - original).mean() < 6
    assert next(imageio_ffmpeg.read_frames(str(write_video(moving_square(2), path))))["codec"] == "vp9"


def test_a_folder_of_frames(tmp_path: Path) -> None:
    for i, frame in enumerate(moving_square(3)):
        iio.imwrite(tmp_path / f"{i + 1:04d}.png", frame)
    (tmp_path / ".0004.part.png").write_bytes(b"half a picture")
    assert len(iio.imread(write_video(tmp_path, tmp_path / "out.gif"))) == 3


def test_one_pixel_is_padded_not_stretched() -> None:
    assert pad_to_even(np.full((1, 1, 3), 9, np.uint8)).tolist() == [[[9] * 3] * 2] * 2
    even = np.zeros((2, 4, 3), np.uint8)
    assert pad_to_even(even).shape == even.shape


def test_bad_requests_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no frames"):
        write_video([], tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match=r"expected .mp4, .webm or .gif"):
        write_video(moving_square(1), tmp_path / "a.avi")


def test_no_ffmpeg_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"pip install.*or ask for format=\[gif\]"):
        write_video(moving_square(1), tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_ffmpeg_could_not_finish_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_video(moving_square(8), tmp_path / "whole.mp4").read_bytes()
    real = imageio_ffmpeg.write_frames

    def cut(path: str, *args: Any, **kwargs: Any) -> Iterator[None]:
        """What a full disk does: every frame is taken, half the file is there, and no error is raised."""
        inner = real(path, *args, **kwargs)
        inner.send(None)
        with contextlib.suppress(GeneratorExit):
            while True:
                inner.send((yield))
        inner.close()
        Path(path).write_bytes(whole[: len(whole) // 2])

    monkeypatch.setattr(imageio_ffmpeg, "write_frames", cut)
    with pytest.raises(OSError, match="could not write the whole video"):
        write_video(moving_square(8), tmp_path / "cut.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.mp4"]
