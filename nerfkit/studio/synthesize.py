"""Photos of any mesh as a data set of its own, in the formats that ``open_scene`` reads.

The pictures come from ``synthesis``, which shares no code with the differentiable renderers, so that what is fitted to
them is measured against something independent.
"""

import contextlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import trimesh

from nerfkit.cameras import Cameras
from nerfkit.errors import problem
from nerfkit.runs.progress import track
from nerfkit.scenes.assemble import MIN_TRAIN
from nerfkit.scenes.files import TRUTH
from nerfkit.schema import Options, option
from nerfkit.studio import blender_writer, kaolin_writer
from nerfkit.studio.renderer import Lights, Photos, Surface, geometry, render
from nerfkit.studio.surfaces import TexturedMesh, as_array, surface_of
from nerfkit.studio.views import cameras_around

FORMATS = ("kaolin", "blender")
LIGHTS = {
    "none": Lights(key=0.0, fill=0.0, sky=1.0, ground=1.0),  # colors as they are
    "studio": Lights(),
}
# Columns are the mesh's axes in Kaolin's world (y up), for the mesh's own up axis; and Kaolin's axes in Blender's (z).
TO_KAOLIN = {"y": np.eye(3), "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])}
TO_BLENDER = TO_KAOLIN["z"].T
ABOUT, UNFINISHED = "synthesis.json", ".unfinished-"
MOST_SAMPLES = 16384  # across a picture: 2 GB of memory
ABANDONED = 3600.0  # seconds after which an unfinished folder is nobody's any more


class _View(NamedTuple):
    """Where one camera's pictures go: its number in Kaolin's folder, and its split and number in Blender's."""

    kaolin: int | None
    split: str
    number: int


@dataclass
class SynthesisOptions(Options):
    """What photos ``synthesize`` makes."""

    views: int = option(
        40, "pictures for training and testing; Blender's validation file has more", least=3, most=100_000
    )
    size: int = option(256, "their side in pixels", least=8, most=8192)
    samples: int = option(4, "a pixel is the mean of samples x samples rays", least=1, most=32)
    seed: int = option(0, "turns the cameras around the object", least=0, most=2**63 - 1)
    holdout: int = option(
        10, "every so many-th view is a test view; scene.holdout must agree for Kaolin's format", least=2, most=100_000
    )
    fov: float = option(40.0, "angle of view in degrees", least=1, most=150)
    light: str = option("none", "none: colors as they are; studio: lights with a highlight", choices=LIGHTS)
    specular: float = option(0.3, "strength of the highlight", least=0, most=1)
    shininess: float = option(32.0, "its Blinn-Phong exponent", least=1, most=1e4)
    up: str = option("y", "which of the mesh's axes points up; Kaolin's world has y up, Blender's z", choices=TO_KAOLIN)
    format: str = option("both", "of the data set", choices=("both", *FORMATS))

    def check(self) -> None:
        super().check()
        rays = self.size * self.samples
        self.expect(
            "size",
            rays <= MOST_SAMPLES,
            f"at most {MOST_SAMPLES} rays across a picture, not {rays}; ask for smaller pictures, or fewer samples",
        )
        left = self.views - len(range(0, self.views, self.holdout))
        self.expect(
            "views",
            left >= MIN_TRAIN,
            f"at least {MIN_TRAIN} views for training, and holdout={self.holdout} leaves {left}; "
            "ask for more views, or hold fewer out",
        )


def synthesize(
    mesh: TexturedMesh, folder: str | Path, options: SynthesisOptions | None = None, *, progress: bool = True
) -> dict[str, Path]:
    """Render ``mesh`` from all sides into ``folder``/kaolin and ``folder``/blender; the same arguments, the same files.

    Both hold the same views of the same splits, and ``truth.ply``, the mesh in the axes and units of its folder.
    ``blender_writer`` and ``kaolin_writer`` list the other files. Folders appear under their names when they are whole.

    Args:
        mesh: a ``nerfkit.mesh.mesh.Mesh``.
        folder: new or empty.
        options: None takes their defaults.
        progress: whether to show how far it is.

    Returns:
        the folder of each format written.

    Raises:
        SceneError: the mesh has no face with an area, or the folder is not empty or cannot be written.
    """
    o = options or SynthesisOptions()
    formats = FORMATS if o.format == "both" else (o.format,)
    vertices = as_array(mesh.vertices).astype(np.float64) @ TO_KAOLIN[o.up].T
    surface = surface_of(mesh, TO_KAOLIN[o.up], o.specular if o.light != "none" else 0.0, o.shininess)
    points = _visible(vertices, as_array(mesh.faces), str(mesh.provenance.get("path", "mesh")))
    cameras, places = _plan(points, o.views, o.size, o.holdout, o.fov, o.seed, with_val="blender" in formats)
    # White is the camera's plane and black lies as far behind the object, as in NeRF's synthetic scenes.
    far = 2 * float(np.linalg.norm(cameras.positions[0].numpy() - (points.min(axis=0) + points.max(axis=0)) / 2))
    about = {
        "mesh": Path(str(mesh.provenance.get("path", ""))).name,
        **{"views": o.views, "size": o.size, "samples": o.samples, "seed": o.seed, "holdout": o.holdout},
        **{"fov_degrees": o.fov, "light": o.light, "specular": o.specular, "shininess": o.shininess, "mesh_up": o.up},
        "depth_png_black": far,
    }
    with _filled(Path(folder).expanduser().absolute(), formats, len(places) * o.size**2 * 25 // 10**6 + 20) as passing:
        for name in formats:
            (passing / name).mkdir()
            _write_truth(passing / name / TRUTH, vertices @ _world(name).T, mesh)
            (passing / name / ABOUT).write_text(json.dumps(about, indent=4) + "\n")
        _shoot(surface, LIGHTS[o.light], cameras, places, o.samples, far, passing, formats, progress)
    return {name: Path(folder).expanduser() / name for name in formats}


def _visible(vertices: np.ndarray, faces: np.ndarray, where: str) -> np.ndarray:
    """The vertices (K,3) of those faces that have an area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    solid = (np.cross(b - a, c - a) != 0).any(-1)
    if not solid.any():
        raise problem(where, "no face has an area", "a surface", "Check the file that it comes from.")
    return vertices[np.unique(faces[solid])]


def _plan(
    points: np.ndarray, views: int, size: int, holdout: int, fov: float, seed: int, with_val: bool
) -> tuple[Cameras, list[_View]]:
    """All cameras, and where their pictures go. Test views stand in the middle of their stretches of the spiral."""
    cameras = cameras_around(points, views, size, fov, [seed, 0], first=holdout // 2)
    tests = range(0, views, holdout)
    places = [
        _View(view, "test", view // holdout) if view in tests else _View(view, "train", view - view // holdout - 1)
        for view in range(views)
    ]
    if with_val:
        val = cameras_around(points, len(tests), size, fov, [seed, 1])
        poses = torch.cat([cameras.camera_to_world, val.camera_to_world])
        cameras = Cameras(poses, torch.cat([cameras.intrinsics, val.intrinsics]), size, size)
        places += [_View(None, "val", number) for number in range(len(tests))]
    return cameras, places


def _shoot(
    surface: Surface,
    lights: Lights,
    cameras: Cameras,
    places: list[_View],
    samples: int,
    far: float,
    folder: Path,
    formats: tuple[str, ...],
    progress: bool,
) -> None:
    """Renders every view and writes it in every format, beside the rendering; at most two views wait."""
    turn = torch.from_numpy(TO_BLENDER)
    turned = replace(cameras, camera_to_world=turn @ cameras.camera_to_world)

    def write(place: _View, photos: Photos, normals: np.ndarray, camera: Cameras) -> None:
        if "kaolin" in formats and place.kaolin is not None:
            kaolin_writer.write_view(folder / "kaolin", place.kaolin, photos, camera, 0, normals)
        if "blender" in formats:
            own = normals @ TO_BLENDER.T.astype(np.float32)
            blender_writer.write_view(folder / "blender", place.split, place.number, photos, own, 0, far)

    with ThreadPoolExecutor(1) as writer:
        waiting: list[Future[None]] = []
        numbers = range(len(places))
        for view in track(numbers, len(places), "rendering") if progress else numbers:
            camera = cameras[view]
            depth, normals = geometry(surface, camera, 0)
            photos = render(surface, camera, samples, lights)._replace(depth=depth[None].astype(np.float32))
            if len(waiting) == 2:
                waiting.pop(0).result()
            waiting.append(writer.submit(write, places[view], photos, normals, camera))
        for future in waiting:
            future.result()
    if "blender" in formats:
        for split in ("train", "test", "val"):
            mine = [view for view, place in enumerate(places) if place.split == split]
            blender_writer.write_transforms(folder / "blender", split, turned[mine])


def _world(name: str) -> np.ndarray:
    """From Kaolin's world, in which the mesh is rendered, to that of a format."""
    return TO_BLENDER if name == "blender" else np.eye(3)


def _write_truth(path: Path, vertices: np.ndarray, mesh: TexturedMesh) -> None:
    colors: Any = None
    if mesh.colors is not None:
        rgb = np.rint(as_array(mesh.colors).clip(0, 1) * 255).astype(np.uint8)
        colors = np.concatenate([rgb, np.full((len(rgb), 1), 255, np.uint8)], -1)
    plain = trimesh.Trimesh(vertices, as_array(mesh.faces), vertex_colors=colors, process=False)
    plain.export(path, encoding="binary")


@contextlib.contextmanager
def _filled(folder: Path, names: tuple[str, ...], megabytes: int) -> Iterator[Path]:
    """A passing folder inside ``folder`` whose ``names`` move up into it when the block ends without an error.

    Raises:
        SceneError: ``folder`` is a file, holds something already, or cannot be written.
    """
    mine: list[Path] = []  # the folders that are made here, and go again if the block fails
    try:
        if folder.is_dir():
            _remove_abandoned(folder)
            if held := sorted(p.name for p in folder.iterdir() if not p.name.startswith(UNFINISHED)):
                raise problem(str(folder), f"not empty, it holds {held[0]}", "a new or an empty folder", "Choose one.")
        elif folder.exists():
            raise problem(str(folder), "a file", "a new or an empty folder", "Choose another place.")
        mine = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        passing = folder / f"{UNFINISHED}{uuid.uuid4().hex[:8]}"
        passing.mkdir()
        try:
            yield passing
            for name in names:
                (passing / name).rename(folder / name)
            mine = []
        finally:
            shutil.rmtree(passing, ignore_errors=True)
    except OSError as error:
        raise problem(
            str(folder),
            f"the views cannot be written there ({error.strerror or error})",
            f"a writable folder with {megabytes} MB free",
            "Free some space, or choose another folder.",
        ) from error
    finally:
        for path in mine:
            with contextlib.suppress(OSError):
                path.rmdir()


def _remove_abandoned(folder: Path) -> None:
    """Drop what processes that were killed left in ``folder``."""
    for path in folder.glob(f"{UNFINISHED}*"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)
