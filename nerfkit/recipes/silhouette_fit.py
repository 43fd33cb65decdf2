"""A sphere becomes the object by its silhouettes alone, with and without the terms that keep a mesh in order.

Each of ``variants`` names the terms of one fit: ``none``, ``smooth`` (flatness and Laplacian), ``area`` (variance of
the triangles' areas), ``both``, and ``large_steps``, which needs no terms: its steps are smooth. Silhouettes say
nothing about what happens on the surface, and plain descent pulls out spikes and folds there: see the
self-intersections.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nerfkit.config import TrainOptions
from nerfkit.fit.large_steps import LargeSteps
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.laplacian import Topology
from nerfkit.mesh.losses import area_variance, flatness, laplacian
from nerfkit.mesh.measures import surface_distance
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.raster import render
from nerfkit.recipes import RecipeOptions, recipe, steps_option, subdivisions_option, weight
from nerfkit.recipes.common import compare, fit_mesh, iou_loss, masked_scene, photos, save
from nerfkit.runs.folder import Run
from nerfkit.runs.table import table
from nerfkit.scenes.epochs import training_views
from nerfkit.scenes.scene import Scene
from nerfkit.schema import option

VARIANTS = ("none", "smooth", "area", "both", "large_steps")


@dataclass
class SilhouetteFitOptions(RecipeOptions):
    """A sphere becomes the object by its silhouettes alone, with and without the terms that keep a mesh in order."""

    name: str = "silhouette_fit"
    variants: list[str] = option(list(VARIANTS), "one fit each", choices=VARIANTS)
    steps: int = steps_option(400)
    views_per_step: int = option(4, "photos that a step looks at", least=1, most=1000)
    subdivisions: int = subdivisions_option(4)
    radius: float = option(0.8, "of the sphere, in normalized units (the object is about 1.9 wide)", above=0)
    rate: float = option(0.005, "of Adam, in normalized units", above=0)
    large_rate: float = option(0.02, "of large_steps", above=0)
    smoothness: float = option(10.0, "of large_steps, in edges squared", least=0)
    final_rate: float = option(0.1, "share of the rates that is left at the end", above=0, most=1)
    flatness: float = weight(0.02, "of neighboring faces alike (smooth, both)")
    laplacian: float = weight(0.02, "of squared Laplacians in edges squared (smooth, both)")
    area: float = weight(0.01, "of the variance of the triangles' areas (area, both)")


@recipe(SilhouetteFitOptions, uses=("scene", "seed", "rasterizer", "timelapse", "export"))
def run(o: SilhouetteFitOptions, config: TrainOptions, record: Run, device: torch.device) -> None:
    """See ``nerfkit.recipes``. Figures of each variant: mask IoU on held-out views, self-intersections, the variance of
    areas, the roughness of normals and, where the truth is known, the chamfer distance.
    """
    scene = masked_scene(config)
    found = {name: fit(o, config, scene, record, device, name) for name in o.variants}
    record.update_metrics({"silhouette_fit": found})
    keys = ("mask_iou", "chamfer", "self_intersections", "area_variance", "normal_roughness")
    shown = [key for key in keys if key in next(iter(found.values()))]
    record.log(table(("silhouettes alone", *found), [(key, *(row[key] for row in found.values())) for key in shown]))


def fit(
    o: SilhouetteFitOptions, config: TrainOptions, scene: Scene, record: Run, device: torch.device, variant: str
) -> dict[str, Any]:
    """One fit and its figures."""
    start = icosphere(o.subdivisions, o.radius).without_appearance().to(device)
    vertices = start.vertices.clone().requires_grad_()
    topology = Topology.of(start.faces, len(vertices))
    visibility, queue = config.rasterizer.chosen(), training_views(scene, int(config.seed))
    large_steps = LargeSteps(vertices, topology.edges, o.smoothness) if variant == "large_steps" else None
    optimizer = torch.optim.Adam([vertices], lr=o.rate)
    edge = (4 * torch.pi * o.radius**2 / len(start.faces)) ** 0.5  # about the length of an edge at the start

    def step(share: float) -> dict[str, float]:
        views = queue.next(o.views_per_step)
        _, mask, known = photos(scene, views, device)
        alpha = render(vertices, start.faces, scene.cameras[views].to(device), visibility=visibility).alpha
        terms: dict[str, Tensor] = {"silhouette": iou_loss(alpha * known[..., 0], mask)}
        if variant in ("smooth", "both"):
            terms["flatness"] = o.flatness * flatness(vertices, topology)
            terms["laplacian"] = o.laplacian * laplacian(vertices, topology) / edge**2
        if variant in ("area", "both"):
            terms["area"] = o.area * area_variance(vertices, topology)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        rate = o.final_rate**share
        if large_steps is not None:
            large_steps.step(o.large_rate * rate)
        else:
            optimizer.param_groups[0]["lr"] = o.rate * rate
            optimizer.step()
        return {name: term.item() for name, term in terms.items()}

    def mesh() -> Mesh:
        return replace(start, vertices=vertices.detach().clone()).to("cpu")

    fit_mesh(f"silhouette_fit_{variant}", step, config, record, mesh, scene, name=variant, queue=queue)
    made = mesh()
    found = compare(made, scene, scene.test or scene.train[:1])
    row: dict[str, Any] = {
        "mask_iou": found["mask_iou"],
        "self_intersections": len(self_intersections(made)),
        "area_variance": round(area_variance(vertices, topology).item(), 4),
        "normal_roughness": round(flatness(vertices, topology).item(), 4),
    }
    if scene.truth is not None:
        own = made.transformed(scene.normalization.invert)
        row["chamfer"] = round(surface_distance(own, load_mesh(scene.truth)).chamfer, 6)
    save(made, config, record, scene, stem=variant)
    return row
