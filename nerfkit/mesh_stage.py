"""The refine stage of a run: what it needs of the field, the fits, what is measured before and after."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.config import TrainOptions
from nerfkit.fit.extract import finished, surface_colors, walls
from nerfkit.fit.refine import refine_mesh
from nerfkit.fit.refine_measure import evaluate_mesh, picture
from nerfkit.fit.refine_options import RefineOptions
from nerfkit.fit.refine_targets import field_depth
from nerfkit.fit.specular import Specular
from nerfkit.fit.specular_fit import fit_specular
from nerfkit.fit.subject import alone, doubt, light_around, masked
from nerfkit.fit.walls import cut_off
from nerfkit.mesh.bake import texel_map
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.measures import surface_distance
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.topology import topology_report
from nerfkit.runs.folder import Run
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.runs.table import table
from nerfkit.scenes.scene import Scene
from nerfkit.view.timelapse import turntable
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.nested import NestedSampler
from nerfkit.volume.samplers import OccupancySampler

LABELS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "mask_iou": "mask IoU",
    "chamfer": "chamfer, % of the diagonal",
    "f_score": "F-score at 0.5 % of it",
    "f_score_1": "F-score at 1 % of it",
    "genus": "genus",
    "self_intersections": "self-intersections",
}
UNITS = {"chamfer": 100}
FIELD, OUTLINE = "field", "outline"  # where the masks of unmasked photos are from


def refine_stage(
    coarse: Mesh,
    model: RadianceModel | None,
    config: TrainOptions,
    scene: Scene,
    record: Run,
    ranks: Ranks = ALONE,
    keep_shape: bool = False,
) -> tuple[Mesh, Specular | None]:
    """The refined mesh and its highlights, None where it does without; metrics, curves and pictures go to ``record``.

    Pictures and their gradients are computed on the model's device, or else the coarse mesh's. On the CPU remain: the
    solves of ``LargeSteps``, the search for self-intersections, UV charts, and the metrics of pictures. The results are
    on the CPU.

    Args:
        coarse: with vertex colors, in normalized units; a field's is closed.
        model: the field; None for a mesh of the user's, ``config.mesh``.
        ranks: the processes that share what is done for each photo, and the texture's points; the rest is one's work.
        keep_shape: only the texture is made: vertices and faces are those of ``coarse``, which is then as the export
            stage would write it, open where it is cut off or not.
    """
    o, seed = config.refine, config.seed
    masks: str | None = None
    if model is not None and not keep_shape:
        coarse = coarse.to(model.device)
        ends, closed = walls(scene, config.extract), coarse
        coarse = finished(coarse, scene, config.extract)
        unmasked = scene.unbounded or (scene.has_masks and cut_off(closed, ends, config.extract.cell))
        if unmasked and isinstance(model.sampler, NestedSampler | OccupancySampler):
            whole, model = model, alone(model, closed, ends)
            around = partial(light_around, whole, model, scene)
            scene, masks = _with_masks(scene, model, around, coarse, config, record, ranks)
    elif scene.unbounded:
        kept = "" if keep_shape else ", and it keeps its shape"
        record.log(f"note: the photos have no masks: the mesh's outline masks them{kept}")
        scene, masks = _outlined(scene, coarse, config, ranks), OUTLINE
    if masks == OUTLINE or keep_shape:
        o = replace(o, vertex_rate=0.0, geometry=0.0, depth_weight=0.0)
    before = evaluate_mesh(coarse, scene, scene.test, ranks=ranks)
    start = time.perf_counter()

    helpers = _helpers(ranks, scene, masks is not None, o, record)
    color = None if model is None else partial(surface_colors, model)
    folder, units = record.folder / "timelapse", scene.exported
    points = coarse.vertices.cpu()
    recorder = turntable(folder, config.timelapse, scene.cameras, scene.background, units, scene.up, points)
    callbacks = [] if recorder is None else [(recorder.add, 1 / config.timelapse.snapshots)]
    visibility = config.rasterizer.chosen()
    found_looks: list[Tensor] = []
    lost: list[dict[str, Any]] = []
    further: dict[str, Any] = {"visibility": visibility, "callbacks": callbacks, "ranks": helpers}
    further |= {"looks": found_looks.append, "taken_back": lost.extend}
    depth = field_depth(model, scene, helpers) if o.depth_weight and model is not None else None
    refined = refine_mesh(coarse, scene, o, record, seed, color, depth=depth, **further)
    for path in recorder.close() if recorder is not None else ():
        record.log(f"wrote {path}")
    looks, specular, highlights = found_looks[0], None, dict[str, Any]()
    if o.specular:
        specular, highlights = fit_specular(refined, scene, o, record, seed, looks, helpers)
    helpers.forget("scene")
    seconds = time.perf_counter() - start
    assert refined.corner_uvs is not None and refined.texture is not None
    inside = texel_map(refined.corner_uvs, *refined.texture.shape[:2])[0] >= 0
    unseen = (looks[inside] == 0).float().mean().item()  # NaN where no texel is inside a chart
    found: dict[str, Any] = {
        **evaluate_mesh(refined, scene, scene.test, record.folder / "images", specular, ranks),
        **surface_facts(refined, scene),
        "vertices": len(refined.vertices),
        "faces": len(refined.faces),
        "seconds": round(seconds, 3),
        "unseen_texels": None if math.isnan(unseen) else round(unseen, 5),
        "specular": highlights,
        "taken_back": lost or None,
        "coarse": {key: value for key, value in before.items() if key != "views"} | surface_facts(coarse, scene),
        "masks": masks,
    }
    if masks == OUTLINE:
        for row in (found, found["coarse"], *found["views"]):
            row.pop("mask_iou")  # the mesh's with itself
    record.update_metrics({"mesh": found})
    record.log(_table(found, ("before", "textured") if keep_shape else ("coarse", "refined")))
    if unseen > 0:
        record.log(f"texture: {100 * unseen:.2f} % of its texels are in no training photo; they are filled from around")
    return refined.to("cpu"), None if specular is None else specular.to("cpu")


def _helpers(ranks: Ranks, scene: Scene, masked: bool, options: RefineOptions, record: Run) -> Ranks:
    """The processes that share what is done for each photo; they have the scene from now on.

    One where photos that were ``masked`` here are more than the memory that the others may take for them.
    """
    if ranks.count > 1 and masked and scene.images.folder is not None:
        record.log("note: with masks the photos are more than scene.memory_gb: one process refines, the others wait")
        return ALONE
    if ranks.count > options.views_per_step:
        record.log(
            f"note: a step of the refinement looks at {options.views_per_step} photos, so that no more processes share "
            f"it; refine.views_per_step={ranks.count} has work for all"
        )
    ranks.keep(scene=scene)
    return ranks


def _with_masks(
    photos: Scene,
    model: RadianceModel,
    around: Callable[[int, Tensor], Tensor],
    coarse: Mesh,
    config: TrainOptions,
    record: Run,
    ranks: Ranks,
) -> tuple[Scene, str]:
    """Photos with the masks that the field of the thing alone gives, and where these are from.

    Where that field is not sure, the coarse mesh's outline is taken: it has nothing to say about the mesh's shape.
    """
    why = "the mesh is cut off where the masks are not" if photos.has_masks else "the photos have no masks"
    record.log(f"{why}: the field's own opacity of the object takes their place")
    memory = config.scene.memory_gb
    scene = masked(photos, partial(_opacity, model, photos.cameras), memory, around, ranks)
    wrong = doubt(photos, scene, coarse)
    if wrong is None:
        return scene, FIELD
    del scene  # one set of masked photos at a time
    record.log(
        f"note: {wrong}. So the mesh keeps its shape, its own outline masks the photos, and only the texture is "
        "refined. A longer training (trainer.max_steps) or more photos help"
    )
    return _outlined(photos, coarse, config, ranks), OUTLINE


def _opacity(model: RadianceModel, cameras: Cameras, view: int) -> Tensor:
    return model.render_view(cameras, view).alpha


def _outlined(photos: Scene, mesh: Mesh, config: TrainOptions, ranks: Ranks) -> Scene:
    """Photos masked by a mesh's outline."""
    return masked(photos, partial(_outline, mesh, photos), config.scene.memory_gb, ranks=ranks)


def _outline(mesh: Mesh, photos: Scene, view: int) -> Tensor:
    return picture(mesh, photos, view)[1]


def surface_facts(mesh: Mesh, scene: Scene) -> dict[str, Any]:
    """What metrics.json says of a surface: how it hangs together, and how far the truth is where that is known."""
    mesh = mesh.to("cpu")
    report = topology_report(mesh)
    found: dict[str, Any] = {
        "watertight": report.watertight,
        "genus": report.genus,
        "self_intersections": len(self_intersections(mesh)),
    }
    if scene.truth is not None:
        own = mesh.transformed(scene.normalization.invert)
        distance = surface_distance(own, load_mesh(scene.truth), threshold=(0.005, 0.01))
        found |= {"chamfer": round(distance.chamfer, 6), "normal_error": round(distance.normal_error, 3)}
        found |= {"f_score": round(distance.f_score, 4), "f_score_1": round(distance.f_scores[0.01], 4)}
    return found


def _table(found: dict[str, Any], names: tuple[str, str]) -> str:
    """The mesh before and after on the held-out views, side by side."""
    coarse = found["coarse"]
    rows = [
        (label, coarse[key] * UNITS.get(key, 1), found[key] * UNITS.get(key, 1))
        for key, label in LABELS.items()
        if found.get(key) is not None and coarse.get(key) is not None
    ]
    if "psnr_specular" in found:
        rows.append(("PSNR with highlights, dB", coarse["psnr"], found["psnr_specular"]))
    return table(("held-out views", *names), rows)
