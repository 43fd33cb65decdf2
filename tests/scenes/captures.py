"""Writes tiny data sets in other programs' photo formats, whose projections are known by each format's own formula."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
import numpy as np

from nerfkit.scenes.capture import Photo


class View(NamedTuple):
    """One photo: its camera looks along +z and has y pointing down, x_camera = R x_world + t; pixels as COLMAP's."""

    name: str
    rotation: np.ndarray
    translation: np.ndarray
    size: tuple[int, int] = (40, 30)
    lens: tuple[float, float, float, float] = (50.0, 52.0, 21.0, 14.0)

    @property
    def matrix(self) -> np.ndarray:
        """The camera matrix (3,3)."""
        fx, fy, cx, cy = self.lens
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])

    def pixel(self, point: Sequence[float]) -> np.ndarray:
        """Where the photo shows a point of the world: K (R x + t), divided by its last."""
        x, y, z = self.matrix @ (self.rotation @ point + self.translation)
        return np.array([x / z, y / z])


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """w, x, y, z of a rotation by less than half a turn."""
    w = np.sqrt(1 + np.trace(rotation)) / 2
    skew = rotation - rotation.T
    return np.array([w, skew[2, 1] / 4 / w, skew[0, 2] / 4 / w, skew[1, 0] / 4 / w])


def turned(axis: Sequence[float], angle: float) -> np.ndarray:
    """The rotation by ``angle`` about ``axis``: Rodrigues' formula."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def some_views(names: Sequence[str] = ("a.png", "b.png", "c.png")) -> list[View]:
    """Cameras that look at the world's origin from about 8 away, each with its own lens."""
    return [
        View(
            name,
            turned((1, 2 - index, 0.5 * index), 0.3 + 0.2 * index),
            np.array([0.2 * index, -0.1, 8.0 + index]),
            lens=(50.0 + index, 52.0, 21.0, 14.0 + index),
        )
        for index, name in enumerate(names)
    ]


def shown(photo: Photo, point: Sequence[float]) -> np.ndarray:
    """Where a photo that was read shows a point: its pose has OpenGL axes, its lens does not bend."""
    x, y, z = photo.pose[:, :3].T @ (np.array(point) - photo.pose[:, 3])
    *focal, cx, cy = photo.lens.params
    return np.array([cx + focal[0] * x / -z, cy - focal[-1] * y / -z])


def write_pictures(folder: Path, names: Sequence[str], size: tuple[int, int] = (40, 30)) -> None:
    """Gray pictures of ``size``, width by height."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        iio.imwrite(path, np.full((size[1], size[0], 3), 128, np.uint8))


Motion7 = Sequence[float]
Point = tuple[Sequence[float], float, int | Sequence[int]]  # position, error, ids of photos, or how often the first


def motion(rotation: np.ndarray, translation: np.ndarray) -> Motion7:
    """COLMAP's seven numbers."""
    return [*quaternion(rotation).tolist(), *translation.tolist()]


def track(seen: int | Sequence[int]) -> Sequence[int]:
    """The ids of the photos that see a point."""
    return [1] * seen if isinstance(seen, int) else seen


def write_colmap(
    folder: Path,
    views: Sequence[View],
    points: Sequence[Point] = (),
    kind: str = "bin",
    stated: Sequence[Motion7] | None = None,
) -> Path:
    """A model of ``views``, image and camera ids from 1; ``stated`` replaces the motions in the images file."""
    folder.mkdir(parents=True, exist_ok=True)
    motions = stated or [motion(view.rotation, view.translation) for view in views]
    if kind == "bin":
        head = struct.pack("<Q", len(views))
        cameras = [struct.pack("<IiQQ4d", i, 1, *view.size, *view.lens) for i, view in enumerate(views, 1)]
        images = [
            struct.pack("<I7dI", i, *motions[i - 1], i) + view.name.encode() + b"\0" + struct.pack("<QddQ", 1, 3, 4, 7)
            for i, view in enumerate(views, 1)
        ]
        triples = [
            struct.pack("<Q3d3BdQ", i, *xyz, 1, 2, 3, error, len(track(seen)))
            + b"".join(struct.pack("<II", photo, 0) for photo in track(seen))
            for i, (xyz, error, seen) in enumerate(points, 1)
        ]
        (folder / "cameras.bin").write_bytes(head + b"".join(cameras))
        (folder / "images.bin").write_bytes(head + b"".join(images))
        (folder / "points3D.bin").write_bytes(struct.pack("<Q", len(points)) + b"".join(triples))
        return folder
    words = [f"{i} PINHOLE {_line(view.size)} {_line(view.lens)}" for i, view in enumerate(views, 1)]
    seen = ["3 4 7", ""]
    pairs = [f"{i} {_line(motions[i - 1])} {i} {v.name}\n{seen[i % 2]}" for i, v in enumerate(views, 1)]
    rows = [
        f"{i} {_line(xyz)} 1 2 3 {error}" + "".join(f" {photo} 0" for photo in track(seen))
        for i, (xyz, error, seen) in enumerate(points, 1)
    ]
    for name, lines in (("cameras", words), ("images", pairs), ("points3D", rows)):
        (folder / f"{name}.txt").write_text("\n".join(["# a comment", *lines, ""]))
    return folder


def write_rigs(folder: Path, sensors: Sequence[Motion7], frames: Sequence[Motion7], kind: str = "bin") -> None:
    """One rig of cameras 1, 2, ..., ``sensors`` the motions of all but the first; its photos' ids count through frames.

    An IMU is part of the rig and of each frame.
    """
    count = len(sensors) + 1
    if kind == "bin":
        rig = struct.pack("<QIIiI", 1, 5, count + 1, 0, 1) + struct.pack("<iIB", 1, 1, 0)
        rig += b"".join(struct.pack("<iIB7d", 0, i, 1, *sensor) for i, sensor in enumerate(sensors, 2))
        held = [
            struct.pack("<II7dI", f, 5, *frame, count + 1)
            + struct.pack("<iIQ", 1, 1, 1)
            + b"".join(struct.pack("<iIQ", 0, c, f * count + c) for c in range(1, count + 1))
            for f, frame in enumerate(frames)
        ]
        (folder / "rigs.bin").write_bytes(rig)
        (folder / "frames.bin").write_bytes(struct.pack("<Q", len(frames)) + b"".join(held))
        return
    further = "".join(f" CAMERA {i} 1 {_line(sensor)}" for i, sensor in enumerate(sensors, 2))
    (folder / "rigs.txt").write_text(f"# rigs\n5 {count + 1} CAMERA 1 IMU 1 0{further}\n")
    lines = [
        f"{f} 5 {_line(frame)} {count + 1} IMU 1 1"
        + "".join(f" CAMERA {c} {f * count + c}" for c in range(1, count + 1))
        for f, frame in enumerate(frames)
    ]
    (folder / "frames.txt").write_text("\n".join(lines) + "\n")


def _line(values: Sequence[float]) -> str:
    return " ".join(repr(value) for value in values)


def write_llff(folder: Path, views: Sequence[View], pictures: str = "images", scale: int = 1) -> Path:
    """LLFF's table of ``views``, whose lens is that of the first with the center in the middle, and their pictures."""
    rows = []
    for view in views:
        right, down, forward = view.rotation
        center = -view.rotation.T @ view.translation
        hwf = [view.size[1], view.size[0], view.lens[0]]
        rows.append([*np.stack([down, right, -forward, center, hwf], 1).ravel(), 1.0, 20.0])
    small = views[0].size[0] // scale, views[0].size[1] // scale
    write_pictures(folder / pictures, [view.name for view in views], small)
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return folder


def write_dtu(
    folder: Path, views: Sequence[View], name: str = "cameras_sphere.npz", sign: float = 1.0, skew: float = 0.0
) -> Path:
    """DTU's matrices, with a ball of radius 2.5 around (1, 2, 3), photos and masks; ``sign`` scales each projection."""
    arrays = {}
    for index, view in enumerate(views):
        camera = view.matrix - [[0, -skew, 0.5], [0, 0, 0.5], [0, 0, 0]]  # its pixels begin at -0.5
        projection = sign * camera @ np.concatenate([view.rotation, view.translation[:, None]], 1)
        arrays[f"world_mat_{index}"] = np.concatenate([projection, [[0, 0, 0, 1.0]]])
        arrays[f"scale_mat_{index}"] = np.array([[2.5, 0, 0, 1], [0, 2.5, 0, 2], [0, 0, 2.5, 3], [0, 0, 0, 1]])
    write_pictures(folder / "image", [view.name for view in views], views[0].size)
    write_pictures(folder / "mask", [f"00{view.name}" for view in views], views[0].size)
    np.savez(folder / name, **arrays)
    return folder


def write_middlebury(folder: Path, views: Sequence[View], name: str = "dino_par.txt", skew: float = 0.0) -> Path:
    """Middlebury's cameras, with the photos beside."""
    lines = []
    for view in views:
        camera = view.matrix - [[0, -skew, 0.5], [0, 0, 0.5], [0, 0, 0]]
        lines.append(
            f"{view.name} {_line(np.concatenate([camera.ravel(), view.rotation.ravel(), view.translation]).tolist())}"
        )
    write_pictures(folder, [view.name for view in views], views[0].size)
    (folder / name).write_text("\n".join([str(len(views)), *lines, ""]))
    return folder
