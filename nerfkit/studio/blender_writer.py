"""Writes views in the Blender format of NeRF's synthetic scenes, which ``nerfkit.scenes.blender`` reads."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.cameras import Cameras
from nerfkit.runs.files import to_bytes, write_png, write_text
from nerfkit.studio.renderer import Photos


def write_view(folder: Path, split: str, number: int, photos: Photos, normals: np.ndarray, far: float) -> None:
    """Write the one view of ``photos`` as number ``number`` of ``split`` ("train", "test" or "val").

    In the folder ``split``: ``r_N.png`` RGBA with straight alpha; ``r_N_depth_0001.png`` RGBA, all four channels
    1 - depth / ``far``, 0 where empty; ``r_N_normal_0001.png`` RGBA, (normal + 1) / 2 and alpha 255, 0 where empty; and
    ``r_N_depth.npy`` (H,W) float32, distance along the camera's axis in scene units, inf where empty.

    Args:
        normals: (H,W,3), in this format's axes, 0 where empty.

    Raises:
        OSError: a file cannot be written.
    """
    stem = folder / split / f"r_{number}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    coverage, depth = photos.coverage[0], photos.depth[0]
    straight = photos.rgb[0] / np.maximum(coverage, 1e-12)[..., None]
    rgba = np.concatenate([straight, coverage[..., None]], -1)
    write_png(stem.with_name(f"{stem.name}.png"), to_bytes(rgba), compress_level=4)
    seen = np.isfinite(depth)
    nearness = np.where(seen, 1 - np.where(seen, depth, 0) / far, 0)
    gray = np.repeat(to_bytes(nearness)[..., None], 4, -1)
    write_png(stem.with_name(f"{stem.name}_depth_0001.png"), gray, compress_level=4)
    turned = np.concatenate([(normals + 1) / 2, np.ones_like(normals[..., :1])], -1) * seen[..., None]
    write_png(stem.with_name(f"{stem.name}_normal_0001.png"), to_bytes(turned), compress_level=4)
    np.save(stem.with_name(f"{stem.name}_depth.npy"), depth.astype(np.float32, copy=False))


def write_transforms(folder: Path, split: str, cameras: Cameras) -> None:
    """Write ``transforms_SPLIT.json``, with camera n of ``cameras`` as the frame ``./SPLIT/r_n``.

    Raises:
        ValueError: a camera has rectangular pixels, a principal point off the image's center, or another focal length.
        OSError: the file cannot be written.
    """
    write_text(folder / f"transforms_{split}.json", json.dumps(transforms(split, cameras), indent=4))


def transforms(split: str, cameras: Cameras) -> dict[str, Any]:
    """The content of ``transforms_SPLIT.json``: the angle of view in radians, and camera-to-world of each frame."""
    intrinsics = cameras.intrinsics.double().numpy()
    focal = float(intrinsics[0, 0])
    if np.abs(intrinsics - [focal, focal, cameras.width / 2, cameras.height / 2]).max() > 1e-4 * focal:
        raise ValueError(f"{split}: the Blender format needs one fx = fy and a centered principal point")
    poses = cameras.camera_to_world.double().numpy()
    rows = np.broadcast_to([[0.0, 0.0, 0.0, 1.0]], (len(poses), 1, 4))
    matrices = np.concatenate([poses, rows], 1)  # (N, 4, 4)
    return {
        "camera_angle_x": 2 * math.atan(cameras.width / 2 / focal),
        "frames": [
            {"file_path": f"./{split}/r_{number}", "transform_matrix": matrix.tolist()}
            for number, matrix in enumerate(matrices)
        ],
    }
