"""What stands at the place that a user names: photos in a folder, or a video; and where the result may go."""

import os
from collections.abc import Iterable
from pathlib import Path

from nerfkit.errors import SceneError, problem
from nerfkit.prepare.options import MIN_PHOTOS
from nerfkit.runs.pictures import EXTRAS, HEIF, RAW, WITHOUT, ExtraError, extra
from nerfkit.scenes import detect
from nerfkit.scenes.photo_files import SUFFIXES

VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp", ".wmv")
IMAGES = "images"


def is_video(path: Path) -> bool:
    """Whether the name is that of a video file."""
    return path.suffix.lower() in VIDEOS and path.is_file()


def has_photos_only(root: str | Path) -> bool:
    """Whether ``root`` is what ``prepare`` is for: a video, or a folder with photos, be they too few, without poses."""
    path = Path(os.path.expanduser(root))
    if is_video(path):
        return True
    if not path.is_dir():
        return False
    try:
        detect(path)
    except SceneError:
        pass
    else:
        return False
    return bool(_photos(photo_folder(path))) or any(is_video(inside) for inside in path.iterdir())


def photo_folder(root: Path) -> Path:
    """Where the photos of a folder lie: at the top or in ``images/``, whichever holds more."""
    inner = root / IMAGES
    return inner if inner.is_dir() and len(_photos(inner)) > len(_photos(root)) else root


def photos_of(root: Path) -> tuple[list[Path], list[str]]:
    """The photo files of a folder, sorted by name, and notes on those passed over.

    A raw file beside a photo of the same stem is passed over: cameras write both.

    Raises:
        SceneError: fewer than three.
    """
    folder = photo_folder(root)
    found = _photos(folder)
    ready = {path.stem.lower() for path in found if path.suffix.lower() in SUFFIXES}
    twins = [path for path in found if path.suffix.lower() in HEIF + RAW and path.stem.lower() in ready]
    photos = [path for path in found if path not in twins]
    notes = [f"{len(twins)} raw or HEIC files are passed over: each has a JPEG or PNG beside it"] if twins else []
    if len(photos) < MIN_PHOTOS:
        videos = sorted(path.name for path in root.iterdir() if is_video(path))
        remedy = (
            f"For the video inside: prepare {root / videos[0]}."
            if videos and not photos
            else "Photos are looked for at the top and in images/."
        )
        few = ["no photos", *(f"{k} photo{'s' if k > 1 else ''}, {photos[0].name}" for k in range(1, len(photos) + 1))]
        count = few[len(photos)]
        raise problem(str(folder), count, f"at least {MIN_PHOTOS} of one scene", remedy)
    return photos, notes


def check_formats(photos: Iterable[Path]) -> None:
    """Raises SceneError where HEIC or raw photos cannot be decoded: an extra installs what does."""
    for what, (endings, _) in EXTRAS.items():
        wanting = [path for path in photos if path.suffix.lower() in endings]
        try:
            if wanting:
                extra(what, len(wanting))
        except ExtraError as error:
            raise problem(str(wanting[0]), str(error), *WITHOUT) from None


def check_place(out: Path, source: Path) -> None:
    """Raises SceneError where ``out`` would mix its files with those of ``source``."""
    target, origin = Path(os.path.abspath(out)).resolve(), source.resolve()
    photos = photo_folder(origin) if origin.is_dir() else origin.parent
    where = None
    if target in (origin, photos):
        where = "is the folder of the photos" if origin.is_dir() else "is the folder of the video"
    elif photos.name == IMAGES and origin.is_dir() and target.is_relative_to(photos):
        where = "lies inside the folder of the photos"
    elif origin.is_dir() and origin.is_relative_to(target):
        where = "holds the folder of the photos"
    if where is not None:
        raise problem(str(out), f"OUT {where}", "a folder of its own", f"Such as {photos.parent / 'prepared'}.")
    if out.exists() and not out.is_dir():
        raise problem(str(out), "OUT is a file", "a new or empty folder", "Choose another place.")


def _photos(folder: Path) -> list[Path]:
    endings = SUFFIXES + HEIF + RAW
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file()
    )
