"""From matches to poses and points: COLMAP's mappers, and a last adjustment that frees the principal point."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nerfkit.cameras.poses import from_opencv
from nerfkit.prepare.features import pycolmap
from nerfkit.prepare.options import MIN_PHOTOS, PrepareOptions
from nerfkit.prepare.steps import watched

PHOTOS_A_CENTER = 10  # that a principal point is estimated from; of fewer it would take up their errors
# Of the time that incremental mapping took on 14 to 59 photos of fox, mouse and cup, on two cores that were often busy.
# On a dozen rendered pictures freeing the center took up to 1.4 of it.
GLOBAL_SHARE, CENTER_SHARE = (0.6, 2.0), (0.04, 0.15)
FAR_OFF = 0.1  # of the picture's longer side: no lens is mounted so, the adjustment has failed


class Center(NamedTuple):
    """What freeing the principal points did: reprojection errors in pixels, and whether it was ``kept``.

    ``moves``: for each camera that took part, its principal point less the middle of the picture, in pixels.
    """

    before: float
    after: float
    kept: bool
    moves: dict[int, tuple[float, float]]


def map_photos(database: Path, images: Path, folder: Path, total: int, options: PrepareOptions) -> list[Any]:
    """The models (pycolmap's Reconstructions) that the photos make, the one with most photos first; maybe none.

    Incremental mapping; where that places fewer than half of ``total`` photos, global mapping too, and the better.
    """
    start = time.monotonic()
    models = _incremental(database, images, folder / "incremental", total, options)
    if 2 * _placed(models) < total:
        likely = _share(GLOBAL_SHARE, time.monotonic() - start)
        models = max(models, _global(database, images, folder / "global", options, likely), key=_placed)
    return models


def free_centers(model: Any, seconds: float) -> tuple[Any, Center | None]:
    """The model with principal points estimated where that lowers the reprojection error, and what it did.

    By default COLMAP holds them in the middle of the picture, and the poses' rotations make up for it. Cameras of
    fewer than ten photos are left alone; None if there are no others.

    Args:
        seconds: that the poses took, which tell how long this is likely to take.
    """
    colmap = pycolmap()
    photos = Counter(image.camera_id for image in model.images.values() if image.has_pose)
    freed = [camera for camera, count in photos.items() if count >= PHOTOS_A_CENTER]
    if not freed:
        return model, None
    adjusted = colmap.Reconstruction(model)
    config = colmap.BundleAdjustmentConfig()
    for number in adjusted.reg_image_ids():
        config.add_image(number)
    for camera in photos:
        if camera not in freed:
            config.set_constant_cam_intrinsics(camera)
    config.fix_gauge(colmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    wanted = colmap.BundleAdjustmentOptions()
    wanted.refine_principal_point, wanted.print_summary = True, False
    watched(
        lambda: colmap.create_default_bundle_adjuster(wanted, config, adjusted).solve(),
        "principal point",
        likely=_share(CENTER_SHARE, seconds),
    )
    adjusted.update_point_3d_errors()
    before, after = model.compute_mean_reprojection_error(), adjusted.compute_mean_reprojection_error()
    moves, near = {}, True
    for number in freed:
        camera = adjusted.cameras[number]
        x, y = camera.principal_point_x - camera.width / 2, camera.principal_point_y - camera.height / 2
        moves[number] = float(x), float(y)
        near = near and max(abs(x), abs(y)) < FAR_OFF * max(camera.width, camera.height)
    kept = bool(near and after < before)
    return (adjusted if kept else model), Center(float(before), float(after), kept, moves)


def reprojection_errors(model: Any) -> dict[str, float]:
    """{name: mean distance in pixels between where a placed photo shows its points and where they project to}."""
    errors = {}
    for number in model.reg_image_ids():
        image = model.images[number]
        seen = image.get_observation_points2D()
        if not seen:
            continue
        points = np.stack([model.points3D[point.point3D_id].xyz for point in seen])  # (P, 3)
        inside = points @ image.cam_from_world().rotation.matrix().T + image.cam_from_world().translation
        shown = model.cameras[image.camera_id].img_from_cam(inside)  # (P, 2)
        found = np.stack([point.xy for point in seen])
        errors[image.name] = float(np.nanmean(np.linalg.norm(np.asarray(shown, np.float64) - found, axis=1)))
    return errors


def poses(model: Any) -> dict[str, np.ndarray]:
    """{name: pose (3,4)} of the placed photos: camera to world, OpenGL axes."""
    placed = (model.images[number] for number in model.reg_image_ids())
    return {image.name: from_opencv(np.array(image.cam_from_world().matrix())) for image in placed}


def names_of(model: Any) -> list[str]:
    """The placed photos of a model, sorted."""
    return sorted(model.images[number].name for number in model.reg_image_ids())


def _share(shares: tuple[float, float], seconds: float) -> tuple[float, float]:
    return shares[0] * seconds, shares[1] * seconds


def _placed(models: Sequence[Any]) -> int:
    return models[0].num_reg_images() if models else 0


def _sorted(models: dict[int, Any]) -> list[Any]:
    """By the number of photos, then of points; models below three photos fix nothing."""
    large = [model for model in models.values() if model.num_reg_images() >= MIN_PHOTOS]
    return sorted(large, key=lambda model: (model.num_reg_images(), model.num_points3D()), reverse=True)


def _incremental(database: Path, images: Path, folder: Path, total: int, options: PrepareOptions) -> list[Any]:
    colmap = pycolmap()
    folder.mkdir(parents=True, exist_ok=True)
    colmap.set_random_seed(options.seed)
    wanted = colmap.IncrementalPipelineOptions()
    wanted.random_seed = wanted.mapper.random_seed = wanted.triangulation.random_seed = options.seed
    wanted.min_model_size = MIN_PHOTOS
    token = colmap.CancellationToken()
    placed = [0]

    def one(count: int) -> None:
        placed[0] += count

    models = watched(
        lambda: colmap.incremental_mapping(
            database,
            images,
            folder,
            wanted,
            initial_image_pair_callback=lambda: one(2),
            next_image_callback=lambda: one(1),
            cancellation_token=token,
        ),
        "poses",
        lambda: placed[0] / total,
        token.cancel,
    )
    return _sorted(models)


def _global(
    database: Path, images: Path, folder: Path, options: PrepareOptions, likely: tuple[float, float]
) -> list[Any]:
    colmap = pycolmap()
    folder.mkdir(parents=True, exist_ok=True)
    colmap.set_random_seed(options.seed)
    wanted = colmap.GlobalPipelineOptions()
    wanted.random_seed = wanted.mapper.random_seed = options.seed

    def call() -> Any:
        return colmap.global_mapping(database, images, folder, wanted)

    try:
        return _sorted(watched(call, "poses, second try", likely=likely))
    except (RuntimeError, ValueError):  # it gives up on photos that have too little in common
        return []
