"""Photos as users have them -> upright 8-bit files that need no explanation, and what is measured on the way."""

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from nerfkit.errors import problem
from nerfkit.prepare import measures
from nerfkit.prepare.exif import TURNS, Exif, read_exif
from nerfkit.prepare.options import MIN_PHOTOS
from nerfkit.runs.files import write_bytes
from nerfkit.runs.pictures import HEIF, RAW, WITHOUT, ExtraError, decode_picture, developed, open_picture, reason
from nerfkit.runs.untrusted import RefusedError, inside, read_file
from nerfkit.scenes.images import in_threads

AS_IT_IS = {"JPEG": (".jpg", ".jpeg"), "MPO": (".jpg", ".jpeg"), "PNG": (".png",)}  # phones write MPO as .jpg
LOSSY = (".jpg", ".jpeg", *HEIF)


@dataclass
class Shot:
    """One photo as it lies in ``images/``.

    Attributes:
        name: of its file there.
        source: of the file that it was made from.
        width, height: in pixels, upright.
        group: photos with the same text share a camera.
        focal: in pixels, from EXIF; None if unknown.
        taken: a text that sorts by time; None if unknown.
        sharpness, crispness, brightness: as ``measures`` defines them.
    """

    name: str
    source: str
    width: int
    height: int
    group: str
    focal: float | None
    taken: str | None
    sharpness: float
    crispness: float
    brightness: float


def take_photos(root: Path, photos: Sequence[Path], folder: Path) -> tuple[list[Shot], list[str]]:
    """Puts ``photos`` upright into ``folder``; a file that needs no change is linked or copied byte for byte.

    Args:
        root: the folder that the user named; a photo that is a link has to lead to a file in it.
        photos: files in it.
        folder: of the results.

    Returns:
        the readable ones, by name, and a note on each that was passed over.

    Raises:
        SceneError: fewer than three can be read.
    """
    names = _names(photos)
    taken = list(in_threads(lambda index: _take(root, photos[index], folder, *names[index]), len(photos), "photos"))
    shots = sorted((shot for shot in taken if isinstance(shot, Shot)), key=lambda shot: shot.name)
    notes = [note for note in taken if isinstance(note, str)]
    if len(shots) < MIN_PHOTOS:
        raise problem(
            str(photos[0].parent),
            f"only {len(shots)} of {len(photos)} photos can be read ({'; '.join(notes[:3])})",
            f"at least {MIN_PHOTOS}",
            "Copy the photos again.",
        )
    renamed = sum(Path(shot.name).stem != Path(shot.source).stem for shot in shots)
    if renamed:
        notes.append(f"{renamed} photos have other names in images/: report.json lists both")
    return shots, notes


def group_of(size: tuple[int, int], exif: Exif) -> str:
    """What photos of one camera have in common: size, device and focal length, and how it was held.

    How it was held, because turning the photo upright turns the sensor's axes and its principal point, too.
    """
    return " ".join(
        word
        for word in (f"{size[0]}x{size[1]}", exif.device, f"turned {exif.orientation}" if exif.orientation > 1 else "")
        if word
    )


def order(shots: Sequence[Shot]) -> list[Shot]:
    """By time where EXIF has one for every photo, else by name."""
    timed = all(shot.taken for shot in shots)
    return sorted(shots, key=lambda shot: (shot.taken or "" if timed else "", shot.name))


def _names(photos: Sequence[Path]) -> list[tuple[str, str]]:
    """For each photo its name if its bytes are kept, and the stem of its name if they are not; none occurs twice.

    Blanks, colons and backslashes become underscores: lists of names are split at them, and Windows forbids them.
    """
    plain = ["".join("_" if c.isspace() or c in ':\\"' else c for c in path.name) for path in photos]
    stems = Counter(Path(name).stem.lower() for name in plain)
    whole = Counter(name.lower() for name in plain)
    names = []
    for number, name in enumerate(plain):
        if whole[name.lower()] > 1:
            name = f"{Path(name).stem}_{number}{Path(name).suffix}"
            names.append((name, Path(name).stem))
        else:
            names.append((name, Path(name).stem if stems[Path(name).stem.lower()] == 1 else name))
    return names


def _take(root: Path, path: Path, folder: Path, name: str, stem: str) -> Shot | str:
    """One photo into ``folder``, or why not."""
    try:
        if path.stat().st_size == 0:
            return f"{path.name} is empty and passed over"
        picture, exif, kept, profile = _decoded(root, path)
    except ExtraError as error:  # an ending may hide it
        return f"{path.name} is passed over: {error}; {WITHOUT[1]}"
    except RefusedError as error:
        return f"{path.name} is passed over: {error}"
    except Exception as error:  # decoders raise a dozen unrelated types for damaged files
        return f"{path.name} is damaged and passed over ({reason(error)})"
    if kept:
        _link(path, folder / name)
    else:
        ending = ".jpg" if path.suffix.lower() in LOSSY else ".png"
        name = stem + ending
        write_bytes(folder / name, packed(picture, ending, profile))
    return shot_of(name, path.name, picture, exif)


def shot_of(name: str, source: str, picture: Image.Image, exif: Exif) -> Shot:
    """What is known of an upright picture that lies in ``images/`` as ``name``."""
    gray = measures.gray_at(picture)
    measured = measures.sharpness(gray), measures.crispness(picture), measures.brightness(gray)
    return Shot(name, source, *picture.size, group_of(picture.size, exif), exif.focal, exif.taken, *measured)


def _decoded(root: Path, path: Path) -> tuple[Image.Image, Exif, bool, bytes | None]:
    """The upright picture in 8 bits, its EXIF, whether the file's bytes are that picture, and its color profile."""
    suffix = path.suffix.lower()
    data = read_file(inside(root, str(path.relative_to(root))))
    if suffix in RAW:
        exif = Exif(1, None, "", None)
        with contextlib.suppress(Exception), Image.open(path) as image:  # most raw files are TIFFs of a kind
            exif = read_exif(image)
        return Image.fromarray(developed(data)), exif._replace(focal=None), False, None
    with open_picture(data, path.name) as image:
        exif = read_exif(image)
        held = image.info.get("original_orientation")  # of HEIC, which is decoded upright
        kind, mode, profile = image.format or "", image.mode, image.info.get("icc_profile")
    deep = kind == "PNG" and data[24] > 8  # bits a channel, in the header; Pillow says RGB all the same
    kept = suffix in AS_IT_IS.get(kind, ()) and exif.orientation == 1 and not deep and mode in ("RGB", "RGBA")
    clear = mode in ("RGBA", "LA", "PA")
    picture = Image.fromarray(decode_picture(data, "RGBA" if clear else "RGB"))
    if exif.orientation > 1:
        picture = picture.transpose(TURNS[exif.orientation])
    elif held in TURNS:
        exif = exif._replace(orientation=held)
    return picture, exif, kept, profile if mode == "RGB" else None  # a gray or CMYK profile no longer fits


def packed(picture: Image.Image, ending: str, profile: bytes | None = None) -> bytes:
    """A picture as the bytes of a JPEG of high quality, or of a PNG."""
    packed = BytesIO()
    extra = {"icc_profile": profile} if profile else {}
    if ending == ".jpg":
        picture.convert("RGB").save(packed, "JPEG", quality=95, subsampling=0, **extra)
    else:
        picture.save(packed, "PNG", compress_level=3, **extra)
    return packed.getvalue()


def _link(path: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none or forbids it."""
    target.unlink(missing_ok=True)
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copyfile(path, target)
