"""PyTorch3D's "Fit a mesh via rendering": a sphere becomes the photographed object, with colors at its vertices.

    rgb         1.0    mean squared difference of the colors
    silhouette  1.0    mean squared difference of the masks
    edge        1.0    mean squared length of the edges
    normal      0.01   1 - cosine between neighboring faces
    laplacian   1.0    mean length of the uniform Laplacian

over two random views a step, by stochastic gradient descent, rate 1, momentum 0.9. There the pictures are the target
mesh's, under a point light that the renderer knows; here they are photos, and the vertices' colors hold the light.
"""

from dataclasses import dataclass, replace

import torch

from nerfkit.config import TrainOptions
from nerfkit.fit.loop import Callback
from nerfkit.mesh.laplacian import Topology
from nerfkit.mesh.losses import edge_length, laplacian_norm, normal_consistency
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.raster import render
from nerfkit.recipes import RecipeOptions, common, recipe, steps_option, subdivisions_option, weight
from nerfkit.runs.folder import Run
from nerfkit.scenes.epochs import training_views
from nerfkit.schema import option


@dataclass
class MeshTextureOptions(RecipeOptions):
    """PyTorch3D's "Fit a mesh via rendering": a sphere becomes the object of the photos, colors at its vertices."""

    name: str = "mesh_texture"
    views: int = option(20, "training photos to use", least=1, most=10_000)
    views_per_step: int = option(2, "of them that a step looks at", least=1, most=1000)
    steps: int = steps_option(2000)
    subdivisions: int = subdivisions_option(4)
    radius: float = option(1.0, "of the sphere, in normalized units (the object is about 1.9 wide)", above=0)
    rate: float = option(1.0, "of the descent", above=0)
    momentum: float = option(0.9, "of the descent", least=0, below=1)
    rgb: float = weight(1.0, "of the colors' mean squared difference")
    silhouette: float = weight(1.0, "of the masks' mean squared difference")
    edge: float = weight(1.0, "of the edges' mean squared length")
    normal: float = weight(0.01, "of neighboring faces alike")
    laplacian: float = weight(1.0, "of the uniform Laplacian's mean length")


@recipe(MeshTextureOptions, uses=("scene", "seed", "rasterizer", "timelapse", "export"))
def run(o: MeshTextureOptions, config: TrainOptions, record: Run, device: torch.device) -> None:
    """See ``nerfkit.recipes``. Figures: ``mesh_texture.{psnr, ssim, mask_iou, image_l1}`` on held-out views."""
    scene = common.masked_scene(config)
    kept = torch.linspace(0, len(scene.train) - 1, min(o.views, len(scene.train))).round().long().tolist()
    scene = replace(scene, train=[scene.train[k] for k in kept])
    start = icosphere(o.subdivisions, o.radius).without_appearance().to(device)
    offsets = torch.zeros_like(start.vertices, requires_grad=True)
    colors = torch.full_like(start.vertices, 0.5, requires_grad=True)
    topology = Topology.of(start.faces, len(offsets))
    optimizer = torch.optim.SGD([offsets, colors], lr=o.rate, momentum=o.momentum)
    visibility, queue = config.rasterizer.chosen(), training_views(scene, int(config.seed))

    def step(share: float) -> dict[str, float]:
        vertices = start.vertices + offsets
        views = queue.next(o.views_per_step)
        true, mask, known = common.photos(scene, views, device)
        cameras = scene.cameras[views].to(device)
        rgb, alpha, _ = render(vertices, start.faces, cameras, colors=colors, visibility=visibility)
        return common.descend(
            [optimizer],
            {
                "rgb": o.rgb * (rgb * known - true).square().mean(),
                "silhouette": o.silhouette * (alpha * known[..., 0] - mask).square().mean(),
                "edge": o.edge * edge_length(vertices, topology),
                "normal": o.normal * normal_consistency(vertices, topology),
                "laplacian": o.laplacian * laplacian_norm(vertices, topology),
            },
        )

    def mesh() -> Mesh:
        vertices = start.vertices + offsets.detach()
        return replace(start, vertices=vertices, colors=colors.detach().clamp(0, 1)).to("cpu")

    views = scene.test or scene.train[:1]

    def look(done: int) -> None:
        record.scalar("mesh_texture/held_out_mask_iou", common.glance(mesh(), scene, views[:3])["mask_iou"], done)

    looks = [Callback(look, share=0.2)]
    done = common.fit_mesh(
        "mesh_texture", step, config, record, mesh, scene, callbacks=looks, background=scene.background, queue=queue
    )
    found = common.compare(mesh(), scene, views, record.folder / "images")
    record.update_metrics({"mesh_texture": {**found, "steps": done, "visibility": visibility.name}})
    record.log(
        f"mesh_texture: {done} steps; on {len(views)} held-out views: mask IoU {found['mask_iou']:.4f}, "
        f"PSNR {found['psnr']:.2f} dB"
    )
    common.save(mesh(), config, record, scene)
