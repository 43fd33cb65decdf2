"""Writes tiny data sets of a shaded sphere, whose silhouettes and positions are known analytically."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch

from nerfkit.cameras import Cameras, look_at


@dataclass(frozen=True)
class Sphere:
    """A sphere in the scene's own units; its color is 0.5 + 0.4 normal, so every side looks different."""

    center: tuple[float, float, float] = (3.0, -2.0, 5.0)
    radius: float = 10.0

    def render(self, cameras: Cameras, view: int, samples: int = 4) -> np.ndarray:
        """Straight-alpha (H,W,4) float64 from ``samples``^2 rays a pixel."""
        rows, columns = cameras.height, cameras.width
        fx, fy, cx, cy = cameras.intrinsics[view].double().numpy()
        x = ((np.arange(columns * samples) + 0.5) / samples - cx) / fx
        y = (cy - (np.arange(rows * samples) + 0.5) / samples) / fy
        pose = cameras.camera_to_world[view].double().numpy()
        ray = x[:, None] * pose[:, 0] + y[:, None, None] * pose[:, 1] - pose[:, 2]  # (rows', columns', 3)
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        offset = pose[:, 3] - self.center
        half_b = ray @ offset
        root = half_b**2 - offset @ offset + self.radius**2
        hit = (root >= 0)[..., None]
        normal = (offset + (-half_b - np.sqrt(np.maximum(root, 0)))[..., None] * ray) / self.radius
        stacked = np.concatenate([(0.5 + 0.4 * normal) * hit, hit], -1).reshape(rows, samples, columns, samples, 4)
        mean = stacked.mean(axis=(1, 3))  # (rows, columns, 4), premultiplied
        mean[..., :3] /= np.maximum(mean[..., 3:], 1e-12)
        return mean


def ring(count: int, size: tuple[int, int] = (24, 32), sphere: Sphere | None = None, distance: float = 60.0) -> Cameras:
    """``count`` cameras on a spiral around ``sphere``, in its units, with (height, width) images."""
    sphere = sphere or Sphere()
    turn = torch.arange(count) * 2.4
    height = torch.linspace(-0.7, 0.8, count)
    across = (1 - height**2).sqrt()
    offset = torch.stack([across * turn.cos(), height, across * turn.sin()], -1) * distance
    target = torch.tensor(sphere.center)
    rows, columns = size
    intrinsics = torch.tensor([1.8 * columns, 1.8 * columns, columns / 2, rows / 2]).expand(count, 4)
    return Cameras(look_at(target + offset, target, torch.tensor([0.0, 1.0, 0.0])), intrinsics.clone(), rows, columns)


def quantize(image: np.ndarray) -> np.ndarray:
    return np.uint8(np.clip(image, 0, 1) * 255 + 0.5)


def write_kaolin(
    folder: Path, cameras: Cameras, sphere: Sphere | None = None, *, masks: str = "semantic", zipped: bool = False
) -> Path:
    """Write the sphere in Kaolin's format and return the folder, or the zip beside it that replaces it.

    ``masks`` is "semantic" (hard labels), "coverage" (fractional PNG) or "none".
    """
    sphere = sphere or Sphere()
    folder.mkdir(parents=True)
    for view in range(len(cameras)):
        rgba = sphere.render(cameras, view)
        over_black = np.concatenate([rgba[..., :3] * rgba[..., 3:], np.ones_like(rgba[..., 3:])], -1)
        iio.imwrite(folder / f"{view}_rgb.png", quantize(over_black))
        if masks == "semantic":
            np.save(folder / f"{view}_semantic.npy", (rgba[..., 3:] > 0).astype(np.int32))
        elif masks == "coverage":
            iio.imwrite(folder / f"{view}_coverage.png", quantize(rgba[..., 3]))
        pose = cameras.camera_to_world[view].double().numpy()
        world_to_camera = np.eye(4)  # for row vectors
        world_to_camera[:3, :3] = pose[:, :3]
        world_to_camera[3, :3] = -pose[:, 3] @ pose[:, :3]
        content = {
            "camera_properties": {
                "resolution": {"width": cameras.width, "height": cameras.height},
                "clipping_range": [1.0, 1000000.0],
                "horizontal_aperture": 20.0,
                "focal_length": 20.0 * float(cameras.intrinsics[view, 0]) / cameras.width,
                "tf_mat": world_to_camera.tolist(),
            }
        }
        (folder / f"{view}_metadata.json").write_text(json.dumps(content))
    if not zipped:
        return folder
    packed = folder.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir(folder.name)
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{folder.name}/{file.name}")
    return packed


def write_blender(
    folder: Path, train: Cameras, test: Cameras | None = None, sphere: Sphere | None = None, *, opaque: bool = False
) -> Path:
    """Write the sphere in the Blender format; ``opaque`` writes RGB over white instead of straight-alpha RGBA."""
    sphere = sphere or Sphere()
    for split, cameras in (("train", train), ("test", test)):
        if cameras is None:
            continue
        (folder / split).mkdir(parents=True)
        frames = []
        for view in range(len(cameras)):
            rgba = sphere.render(cameras, view)
            if opaque:
                rgba = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
            iio.imwrite(folder / split / f"r_{view}.png", quantize(rgba))
            pose = np.concatenate([cameras.camera_to_world[view].double().numpy(), [[0.0, 0.0, 0.0, 1.0]]])
            frames.append({"file_path": f"./{split}/r_{view}", "transform_matrix": pose.tolist()})
        angle = 2 * float(np.arctan(cameras.width / 2 / float(cameras.intrinsics[0, 0])))
        (folder / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))
    return folder


def edit_json(path: Path, **changes: object) -> None:
    """Set dotted keys (with __ for the dot) of a JSON file; a value of ``...`` removes the key."""
    content = json.loads(path.read_text())
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        node = content
        for parent in parents:
            node = node[int(parent)] if isinstance(node, list) else node[parent]
        if value is ...:
            del node[last]
        else:
            node[last] = value
    path.write_text(json.dumps(content))
