"""Writes a scene as a data set of undistorted photos with their cameras, as nerfkit and other programs read them.

| | ``transforms`` (nerfstudio, instant-ngp) | ``colmap`` |
| --- | --- | --- |
| files | ``transforms.json`` | ``sparse/0/*.txt`` |
| poses | camera to world, OpenGL axes | world to camera, OpenCV axes |
| lens | one a frame | PINHOLE, one for all photos with the same |
| split | ``train_filenames``, ``test_filenames``; ``val_filenames`` for nerfstudio | ``sparse/0/test.txt`` |
| pixels to ignore, black | ``masks/NAME.png``, ``mask_path`` | ``masks/NAME.png.png`` |
| points | ``points.ply`` | ``points3D.txt``, seen by no photo |
| up | ``up``, instant-ngp's | none |

Photos are ``images/NAME.png`` at the size that the scene has them: RGBA with straight alpha where it has masks, else
RGB. NAME is that of the file; with the view's number before it where the names' order would be another one than the
views'. If one photo has pixels to ignore, all get a mask. Poses and points are in the scene's own units and axes, or
in those of another ``Placement``.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from nerfkit.cameras.poses import inverse
from nerfkit.runs.files import write_png, write_text
from nerfkit.scenes.images import in_threads
from nerfkit.scenes.placement import Placement, own_units
from nerfkit.scenes.scene import Scene


def write_transforms(scene: Scene, folder: Path, place: Placement | None = None) -> None:
    """The scene in the empty ``folder`` as nerfstudio's and instant-ngp's ``transforms.json``.

    Raises:
        OSError: a file cannot be written.
    """
    names, place = view_names(scene), place or own_units(scene)
    masked = _write_pictures(scene, folder, names, "masks/{}.png")
    frames = []
    for name, pose, lens, (height, width) in _views(scene, names, place):
        frame: dict[str, Any] = {"file_path": f"images/{name}.png", "transform_matrix": [*pose.tolist(), [0, 0, 0, 1]]}
        frame |= dict(zip(("fl_x", "fl_y", "cx", "cy"), lens, strict=True)) | {"w": width, "h": height}
        frames.append(frame | ({"mask_path": f"masks/{name}.png"} if masked else {}))
    content: dict[str, Any] = {"camera_model": "PINHOLE", "up": place.turned(np.array(scene.up)).tolist()}
    for key, listed in (("train", scene.train), ("val", scene.test), ("test", scene.test)):
        content[f"{key}_filenames"] = [frames[view]["file_path"] for view in listed]
    if len(scene.points):
        content["ply_file_path"] = "points.ply"
        _write_ply(folder / "points.ply", place.of_scene(scene.points, scene))
    write_text(folder / "transforms.json", json.dumps(content | {"frames": frames}, indent=1) + "\n")


def _views(scene: Scene, names: Sequence[str], place: Placement) -> Iterator[tuple[Any, ...]]:
    """Of each photo: its name, pose (3,4) where it is placed, fx, fy, cx, cy, and height and width in pixels."""
    cameras = scene.cameras
    return zip(names, place.poses(cameras.camera_to_world), cameras.intrinsics.tolist(), cameras.sizes, strict=True)


def write_colmap(scene: Scene, folder: Path, place: Placement | None = None) -> None:
    """The scene in the empty ``folder`` as a COLMAP model in text, ``sparse/0``, with one camera for equal lenses.

    Raises:
        OSError: a file cannot be written.
    """
    names, place = view_names(scene), place or own_units(scene)
    _write_pictures(scene, folder, names, "masks/{}.png.png")
    lenses: dict[str, int] = {}
    images = []
    for number, (name, pose, params, (height, width)) in enumerate(_views(scene, names, place), 1):
        lens = lenses.setdefault(f"PINHOLE {width} {height} {_line(params)}", len(lenses) + 1)
        to_camera = inverse(pose * [1.0, -1.0, -1.0, 1.0])
        motion = [*quaternion(to_camera[:, :3]).tolist(), *to_camera[:, 3].tolist()]
        images += [f"{number} {_line(motion)} {lens} {name}.png", ""]
    points = place.of_scene(scene.points, scene).tolist()
    tables = {
        "test": [f"{names[view]}.png" for view in scene.test],
        "cameras": [f"{number} {lens}" for lens, number in lenses.items()],
        "images": images,
        "points3D": [f"{k} {_line(point)} 128 128 128 -1" for k, point in enumerate(points, 1)],
    }
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    for table, lines in tables.items():
        write_text(model / f"{table}.txt", "".join(f"{line}\n" for line in lines))


WRITERS: dict[str, Callable[[Scene, Path, Placement | None], None]] = {
    "transforms": write_transforms,
    "colmap": write_colmap,
}
"""The formats that a scene can be written in."""


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """w, x, y, z (4,) of a rotation (3,3), w at least 0: the longest row of 4 q q^T, made a unit vector."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    rows = np.array(
        [
            [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz],
        ]
    )
    row: np.ndarray = rows[np.diag(rows).argmax()]
    return row / np.linalg.norm(row) * (-1.0 if row[0] < 0 else 1.0)


def view_names(scene: Scene) -> list[str]:
    """A name for each view, in the order of the views: its file's without the ending."""
    stems = [PurePosixPath(name).stem for name in scene.provenance["views"]]
    if stems == sorted({*stems}):
        return stems
    digits = len(str(len(stems) - 1))
    return [f"{view:0{digits}}_{stem}" for view, stem in enumerate(stems)]


def _write_pictures(scene: Scene, folder: Path, names: list[str], mask: str) -> bool:
    """Writes ``images/NAME.png``, and a ``mask`` of each where pixels are to be ignored; returns whether there are."""
    masked = scene.images.ignored is not None
    for parent in ("images", "masks") if masked else ("images",):
        (folder / parent).mkdir()

    def write(view: int) -> None:
        rgba = scene.images[view].numpy(force=True)
        write_png(folder / "images" / f"{names[view]}.png", _straight(rgba) if scene.has_masks else rgba[..., :3])
        if masked:
            known = scene.images.known(view).numpy(force=True)
            write_png(folder / mask.format(names[view]), known.astype(np.uint8) * 255)

    for _ in in_threads(write, len(names), "writing photos"):
        pass
    return masked


def _straight(rgba: np.ndarray) -> np.ndarray:
    """Pixels (H,W,4) uint8 whose color is no longer multiplied by alpha; multiplied again, they are the same."""
    alpha = rgba[..., 3:].astype(np.float32)
    color = np.rint(np.minimum(rgba[..., :3] * (255 / np.maximum(alpha, 1)), 255))
    return np.concatenate([color.astype(np.uint8), rgba[..., 3:]], -1)


def _write_ply(path: Path, points: np.ndarray) -> None:
    """Gray points, as nerfstudio wants a color."""
    rows = np.zeros(len(points), [("xyz", "<f8", 3), ("rgb", "u1", 3)])
    rows["xyz"], rows["rgb"] = points, 128
    head = [f"property double {axis}" for axis in "xyz"] + [
        f"property uchar {name}" for name in ("red", "green", "blue")
    ]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *head, "end_header", ""]
    path.write_bytes("\n".join(lines).encode() + rows.tobytes())


def _line(values: list[float]) -> str:
    return " ".join(map(repr, values))
