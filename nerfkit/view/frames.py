"""Frames on disk, ``frames/CHANNEL/0001.png``: each written whole or not at all, so that a stopped render goes on."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.runs.files import png_writer, write_text
from nerfkit.runs.progress import track
from nerfkit.runs.ranks import ALONE, Ranks

Picture = NDArray[np.uint8]
COMPRESSION = 1  # zlib's fastest: frames are read once more, for the video


def render_frames(
    render_one: Callable[..., dict[str, Picture]],
    count: int,
    folder: Path,
    channels: Sequence[str],
    settings: dict[str, Any],
    log: Callable[[str], None] = print,
    ranks: Ranks = ALONE,
    shared: Sequence[Any] = (),
) -> dict[str, list[Path]]:
    """Renders the frames that ``folder`` does not hold yet, and returns the paths of all of them by channel.

    Args:
        render_one: frame number (from 0), and what is ``shared``, to one (H,W,3) uint8 picture for each channel.
        count: number of frames.
        folder: becomes ``folder/CHANNEL/0001.png`` and so on.
        channels: subfolders, and the keys of what ``render_one`` returns.
        settings: everything the pictures depend on, as plain JSON values; it is kept in ``folder/settings.json``, and
            frames of other settings are removed first.
        log: told of the progress where there is no terminal to draw a bar in.
        ranks: the processes that render; of several, ``render_one`` is a function of a module.
    """
    _keep_if_same(folder, settings, log)
    paths = {channel: [folder / channel / f"{i + 1:04d}.png" for i in range(count)] for channel in channels}
    missing = [i for i in range(count) if not all(paths[channel][i].exists() for channel in channels)]
    for channel in channels:
        (folder / channel).mkdir(parents=True, exist_ok=True)
    with png_writer() as write:
        rendered = ranks.spread(render_one, missing, *shared)
        for i, pictures in zip(missing, track(rendered, count, "frames", count - len(missing), log), strict=True):
            for channel in channels:
                write(paths[channel][i], pictures[channel], COMPRESSION)
    return paths


def _keep_if_same(folder: Path, settings: dict[str, Any], log: Callable[[str], None]) -> None:
    """Empties ``folder`` unless its frames were made with ``settings``."""
    record = folder / "settings.json"
    text = json.dumps(settings, sort_keys=True, indent=2) + "\n"
    if record.is_file() and record.read_text(encoding="utf-8") == text:
        return
    if record.is_file():
        log(f"removed earlier frames from {folder}: what they show has changed")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(record, text)
