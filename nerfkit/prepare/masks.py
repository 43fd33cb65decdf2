"""Masks that are given with the photos: what is black in ``masks/NAME.png`` is ignored, as COLMAP has it.

``masks/`` lies beside the photos or beside ``images/``; NAME has the photo's ending or not, in upper or lower case. A
mask is turned as its photo is, unless its size is that of the upright photo already.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from nerfkit.errors import problem
from nerfkit.prepare.exif import TURNS
from nerfkit.prepare.intake import Shot, packed
from nerfkit.prepare.source import photo_folder
from nerfkit.runs.files import write_bytes
from nerfkit.runs.pictures import HEIF, RAW, orientation
from nerfkit.runs.untrusted import RefusedError, inside, read_file
from nerfkit.scenes.images import decode, in_threads

MASKS = "masks"


def masks_of(root: Path, photos: Sequence[Path]) -> dict[str, Path]:
    """{name of a photo: its mask}; empty for a video and where there are none."""
    if not root.is_dir():
        return {}
    folder = next((place for place in (photo_folder(root) / MASKS, root / MASKS) if place.is_dir()), None)
    if folder is None:
        return {}
    given = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    found = {}
    for photo in photos:
        mask = given.get(f"{photo.name}.png".lower()) or given.get(f"{photo.stem}.png".lower())
        if mask is not None:
            found[photo.name] = mask
    return found


def take_masks(
    root: Path, masks: Mapping[str, Path], photos: Sequence[Path], shots: Sequence[Shot], folder: Path
) -> list[str]:
    """Writes the masks of ``shots`` upright into ``folder`` as ``NAME.png``, NAME that of the photo in ``images/``.

    Masks and photos lie in ``root``, links followed.

    Returns:
        a note on how many there are.

    Raises:
        SceneError: a mask that cannot be decoded, or is of another size than its photo.
    """
    paths = {path.name: path for path in photos}
    masked = [shot for shot in shots if shot.source in masks]
    if not masked:
        return []
    folder.mkdir(parents=True, exist_ok=True)

    def one(index: int) -> None:
        shot = masked[index]
        upright = _upright(root, masks[shot.source], paths[shot.source], shot)
        write_bytes(folder / f"{shot.name}.png", packed(upright, ".png"))

    for _ in in_threads(one, len(masked), MASKS):
        pass
    return [f"{len(masked)} of {len(shots)} photos have a mask: what is black in it is ignored"]


def _upright(root: Path, path: Path, photo: Path, shot: Shot) -> Image.Image:
    try:
        data = read_file(inside(root, str(path.relative_to(root))))
    except RefusedError as error:
        raise problem(str(path), str(error), "a mask in the folder of the photos", "Copy it there.") from None
    mask = Image.fromarray(decode(data, str(path), "L"))
    size = shot.width, shot.height
    turn = 1 if photo.suffix.lower() in HEIF + RAW else orientation(photo.read_bytes())
    stored = size[::-1] if turn >= 5 else size
    if turn > 1 and mask.size == stored:
        mask = mask.transpose(TURNS[turn])
    if mask.size != size:
        raise problem(
            str(path),
            f"the mask is {mask.width}x{mask.height}",
            f"{stored[0]}x{stored[1]}, as its photo {photo.name}",
            "Export it again in the photo's size.",
        )
    return mask
