"""The third flow: camera path -> frames -> videos, for whatever can render a view."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from nerfkit.cameras import Cameras
from nerfkit.errors import CheckpointError
from nerfkit.view.colors import picture
from nerfkit.view.frames import render_frames
from nerfkit.view.options import VideoOptions
from nerfkit.view.paths import PATHS
from nerfkit.view.video import write_video


class Source(Protocol):
    """A field or a mesh, ready to be looked at."""

    def render(self, cameras: Cameras, view: int) -> dict[str, Any]:
        """One view: ``rgb`` (H,W,3) over the background, ``depth`` (H,W), world ``normal`` (H,W,3), ``alpha`` (H,W)."""
        ...


def show(
    source: Source,
    name: str,
    options: VideoOptions,
    cameras: Cameras,
    up: tuple[float, float, float],
    folder: Path,
    identity: str,
    log: Callable[[str], None] = print,
) -> list[Path]:
    """Renders a camera path and writes ``folder/PATH_NAME_CHANNEL.mp4`` or ``.gif``, or both; returns their paths.

    The frames come first, in ``folder/frames/PATH_NAME``, and stay there: a stopped render goes on where it stopped.

    Args:
        source: renders one view of the path.
        name: ``field`` or ``mesh``.
        options: of the path and the videos.
        cameras: the training cameras: lens, distance and size of the path's.
        up: the scene's up axis.
        folder: where the videos go.
        identity: changes when ``source`` does (its checkpoint's step, its file's date): old frames do not fit then.
        log: told of the progress and of each video.
    """
    path = camera_path(options, cameras, up)
    distance = float(path.positions.norm(dim=-1).median())
    # The object lies in [-1,1]^3, mostly within the unit ball; one scale for all frames, or depth would flicker.
    near, far = max(distance - 1.0, 0.0), distance + 1.0
    poses = np.round(path.camera_to_world.numpy(), 5).tobytes() + np.round(path.intrinsics.numpy(), 3).tobytes()
    settings = {
        "source": name,
        "identity": identity,
        "size": [path.height, path.width],
        "cameras": hashlib.sha256(poses).hexdigest(),
    }

    def render_one(frame: int) -> dict[str, np.ndarray]:
        rendered = {key: _array(value) for key, value in source.render(path, frame).items()}
        return {channel: picture(channel, rendered, near, far) for channel in options.channels}

    stem = f"{options.path}_{name}"
    frames = render_frames(render_one, len(path), folder / "frames" / stem, options.channels, settings, log)
    videos = []
    for channel in options.channels:
        for ending in options.format:
            videos.append(write_video(frames[channel], folder / f"{stem}_{channel}.{ending}", options.fps))
            log(f"wrote {videos[-1]}")
    return videos


def camera_path(options: VideoOptions, cameras: Cameras, up: tuple[float, float, float]) -> Cameras:
    """The path's cameras; ``resolution`` is the longer side in pixels, null the training images' size."""
    path = PATHS[options.path](cameras, options.frames, elevation=options.elevation, radius=options.radius, up=up)
    if options.resolution is None:
        return path
    scale = options.resolution / max(path.height, path.width)
    return path.resized(max(round(path.height * scale), 1), max(round(path.width * scale), 1))


def pick_source(folder: Path, wanted: str) -> str:
    """``field`` or ``mesh``: what ``wanted`` asks for, with ``auto`` the mesh where the run has one.

    Raises:
        CheckpointError: the run does not have it.
    """
    has_mesh = any((folder / "mesh" / name).exists() for name in ("mesh.glb", "mesh.obj", "mesh.ply"))
    has_field = any((folder / "checkpoints").glob("step_*.pt"))
    if wanted == "mesh" and not has_mesh:
        raise CheckpointError(
            f"{folder}: this run has no mesh/mesh.glb; make one with resume={folder} stages=[extract,refine,export], "
            "or look at source=field"
        )
    if wanted == "field" and not has_field:
        raise CheckpointError(f"{folder}: this run has no checkpoint (checkpoints/step_*.pt), so no field to render")
    if not (has_mesh or has_field):
        raise CheckpointError(f"{folder}: this run has neither a mesh nor a checkpoint to render")
    return wanted if wanted != "auto" else ("mesh" if has_mesh else "field")


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
