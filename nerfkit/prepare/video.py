"""The photos of a video: the sharpest frame of each of some evenly spread windows, as long as the camera moves."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from nerfkit.errors import SceneError, problem
from nerfkit.prepare import measures
from nerfkit.prepare.exif import Exif
from nerfkit.prepare.intake import Shot, packed, shot_of
from nerfkit.prepare.options import MIN_PHOTOS
from nerfkit.runs.files import write_bytes
from nerfkit.runs.progress import track

# The boxes that MP4, MOV and 3GP begin with
BOXES = (
    *(b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof"),
    *(b"uuid", b"udta", b"junk", b"pict", b"ediw", b"prfl"),
)


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


def is_container(head: bytes) -> bool:
    """Whether a file begins as one of the containers that videos come in.

    ffmpeg takes a file for what it finds in it: a text that lists other files or addresses, such as a playlist, is one
    more video to it, whatever its name.
    """
    if head.startswith((b"\x1aE\xdf\xa3", b"\0\0\1", b"\0\0\0\1", b"0&\xb2u", b"RIFF")):  # MKV, MPEG, WMV, AVI
        return True
    if head[:1] == b"G" == head[188:189]:  # a transport stream
        return True
    text = min(head, default=0) > 8  # lengths and times hold smaller bytes; <!--ftyp--> may precede a list of addresses
    return not text and (head[4:8] in BOXES or head[4:5] == b"G" == head[196:197])


def _frames(video: Path) -> tuple[Iterator[np.ndarray], int]:
    """The frames (H,W,3) uint8, upright as the video says, and how many there are, about."""
    import imageio_ffmpeg  # a large wheel

    logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of every video that is stored on its side
    path = str(video.absolute())  # a name before a colon would be that of a protocol
    try:
        with video.open("rb") as file:
            if not is_container(file.read(200)):
                raise ValueError("it is no container of videos")
        count, _ = imageio_ffmpeg.count_frames_and_secs(path)
        reader = imageio_ffmpeg.read_frames(path, input_params=["-protocol_whitelist", "file"])
        meta: dict[str, Any] = next(reader)
    except (RuntimeError, OSError, StopIteration, ValueError) as error:
        raise _unreadable(video, error) from None
    return _pixels(video, reader, *meta["size"]), max(count, 1)


def _pixels(video: Path, reader: Iterator[bytes], width: int, height: int) -> Iterator[np.ndarray]:
    try:
        for frame in reader:
            yield np.frombuffer(frame, np.uint8).reshape(height, width, 3)
    except (RuntimeError, OSError, ValueError) as error:
        raise _unreadable(video, error) from None


def _unreadable(video: Path, error: Exception) -> SceneError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return problem(
        str(video),
        f"cannot be read as a video ({lines[-1][:80] if lines else type(error).__name__})",
        "a file that ffmpeg plays",
        "Copy it again, or convert it to MP4.",
    )


def _write(best: _Best, folder: Path, video: Path) -> Shot:
    picture = Image.fromarray(best.pixels)
    name = f"frame_{best.number:05d}.jpg"
    write_bytes(folder / name, packed(picture, ".jpg"))
    return shot_of(name, f"{video.name}, frame {best.number}", picture, Exif(1, None, "", None))
