"""How good a mesh is on views: pictures as photos see them, and their metrics."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fit.evaluate import Further, compare, means, view_psnr, write_comparison
from nerfkit.fit.metrics import mask_iou, psnr
from nerfkit.fit.specular import Specular, render_specular
from nerfkit.fit.surface_error import of_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.raster import render_channels
from nerfkit.raster.shade import MeshSource
from nerfkit.runs.files import png_writer
from nerfkit.runs.folder import Run
from nerfkit.runs.progress import track
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.scenes.scene import Scene

SUPERSAMPLING = 2  # pictures of a mesh for measuring: as photos, they show each pixel's area, not its center
LARGEST = 512  # pixels of the longer side of the pictures by which two meshes are compared


def evaluate_mesh(
    mesh: Mesh,
    scene: Scene,
    views: list[int],
    folder: Path | None = None,
    specular: Specular | None = None,
    ranks: Ranks = ALONE,
    further: Further | None = None,
) -> dict[str, Any]:
    """PSNR and SSIM over the scene's background and mask IoU, each view and their means.

    Pictures are rendered at twice the size and averaged down. Where the scene has masks there are ``mask_iou`` and
    ``psnr_inside``, which counts only pixels of which the mask covers more than half.

    Args:
        mesh: in normalized units, with a texture or vertex colors.
        folder: where predicted | true | error of each view is written as ``mesh_VIEW.png``; None writes none.
        specular: its highlights, whose pictures are measured beside the others, as ``psnr_specular``.
        ranks: the processes that render.
        further: what else is measured of each view, of the picture with highlights where there are some.
    """
    rows = []
    pictures = ranks.spread(_pictures, views, mesh, scene.cameras, scene.background, specular)
    with png_writer() as write:
        for view, (predicted, alpha, lit) in zip(views, track(pictures, len(views), "held-out views"), strict=True):
            row: dict[str, Any] = {"view": view, **compare(predicted, scene, view)}
            if scene.has_masks:
                known = scene.images.known(view)
                row["mask_iou"] = mask_iou(alpha * known, scene.mask(view) * known)
            if lit is not None:
                row["psnr_specular"] = view_psnr(lit, scene, view)
            if further is not None:
                row |= further(view, predicted if lit is None else lit, of_mesh(mesh, scene.cameras, view))
            rows.append(row)
            if folder is not None:
                shown = predicted if lit is None else lit
                write_comparison(folder / f"mesh_{view:03d}.png", shown, scene.image(view), write)
    return means(rows)


def picture(mesh: Mesh, scene: Scene, view: int, specular: Specular | None = None) -> tuple[Tensor, Tensor]:
    """The mesh as view ``view`` should see it: rgb over the background (H,W,3) and alpha (H,W), of pixel areas.

    Rendered on the mesh's device; the pictures are on the CPU, as the photos are.
    """
    return _fine(mesh, scene.cameras[view], scene.background, specular)


def _pictures(
    view: int, mesh: Mesh, cameras: Cameras, background: tuple[float, float, float], specular: Specular | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The two of ``picture``, and rgb with the highlights where there are some."""
    lit = None if specular is None else _fine(mesh, cameras[view], background, specular)[0]
    return *_fine(mesh, cameras[view], background), lit


def _fine(
    mesh: Mesh, camera: Cameras, background: tuple[float, float, float], specular: Specular | None = None
) -> tuple[Tensor, Tensor]:
    fine = camera.resized(camera.height * SUPERSAMPLING, camera.width * SUPERSAMPLING)
    with torch.no_grad():
        if specular is None:
            pictures = render_channels(mesh, fine, ("rgb", "alpha"), background)
        else:
            pictures = render_specular(mesh, specular, fine, ("rgb", "alpha"), background)
    return _averaged(pictures["rgb"][0]), _averaged(pictures["alpha"][0])


def _averaged(fine: Tensor) -> Tensor:
    """The means (H,W,...) on the CPU over the blocks of a picture of twice the size."""
    blocks = [fine[i::SUPERSAMPLING, j::SUPERSAMPLING] for i in range(SUPERSAMPLING) for j in range(SUPERSAMPLING)]
    return (sum(blocks[1:], blocks[0]) / len(blocks)).cpu()


def alike(mesh: Mesh, other: Mesh, scene: Scene) -> float:
    """Mean PSNR in dB of a mesh's pictures to another's, both in normalized units, from the held-out photos' places.

    Pictures are as large as the photos, but at most ``LARGEST`` pixels; without held-out photos, the first ten's places
    are taken.
    """
    found = []
    for view in scene.test or range(min(10, len(scene.cameras))):
        camera = scene.cameras[view]
        share = min(1.0, LARGEST / max(camera.size))
        camera = camera.resized(*(max(1, round(share * side)) for side in camera.size))
        one, two = (MeshSource(some, scene.background).render(camera, 0, ("rgb",))["rgb"] for some in (mesh, other))
        found.append(psnr(one, two))
    return sum(found) / len(found)


def preview(mesh: Mesh, scene: Scene, run: Run, step: int) -> None:
    """A held-out view to TensorBoard: picture, truth, error, normals, and its PSNR."""
    view = (scene.test or scene.train)[0]
    true = scene.image(view)
    predicted, _ = picture(mesh, scene, view)
    run.scalar("refine/held_out_psnr", view_psnr(predicted, scene, view), step)
    run.image("refine/predicted", predicted, step)
    run.image("refine/true", true, step)
    run.image("refine/error", (predicted - true).abs(), step)
    with torch.no_grad():
        normal = render_channels(mesh, scene.cameras[view], ("normal",))["normal"][0]
    run.image("refine/normals", torch.where(normal.any(-1, keepdim=True), normal * 0.5 + 0.5, 0), step)
