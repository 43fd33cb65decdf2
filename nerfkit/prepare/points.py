"""Points on what photos show, where their cameras are known and no points came with them: matched and triangulated.

``transforms.json`` seldom has points, LLFF and DTU never. Without them nothing says how large the thing in the middle
is, nor what carries it.
"""

import hashlib
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.prepare import features
from nerfkit.prepare.intake import Shot
from nerfkit.prepare.options import PrepareOptions
from nerfkit.prepare.steps import watched
from nerfkit.runs.files import write_bytes, write_png
from nerfkit.scenes.scene import Scene

OPTIONS = PrepareOptions(size=800, features=2048, lens="SIMPLE_PINHOLE")
TO_OPENCV = np.diag([1.0, -1.0, -1.0])  # camera axes


def find_points(scene: Scene, folder: str | Path) -> Path | None:
    """A PLY file with points on what a scene's training photos show, in the scene's own units, in ``folder``.

    SIFT features of the photos as training has them, matched as ``prepare`` matches, triangulated by COLMAP with the
    cameras as they are. What was found before for the same photos and cameras is not looked for again. None where
    nothing can be triangulated.

    Raises:
        ConfigError: pycolmap is not installed.
    """
    colmap = features.pycolmap()
    poses = np.array(scene.cameras.camera_to_world, np.float64)  # (N, 3, 4)
    poses[:, :, 3] = scene.normalization.invert(scene.cameras.camera_to_world.double()[:, :, 3]).numpy()
    shots = {view: _shot(scene, view) for view in scene.train}
    known = hashlib.sha256(repr((OPTIONS, sorted(shots), [shot.group for shot in shots.values()])).encode())
    known.update(np.round(poses, 6).tobytes())
    for view in shots:
        known.update(scene.images[view].numpy().tobytes() + scene.images.known(view).numpy().tobytes())
    path = Path(folder) / f"points_{known.hexdigest()[:12]}.ply"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory() as work:
        images, masks, database = Path(work) / "images", Path(work) / "masks", Path(work) / "database.db"
        images.mkdir()
        masks.mkdir()
        for view, shot in shots.items():
            write_png(images / shot.name, scene.images[view][..., :3].numpy())
            write_png(masks / f"{shot.name}.png", scene.images.known(view).numpy().astype(np.uint8) * 255)
        listed = list(shots.values())
        ids = features.write_cameras(database, listed, OPTIONS.lens)
        features.extract(database, images, listed, ids, OPTIONS, masks)
        features.match(database, listed, len(listed) > features.EXHAUSTIVE, OPTIONS)
        model = _known_cameras(colmap, scene, shots, poses, database)
        found = watched(lambda: colmap.triangulate_points(model, database, images, work), "points")
        points = np.array([point.xyz for point in found.points3D.values()]).reshape(-1, 3)
    if not len(points):
        return None
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    head += "".join(f"property double {axis}\n" for axis in "xyz") + "end_header\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, head.encode() + points.astype("<f8").tobytes())
    return path


def _shot(scene: Scene, view: int) -> Shot:
    """A photo of the scene; those of one size and lens share a camera."""
    height, width = scene.cameras.sizes[view]
    lens = [float(value) for value in scene.cameras.intrinsics[view]]
    unknown = math.nan, math.nan, math.nan
    name = f"{view:06d}.png"
    return Shot(name, name, width, height, f"{width} {height} {lens}", lens[0], None, *unknown)


def _known_cameras(colmap: Any, scene: Scene, shots: dict[int, Shot], poses: np.ndarray, database: Path) -> Any:
    """A Reconstruction of the photos that the database has, with their cameras and no points."""
    model, views = colmap.Reconstruction(), {shot.name: view for view, shot in shots.items()}
    with colmap.Database.open(database) as opened:
        images = opened.read_all_images()
        lenses = {image.camera_id: scene.cameras.intrinsics[views[image.name]] for image in images}
        for before in opened.read_all_cameras():
            camera = colmap.Camera(
                camera_id=before.camera_id,
                model="PINHOLE",
                width=before.width,
                height=before.height,
                params=lenses[before.camera_id].double().numpy(),
            )
            opened.update_camera(camera)
            model.add_camera_with_trivial_rig(camera)
    for image in images:
        pose = poses[views[image.name]]
        rotation = (pose[:, :3] @ TO_OPENCV).T
        moved = colmap.Rigid3d(colmap.Rotation3d(rotation), -rotation @ pose[:, 3])
        model.add_image_with_trivial_frame(image, moved)
    return model
