"""COLMAP's sparse models: cameras, images, points3D and, since 3.12, rigs and frames, as .bin or as .txt.

A model lies in ``sparse/N``, ``sparse``, ``colmap/sparse/N`` or at the top; where a folder holds both, .bin is read. Of
several the one that places most photos is taken: COLMAP writes one for each part of the photos that it could not join
to the others, in no order. Photos are looked for in ``images/``, then beside the models; if there are none, in
``images_2/``, ``images_4/`` or ``images_8/``. Upper and lower case may differ, and the extension if the stem is the
only one. A mask ``masks/NAME.png``, NAME with its own extension or without it, is COLMAP's: what is black is ignored.

Pixel coordinates are 0.5 at the center of the first pixel; cameras have OpenCV axes; the unit is arbitrary, and so is
the world's up axis.

Test photos are those whose names stand in ``test.txt`` beside the model, a line each, as 3D Gaussian Splatting has it.

Points are kept whose mean reprojection error is at most 2 px and that at least 3 photos see; all, if that leaves fewer
than 100. Their tracks say which photo saw which.
"""

from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from nerfkit.cameras.lens import Lens
from nerfkit.cameras.poses import from_opencv
from nerfkit.errors import problem
from nerfkit.scenes import colmap_binary, colmap_text
from nerfkit.scenes.capture import Capture, Photo
from nerfkit.scenes.colmap_model import REMEDY, Frame, Image, Points, Rig, table_of, world_to_camera
from nerfkit.scenes.files import Source
from nerfkit.scenes.photo_files import SMALLER, missing_note, one_folder, photos_in, relative_name
from nerfkit.scenes.sightings import sightings

SIGNS = tuple(
    f"{folder}cameras.{kind}" for folder in ("sparse/*/", "sparse/", "colmap/sparse/*/", "") for kind in ("bin", "txt")
)
TEST = "test.txt"
MAX_ERROR, MIN_TRACK, MIN_POINTS = 2.0, 3, 100


class _Model(NamedTuple):
    """One model: its folder, the cameras, the placed photos, and the files of those that have one."""

    folder: str
    cameras: dict[int, Lens]
    images: dict[int, Image]
    files: dict[int, str]


def read(source: Source) -> Capture:
    """The photos of a COLMAP model.

    Raises:
        SceneError: no model, several data sets, a damaged file, a name that leaves the folder, no photo found.
    """
    folders = {str(PurePosixPath(name).parent) for sign in SIGNS for name in source.find(sign)}
    files = ("images.bin", "images.txt")
    whole = {name for name in folders if any(source.exists(str(PurePosixPath(name) / file)) for file in files)}
    folders = whole or folders  # a cameras.txt alone may be anything
    root = one_folder(source, {_root(folder) for folder in folders}, "COLMAP model (sparse/0/cameras.bin)")
    models = [_model(source, folder, root) for folder in sorted(folders) if _root(folder) == root]
    model = max(models, key=lambda model: (len(model.files), len(model.images)))
    if not model.files:
        raise problem(
            source.where(model.folder),
            f"a COLMAP model whose photos are elsewhere: none of its {len(model.images)} photos is there",
            f"them in {' or '.join(source.where(folder) for folder in _photo_folders(root, model.folder))}",
            "Copy the photos to images/ beside the model.",
        )
    rigs, frames = _rigs(source, model.folder)
    poses, notes = world_to_camera(model.images, rigs, frames, source.where(model.folder))
    masks = {key: _mask(source, root, model.images[key].name) for key in model.files}
    order = sorted(model.files, key=lambda key: model.files[key])
    points = _points(source, model.folder)
    split, split_notes = _split(source, model.folder, [model.images[key].name for key in order])
    return Capture(
        [
            Photo(model.files[key], from_opencv(poses[key]), model.cameras[model.images[key].camera], ignore=masks[key])
            for key in order
        ],
        points=points.xyz,
        sightings=sightings(order, points.images, points.number, points.error),
        split=split,
        notes=_notes(source, root, model, len(models)) + _mask_note(masks, source.where(root)) + notes + split_notes,
    )


def _root(folder: str) -> str:
    """The folder of the data set that a model's folder belongs to: beside ``sparse`` or ``colmap/sparse``."""
    path = PurePosixPath(folder)
    if path.name.isdecimal():  # one of several models in a folder
        path = path.parent
    for name in ("sparse", "colmap"):
        if path.name == name:
            path = path.parent
    return str(path)


def _photo_folders(root: str, folder: str) -> list[str]:
    """Where the photos of a model may lie, the likeliest first."""
    beside = [PurePosixPath(root), PurePosixPath(folder), PurePosixPath(".")]
    paths = [path / "images" for path in beside] + beside
    return list(dict.fromkeys(map(str, paths)))


def _bytes(source: Source, folder: str, stem: str) -> tuple[str, bytes, bool]:
    """How messages name a file of a model, its bytes, and whether it is binary, as it is if both are there."""
    binary = str(PurePosixPath(folder) / f"{stem}.bin")
    text = str(PurePosixPath(folder) / f"{stem}.txt")
    name = text if source.exists(text) and not source.exists(binary) else binary
    return source.where(name), source.read(name), name == binary


def _model(source: Source, folder: str, root: str) -> _Model:
    """One model, without its points."""
    where, data, binary = _bytes(source, folder, "cameras")
    cameras = (colmap_binary if binary else colmap_text).cameras(data, where)
    where, data, binary = _bytes(source, folder, "images")
    images = (colmap_binary if binary else colmap_text).images(data, where)
    for key, image in images.items():
        if image.camera not in cameras:
            label = f"{where}, image {key}"
            raise problem(label, f"no camera {image.camera}", "a camera of the cameras file", REMEDY)
        images[key] = image._replace(name=relative_name(source, image.name, f"{where}, image {key}"))
    if len({image.name for image in images.values()}) < len(images):
        raise problem(where, "two images have the same name", "a name for each", REMEDY)
    files = _files(source, images, _photo_folders(root, folder))
    for smaller in SMALLER:
        files = files or _files(source, images, [str(PurePosixPath(root) / smaller)])
    return _Model(folder, cameras, images, files)


def _files(source: Source, images: dict[int, Image], folders: list[str]) -> dict[int, str]:
    """{image id: file} of the placed photos that lie in one of ``folders``."""
    files: dict[int, str] = {}
    for key, image in images.items():
        names = [str(PurePosixPath(folder) / image.name) for folder in folders]
        found = next((name for name in names if source.exists(name)), None)
        if found is not None:
            files[key] = found
    if len(files) == len(images):
        return files
    taken = set(files.values())
    alike: dict[str, list[str]] = {}  # by the name within its folder, without case and extension
    for folder in folders:
        for name in photos_in(source, folder, deep=PurePosixPath(folder).name.startswith("images")):
            if name not in taken:
                stem = PurePosixPath(name).relative_to(folder).with_suffix("")
                alike.setdefault(str(stem).lower(), []).append(name)
    for key, image in images.items():
        found_alike = alike.get(str(PurePosixPath(image.name).with_suffix("")).lower(), [])
        if key not in files and len(found_alike) == 1:
            files[key] = found_alike.pop()
    return files


def _mask(source: Source, root: str, name: str) -> str | None:
    """COLMAP's mask of a photo."""
    masks = PurePosixPath(root) / "masks"
    names = [str(masks / f"{name}.png"), str((masks / name).with_suffix(".png"))]
    return next((mask for mask in names if source.exists(mask)), None)


def _rigs(source: Source, folder: str) -> tuple[dict[int, Rig], list[Frame]]:
    """The rigs and frames of a model; nothing where it was written before COLMAP 3.12."""
    stems = [str(PurePosixPath(folder) / stem) for stem in ("rigs", "frames")]
    if not all(source.exists(f"{stem}.bin") or source.exists(f"{stem}.txt") for stem in stems):
        return {}, []
    where, data, binary = _bytes(source, folder, "rigs")
    rigs = (colmap_binary if binary else colmap_text).rigs(data, where)
    where, data, binary = _bytes(source, folder, "frames")
    return rigs, (colmap_binary if binary else colmap_text).frames(data, where)


def _points(source: Source, folder: str) -> Points:
    """The points that are worth keeping; none where the file is missing."""
    stem = str(PurePosixPath(folder) / "points3D")
    if not source.exists(f"{stem}.bin") and not source.exists(f"{stem}.txt"):
        return table_of([], np.empty(0))
    where, data, binary = _bytes(source, folder, "points3D")
    points: Points = (colmap_binary if binary else colmap_text).points(data, where)
    if not np.isfinite(points.xyz).all():
        raise problem(where, "a point's position is NaN or infinite", "finite numbers", REMEDY)
    good = (points.error <= MAX_ERROR) & (points.length >= MIN_TRACK)
    return points.chosen(good) if good.sum() >= MIN_POINTS else points


def _split(source: Source, folder: str, names: list[str]) -> tuple[tuple[list[int], list[int]] | None, list[str]]:
    """Training and test photos, if ``TEST`` beside the model names some, and a line on names that are no photo's."""
    file = str(PurePosixPath(folder) / TEST)
    if not source.exists(file):
        return None, []
    listed = {line.strip() for line in source.read(file).decode("utf-8", "replace").splitlines()} - {""}
    unknown = listed.difference(names)
    notes = (
        [f"{source.where(file)}: {len(unknown)} names are no photo's, the first is {min(unknown)}"] if unknown else []
    )
    train, test = ([view for view, name in enumerate(names) if (name in listed) == held] for held in (False, True))
    return ((train, test) if test else None), notes


def _notes(source: Source, root: str, model: _Model, count: int) -> list[str]:
    """Which model was taken, how many photos it has no pose for, how many of its photos are missing."""
    where = source.where(model.folder)
    files = set(model.files.values())
    folders = {str(PurePosixPath(file).parent) for file in files}
    here = files | {name for folder in folders for name in photos_in(source, folder)}
    images = str(PurePosixPath(root) / "images")
    if any(PurePosixPath(folder).is_relative_to(images) for folder in folders):
        here |= set(photos_in(source, images, deep=True))
    notes = []
    if count > 1 or len(files) < len(here):
        which = f", the largest of {count} models," if count > 1 else ""
        notes.append(f"{where}{which} places {len(files)} of {len(here)} photos; the others are not used")
    lacking = [image.name for key, image in model.images.items() if key not in model.files]
    return notes + missing_note(lacking, len(model.images), where)


def _mask_note(masks: dict[int, str | None], where: str) -> list[str]:
    """A line if some photos have masks and others do not."""
    lacking = sum(mask is None for mask in masks.values())
    return [f"{where}: {lacking} of {len(masks)} photos have no mask"] if 0 < lacking < len(masks) else []
