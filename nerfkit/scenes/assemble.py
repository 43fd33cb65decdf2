"""The last steps that every loader shares: the split, the background, the normalization, the Scene."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.errors import ConfigError, SceneError, did_you_mean, problem
from nerfkit.scenes.frame import Frame, region_note
from nerfkit.scenes.normalize import Box, camera_box, fit_box, hull_box, move
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.pose_notes import convention_note, repeated_note
from nerfkit.scenes.region import Region
from nerfkit.scenes.scene import Scene
from nerfkit.scenes.sightings import Sightings
from nerfkit.schema import shown

Color = tuple[float, float, float]
Background = str | Sequence[float] | None

COLORS: dict[str, Color] = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}
MIN_TRAIN, MIN_TEST = 2, 1


def background_color(value: Background, default: str, key: str = "scene.background") -> Color:
    """The color that the option ``key`` names: a name of ``COLORS``, three numbers in [0,1], or None for the default.

    Raises:
        ConfigError: anything else.
    """
    if value is None:
        value = default
    if isinstance(value, str):
        if value in COLORS:
            return COLORS[value]
        raise ConfigError(f"{key}={value}: unknown color{did_you_mean(value, COLORS)}; or three numbers in [0,1]")
    listed = list(value) if isinstance(value, Sequence) else [value]
    numbers = [float(v) for v in listed if isinstance(v, int | float) and 0 <= v <= 1]
    if len(listed) != 3 or len(numbers) != 3:
        raise ConfigError(
            f"{key}={shown(listed if isinstance(value, Sequence) else value)}: expected "
            f"{' or '.join(COLORS)}, or three numbers in [0,1], such as [0.5,0.5,0.5]"
        )
    return numbers[0], numbers[1], numbers[2]


def hold_out(count: int, every: int, where: str) -> tuple[list[int], list[int]]:
    """Training and test views where the format has no split: views 0, every, 2 every, ... are held out.

    Raises:
        SceneError: fewer than two training views are left.
    """
    test = list(range(0, count, every))
    train = [view for view in range(count) if view % every]
    check_split(train, test, where, f"Add views, or hold fewer out (scene.holdout={every} holds every {every}th out).")
    return train, test


def check_split(train: list[int], test: list[int], where: str, remedy: str) -> None:
    """Raises SceneError unless there are at least two training views and one test view."""
    if len(train) < MIN_TRAIN or len(test) < MIN_TEST:
        raise problem(
            where,
            f"it has {len(train)} training and {len(test)} held-out views",
            f"at least {MIN_TRAIN} training views and {MIN_TEST} held-out view",
            remedy,
        )


def _masked_box(
    cameras: Cameras, masks: list[Tensor], train: list[int], where: str, labels: list[str]
) -> tuple[Box, int]:
    """``hull_box`` of the training views; an empty mask is right only where the object is out of the picture."""
    filled = [bool(mask.any()) for mask in masks]
    shown = [view for view in train if filled[view]]
    if not shown:
        raise problem(
            where, "every mask is empty", "masks that show the object", "Export the masks or alpha channels again."
        )
    box, slack = hull_box(cameras[shown], [masks[view] for view in shown], where)
    pixels, depth = cameras.project(torch.from_numpy(np.stack(box)).mean(dim=0, keepdim=True))
    frame = pixels.new_tensor([[width, height] for height, width in cameras.sizes])
    inside = (pixels >= 0) & (pixels < frame[:, None])  # (N, 1, 2)
    in_picture = inside.all(dim=-1)[:, 0] & (depth[:, 0] > 0)
    blank = [view for view in train if in_picture[view] and not filled[view]]
    if blank:
        raise problem(
            where,
            f"{len(blank)} of {len(train)} training views see the object but have an empty mask, the first is "
            f"{labels[blank[0]]}",
            "masks that show the object",
            "Export these masks again, or leave the views out.",
        )
    return box, slack


def size_note(full: tuple[int, int], used: tuple[int, int]) -> list[str]:
    """A line if photos of height and width ``full`` were made smaller."""
    sizes = [f"{width}x{height}" for height, width in (full, used)]
    return [] if full == used else [f"photos of {sizes[0]} are used at {sizes[1]}: scene.resolution={max(used)}"]


def assemble(
    *,
    name: str,
    where: str,
    images: Photos,
    stored_sizes: Sequence[tuple[int, int]],
    camera_to_world: np.ndarray,
    intrinsics: np.ndarray,
    split: tuple[list[int], list[int]],
    background: Color,
    has_masks: bool,
    up: Color,
    provenance: dict[str, Any],
    notes: Sequence[str] = (),
    truth: str | None = None,
    points: np.ndarray | None = None,
    sightings: Sightings | None = None,
    region: Region | None = None,
    frame: Frame | None = None,
) -> Scene:
    """A normalized Scene from a loader's raw parts.

    Args:
        name, where: the scene's name, and how messages name the data set.
        images: N photos.
        stored_sizes: heights and widths that ``intrinsics`` refer to.
        camera_to_world: (N,3,4) in the scene's own units, OpenGL camera axes.
        intrinsics: (N,4) fx, fy, cx, cy in stored pixels.
        split: training and test views.
        region: what to look at in photos without masks; None is the cube of half the mean camera distance.
        frame: what the user says instead of all that.
        background, has_masks, up, provenance, notes, truth, points, sightings: as in ``Scene``; ``provenance`` has the
            ``views``' files.

    Raises:
        SceneError: every mask is empty, or masks and poses disagree.
    """
    train, test = split
    poses, lenses = torch.from_numpy(camera_to_world), torch.from_numpy(intrinsics)
    own = Cameras(poses, lenses, *map(list, zip(*stored_sizes, strict=True)))
    own = own.resized(*map(list, zip(*images.sizes, strict=True)))
    labels = provenance["views"]
    frame = frame or Frame()
    points = np.empty((0, 3)) if points is None else points
    wrong = convention_note(camera_to_world, points, frame.center, where)
    notes = [
        *wrong,
        *notes,
        *repeated_note(camera_to_world, labels, where),
        *size_note(stored_sizes[0], images.sizes[0]),
    ]
    masks, slack = [image[..., 3] for image in images], 1
    if has_masks:
        how = "what the masks leave"
        try:
            box, slack = _masked_box(own, masks, train, where, labels)
        except SceneError as error:
            raise SceneError(" ".join([str(error), *wrong])) from None
        if slack > 1:
            notes.append(
                f"the masks agree on an object only where they are grown by {slack} pixels: the cameras may be off; "
                "trainer.poses=on corrects them while the field is learned"
            )
    else:
        box = camera_box(own[train]) if region is None else region.box
        how = "half of the mean distance to the cameras" if region is None else region.how
    box = frame.applied(box)
    if frame.center is None or frame.radius is None:
        notes.append(region_note(box, frame.up or up, how))
    if images.folder is not None:
        notes.append(f"the photos, {images.pixels.numel() / 1e9:.1f} GB, are kept in a file in {images.folder}")
    normalization = fit_box(box)
    ground = None
    if region is not None and region.ground is not None:
        normal, offset = region.ground
        moved = normalization.scale * offset + float(normal @ np.array(normalization.translation))
        ground = (float(normal[0]), float(normal[1]), float(normal[2]), moved)
    cameras = move(own, normalization)
    return Scene(
        name=name,
        images=images,
        cameras=cameras.changed(cameras.camera_to_world.float(), cameras.intrinsics.float()),
        train=train,
        test=test,
        background=background,
        has_masks=has_masks,
        normalization=normalization,
        up=frame.up or up,
        provenance=provenance,
        notes=list(notes),
        truth=truth,
        points=points,
        sightings=sightings or Sightings(),
        ground=ground,
        unbounded=region is not None,
        box=frame.box,
        mask_slack=slack,
    )
