"""The photos of a video: the sharpest frame of each of some evenly spread windows, as long as the camera moves."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from nerfkit.errors import problem
from nerfkit.prepare import measures
from nerfkit.prepare.exif import Exif
from nerfkit.prepare.intake import Shot, packed, shot_of
from nerfkit.prepare.options import MIN_PHOTOS
from nerfkit.runs.files import write_bytes
from nerfkit.runs.progress import track


class _Best(NamedTuple):
    """The sharpest frame so far of one window."""

    sharpness: float
    number: int
    pixels: np.ndarray


def take_frames(video: Path, folder: Path, windows: int) -> tuple[list[Shot], list[str]]:
    """Writes the sharpest frame of each of ``windows`` windows into ``folder`` as ``frame_NNNNN.jpg``.

    One pass, with one frame a window in memory. A frame that shows what the one before shows is dropped: a camera that
    rests adds nothing.

    Returns:
        the frames as photos, and notes.

    Raises:
        SceneError: no video, or one in which nothing moves.
    """
    frames, count = _frames(video)
    shots: list[Shot] = []
    last: np.ndarray | None = None
    dropped = 0
    for best in _sharpest(track(frames, count, "video"), count, windows):
        small = measures.thumbnail(best.pixels)
        if last is not None and not measures.moved(last, small):
            dropped += 1
            continue
        last = small
        shots.append(_write(best, folder, video))
    if len(shots) < MIN_PHOTOS:
        raise problem(
            str(video),
            f"a video without motion: {len(shots)} of {len(shots) + dropped} frames differ",
            "a camera that moves around its subject",
            "Walk slowly around it while filming.",
        )
    notes = [f"{dropped} frames of the video are left out: the camera rested"] if dropped else []
    return shots, notes


def _sharpest(frames: Iterator[np.ndarray], count: int, windows: int) -> Iterator[_Best]:
    """The sharpest frame of each window: frame i of ``count`` belongs to window floor(i windows / count)."""
    windows = min(windows, count)
    best: _Best | None = None
    current = 0
    for number, pixels in enumerate(frames):
        window = min(number * windows // count, windows - 1)
        if window != current and best is not None:
            yield best
            best = None
        current = window
        value = measures.sharpness(measures.gray_at(Image.fromarray(pixels)))
        if best is None or value > best.sharpness:
            best = _Best(value, number, pixels)
    if best is not None:
        yield best


def _frames(video: Path) -> tuple[Iterator[np.ndarray], int]:
    """The frames (H,W,3) uint8, upright as the video says, and how many there are, about."""
    import imageio_ffmpeg  # a large wheel

    logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of every video that is stored on its side
    try:
        count, _ = imageio_ffmpeg.count_frames_and_secs(str(video))
        reader = imageio_ffmpeg.read_frames(str(video))
        meta: dict[str, Any] = next(reader)
    except (RuntimeError, OSError, StopIteration, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise problem(
            str(video),
            f"cannot be read as a video ({lines[-1][:80] if lines else type(error).__name__})",
            "a file that ffmpeg plays",
            "Copy it again, or convert it to MP4.",
        ) from None
    width, height = meta["size"]
    return (np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader), max(count, 1)


def _write(best: _Best, folder: Path, video: Path) -> Shot:
    picture = Image.fromarray(best.pixels)
    name = f"frame_{best.number:05d}.jpg"
    write_bytes(folder / name, packed(picture, ".jpg"))
    return shot_of(name, f"{video.name}, frame {best.number}", picture, Exif(1, None, "", None))
