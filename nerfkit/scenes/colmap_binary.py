"""COLMAP's binary files: little endian, unpadded; each begins with the number of its records, 8 bytes.

| file | a record |
| --- | --- |
| cameras.bin | id u32, model i32, width u64, height u64, parameters f64 |
| images.bin | id u32, motion 7 f64, camera u32, name up to a zero byte, count u64, each x f64, y f64, point u64 |
| points3D.bin | id u64, x y z f64, r g b u8, error f64, count u64, each image u32, index u32 |
| rigs.bin | id u32, count u32, type i32, camera u32; each further: type i32, camera u32, u8, motion if that is 1 |
| frames.bin | id u32, rig u32, motion 7 f64, count u32, each type i32, camera u32, image u64 |

Every function takes a file's bytes and how messages name it, and raises SceneError where the bytes are no such file: a
count is never believed before the bytes that it promises are there.
"""

import struct

import numpy as np

from nerfkit.cameras.lens import Lens
from nerfkit.errors import problem
from nerfkit.scenes.colmap_model import (
    IDENTITY,
    MODEL_SIZES,
    REMEDY,
    Frame,
    Image,
    Motion,
    Points,
    Rig,
    lens,
    model_name,
    table_of,
)

CAMERA = 0  # the type of a sensor; others are IMUs


class _Bytes:
    """Reads a file from its beginning to its end."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.at = data, where, 0

    def take(self, layout: str) -> tuple:
        """The next values, as ``struct`` names them."""
        return struct.unpack("<" + layout, self.skip(struct.calcsize("<" + layout)))

    def skip(self, size: int) -> bytes:
        """The next bytes."""
        if size > len(self.data) - self.at:
            raise problem(
                self.where,
                f"the file ends after {len(self.data)} bytes, in the middle of what its counts promise",
                "a whole binary file of COLMAP",
                REMEDY,
            )
        self.at += size
        return self.data[self.at - size : self.at]

    def word(self) -> str:
        """The text up to the next zero byte."""
        end = self.data.find(b"\0", self.at)
        text = self.skip((end if end >= 0 else len(self.data)) + 1 - self.at)
        return text[:-1].decode("utf-8", "replace")

    def end(self) -> None:
        """Raises SceneError unless all is read."""
        if self.at < len(self.data):
            raise problem(
                self.where,
                f"{len(self.data) - self.at} bytes follow the last record",
                "as many records as its counts say",
                REMEDY,
            )


def cameras(data: bytes, where: str) -> dict[int, Lens]:
    """{camera id: lens} of cameras.bin."""
    file, found = _Bytes(data, where), {}
    for _ in range(file.take("Q")[0]):
        key, number, width, height = file.take("IiQQ")
        label = f"{where}, camera {key}"
        name = model_name(number, label)
        found[key] = lens(name, width, height, file.take(f"{MODEL_SIZES[name]}d"), label)
    file.end()
    return found


def images(data: bytes, where: str) -> dict[int, Image]:
    """{image id: placed photo} of images.bin; where in a photo the points are seen is passed over."""
    file, found = _Bytes(data, where), {}
    for _ in range(file.take("Q")[0]):
        key, *motion, camera = file.take("I7dI")
        found[key] = Image(file.word(), camera, motion)
        file.skip(24 * file.take("Q")[0])
    file.end()
    return found


def points(data: bytes, where: str) -> Points:
    """The points of points3D.bin."""
    file, rows, tracks = _Bytes(data, where), [], []
    for _ in range(file.take("Q")[0]):
        _, x, y, z, _, _, _, error, length = file.take("Q3d3BdQ")
        tracks.append(file.skip(8 * length))
        rows.append((x, y, z, error, length))
    file.end()
    return table_of(rows, np.frombuffer(b"".join(tracks), "<u4")[::2])


def rigs(data: bytes, where: str) -> dict[int, Rig]:
    """{rig id: rig} of rigs.bin."""
    file, found = _Bytes(data, where), {}
    for _ in range(file.take("Q")[0]):
        key, count = file.take("II")
        rig: Rig = {}
        for index in range(count):
            kind, sensor = file.take("iI")
            motion: Motion | None = IDENTITY  # the first sensor is where the rig is
            if index:
                motion = file.take("7d") if file.take("B")[0] else None
            if kind == CAMERA:
                rig[sensor] = motion
        found[key] = rig
    file.end()
    return found


def frames(data: bytes, where: str) -> list[Frame]:
    """The frames of frames.bin."""
    file, found = _Bytes(data, where), []
    for _ in range(file.take("Q")[0]):
        _, rig, *motion, count = file.take("II7dI")
        held = [file.take("iIQ") for _ in range(count)]
        found.append(Frame(rig, motion, {image: sensor for kind, sensor, image in held if kind == CAMERA}))
    file.end()
    return found
