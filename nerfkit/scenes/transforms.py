"""``transforms.json`` of nerfstudio and instant-ngp: photos, each with a pose, through lenses of ``transforms_lens``.

``transform_matrix`` is camera to world, for column vectors, with OpenGL camera axes; ``transform_matrix_start`` stands
in for it. Poses are taken in the file's own units and axes: ``applied_transform`` and ``applied_scale``, by which its
writer came to them, are in them already, and in the points of ``ply_file_path``. The up axis is that of ``up``, else it
is left open: not every writer turns z up.

``file_path`` is relative to the file's folder, or absolute and inside it. Its extension may be missing or another one,
upper and lower case may differ, if that leaves one photo. Where none is there, they are taken from ``images_2/``,
``images_4/`` or ``images_8/``, provided that ``w`` and ``h`` are stated. Frames whose photo is missing are passed over;
of equal frames the first is kept.

What is black in the mask of ``mask_path`` is ignored, and what is not black in instant-ngp's ``dynamic_mask_STEM.png``
beside the photo STEM. Where instant-ngp's ``NAME.alpha.EXT`` lies beside a photo, NAME its ``file_path`` or STEM, the
brightness of that is the photo's alpha; gray edges are taken as they are stored.

Pixels of depth files (``transforms_depth``) become points that their photos see, beside those of ``ply_file_path``,
which no photo is said to see.

Test photos are those of ``test_filenames``, else of ``val_filenames``. Training photos are those of
``train_filenames`` that are not test photos; without it, those in no list. Photos in none of the lists that are used
neither train nor test, as in nerfstudio; if there is only ``train_filenames``, they are the test photos.

Source: nerfstudio, data/dataparsers/nerfstudio_dataparser.py; instant-ngp, src/nerf_loader.cu.
"""

from functools import partial
from pathlib import PurePosixPath
from reprlib import repr as brief
from typing import Any, NamedTuple

import numpy as np

from nerfkit.cameras.poses import rigid_transform
from nerfkit.errors import problem
from nerfkit.scenes.capture import Capture, Photo
from nerfkit.scenes.files import Source, require
from nerfkit.scenes.photo_files import SMALLER, data_folder, files_like, missing_note, picture_size, relative_name
from nerfkit.scenes.point_cloud import ply_points
from nerfkit.scenes.transforms_depth import DepthFile, depth_points, stated_depth
from nerfkit.scenes.transforms_lens import Keys, read_lens
from nerfkit.scenes.transforms_notes import key_notes

FILE = "transforms.json"
SIGNS = (FILE,)
LISTS = ("train_filenames", "val_filenames", "test_filenames")


class _Frame(NamedTuple):
    """One frame: its keys, the photo's name as the file has it, relative to the source, and how messages name it."""

    keys: Keys
    name: str
    where: str


class _Table(NamedTuple):
    """The whole file: where it lies, its keys but for ``frames``, the frames, and {a frame's name: its photo}."""

    source: Source
    folder: PurePosixPath
    where: str
    top: Keys
    frames: list[_Frame]
    files: dict[str, str]


@np.errstate(all="ignore")  # numbers of extreme sizes are refused, without a warning
def read(source: Source) -> Capture:
    """The photos of a ``transforms.json``, at the top or one folder down.

    Raises:
        SceneError: no such file or several, a value that cannot be used, a path that leaves the folder, two poses of
            one photo, no photo found, a depth file that cannot be used.
    """
    folder = PurePosixPath(data_folder(source, SIGNS, FILE))
    table = _table(source, folder)
    found, notes = _photos(table)
    photos = [photo for photo, _ in found]
    split, split_notes = _split(table, [photo.name for photo in photos])
    points, point_notes = _points(table)
    depths = [_depth(table, frame) for _, frame in found]
    shown, seen, depth_notes = depth_points(source, photos, depths, table.where)
    notes += split_notes + point_notes + depth_notes
    return Capture(
        photos,
        points=np.concatenate([points, shown]),
        sightings=seen.after(len(points)),
        split=split,
        up=_up(table),
        notes=notes + key_notes(table.top, [frame.keys for frame in table.frames], table.where),
    )


def _table(source: Source, folder: PurePosixPath) -> _Table:
    """The file, with at least one photo."""
    file = str(folder / FILE)
    where = source.where(file)
    content = source.read_json(file)
    listed = require(content, "frames", where)
    if not isinstance(listed, list) or not listed or not all(isinstance(frame, dict) for frame in listed):
        raise problem(where, "'frames' is no list of objects", "one object a photo", "Export it again.")
    top = _stated(content)
    frames = []
    for index, frame in enumerate(listed):
        label = f"{where}, frame {index}"
        keys = _stated(frame)
        frames.append(_Frame(keys, _path(source, folder, require(keys, "file_path", label), label), label))
    names = [frame.name for frame in frames]
    files = files_like(source, folder, names)
    sized = all({"w", "h"} <= {*top, *frame.keys} for frame in frames)
    for smaller in SMALLER if sized else ():
        if not files:
            copies = {name: str(folder / smaller / PurePosixPath(name).name) for name in names}
            found = files_like(source, folder, copies.values())
            files = {name: found[copy] for name, copy in copies.items() if copy in found}
    if not files:
        raise problem(
            where,
            f"none of the {len(frames)} photos that it lists is there, the first is {names[0]}",
            f"them in {source.where(str(PurePosixPath(names[0]).parent))}",
            "Restore the photos, or correct file_path.",
        )
    return _Table(source, folder, where, top, frames, files)


def _stated(content: Keys) -> Keys:
    """What a JSON object states: its keys but ``frames`` and those that are null."""
    return {key: value for key, value in content.items() if value is not None and key != "frames"}


def _path(source: Source, folder: PurePosixPath, stated: Any, where: str) -> str:
    """A path in the file, relative to the source."""
    if not isinstance(stated, str):
        raise problem(where, f"a path is {brief(stated)}", "text", "Export it again or correct the value.")
    absolute = PurePosixPath(stated.replace("\\", "/")).is_absolute()
    name = relative_name(source, stated, where)
    return name if absolute else str(folder / name)


def _photos(table: _Table) -> tuple[list[tuple[Photo, _Frame]], list[str]]:
    """The photos and their frames, sorted by name, and lines on missing ones, repeated frames and masks."""
    frames = [frame for frame in table.frames if frame.name in table.files]
    missing = [frame.name for frame in table.frames if frame.name not in table.files]
    named = [_mask(table, frame) for frame in frames]
    masks = files_like(table.source, table.folder, [mask for mask in named if mask is not None])
    first: dict[str, tuple[Photo, _Frame]] = {}
    repeats = []
    for frame, mask in zip(frames, named, strict=True):
        photo = _photo(table, frame, None if mask is None else masks.get(mask))
        other, earlier = first.setdefault(photo.name, (photo, frame))
        if earlier is not frame:
            repeats.append(photo.name)
            if not (np.allclose(photo.pose, other.pose, atol=1e-6) and photo[2:] == other[2:]):
                raise problem(
                    frame.where,
                    f"its photo {photo.name} is that of {earlier.where.rpartition(', ')[2]}, with other values",
                    "one frame a photo",
                    "Remove one of the two.",
                )
    notes = missing_note(missing, len(table.frames), table.where)
    if repeats:
        notes.append(f"{table.where}: {len(repeats)} frames repeat an earlier one, the first that of {repeats[0]}")
    return [first[name] for name in sorted(first)], notes + _mask_notes(named, masks, table.where)


def _mask(table: _Table, frame: _Frame) -> str | None:
    """The mask that a frame names."""
    stated = frame.keys.get("mask_path")
    return None if stated is None else _path(table.source, table.folder, stated, f"{frame.where}, mask_path")


def _depth(table: _Table, frame: _Frame) -> DepthFile | None:
    """The depth file that a frame names."""
    return stated_depth(table.top, frame.keys, partial(_path, table.source, table.folder), frame.where)


def _photo(table: _Table, frame: _Frame, mask: str | None) -> Photo:
    source, file = table.source, table.files[frame.name]
    keys = ("transform_matrix", "transform_matrix_start")
    key = next((key for key in keys if key in frame.keys), keys[0])
    pose = rigid_transform(require(frame.keys, key, frame.where), f"{frame.where}, {key}")
    lens = read_lens(table.top, frame.keys, lambda: picture_size(source, file), frame.where)
    path = PurePosixPath(file)
    moving = str(path.parent / f"dynamic_mask_{path.stem}.png")
    alphas = (f"{stem}.alpha{path.suffix}" for stem in (file, str(path.with_suffix(""))))
    return Photo(
        file,
        pose,
        lens,
        ignore=mask,
        alpha=next((alpha for alpha in alphas if source.exists(alpha)), None),
        moving=moving if source.exists(moving) else None,
    )


def _mask_notes(named: list[str | None], masks: dict[str, str], where: str) -> list[str]:
    """A line if masks are missing, and one if only some frames name one."""
    notes = []
    missing = sorted({mask for mask in named if mask is not None and mask not in masks})
    if missing:
        notes.append(f"{where}: {len(missing)} of the masks that it names are missing, the first is {missing[0]}")
    count = sum(mask is not None for mask in named)
    if 0 < count < len(named):
        notes.append(f"{where}: only {count} of {len(named)} photos have a mask_path; the others are used whole")
    return notes


def _split(table: _Table, photos: list[str]) -> tuple[tuple[list[int], list[int]] | None, list[str]]:
    """Training and test photos, if the file lists some, and what a user should know of it."""
    lists: dict[str, set[str]] = {}
    unknown = []
    for key in LISTS:
        if key not in table.top:
            continue
        listed = table.top[key]
        if not isinstance(listed, list):
            raise problem(table.where, f"{key} is {brief(listed)}", "a list of file names", "Export it again.")
        names = [_path(table.source, table.folder, name, f"{table.where}, {key}") for name in listed]
        files = files_like(table.source, table.folder, names) | table.files
        lists[key] = {files[name] for name in names if name in files} & {*photos}
        stated = {frame.name for frame in table.frames}
        unknown += [name for name in names if name not in stated and files.get(name) not in lists[key]]
    if not lists:
        return None, []
    train_key, val_key, test_key = LISTS
    test = lists.get(test_key, lists.get(val_key))
    train = lists.get(train_key, {*photos}.difference(*lists.values()))
    test = {*photos} - train if test is None else test
    notes = []
    if unknown:
        notes.append(f"{table.where}: {len(unknown)} names in its lists are no frame's, the first is {min(unknown)}")
    if both := train & test:
        notes.append(f"{table.where}: {len(both)} photos for training and test are only test photos")
    if unused := {*photos} - train - test:
        notes.append(f"{table.where}: {len(unused)} photos are neither training nor test photos by its lists")
    numbers = {name: index for index, name in enumerate(photos)}
    return (sorted(numbers[name] for name in train - test), sorted(numbers[name] for name in test)), notes


def _points(table: _Table) -> tuple[np.ndarray, list[str]]:
    """The points (P,3) of ``ply_file_path``, if that is there and whole, else a line on why not."""
    stated = table.top.get("ply_file_path")
    if stated is None:
        return np.empty((0, 3)), []
    name = _path(table.source, table.folder, stated, f"{table.where}, ply_file_path")
    if not table.source.exists(name):
        return np.empty((0, 3)), [f"{table.where}: the points of {name} are missing"]
    try:
        return ply_points(table.source.read(name)), []
    except ValueError as error:
        return np.empty((0, 3)), [f"{table.source.where(name)}: the points are not used: {error}"]


def _up(table: _Table) -> tuple[float, float, float] | None:
    """The up axis of unit length, if the file states one."""
    stated = table.top.get("up")
    if stated is None:
        return None
    try:
        axis = np.array(stated, dtype=np.float64)
        length = np.abs(axis).max() if axis.shape == (3,) else 0.0
    except (TypeError, ValueError, OverflowError):
        length = 0.0
    if not 1e-100 < length < 1e100:
        raise problem(table.where, f"up is {brief(stated)}", "three numbers, an axis of the world", "Correct it.")
    x, y, z = (axis / np.linalg.norm(axis)).tolist()
    return x, y, z
