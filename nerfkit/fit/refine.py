"""The mesh stage: a coarse mesh becomes an asset by comparing its pictures with the training photos.

Vertex positions and a texture are learned together through the differentiable rasterizer; ``LargeSteps`` keeps the
vertices' moves smooth. A scene without masks has nothing to say about the silhouette: only the pixels that the mesh
covers count there.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from nerfkit.errors import SceneError
from nerfkit.fit.evaluate import means, write_comparison
from nerfkit.fit.large_steps import LargeSteps
from nerfkit.fit.metrics import mask_iou, psnr, ssim
from nerfkit.mesh.bake import bake, bake_vertex_colours
from nerfkit.mesh.losses import Topology, edge_length, laplacian, normal_consistency
from nerfkit.mesh.mesh import Mesh, face_areas
from nerfkit.mesh.unwrap import unwrap
from nerfkit.raster import render, render_channels
from nerfkit.runs.folder import Run
from nerfkit.runs.progress import Progress, to_stderr, track
from nerfkit.scenes.scene import Scene

SUPERSAMPLING = 2  # pictures of a mesh for measuring: as photos, they show each pixel's area, not its centre
TEXELS_PER_PIXEL = 1.3  # along each side: fewer blur, more are never seen from close enough and learn noise
CHART_SHARE = 0.65  # of a texture's area that lies in charts


def refine_mesh(
    mesh: Mesh,
    scene: Scene,
    options: DictConfig,
    run: Run | None = None,
    seed: int = 0,
    colour: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Mesh:
    """The mesh with its vertices moved, UVs and a texture, so that it looks like the scene's training views.

    Args:
        mesh: with vertex ``colours`` to start from, in normalised units; white where it has none.
        options: conf/refine.
        run: where curves and pictures go; None shows the progress bar alone.
        seed: of the order of views and of the random backgrounds.
        colour: what the texture starts from: points (P,3) and unit normals (P,3) on the surface to colours (P,3) in
            [0,1], the field's as a rule; None takes the mesh's vertex colours.

    Returns:
        the same faces, with ``corner_uvs`` and ``texture``, and no vertex colours.

    Raises:
        SceneError: the mesh has no faces.
        FloatingPointError: a term of the loss is NaN or infinite; the message names it.
    """
    if not len(mesh.faces):
        raise SceneError("refine: the mesh has no faces; lower extract.level or train the field for longer")
    if mesh.colours is None:
        mesh = replace(mesh, colours=torch.ones_like(mesh.vertices))
    size = options.texture or texture_size(mesh, scene)
    unwrapped = unwrap(mesh, size)
    start = bake_vertex_colours(unwrapped, size) if colour is None else bake(unwrapped, colour, size)
    refinement = Refinement(start, scene, options, seed)
    begin = time.perf_counter()
    share, previewed = 0.0, -1.0
    with Progress("refine", run.log if run is not None else to_stderr) as bar:
        for step in range(options.steps):
            if run is not None and share - previewed >= options.preview_every:
                previewed = share
                _preview(refinement.mesh(), scene, run, step)
            terms = refinement.step(share)
            seconds = time.perf_counter() - begin
            share = max((step + 1) / options.steps, seconds / options.max_seconds if options.max_seconds else 0.0)
            if step % options.log_every == 0 or share >= 1:
                _report(bar, run, terms, step, share)
            if share >= 1:
                break
    refined = refinement.mesh()
    if run is not None:
        _preview(refined, scene, run, step + 1)
    return refined


def texture_size(mesh: Mesh, scene: Scene) -> int:
    """Height and width of a texture whose texels are a little smaller than the photos' pixels on the surface.

    A surface of area A, seen with focal length f pixels from distance d, is A (f / d)^2 pixels large.
    """
    cameras = scene.cameras[scene.train]
    distance = (cameras.positions - mesh.vertices.mean(0)).norm(dim=-1)  # (N,)
    density = (cameras.intrinsics[:, 0] / distance).square().mean()
    texels = face_areas(mesh.vertices, mesh.faces).sum() * density * TEXELS_PER_PIXEL**2 / CHART_SHARE
    return min(4096, max(64, 32 * round(math.sqrt(texels.item()) / 32)))


class Refinement:
    """Vertices and texture on their way, and everything that stays fixed meanwhile.

    Args:
        mesh: with UVs and a texture.
    """

    def __init__(self, mesh: Mesh, scene: Scene, options: DictConfig, seed: int) -> None:
        self.start, self.scene, self.options = mesh, scene, options
        self.generator = torch.Generator().manual_seed(seed)
        self.topology = Topology.of(mesh.faces, len(mesh.vertices))
        self.vertices = mesh.vertices.clone().requires_grad_()
        assert mesh.texture is not None
        self.texture = mesh.texture.clone().requires_grad_()
        self.mover = LargeSteps(self.vertices, self.topology.edges, options.smoothness)
        self.painter = torch.optim.Adam([self.texture], betas=(0.5, 0.999), eps=1e-8)
        first, second = self.topology.edges.unbind(-1)
        self.edge = (mesh.vertices[first] - mesh.vertices[second]).norm(dim=-1).mean().item()
        self.queue: list[int] = []

    def mesh(self) -> Mesh:
        """The mesh as it is now."""
        return replace(
            self.start, vertices=self.vertices.detach().clone(), texture=self.texture.detach().clone(), colours=None
        )

    def step(self, share: float) -> dict[str, float]:
        """One step of both optimisers, ``share`` of the way through; returns the terms of the loss."""
        o = self.options
        terms = self.losses(self._next_views())
        values = {name: term.item() for name, term in terms.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"refine: the loss is not finite (term: {name}). A lower refine.vertex_rate usually helps."
                )
        self.vertices.grad = self.texture.grad = None
        torch.stack(list(terms.values())).sum().backward()
        decay = o.final_rate**share
        self.mover.step(o.vertex_rate * decay)
        self.painter.param_groups[0]["lr"] = o.texture_rate * decay
        self.painter.step()
        with torch.no_grad():
            self.texture.clamp_(0, 1)
        return values

    def losses(self, views: list[int]) -> dict[str, Tensor]:
        """The weighted terms over some views.

        ``image`` and ``mask`` are absolute errors per covered pixel; lengths are in mean edges of the start.
        """
        o, scene = self.options, self.scene
        cameras = scene.cameras[views]
        rgb, alpha, _ = render(
            self.vertices, self.start.faces, cameras, corner_uvs=self.start.corner_uvs, texture=self.texture
        )
        true = scene.images[views].float() / 255  # (N, H, W, 4)
        covered = true[..., 3].mean() if scene.has_masks else alpha.detach().mean()
        covered = covered.clamp(min=1e-4)
        terms = {}
        if scene.has_masks:
            # over a random colour, so that darkness cannot pass for emptiness
            behind = torch.rand(len(views), 1, 1, 3, generator=self.generator)
            uncovered = true[..., 3] - alpha  # (N, H, W)
            terms["image"] = (rgb - true[..., :3] + uncovered[..., None] * behind).abs().mean() / covered
            terms["mask"] = o.mask_weight * uncovered.abs().mean() / covered
        else:
            # pixels on the outline show some of the backdrop: pulling them towards the photo would shrink the mesh
            inside = alpha.detach() > 0.99  # (N, H, W)
            terms["image"] = ((rgb - true[..., :3]) * inside[..., None]).abs().mean() / covered
        x, topology = self.vertices, self.topology
        terms["laplacian"] = o.laplacian_weight * laplacian(x, topology) / self.edge**2
        terms["normal"] = o.normal_weight * normal_consistency(x, topology)
        terms["edge"] = o.edge_weight * edge_length(x, topology, self.edge) / self.edge**2
        return terms

    def _next_views(self) -> list[int]:
        """Every training view once, in a random order, then again in another."""
        views: list[int] = []
        while len(views) < min(self.options.views_per_step, len(self.scene.train)):
            if not self.queue:
                order = torch.randperm(len(self.scene.train), generator=self.generator)
                self.queue = [self.scene.train[i] for i in order.tolist()]
            views.append(self.queue.pop())
        return views


def evaluate_mesh(mesh: Mesh, scene: Scene, views: list[int], folder: Path | None = None) -> dict[str, Any]:
    """PSNR and SSIM over the scene's background and mask IoU, each view and their means.

    Pictures are rendered at twice the size and averaged down. Where the scene has masks there are ``mask_iou`` and
    ``psnr_inside``, which counts only pixels of which the mask covers more than half.

    Args:
        mesh: in normalised units, with a texture or vertex colours.
        folder: where predicted | true | error of each view is written as ``mesh_VIEW.png``; None writes none.
    """
    rows = []
    for view in track(views, len(views), "held-out views"):
        true = scene.image(view)
        predicted, alpha = picture(mesh, scene, view)
        row: dict[str, Any] = {"view": view, "psnr": psnr(predicted, true), "ssim": ssim(predicted, true)}
        if scene.has_masks:
            row["psnr_inside"] = psnr(predicted, true, scene.mask(view))
            row["mask_iou"] = mask_iou(alpha, scene.mask(view))
        rows.append(row)
        if folder is not None:
            write_comparison(folder / f"mesh_{view:03d}.png", predicted, true)
    return means(rows)


def picture(mesh: Mesh, scene: Scene, view: int) -> tuple[Tensor, Tensor]:
    """The mesh as view ``view`` should see it: rgb over the background (H,W,3) and alpha (H,W), of pixel areas."""
    camera = scene.cameras[view]
    fine = camera.resized(camera.height * SUPERSAMPLING, camera.width * SUPERSAMPLING)
    with torch.no_grad():
        pictures = render_channels(mesh, fine, ("rgb", "alpha"), scene.background)
    rgba = torch.cat([pictures["rgb"], pictures["alpha"][..., None]], -1)
    shape = (camera.height, SUPERSAMPLING, camera.width, SUPERSAMPLING, 4)
    rgba = rgba[0].view(shape).mean((1, 3))  # (H, W, 4)
    return rgba[..., :3], rgba[..., 3]


def _report(bar: Progress, run: Run | None, terms: dict[str, float], step: int, share: float) -> None:
    if run is not None:
        for name, value in terms.items():
            run.scalar(f"refine/{name}", value, step)
        run.scalar("refine/loss", sum(terms.values()), step)
    shown = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
    bar.show(share, f"step {step + 1}  {shown}")


def _preview(mesh: Mesh, scene: Scene, run: Run, step: int) -> None:
    """A held-out view to TensorBoard: picture, truth, error, normals, and its PSNR."""
    view = (scene.test or scene.train)[0]
    true = scene.image(view)
    predicted, _ = picture(mesh, scene, view)
    run.scalar("refine/held_out_psnr", psnr(predicted, true), step)
    run.image("refine/predicted", predicted, step)
    run.image("refine/true", true, step)
    run.image("refine/error", (predicted - true).abs(), step)
    with torch.no_grad():
        normal = render_channels(mesh, scene.cameras[view], ("normal",))["normal"][0]
    run.image("refine/normals", torch.where(normal.any(-1, keepdim=True), normal * 0.5 + 0.5, 0), step)
