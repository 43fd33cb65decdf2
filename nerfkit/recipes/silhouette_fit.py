"""A sphere becomes the object by its silhouettes alone, with and without the terms that keep a mesh in order.

Each of ``variants`` names the terms of one fit: ``none``, ``smooth`` (flatness and Laplacian), ``area`` (variance of
the triangles' areas), ``both``, and ``large_steps``, which needs no terms: its steps are smooth. Silhouettes say
nothing about what happens on the surface, and plain descent pulls out spikes and folds there: see the
self-intersections.
"""

from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from nerfkit.fit.large_steps import LargeSteps
from nerfkit.fit.loop import optimize
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.laplacian import Topology
from nerfkit.mesh.losses import area_variance, flatness, laplacian
from nerfkit.mesh.measures import surface_distance
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.raster import render
from nerfkit.raster.visibility import visibility_of
from nerfkit.recipes import steps_of
from nerfkit.recipes.common import close, compare, iou_loss, masked_scene, photos, save, timelapse
from nerfkit.runs.folder import Run
from nerfkit.runs.report import table
from nerfkit.scenes.epochs import Epochs
from nerfkit.scenes.scene import Scene


def run(config: DictConfig, record: Run, device: torch.device) -> None:
    """See ``nerfkit.recipes``. Figures of each variant: mask IoU on held-out views, self-intersections, the variance of
    areas, the roughness of normals and, where the truth is known, the chamfer distance.
    """
    scene = masked_scene(config)
    found = {name: fit(config, scene, record, device, name) for name in config.recipe.variants}
    record.update_metrics({"silhouette_fit": found})
    keys = ("mask_iou", "chamfer", "self_intersections", "area_variance", "normal_roughness")
    shown = [key for key in keys if key in next(iter(found.values()))]
    record.log(table(("silhouettes alone", *found), [(key, *(row[key] for row in found.values())) for key in shown]))


def fit(config: DictConfig, scene: Scene, record: Run, device: torch.device, variant: str) -> dict[str, Any]:
    """One fit and its figures."""
    o = config.recipe
    start = icosphere(o.subdivisions, o.radius).without_appearance().to(device)
    vertices = start.vertices.clone().requires_grad_()
    topology = Topology.of(start.faces, len(vertices))
    visibility, queue = visibility_of(config.rasterizer), Epochs(scene.train, int(config.seed))
    large_steps = LargeSteps(vertices, topology.edges, o.smoothness) if variant == "large_steps" else None
    optimizer = torch.optim.Adam([vertices], lr=o.rate)
    weights = {"flatness": 0.0, "laplacian": 0.0, "area": 0.0}
    if variant in ("smooth", "both"):
        weights |= {"flatness": o.flatness, "laplacian": o.laplacian}
    if variant in ("area", "both"):
        weights["area"] = o.area
    edge = (4 * torch.pi * o.radius**2 / len(start.faces)) ** 0.5  # about the length of an edge at the start

    def step(share: float) -> dict[str, float]:
        views = queue.next(o.views_per_step)
        _, mask = photos(scene, views, device)
        alpha = render(vertices, start.faces, scene.cameras[views].to(device), visibility=visibility).alpha
        terms: dict[str, Tensor] = {"silhouette": iou_loss(alpha, mask)}
        if weights["flatness"]:
            terms["flatness"] = weights["flatness"] * flatness(vertices, topology)
            terms["laplacian"] = weights["laplacian"] * laplacian(vertices, topology) / edge**2
        if weights["area"]:
            terms["area"] = weights["area"] * area_variance(vertices, topology)
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

    recorder, watches = timelapse(
        config, record, mesh, scene.cameras, up=scene.up, units=scene.normalization, name=variant
    )
    optimize(f"silhouette_fit_{variant}", step, steps=steps_of(config), run=record, watches=watches)
    close(recorder, record)
    made = mesh()
    found = compare(made, scene, scene.test or scene.train[:1])
    row: dict[str, Any] = {
        "mask_iou": found["mask_iou"],
        "self_intersections": len(self_intersections(made)),
        "area_variance": round(area_variance(made.vertices, Topology.of(made.faces, len(made.vertices))).item(), 4),
        "normal_roughness": round(flatness(made.vertices, Topology.of(made.faces, len(made.vertices))).item(), 4),
    }
    if scene.truth is not None:
        own = made.transformed(scene.normalization.invert)
        row["chamfer"] = round(surface_distance(own, load_mesh(scene.truth)).chamfer, 6)
    save(made, config, record, scene.normalization, stem=variant)
    return row
