"""Kaolin's DIB-R tutorial: a textured sphere becomes the photographed object.

Vertices, one texture and the mesh's center are learned from photos and masks by Adam. The terms are

    image      0.1    mean |rendered - photo|
    mask       1      1 - IoU of the masks
    laplacian  0.03   mean ||L (x - x0)||^2 over vertices, times 3 V as there: moves that differ from the neighbors'

and with ``flatness`` > 0 the one that the tutorial's text promises and its code leaves out. Lengths there are in units
in which the object is about 1 wide; here it is about 2 wide, so that rates of lengths are doubled and squared lengths
divided by 4.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerfkit.config import TrainOptions
from nerfkit.fit.loop import Callback
from nerfkit.mesh.losses import Topology, laplacian_vectors, normal_consistency
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.raster import render
from nerfkit.recipes import RecipeOptions, common, recipe, steps_option, subdivisions_option, weight
from nerfkit.runs.folder import Run
from nerfkit.scenes.epochs import training_views
from nerfkit.scenes.scene import Scene
from nerfkit.schema import option

SCALE = 2.0  # of the normalized world against the tutorial's


@dataclass
class DibrSphereOptions(RecipeOptions):
    """NVIDIA Kaolin's DIB-R tutorial: a textured sphere becomes the object of the photos."""

    name: str = "dibr_sphere"
    steps: int = steps_option(2000)  # 40 epochs of 100 views, two a step
    views_per_step: int = option(2, "photos that a step looks at", least=1, most=1000)
    halve_every: float = option(0.5, "share of the steps after which the rates are halved", above=0)
    subdivisions: int = subdivisions_option(3)  # 1280 faces, as its sphere.obj
    radius: float = option(0.375, "in its units, in which the object is about 1 wide", above=0)
    texture: int = option(400, "texels each way", least=8, most=8192)
    vertex_rate: float = option(0.0005, "of the vertices' Adam, in its units", above=0)
    texture_rate: float = option(0.05, "of the texture's Adam", above=0)
    image: float = weight(0.1, "of the colors' mean absolute difference")
    mask: float = weight(1.0, "of 1 - IoU of the masks")
    laplacian: float = weight(0.03, "of vertices that move otherwise than their neighbors")
    flatness: float = weight(0.0, "of neighboring faces alike; its text promises this term, its code has none")


class Sphere:
    """The learned vertices, center and texture, and what moves them."""

    def __init__(self, o: DibrSphereOptions, config: TrainOptions, scene: Scene, device: torch.device) -> None:
        self.options, self.scene, self.device = o, scene, device
        self.start = icosphere(o.subdivisions, o.radius * SCALE).to(device)
        self.vertices = self.start.vertices.clone().requires_grad_()
        self.center = torch.zeros(3, device=device, requires_grad=True)
        self.texture = torch.ones(o.texture, o.texture, 3, device=device, requires_grad=True)
        self.topology = Topology.of(self.start.faces, len(self.vertices))
        self.vertex_optimizer = torch.optim.Adam([self.vertices, self.center], lr=o.vertex_rate * SCALE)
        self.color_optimizer = torch.optim.Adam([self.texture], lr=o.texture_rate)
        self.visibility = config.rasterizer.chosen()
        self.queue = training_views(scene, int(config.seed))

    def placed(self) -> Tensor:
        """The vertices about the learned center: the middle of their bounding box is moved there."""
        middle = (self.vertices.amin(0) + self.vertices.amax(0)) / 2
        return self.vertices - middle + self.center

    def mesh(self) -> Mesh:
        """The mesh as it is now."""
        texture = self.texture.detach().clamp(0, 1).cpu()
        return replace(self.start.to("cpu"), vertices=self.placed().detach().cpu(), texture=texture)

    def step(self, share: float) -> dict[str, float]:
        """One step of both optimizers; the terms of the loss, weighted."""
        o = self.options
        views = self.queue.next(o.views_per_step)
        true, mask, known = common.photos(self.scene, views, self.device)
        rgb, alpha, _ = render(
            self.placed(),
            self.start.faces,
            self.scene.cameras[views].to(self.device),
            corner_uvs=self.start.corner_uvs,
            texture=self.texture,
            visibility=self.visibility,
        )
        moves = laplacian_vectors(self.vertices - self.start.vertices, self.topology)
        terms = {
            "image": o.image * (rgb.clamp(0, 1) * known - true).abs().mean(),
            "mask": o.mask * common.iou_loss(alpha * known[..., 0], mask),
            "laplacian": o.laplacian * moves.square().sum() / SCALE**2,
        }
        if o.flatness:
            terms["flatness"] = o.flatness * normal_consistency(self.placed(), self.topology)
        for optimizer, rate in ((self.vertex_optimizer, o.vertex_rate * SCALE), (self.color_optimizer, o.texture_rate)):
            optimizer.param_groups[0]["lr"] = rate * 0.5 ** int(share / o.halve_every)
        return common.descend([self.vertex_optimizer, self.color_optimizer], terms)


@recipe(DibrSphereOptions, uses=("scene", "seed", "rasterizer", "timelapse", "export"))
def run(o: DibrSphereOptions, config: TrainOptions, record: Run, device: torch.device) -> None:
    """See ``nerfkit.recipes``. Figures: ``dibr_sphere.{psnr, ssim, mask_iou, image_l1}`` on held-out views."""
    scene = common.masked_scene(config)
    sphere = Sphere(o, config, scene, device)
    views = scene.test or scene.train[:1]

    history: list[dict[str, float]] = []

    def look(step: int) -> None:
        measured = common.glance(sphere.mesh(), scene, views)
        history.append({"step": step, **measured})
        for name, value in measured.items():
            record.scalar(f"dibr_sphere/held_out_{name}", value, step)

    looks = [Callback(look, share=0.05)]
    done = common.fit_mesh(
        "dibr_sphere",
        sphere.step,
        config,
        record,
        sphere.mesh,
        scene,
        callbacks=looks,
        background=scene.background,
        queue=sphere.queue,
    )
    mesh = sphere.mesh()
    found = common.compare(mesh, scene, views, record.folder / "images")
    record.update_metrics(
        {"dibr_sphere": {**found, "steps": done, "visibility": sphere.visibility.name, "history": history}}
    )
    record.log(
        f"dibr_sphere: {done} steps; on {len(views)} held-out views: mask IoU {found['mask_iou']:.4f}, "
        f"image L1 {found['image_l1']:.4f}, PSNR {found['psnr']:.2f} dB"
    )
    common.save(mesh, config, record, scene)
