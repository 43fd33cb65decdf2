"""From what a reader found to a Scene: photos decoded, undistorted and shrunk, masks applied, the region found."""

from typing import NamedTuple

import numpy as np
import torch

from nerfkit.cameras import Cameras
from nerfkit.cameras.lens import Lens
from nerfkit.cameras.poses import level_up
from nerfkit.errors import problem
from nerfkit.runs.pictures import orientation
from nerfkit.scenes.assemble import Background, assemble, background_color, check_split, hold_out, size_note
from nerfkit.scenes.capture import Capture, Photo
from nerfkit.scenes.files import Source
from nerfkit.scenes.frame import Frame
from nerfkit.scenes.images import decode, in_threads, working_size
from nerfkit.scenes.photo_store import BUDGET, PhotoStore
from nerfkit.scenes.pose_notes import convention_note
from nerfkit.scenes.region import Region, find_region
from nerfkit.scenes.scene import Scene
from nerfkit.scenes.undistort import pinhole, undistort

SAME_SIZE = (2, 3, 4)  # EXIF's orientations that mirror, or turn by 180 degrees
LONGEST = 800  # pixels, where no resolution is asked for: phones take four times that, and training uses no more


class _Developed(NamedTuple):
    """``pixels`` (h,w,4) premultiplied, which of them are ``valid`` (h,w), the ``lens`` they were made for, and height
    and width before it was made smaller, ``full``; whether EXIF says that it is to be ``turned``, and its size does not
    say whether the poses are of the photo as stored."""

    pixels: np.ndarray
    valid: np.ndarray
    lens: Lens
    full: tuple[int, int]
    turned: bool


def develop(
    source: Source,
    capture: Capture,
    format_name: str,
    *,
    resolution: int | None = None,
    background: Background = None,
    holdout: int = 10,
    frame: Frame | None = None,
    memory_gb: float = BUDGET,
) -> Scene:
    """The scene of a capture; everything downstream sees pinhole cameras.

    Args:
        source: holds the files that the capture names.
        resolution: longer side of each photo in pixels; None is the stored size, ``LONGEST`` at the most.
        background: None is black.
        holdout: where the capture has no split, photos 0, holdout, 2 holdout, ... are the test views.
        frame: what the user says of region and axes.
        memory_gb: as ``PhotoStore``.

    Raises:
        SceneError, ConfigError: see ``open_scene``.
    """
    where, photos = str(source.path), capture.photos
    color = background_color(background, "black")
    if capture.split is None:
        split = hold_out(len(photos), holdout, where)
    else:
        split = capture.split
        check_split(*split, where, "Add photos to the split's lists, or remove the lists.")
    side = LONGEST if resolution is None else resolution
    store, lenses, full, teaches = PhotoStore(len(photos), memory_gb, where), [], (0, 0), []
    turned: list[str] = []
    for photo in in_threads(lambda view: _develop(source, photos[view], side), len(photos), f"reading {source.name}"):
        store.add(photo.pixels, ~photo.valid)
        lenses.append(photo.lens.intrinsics)
        teaches.append(bool(photo.valid.any()))
        turned += [photos[len(teaches) - 1].name] if photo.turned else []
        full = full if len(lenses) > 1 else photo.full
    images = store.photos()
    if not any(teaches[view] for view in split[0]):
        raise problem(
            where,
            "the masks ignore every pixel of all training photos",
            "masks that leave something",
            "Look at the masks: what is black is ignored.",
        )
    transparent, poses, intrinsics = images.transparent, np.stack([photo.pose for photo in photos]), np.array(lenses)
    notes, frame = [*capture.notes], frame or Frame()
    if turned:
        few = "1 photo carries" if len(turned) == 1 else f"{len(turned)} photos carry"
        notes.append(
            f"{where}: {few} an EXIF rotation, the first is {turned[0]}; the poses are taken to be "
            "those of the pixels as stored, as COLMAP reads them. If they are not, store the photos upright"
        )
    region, up = None, level_up(poses)
    if not transparent:
        cameras = Cameras(
            torch.from_numpy(poses), torch.from_numpy(intrinsics), *map(list, zip(*images.sizes, strict=True))
        )
        region = _region(capture, cameras[split[0]], frame, where)
        up = region.up
    notes += size_note(full, images.sizes[0])
    return assemble(
        name=source.name,
        where=where,
        images=images,
        stored_sizes=images.sizes,
        camera_to_world=poses,
        intrinsics=intrinsics,
        split=split,
        background=color,
        has_masks=transparent,
        up=capture.up or tuple(up.tolist()),
        provenance={"path": where, "format": format_name, "views": [photo.name for photo in photos]},
        notes=notes,
        points=capture.points,
        sightings=capture.sightings,
        region=region,
        frame=frame,
    )


def _region(capture: Capture, cameras: Cameras, frame: Frame, where: str) -> Region:
    poses = cameras.camera_to_world.numpy(force=True)
    positions = poses[:, :, 3]
    if frame.center is not None and frame.radius is not None:
        center, radius = np.array(frame.center), frame.radius
        if not len(capture.points):
            up = level_up(poses)
            return Region((center - radius, center + radius), up, None, "what scene.center and scene.radius say")
    elif np.ptp(positions, axis=0).max() < 1e-6 * (1 + np.abs(positions).max()):
        raise problem(
            where,
            "all photos were taken from one place",
            "photos from around the object: from one place there is no depth",
            "Walk around it; or say where it is, with scene.center and scene.radius."
            + "".join(f" {note}" for note in convention_note(poses, capture.points, frame.center, where)),
        )
    found = find_region(cameras, capture.points)
    if capture.sphere is None:
        return found
    center, radius = np.array(capture.sphere[0]), capture.sphere[1]
    return found._replace(box=(center - radius, center + radius), how="the sphere that its files state")


def _develop(source: Source, photo: Photo, side: int) -> _Developed:
    where = source.where(photo.name)
    data = source.read(photo.name)
    rgba = decode(data, where)
    height, width = rgba.shape[:2]
    turn = orientation(data)
    lens = photo.lens
    if abs(lens.width / lens.height * height / width - 1) > 0.01:
        raise problem(
            where,
            f"the photo is {width}x{height}, its camera's pictures are {lens.width}x{lens.height}",
            "the same aspect",
            "Use the photos that the poses were found with; a photo that was turned or cropped since does not fit.",
        )
    lens = lens.resized(width, height)
    if photo.alpha is not None:
        rgba = rgba.copy()
        rgba[..., 3] = _mask(source, photo.alpha, (height, width))
    ignore = np.zeros((height, width), bool)
    if photo.ignore is not None:
        ignore |= _mask(source, photo.ignore, (height, width)) == 0
    if photo.moving is not None:
        ignore |= _mask(source, photo.moving, (height, width)) != 0
    target = pinhole(lens, where)
    full = target.height, target.width
    rows, columns = working_size(*full, side)
    target = target.resized(columns, rows)
    pixels, valid = undistort(rgba, ignore if ignore.any() else None, lens, target)
    if ignore.any() or _touched(pixels[..., 3] > 0, ~valid):
        pixels[~valid, 3] = 255  # the object may be there: what is not known must not carve the hull
    return _Developed(pixels, valid, target, full, turn in SAME_SIZE or (turn > 1 and height == width))


def _touched(solid: np.ndarray, unknown: np.ndarray) -> bool:
    """Whether a solid pixel (H,W) is beside one that is unknown."""
    padded = np.pad(unknown, 1)
    beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return bool((solid & beside).any())


def _mask(source: Source, name: str, size: tuple[int, int]) -> np.ndarray:
    where = source.where(name)
    mask = decode(source.read(name), where, "L")
    if mask.shape != size:
        raise problem(
            where,
            f"the mask is {mask.shape[1]}x{mask.shape[0]}",
            f"{size[1]}x{size[0]}, as its photo",
            "Export it again in the photo's size.",
        )
    return mask
