"""Writes views in the format of NVIDIA Kaolin's synthetic data, which ``nerfkit.scenes.kaolin`` reads."""

import json
from pathlib import Path

import numpy as np

from nerfkit.cameras import Cameras
from nerfkit.runs.files import to_bytes, write_png
from nerfkit.studio.renderer import Photos

HORIZONTAL_APERTURE = 20.954999923706055  # mm: the recorder that Kaolin's own files state


def write_view(
    folder: Path, number: int, photos: Photos, camera: Cameras, normals: np.ndarray | None = None
) -> list[Path]:
    """Write the one view of ``photos``, taken by the one ``camera``, as number ``number`` and return the files.

    ``N_rgb.png`` RGBA, premultiplied color over black with alpha 255, as Kaolin's; ``N_semantic.npy`` (H,W,1) int32,
    1 where at least half the pixel is covered; ``N_metadata.json``; and, beyond Kaolin's, ``N_coverage.png`` (8-bit
    gray, the covered fraction) and ``N_depth.npy`` (H,W) float32, distance along the camera's axis in scene units,
    inf where empty; and, where ``normals`` (H,W,3) are given, ``N_normal.npy``, float32.

    Raises:
        ValueError: the camera has rectangular pixels or its principal point is not the image's center.
        OSError: a file cannot be written.
    """
    rgb, coverage = photos.rgb[0], photos.coverage[0]
    picture = to_bytes(np.concatenate([rgb, np.ones_like(rgb[..., :1])], -1))
    names = [f"{number}_{name}" for name in ("rgb.png", "coverage.png", "semantic.npy", "depth.npy", "metadata.json")]
    files = [folder / name for name in names]
    write_png(files[0], picture, compress_level=4)
    write_png(files[1], to_bytes(coverage), compress_level=4)
    np.save(files[2], (coverage >= 0.5).astype(np.int32)[..., None])
    np.save(files[3], photos.depth[0])
    files[4].write_text(json.dumps(metadata(camera), indent=4))
    if normals is not None:
        files.append(folder / f"{number}_normal.npy")
        np.save(files[5], normals.astype(np.float32, copy=False))
    return files


def metadata(camera: Cameras) -> dict:
    """The content of ``N_metadata.json``: ``tf_mat`` takes row vectors [p_world, 1] to the OpenGL camera's frame."""
    fx, fy, cx, cy = camera.intrinsics[0].double().tolist()
    height, width = camera.height, camera.width
    if abs(fx - fy) > 1e-4 * fx or abs(cx - width / 2) > 1e-3 or abs(cy - height / 2) > 1e-3:
        raise ValueError(
            f"Kaolin's format needs fx = fy and a centered principal point; got fx, fy, cx, cy = {fx, fy, cx, cy}"
        )
    pose = camera.camera_to_world[0].double().numpy()
    matrix = np.eye(4)
    matrix[:3, :3] = pose[:, :3]
    matrix[3, :3] = -pose[:, 3] @ pose[:, :3]
    return {
        "camera_properties": {
            "resolution": {"width": width, "height": height},
            "clipping_range": [1.0, 1000000.0],
            "horizontal_aperture": HORIZONTAL_APERTURE,
            "focal_length": fx / width * HORIZONTAL_APERTURE,
            "tf_mat": matrix.tolist(),
        },
        "asset_transforms": [["object", np.eye(4).tolist()]],
    }
