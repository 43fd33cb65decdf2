"""The clock scene: made by the project, once, in a cache folder; no download.

100 views all around, RGB, coverage, depth and cameras in Kaolin's format, and the true surface. A folder is filled
beside its final place and renamed when it is whole, and it lists its files and their sizes, so that neither an
interrupted run nor a damaged disk leaves something that is taken for the clock.
"""

import hashlib
import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.errors import problem
from nerfkit.runs.progress import track
from nerfkit.scenes import kaolin
from nerfkit.scenes.assemble import Background
from nerfkit.scenes.files import TRUTH, cache_folder
from nerfkit.scenes.frame import Frame
from nerfkit.scenes.photo_store import BUDGET
from nerfkit.scenes.scene import Scene
from nerfkit.studio import clock_model
from nerfkit.studio.kaolin_writer import HORIZONTAL_APERTURE, write_view
from nerfkit.studio.output import unfinished_folder, write_beside, write_truth
from nerfkit.studio.renderer import render

RESOLUTION, VIEWS = 512, 100
FOCAL_LENGTH = 35.0  # mm
NEAREST, FARTHEST = 205.0, 260.0
CONTENTS = "contents.json"


def load(
    root: str | Path | None = None,
    *,
    resolution: int | None = None,
    background: Background = None,
    holdout: int = 10,
    views: int = VIEWS,
    frame: Frame | None = None,
    memory_gb: float = BUDGET,
) -> Scene:
    """The clock as a scene, made first if it is not in the cache.

    Args:
        root: folder that holds the cached folders; None is ``$NERFKIT_CACHE``, or else ``~/.cache/nerfkit``.
        resolution: image side in pixels; None is 512.
        background: name or color; None is black.
        holdout: views 0, holdout, 2 holdout, ... are the test views.
        views: how many cameras.
        frame: what the user says of region and axes.
        memory_gb: as ``PhotoStore``.

    Raises:
        SceneError: the folder cannot be written.
    """
    stored = stored_resolution(resolution or RESOLUTION)
    folder = make_clock(clock_folder(root, stored, views), stored, views)
    return kaolin.load(
        folder,
        resolution=resolution,
        background=background,
        holdout=holdout,
        name="clock",
        truth=str(folder / TRUTH),
        frame=frame,
        memory_gb=memory_gb,
    )


def stored_resolution(resolution: int) -> int:
    """The image side that serves ``resolution``: twice that, for the loader to halve, unless that exceeds 512."""
    return 2 * resolution if 2 * resolution <= RESOLUTION else resolution


def clock_folder(cache: str | Path | None = None, resolution: int = RESOLUTION, views: int = VIEWS) -> Path:
    """Where the clock is cached: one folder for each version of the model, resolution and number of views."""
    key = f"{clock_model.VERSION} {resolution} {views} {FOCAL_LENGTH} {NEAREST} {FARTHEST}"
    parent = Path(os.path.expanduser(cache)) if cache else cache_folder()
    return parent / f"clock-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def clock_cameras(resolution: int, views: int) -> Cameras:
    """``views`` cameras that look at the origin from all sides, from below too; their distances vary by a quarter.

    View n stands at point n of Roberts' R3 sequence (the additive recurrence of the root of x^4 = x + 1), whose every
    part, and every tenth point too, covers the sphere evenly: held-out views are neither all in front nor all behind.
    """
    root = 1.2207440846057596
    points = (0.5 + np.arange(1, views + 1)[:, None] * root ** -np.arange(1.0, 4.0)) % 1  # (N, 3)
    azimuth, height = 2 * np.pi * points[:, 0], -0.80 + 1.78 * points[:, 1]
    level = np.sqrt(1 - height**2)
    directions = np.stack([level * np.sin(azimuth), height, level * np.cos(azimuth)], -1)
    distance = NEAREST + (FARTHEST - NEAREST) * points[:, 2:]
    positions = torch.from_numpy(distance * directions)  # (N, 3)
    poses = look_at(positions, positions.new_zeros(3), positions.new_tensor([0.0, 1.0, 0.0]))
    focal = FOCAL_LENGTH / HORIZONTAL_APERTURE * resolution
    intrinsics = torch.tensor([[focal, focal, resolution / 2, resolution / 2]]).expand(views, 4)
    return Cameras(poses.float(), intrinsics, resolution, resolution)


def make_clock(folder: str | Path, resolution: int = RESOLUTION, views: int = VIEWS, progress: bool = True) -> Path:
    """Render the clock into ``folder`` and return it; a folder that holds it whole already is left alone.

    Besides the views (see ``kaolin_writer``), it holds ``truth.ply``: the visible surface, in scene units, with
    colors.

    Raises:
        SceneError: the folder holds something else, or cannot be written.
    """
    folder = Path(folder).expanduser().absolute()
    try:
        if _is_whole(folder):
            return folder
        if folder.exists() and not (folder / CONTENTS).exists() and any(folder.iterdir()):
            raise problem(str(folder), "not empty, and not a clock", "a new or an empty folder", "Choose another one.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(folder.parent, f"{folder.name}.unfinished-") as unfinished:
            _fill(unfinished, resolution, views, progress)
            _replace_folder(unfinished, folder)
    except OSError as error:
        megabytes = views * resolution**2 * 10 // 10**6 + 20
        raise problem(
            str(folder),
            f"the clock cannot be written there ({error.strerror or error})",
            f"a writable disk with {megabytes} MB free",
            "Free some space, or set NERFKIT_CACHE to another folder.",
        ) from error
    return folder


def _fill(folder: Path, resolution: int, views: int, progress: bool) -> None:
    cameras = clock_cameras(resolution, views)
    samples = 4 if resolution >= 256 else 8  # small pictures are cheap, and fine marks alias in them
    if progress:
        print(f"making the clock: {views} views of {resolution}x{resolution}, once", file=sys.stderr, flush=True)
    surface = clock_model.surface()
    numbers = range(views)
    files = write_beside(
        track(numbers, views, "making the clock") if progress else numbers,
        lambda view: render(surface, cameras[view], samples, clock_model.LIGHTS),
        lambda view, photos: write_view(folder, view, photos, cameras[view]),
    )
    write_truth(folder / TRUTH, *clock_model.truth())
    sizes = {path.name: path.stat().st_size for path in [*itertools.chain(*files), folder / TRUTH]}
    (folder / CONTENTS).write_text(json.dumps({"resolution": resolution, "views": views, "files": sizes}))


def _is_whole(folder: Path) -> bool:
    """Whether every file that ``folder`` lists is there with its size."""
    try:
        sizes = json.loads((folder / CONTENTS).read_text())["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _replace_folder(unfinished: Path, folder: Path) -> None:
    """Rename; a damaged clock at that place goes, and one that another process finished meanwhile stays."""
    if folder.exists():
        if _is_whole(folder):
            return
        shutil.rmtree(folder)
    try:
        unfinished.rename(folder)
    except OSError:
        if not _is_whole(folder):
            raise
