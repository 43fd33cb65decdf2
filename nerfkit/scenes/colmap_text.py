"""COLMAP's text files: a record a line, words between blanks; empty lines and those that begin with # are comments.

| file | a record |
| --- | --- |
| cameras.txt | id, model, width, height, parameters |
| images.txt | id, motion, camera, name; **on a second line**, which may be empty, x, y, point or -1 of each point |
| points3D.txt | id, x, y, z, r, g, b, error, then image, index of each photo that sees it |
| rigs.txt | id, count, type, camera; each further: type, camera, 0 or 1, a motion if 1 |
| frames.txt | id, rig, motion, count, then type, camera, image of each photo |

Every function takes a file's bytes and how messages name it, and raises SceneError, with the line, where it is no such
file.
"""

from array import array
from collections.abc import Iterator

import numpy as np

from nerfkit.cameras.lens import Lens
from nerfkit.errors import problem
from nerfkit.scenes.colmap_model import IDENTITY, REMEDY, Frame, Image, Motion, Points, Rig, lens, table_of
from nerfkit.scenes.photo_files import numbers

CAMERA = "CAMERA"  # the type of a sensor; others are IMUs


class _Words:
    """Reads a record from its first word to its last."""

    def __init__(self, line: str, where: str) -> None:
        self.words, self.where, self.at = line.split(), where, 0

    def take(self, count: int) -> list[str]:
        """The next ``count`` words."""
        if count > len(self.words) - self.at:
            raise problem(self.where, f"the line ends after {len(self.words)} words", "a whole record", REMEDY)
        self.at += count
        return self.words[self.at - count : self.at]

    def floats(self, count: int) -> list[float]:
        """The next ``count`` numbers."""
        return numbers(self.take(count), self.where)

    def whole(self) -> int:
        """The next word, a whole number from 0 on."""
        word = self.take(1)[0]
        if not (word.isdecimal() and len(word) <= 20):
            raise problem(self.where, f"{word[:40]!r} is no whole number", "an id or a count", REMEDY)
        return int(word)

    def rest(self) -> list[str]:
        """The words that are left."""
        return self.take(len(self.words) - self.at)


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, from 1 on."""
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        yield number, line.strip()


def _records(data: bytes, where: str) -> Iterator[_Words]:
    """The lines that are no comments."""
    for number, line in _lines(data):
        if line and not line.startswith("#"):
            yield _Words(line, f"{where}, line {number}")


def cameras(data: bytes, where: str) -> dict[int, Lens]:
    """{camera id: lens} of cameras.txt."""
    found = {}
    for record in _records(data, where):
        key, model = record.whole(), record.take(1)[0]
        width, height, *params = numbers(record.take(2) + record.rest(), record.where)
        found[key] = lens(model, width, height, params, record.where)
    return found


def images(data: bytes, where: str) -> dict[int, Image]:
    """{image id: placed photo} of images.txt; where in a photo the points are seen is passed over."""
    found, lines = {}, _lines(data)
    for number, line in lines:
        if not line or line.startswith("#"):
            continue
        record = _Words(line, f"{where}, line {number}")
        key, motion, camera = record.whole(), record.floats(7), record.whole()
        record.take(1)
        name = line.split(maxsplit=9)[9]  # it may hold blanks
        found[key] = Image(name, camera, motion)
        seen_number, seen = next(lines, (number + 1, ""))
        words = seen.split()
        label = f"{where}, line {seen_number}"
        if len(words) % 3:
            raise problem(label, f"{len(words)} words", "X, Y, POINT3D_ID of each point, or an empty line", REMEDY)
        numbers(words[-1:], label)  # a name stands there if the empty lines were removed
    return found


def points(data: bytes, where: str) -> Points:
    """The points of points3D.txt."""
    rows, images = [], array("d")
    for record in _records(data, where):
        record.take(1)
        x, y, z, _, _, _, error = record.floats(7)
        track = numbers(record.rest(), record.where)
        if len(track) % 2:
            raise problem(record.where, f"{len(track)} words follow the error", "IMAGE_ID, POINT2D_IDX of each", REMEDY)
        images.extend(track[::2])
        rows.append((x, y, z, error, len(track) // 2))
    return table_of(rows, np.array(images))


def rigs(data: bytes, where: str) -> dict[int, Rig]:
    """{rig id: rig} of rigs.txt."""
    found = {}
    for record in _records(data, where):
        key, count = record.whole(), record.whole()
        rig: Rig = {}
        for index in range(count):
            kind, sensor = record.take(1)[0], record.whole()
            motion: Motion | None = IDENTITY  # the first sensor is where the rig is
            if index:
                motion = record.floats(7) if record.whole() else None
            if kind == CAMERA:
                rig[sensor] = motion
        found[key] = rig
    return found


def frames(data: bytes, where: str) -> list[Frame]:
    """The frames of frames.txt."""
    found = []
    for record in _records(data, where):
        _, rig, motion, count = record.whole(), record.whole(), record.floats(7), record.whole()
        held = [(record.take(1)[0], record.whole(), record.whole()) for _ in range(count)]
        found.append(Frame(rig, motion, {image: sensor for kind, sensor, image in held if kind == CAMERA}))
    return found
