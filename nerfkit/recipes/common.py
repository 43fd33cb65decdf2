"""What recipes share: comparison with held-out views, timelapses, the record of the result."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.cameras.delta import orbit_cameras
from nerfkit.config import TrainOptions
from nerfkit.errors import SceneError
from nerfkit.export_stage import export, export_cameras, export_mesh, moving
from nerfkit.fit.build import load_scene
from nerfkit.fit.loop import Callback, optimize
from nerfkit.fit.metrics import mask_iou
from nerfkit.fit.refine_measure import evaluate_mesh, picture
from nerfkit.mesh.mesh import Mesh
from nerfkit.runs.files import to_bytes, write_png
from nerfkit.runs.folder import Run
from nerfkit.scenes.epochs import Epochs
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.view.timelapse import turntable


def steps_of(config: TrainOptions) -> int:
    """How many steps to do: ``recipe.steps`` times ``budget``, at least one."""
    return max(1, round(config.recipe.steps * config.budget))


def iou_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """1 - sum(p t) / sum(p + t - p t) of masks (N,H,W), the mean over views: DIB-R's mask loss."""
    overlap = (predicted * true).sum((1, 2))
    union = (predicted + true - predicted * true).sum((1, 2))
    return (1 - overlap / union.clamp(min=1e-6)).mean()


def masked_scene(config: TrainOptions) -> Scene:
    """The scene of ``config.scene``.

    Raises:
        SceneError: it cannot be read, or its photos have no masks: a surface that starts as a sphere is found by them.
    """
    scene = load_scene(config)
    if not scene.has_masks:
        raise SceneError(
            f"{scene.name}: its photos have no masks, and the object's outline is what this recipe starts from; "
            "add an alpha channel or mask files, or use scene=clock"
        )
    return scene


def photos(scene: Scene, views: list[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Premultiplied colors (N,H,W,3) and coverage (N,H,W) of some views, in [0,1], and which pixels count (N,H,W,1).

    Where a pixel does not count, color and coverage are 0: so must be the prediction that is compared with them.
    """
    rgba = scene.images.stack(views).to(device).float() / 255
    known = torch.stack([scene.images.known(view) for view in views]).to(rgba)[..., None]
    rgba = rgba * known
    return rgba[..., :3], rgba[..., 3], known


def compare(mesh: Mesh, scene: Scene, views: list[int], folder: Path | None = None) -> dict[str, Any]:
    """PSNR, SSIM, mask IoU and ``image_l1``, the mean absolute error of the colors, on some views."""
    return {**evaluate_mesh(mesh, scene, views, folder), "image_l1": glance(mesh, scene, views)["image_l1"]}


def glance(mesh: Mesh, scene: Scene, views: list[int]) -> dict[str, float]:
    """Mask IoU and ``image_l1``, the mean absolute error of the colors, over some views: for looks on the way."""
    rows = []
    for view in views:
        rgb, alpha = picture(mesh, scene, view)
        known = scene.images.known(view)
        error = (rgb.clamp(0, 1) - scene.image(view))[known].abs().mean().item()
        rows.append((mask_iou(alpha * known, scene.mask(view) * known), error))
    iou, error = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return {"mask_iou": round(iou, 4), "image_l1": round(error, 6)}


def fit_mesh(
    title: str,
    step: Callable[[float], dict[str, float]],
    config: TrainOptions,
    record: Run,
    mesh: Callable[[], Mesh],
    shown: Scene | Cameras,
    *,
    callbacks: Sequence[Callback] = (),
    background: Sequence[float] = (1.0, 1.0, 1.0),
    name: str = "",
    queue: Epochs | None = None,
) -> int:
    """All steps of a recipe that fits a mesh, with the timelapse that ``config.timelapse`` asks for; the steps done.

    The timelapse is a slow turntable as far away as the cameras ``shown``, or those of the scene, in whose units it is
    then written; its folder is ``timelapse`` in the run's, or ``timelapse/NAME``. ``queue`` is where a step takes its
    photos of the scene from.
    """
    folder = record.folder / "timelapse" / name
    blame: Callable[[], str] | None = None
    if isinstance(shown, Scene):
        units, up, photos_of = shown.exported, shown.up, shown.photo_names
        blame = None if queue is None else lambda: photos_of(queue.last)
        recorder = turntable(folder, config.timelapse, shown.cameras, background, units, up)
    else:
        recorder = turntable(folder, config.timelapse, shown, background)
    watch = list(callbacks)
    if recorder is not None:
        watch.insert(0, Callback(lambda _: recorder.add(mesh()), share=1 / config.timelapse.snapshots))
    record.audience.shows("mesh", mesh, shown)
    done = optimize(title, step, steps=steps_of(config), run=record, callbacks=watch, blame=blame)
    for path in recorder.close() if recorder is not None else ():
        record.log(f"wrote {path}")
    return done


def save(mesh: Mesh, config: TrainOptions, record: Run, scene: Scene | None = None, stem: str = "mesh") -> None:
    """All that ``export`` asks for of a mesh in normalized units, as the export stage writes it.

    Args:
        scene: its photos; None: it has none, and its units and axes are its own.
        stem: the name of its files.
    """
    options, there = config.export, alone() if scene is None else scene
    missing = [name for name in options.cameras if not (record.folder / "cameras" / name).exists()]
    if not options.formats:
        export(None, None, replace(options, cameras=missing), there, record)
        return
    with moving(options, there, record):
        export_mesh(mesh.transformed(there.normalization.invert), None, options, there, record, name=stem)
        export_cameras(missing, options, there, record)


def alone() -> Scene:
    """A scene without photos, for a mesh about 2 wide: eight cameras around it, which only comparisons look through."""
    return Scene("", Photos.of([]), ring(8, 256, 3.2, 20.0), [], [], background=(1.0, 1.0, 1.0))


def write_strip(path: Path, pictures: Sequence[Tensor]) -> None:
    """Pictures (H,W,3) side by side, as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, to_bytes(torch.cat(list(pictures), 1)))


def descend(optimizers: Sequence[torch.optim.Optimizer], terms: dict[str, Tensor]) -> dict[str, float]:
    """One step down the sum of the terms; returns their values before it."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    return {name: term.item() for name, term in terms.items()}


def ring(count: int, size: int, distance: float, elevation: float, view_angle: float = 30.0) -> Cameras:
    """``count`` cameras around +y at equal steps of azimuth, looking at the origin.

    Args:
        distance: from the origin.
        elevation: degrees above the plane y = 0.
        view_angle: half of the picture's angle in degrees, as Neural 3D Mesh Renderer counts it.
    """
    azimuth = torch.arange(count) * (2 * math.pi / max(count, 1))
    focal = size / 2 / math.tan(math.radians(view_angle))
    lens, height = torch.tensor([focal, focal, size / 2, size / 2]), torch.tensor(math.radians(elevation))
    return orbit_cameras(torch.tensor(distance), height, azimuth, lens, size, size)
