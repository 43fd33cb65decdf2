"""The result's folder: work happens in OUT/.work and takes its place at the end; a stopped start goes on from there.

OUT/.work/fingerprint    of the source's files and the options: another one starts anew
OUT/.work/photos.json    the photos that were taken in, once all of them are
OUT/.work/database.db    COLMAP's: features and matches
OUT/.work/result/        images/, sparse/0, masks/ and the report, as they will stand in OUT
OUT/.work/whole          there once result/ is: nothing is left to do but to move it
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from nerfkit.errors import problem
from nerfkit.prepare.intake import Shot
from nerfkit.prepare.masks import MASKS
from nerfkit.prepare.options import PrepareOptions
from nerfkit.prepare.report import JSON, MARKDOWN, PICTURE
from nerfkit.prepare.source import IMAGES
from nerfkit.runs.files import write_text

WORK, SPARSE = ".work", "sparse"
# In the order in which they are moved: report.json says that it is whole. Masks are there if some were given.
RESULT = (IMAGES, SPARSE, MASKS, MARKDOWN, PICTURE, JSON)


class Work:
    """OUT and what lies in it while the work goes on."""

    def __init__(self, out: Path) -> None:
        self.out, self.root = out, out / WORK
        self.result, self.images = self.root / "result", self.root / "result" / IMAGES
        self.sparse, self.masks = self.result / SPARSE / "0", self.result / MASKS
        self.database = self.root / "database.db"
        self._fingerprint, self._photos, self._whole = (
            self.root / name for name in ("fingerprint", "photos.json", "whole")
        )

    def begin(self, fingerprint: str) -> bool:
        """Makes the folders; whether there is work of an earlier start with the same fingerprint to go on with.

        Raises:
            SceneError: OUT cannot be made or written.
        """
        known = self._fingerprint.is_file() and self._fingerprint.read_text(encoding="utf-8") == fingerprint
        if not known:
            shutil.rmtree(self.root, ignore_errors=True)
        try:
            self.images.mkdir(parents=True, exist_ok=True)
            write_text(self._fingerprint, fingerprint)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            wrong = f"cannot be written ({error.strerror})"
            raise problem(str(self.out), wrong, "a place for a new folder", "Choose another place.") from None
        return known

    def photos(self) -> tuple[list[Shot], list[str]] | None:
        """What an earlier start took in, with its notes; None if it did not come so far."""
        if not self._photos.is_file():
            return None
        content = json.loads(self._photos.read_text(encoding="utf-8"))
        return [Shot(**shot) for shot in content["photos"]], content["notes"]

    def keep_photos(self, shots: Iterable[Shot], notes: list[str]) -> None:
        """Notes that all photos are taken in."""
        content = {"photos": [asdict(shot) for shot in shots], "notes": notes}
        write_text(self._photos, json.dumps(content, ensure_ascii=False))

    def settle(self) -> None:
        """Moves the whole result to its place, and removes the work."""
        self._whole.touch()
        self.finish_moving()

    def finish_moving(self) -> None:
        """Moves what an earlier ``settle`` may have left behind when it was stopped."""
        if not self._whole.is_file():
            return
        for name in RESULT:
            if (self.result / name).exists():
                (self.result / name).replace(self.out / name)
        shutil.rmtree(self.root)

    def discard(self) -> None:
        """Leaves nothing of work that cannot succeed."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self.out.is_dir() and not any(self.out.iterdir()):
            self.out.rmdir()


def fingerprint_of(source: Path, files: Iterable[Path], options: PrepareOptions) -> str:
    """A text that changes when the source, a file's size or date, or an option does."""
    parts = [str(source.resolve()), json.dumps(asdict(options), sort_keys=True)]
    for path in files:
        about = path.stat()
        parts.append(f"{path.name} {about.st_size} {about.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def finished(out: Path) -> dict[str, object] | None:
    """The report of a finished result in ``out``; None if there is none."""
    if not (out / JSON).is_file() or not (out / SPARSE / "0").is_dir():
        return None
    try:
        content = json.loads((out / JSON).read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    return content if isinstance(content, dict) and "fingerprint" in content else None


def check_empty(out: Path) -> None:
    """Raises SceneError where ``out`` holds something that is not an unfinished preparation."""
    others = sorted(path.name for path in out.iterdir() if path.name != WORK) if out.is_dir() else []
    if others:
        raise problem(
            str(out),
            f"OUT holds something else: {', '.join(others[:4])}",
            "a new or empty folder",
            "Choose another place.",
        )
