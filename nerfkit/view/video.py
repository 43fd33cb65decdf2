"""Frames to MP4 (H.264, plays in browsers), WebM (VP9, keeps alpha) and GIF, written whole or not at all."""

import errno
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nerfkit.errors import ConfigError
from nerfkit.runs.files import replacing

Picture = NDArray[np.uint8]

# Ending -> codec and ffmpeg's options. An MP4's table of contents comes first, so that a browser can start at once.
CODECS = {
    ".mp4": ("libx264", ["-crf", "18", "-preset", "medium", "-movflags", "+faststart"]),
    ".webm": ("libvpx-vp9", ["-crf", "20", "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1"]),
}


def write_video(frames: Path | Sequence[Path] | Sequence[Picture], path: Path, fps: float = 30.0) -> Path:
    """Writes ``path``, whose ending says how: ``.mp4``, ``.webm`` or ``.gif``.

    Args:
        frames: a folder of PNG files in the order of their names, a list of files, or a list of (H,W,3) uint8 pictures,
            for ``.webm`` also (H,W,4), not premultiplied; all of one size.
        path: the file; its folder is made.
        fps: frames a second. A GIF counts in hundredths of a second, so that its rate is rounded, at most to 50.

    Raises:
        ConfigError: no frames, another ending, or no ffmpeg for an MP4 or WebM.
    """
    if path.suffix not in (*CODECS, ".gif"):
        raise ConfigError(f"{path}: unknown ending; expected {', '.join(CODECS)} or .gif")
    pictures: list[Path | Picture] = []
    pictures += sorted(frames.glob("[!.]*.png")) if isinstance(frames, Path) else frames
    if not pictures:
        raise ConfigError(f"{path}: no frames to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if path.suffix == ".gif":
            _write_gif(pictures, temporary, fps)
        else:
            _encode(pictures, temporary, fps, *CODECS[path.suffix])
    return path


def pad_to_even(picture: Picture) -> Picture:
    """4:2:0 chroma needs even sizes: repeats the last row and column where they are odd."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _encode(frames: Sequence[Path | Picture], path: Path, fps: float, codec: str, parameters: list[str]) -> None:
    import imageio_ffmpeg  # a large wheel

    first = pad_to_even(_read(frames[0]))
    height, width, channels = first.shape
    try:
        writer = imageio_ffmpeg.write_frames(
            str(path),
            (width, height),
            fps=fps,
            codec=codec,
            pix_fmt_in="rgb24" if channels == 3 else "rgba",
            pix_fmt_out="yuv420p" if channels == 3 else "yuva420p",
            macro_block_size=2,
            quality=None,
            output_params=parameters,
        )
        writer.send(None)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ConfigError(
            f"no ffmpeg for {path.suffix} ({reason}); "
            "pip install --force-reinstall imageio-ffmpeg, or ask for format=[gif]"
        ) from None
    try:
        for frame in frames:
            writer.send(np.ascontiguousarray(pad_to_even(_read(frame))))
    finally:
        writer.close()
    _check_whole(path, len(frames))


def _check_whole(path: Path, frames: int) -> None:
    """Raises OSError where the file is not whole: on a full disk ffmpeg stops, and imageio-ffmpeg does not look."""
    import imageio_ffmpeg

    try:
        written, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    except RuntimeError:
        written = 0
    if written != frames:
        full = shutil.disk_usage(path.parent).free < 2**20
        raise OSError(errno.ENOSPC if full else errno.EIO, "ffmpeg could not write the whole video", str(path))


def _write_gif(frames: Sequence[Path | Picture], path: Path, fps: float) -> None:
    palette = _palette(frames)

    def indexed() -> Iterator[Image.Image]:
        for frame in frames:
            yield Image.fromarray(_read(frame)).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)

    images = indexed()
    delay = 10 * max(2, round(100 / fps))  # milliseconds, in the format's hundredths of a second
    next(images).save(path, save_all=True, append_images=images, duration=delay, loop=0)


def _palette(frames: Sequence[Path | Picture]) -> Image.Image:
    """One palette of 256 colors for all frames, from eight of them: a palette a frame would flicker."""
    chosen = [_read(frames[i]) for i in sorted({round(x) for x in np.linspace(0, len(frames) - 1, 8)})]
    return Image.fromarray(np.concatenate(chosen)).quantize(256, method=Image.Quantize.MEDIANCUT)


def _read(frame: Path | Picture) -> Picture:
    return iio.imread(frame) if isinstance(frame, Path) else frame
