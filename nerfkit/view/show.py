"""Camera path -> frames -> videos, of anything that can render a view."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.errors import CheckpointError
from nerfkit.mesh.files.io import FORMATS
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.scenes.assemble import background_color
from nerfkit.scenes.scene import Scene
from nerfkit.schema import default_of, shown
from nerfkit.view.colors import picture
from nerfkit.view.frames import render_frames
from nerfkit.view.options import FILE, TRANSPARENT, VideoOptions
from nerfkit.view.path_files import write_path
from nerfkit.view.route import Route
from nerfkit.view.video import write_video

REFINED = "refined.glb"  # in a run's folder ``mesh``: what its refine stage has left
UNNAMED = ("source", "path", "file", "channels", "format")
"""Options that a video's name holds in a way of its own; of the others it holds those that are not the default."""


class Source(Protocol):
    """A field or a mesh, ready to be looked at."""

    def render(self, cameras: Cameras, view: int, channels: Sequence[str]) -> dict[str, Any]:
        """One view: of ``rgb`` (H,W,3) over the background, ``depth`` (H,W), world ``normal`` (H,W,3) and ``alpha``
        (H,W) the named ones."""
        ...

    def points(self) -> Tensor:
        """Points (P,3) of it, in normalized units: what there is to be seen lies between them."""
        ...


def show(
    source: Source,
    name: str,
    options: VideoOptions,
    scene: Scene,
    folder: Path,
    identity: str,
    log: Callable[[str], None] = print,
    ranks: Ranks = ALONE,
) -> list[Path]:
    """Renders a camera path and writes ``folder/STEM_CHANNEL.mp4`` and so on; returns their paths.

    STEM is path, source and what was asked for beside the defaults, such as ``orbit_mesh_elevation45``. The frames come
    first, in ``folder/frames/STEM/CHANNEL``, and stay there: a stopped render goes on where it stopped. The cameras are
    left in ``folder/STEM_path.json``, for ``path=file``.

    Args:
        source: renders one view of the path, over ``scene.background``.
        name: of what is shown, ``field``, ``mesh`` or ``both``, and which of several it is.
        options: of the path and the videos.
        scene: its training cameras give the path's lens and size, its units those of the options.
        folder: where the videos go.
        identity: a fingerprint of ``source``: frames of another one do not fit.
        log: told of the progress and of each video.
        ranks: the processes that render.
    """
    points = source.points().cpu()
    route = Route(options, scene)
    path = route.cameras(points)
    for doubt in route.doubts(path, points):
        log(f"note: {doubt}")
    near, far = _depths(path, points)
    poses = np.round(path.camera_to_world.numpy(), 5).tobytes() + np.round(path.intrinsics.numpy(), 3).tobytes()
    settings = {
        "source": name,
        "identity": identity,
        "size": [path.height, path.width],
        "cameras": hashlib.sha256(poses).hexdigest(),
        "background": [TRANSPARENT] if options.background == TRANSPARENT else scene.background,
        "depths": [round(near, 3), round(far, 3)],
    }

    shared = (source, path, options.channels, (near, far), options.background == TRANSPARENT)
    place = folder / "frames" / _stem(replace(options, fps=VideoOptions.fps), name)  # the rate changes no frame
    folder.mkdir(parents=True, exist_ok=True)
    write_path(folder / f"{_stem(options, name)}_path.json", path, scene.normalization, options.fps, route.closes)
    frames = render_frames(_frame, len(path), place, options.channels, settings, log, ranks, shared)
    videos = []
    for channel in options.channels:
        for ending in options.format:
            if ending == "png":
                videos.append(frames[channel][0].parent)
                log(f"wrote {len(path)} pictures {videos[-1]}")
                continue
            video = folder / f"{_stem(options, name)}_{channel}.{ending}"
            word = "replaced" if video.exists() else "wrote"
            videos.append(write_video(frames[channel], video, options.fps))
            log(f"{word} {video}")
    return videos


class SideBySide:
    """Two sources in one picture, the first one left; what there is to be seen is the second one's."""

    def __init__(self, left: Source, right: Source) -> None:
        self.left, self.right = left, right

    def render(self, cameras: Cameras, view: int, channels: Sequence[str]) -> dict[str, Any]:
        """As ``Source``, of pictures (H,2W)."""
        pair = [source.render(cameras, view, channels) for source in (self.left, self.right)]
        return {name: np.concatenate([_array(side[name]) for side in pair], axis=1) for name in channels}

    def points(self) -> Tensor:
        """Those of the second one."""
        return self.right.points()


def seen_over(scene: Scene, options: VideoOptions) -> Scene:
    """The scene with the background that ``options`` ask for: what is to be transparent is rendered over black."""
    if options.background is None:
        return scene
    wanted = "black" if options.background == TRANSPARENT else options.background
    return replace(scene, background=background_color(wanted, "black"))


def _depths(path: Cameras, points: Tensor) -> tuple[float, float]:
    """The ends of the scale of depths, where ``points`` (P,3) begin and end: of all frames together, or it flickers."""
    points = points if len(points) else torch.zeros(1, 3)
    away = [points - position for position in path.positions]
    # A mesh's depth is that along the axis, a field's that along the ray, which is never less.
    near = min(float((a @ -axes[:, 2]).min()) for a, axes in zip(away, path.camera_to_world, strict=True))
    far = max(float(a.norm(dim=-1).max()) for a in away)
    return near, max(far, near + 1e-3)


def _stem(options: VideoOptions, name: str) -> str:
    """What tells a video from others of the same run: it never depends on the command, ``train`` or ``render``."""
    parts = [options.path, name]
    if options.path == FILE:
        parts.insert(1, Path(options.file or "").stem[:60])
    for declared in fields(VideoOptions):
        value = getattr(options, declared.name)
        if declared.name not in UNNAMED and value != default_of(declared):
            values = value if isinstance(value, list | tuple) else [value]
            parts.append(
                declared.name + ",".join(f"{v:.10g}" if isinstance(v, int | float) else shown(v) for v in values)
            )
    return "_".join(parts)


def pick_source(folder: Path, wanted: str) -> str:
    """``field``, ``mesh`` or ``both``, as ``wanted``; ``auto`` is the mesh where the run has one with colors.

    Raises:
        CheckpointError: the run does not have it.
    """
    there = [end for end in FORMATS if (folder / "mesh" / f"mesh.{end}").exists()]
    refined = (folder / "mesh" / REFINED).exists()
    has_mesh, colored = bool(there) or refined, there != ["stl"] or refined
    has_field = any((folder / "checkpoints").glob("step_*.pt"))
    if wanted in ("mesh", "both") and not has_mesh:
        raise CheckpointError(
            f"{folder}: this run has no mesh/mesh.glb; make one with resume={folder} 'stages=[extract,refine,export]', "
            "or look at source=field"
        )
    if wanted in ("field", "both") and not has_field:
        raise CheckpointError(f"{folder}: this run has no checkpoint (checkpoints/step_*.pt), so no field to render")
    if not (has_mesh or has_field):
        raise CheckpointError(f"{folder}: this run has neither a mesh nor a checkpoint to render")
    return wanted if wanted != "auto" else ("mesh" if has_mesh and (colored or not has_field) else "field")


def _frame(
    frame: int, source: Source, path: Cameras, channels: Sequence[str], ends: tuple[float, float], clear: bool
) -> dict[str, np.ndarray]:
    """A picture (H,W,3 or 4) uint8 for each channel; ``ends`` are those of the scale of depths."""
    rendered = source.render(path, frame, sorted({*channels, "alpha"}))
    arrays = {key: _array(value) for key, value in rendered.items()}
    return {channel: picture(channel, arrays, *ends, clear) for channel in channels}


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
