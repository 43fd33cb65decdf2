"""How good a mesh is on views: pictures as photos see them, and their metrics."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfkit.fit.evaluate import compare, means, view_psnr, write_comparison
from nerfkit.fit.metrics import mask_iou
from nerfkit.fit.specular import Specular, render_specular
from nerfkit.mesh.mesh import Mesh
from nerfkit.raster import render_channels
from nerfkit.runs.files import png_writer
from nerfkit.runs.folder import Run
from nerfkit.runs.progress import track
from nerfkit.scenes.scene import Scene

SUPERSAMPLING = 2  # pictures of a mesh for measuring: as photos, they show each pixel's area, not its center


def evaluate_mesh(
    mesh: Mesh, scene: Scene, views: list[int], folder: Path | None = None, specular: Specular | None = None
) -> dict[str, Any]:
    """PSNR and SSIM over the scene's background and mask IoU, each view and their means.

    Pictures are rendered at twice the size and averaged down. Where the scene has masks there are ``mask_iou`` and
    ``psnr_inside``, which counts only pixels of which the mask covers more than half.

    Args:
        mesh: in normalized units, with a texture or vertex colors.
        folder: where predicted | true | error of each view is written as ``mesh_VIEW.png``; None writes none.
        specular: its highlights, whose pictures are measured beside the others, as ``psnr_specular``.
    """
    rows = []
    with png_writer() as write:
        for view in track(views, len(views), "held-out views"):
            predicted, alpha = picture(mesh, scene, view)
            row: dict[str, Any] = {"view": view, **compare(predicted, scene, view)}
            if scene.has_masks:
                known = scene.images.known(view)
                row["mask_iou"] = mask_iou(alpha * known, scene.mask(view) * known)
            if specular is not None:
                predicted, _ = picture(mesh, scene, view, specular)
                row["psnr_specular"] = view_psnr(predicted, scene, view)
            rows.append(row)
            if folder is not None:
                write_comparison(folder / f"mesh_{view:03d}.png", predicted, scene.image(view), write)
    return means(rows)


def picture(mesh: Mesh, scene: Scene, view: int, specular: Specular | None = None) -> tuple[Tensor, Tensor]:
    """The mesh as view ``view`` should see it: rgb over the background (H,W,3) and alpha (H,W), of pixel areas.

    Rendered on the mesh's device; the pictures are on the CPU, as the photos are.
    """
    camera = scene.cameras[view]
    fine = camera.resized(camera.height * SUPERSAMPLING, camera.width * SUPERSAMPLING)
    with torch.no_grad():
        if specular is None:
            pictures = render_channels(mesh, fine, ("rgb", "alpha"), scene.background)
        else:
            pictures = render_specular(mesh, specular, fine, ("rgb", "alpha"), scene.background)
    return _averaged(pictures["rgb"][0]), _averaged(pictures["alpha"][0])


def _averaged(fine: Tensor) -> Tensor:
    """The means (H,W,...) on the CPU over the blocks of a picture of twice the size."""
    blocks = [fine[i::SUPERSAMPLING, j::SUPERSAMPLING] for i in range(SUPERSAMPLING) for j in range(SUPERSAMPLING)]
    return (sum(blocks[1:], blocks[0]) / len(blocks)).cpu()


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
