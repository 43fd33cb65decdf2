"""What of a run there is to look at: its field, as the newest checkpoint has it, and its mesh."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.cameras import Cameras
from nerfkit.config import TrainOptions
from nerfkit.fit.build import load_scene
from nerfkit.mesh.mesh import Mesh, vertex_normals
from nerfkit.raster.shade import MeshSource
from nerfkit.report.figures import halves, strips
from nerfkit.report.model import reduced
from nerfkit.results import finished_file, load_coarse, load_finished, load_fit, mesh_source
from nerfkit.resume import load
from nerfkit.runs.checkpoints import steps
from nerfkit.runs.files import to_bytes
from nerfkit.runs.folder import Run, has_checkpoint
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.record import recorded
from nerfkit.scenes.scene import Scene
from nerfkit.view.show import Source, pick_source
from nerfkit.viewer.draw import FIELD, MESH
from nerfkit.volume.model import FieldSource

THUMBNAIL = 96  # pixels of the longer side
LAMPS, STRENGTHS, AMBIENT = ((0.5, 1.0, 0.7), (-0.8, -0.3, -0.5)), (0.6, 0.3), 0.15
"""Directions toward the lamps that show the shape of a mesh without colors, how bright they are, and what all gets."""


@dataclass(frozen=True)
class Shown:
    """A run, opened; or without ``record`` and ``config`` a mesh or a field alone.

    Attributes:
        sources: ``field`` and ``mesh``, those that the run has.
        mesh: in normalized units; None where the run has none.
        state: of its files, as ``state_of`` has it.
        center, radius: of a ball around what there is to be seen, in normalized units.
        said: what the sources are, a line.
        recorded: whether the scene is without its photos, which are read when one is wanted.
    """

    record: Run | None
    config: TrainOptions | None
    scene: Scene
    sources: dict[str, Source]
    mesh: Mesh | None
    state: tuple[int, int] | None
    center: NDArray
    radius: float
    said: str
    recorded: bool = False


def open_run(path: str | Path, device: torch.device) -> Shown:
    """The run in its present state; it may be in training.

    Raises:
        CheckpointError: no run folder, a damaged one, or one with neither a field nor a mesh.
    """
    record = Run.open(path)
    folder = record.folder
    state = state_of(record)
    config = load(folder)
    finished, coarse = finished_file(record), (folder / "mesh" / "coarse.ply").exists()
    if finished is None and not coarse:
        pick_source(folder, FIELD)
    kept = recorded(folder)
    scene = load_scene(config) if kept is None else kept
    sources: dict[str, Source] = {}
    said, mesh = [], None
    if has_checkpoint(folder):
        fit = load_fit(config, scene, record, device, rendering=True)
        sources[FIELD] = FieldSource(fit.average, scene.background)
        said.append(f"field of step {fit.progress.step}")
    if finished is not None:
        mesh = load_finished(finished, record, scene)[0]
        sources[MESH] = mesh_source(record, scene, device)[0]
    elif coarse:
        mesh = load_coarse(record, scene)
        sources[MESH] = MeshSource(mesh.to(device), scene.background)
    if mesh is not None:
        said.append(f"mesh of {len(mesh.faces)} faces")
    points = next(iter(sources.values())).points().detach().cpu()
    if not len(points):
        points = torch.tensor([[-1.0] * 3, [1.0] * 3])
    low, high = points.amin(0), points.amax(0)
    radius = max(float((high - low).norm()) / 2, 1e-3)
    center, line = ((low + high) / 2).numpy(), "; ".join(said)
    return Shown(record, config, scene, sources, mesh, state, center, radius, line, kept is not None)


def state_of(record: Run) -> tuple[int, int]:
    """What changes when the run has gone on: the step of its newest checkpoint, and when its mesh was written."""
    meshes = [record.folder / "mesh" / "coarse.ply", finished_file(record)]
    dates = [path.stat().st_mtime_ns for path in meshes if path is not None and path.exists()]
    return max(steps(record.folder), default=-1), max(dates, default=0)


def thumbnails(shown: Shown) -> Callable[[int], NDArray[np.uint8] | None]:
    """Small photos (h,w,3) by view; without the scene's photos those that the run has compared with its pictures.

    Raises:
        CheckpointError: one of its pictures is damaged.
    """
    if not shown.recorded or shown.record is None:
        return lambda view: reduced(to_bytes(shown.scene.image(view)), THUMBNAIL)
    found: dict[int, NDArray[np.uint8]] = {}
    for view, _, path in strips(shown.record.folder):
        if view not in found:
            found[view] = reduced(halves(path)[1], THUMBNAIL)
    return found.get


def without_photos(cameras: Cameras, name: str) -> Scene:
    """A scene that cameras look at over white; none of them has taken a photo."""
    empty = Photos(torch.empty(0, 4, dtype=torch.uint8), ())
    return Scene(name, empty, cameras, list(range(len(cameras))), [], (1.0, 1.0, 1.0), has_masks=False)


def seen(mesh: Mesh, background: tuple[float, float, float]) -> MeshSource:
    """A mesh to look at: gray under lamps of the scene's where it has no colors, or only its outline would be seen."""
    if mesh.texture is None and mesh.colors is None:
        normals = vertex_normals(mesh.vertices, mesh.faces)  # (V, 3)
        lamps = torch.nn.functional.normalize(normals.new_tensor(LAMPS), dim=-1)
        light = (normals @ lamps.T).clamp(min=0) @ normals.new_tensor(STRENGTHS) + AMBIENT  # (V,)
        mesh = replace(mesh, colors=light[:, None].expand(-1, 3).contiguous())
    return MeshSource(mesh, background)
