"""Photos of any mesh as a data set of its own, in the formats that ``open_scene`` reads.

The pictures come from ``renderer``, which shares no code with the differentiable renderers, so that what is fitted to
them is measured against something independent.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from nerfkit.cameras import Cameras
from nerfkit.errors import problem
from nerfkit.mesh.mesh import Mesh
from nerfkit.runs.progress import track
from nerfkit.scenes.assemble import MIN_TRAIN
from nerfkit.scenes.files import TRUTH
from nerfkit.schema import Options, option
from nerfkit.studio import blender_writer, kaolin_writer
from nerfkit.studio.output import unfinished_folder, write_beside, write_truth
from nerfkit.studio.renderer import Lights, Photos, Surface, geometry, render
from nerfkit.studio.surfaces import surface_of
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
    light: str = option(
        "auto",
        "none: colors as they are; studio: lights with a highlight; auto: studio for a mesh without colors, else none",
        choices=("auto", *LIGHTS),
    )
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
    mesh: Mesh, folder: str | Path, options: SynthesisOptions | None = None, *, progress: bool = True
) -> dict[str, Path]:
    """Render ``mesh`` from all sides into ``folder``/kaolin and ``folder``/blender; the same arguments, the same files.

    Both hold the same views of the same splits, and ``truth.ply``, the mesh in the axes and units of its folder.
    A mesh with an origin, far away on a map, is placed without it: ``synthesis.json`` has it as ``mesh_origin``, in the
    mesh's axes. ``blender_writer`` and ``kaolin_writer`` list the other files. Folders appear under their names when
    they are whole.

    Args:
        mesh: with colors, a texture, or neither: it is white then, and ``light="auto"`` lights it.
        folder: new or empty.
        options: None takes their defaults.
        progress: whether to show how far it is.

    Returns:
        the folder of each format written.

    Raises:
        SceneError: the mesh has no face with an area, or the folder is not empty or cannot be written.
    """
    o = options or SynthesisOptions()
    if o.light == "auto":
        o = replace(o, light="studio" if mesh.colors is None and mesh.texture is None else "none")
    formats = FORMATS if o.format == "both" else (o.format,)
    vertices = mesh.vertices.double().numpy(force=True) @ TO_KAOLIN[o.up].T
    surface = surface_of(mesh, TO_KAOLIN[o.up], o.specular if o.light != "none" else 0.0, o.shininess)
    faces = mesh.faces.numpy(force=True)
    points = _visible(vertices, faces, str(mesh.provenance.get("path", "mesh")))
    cameras, places = _plan(points, o.views, o.size, o.holdout, o.fov, o.seed, with_val="blender" in formats)
    # White is the camera's plane and black lies as far behind the object, as in NeRF's synthetic scenes.
    far = 2 * float(np.linalg.norm(cameras.positions[0].numpy() - (points.min(axis=0) + points.max(axis=0)) / 2))
    about = {
        "mesh": Path(str(mesh.provenance.get("path", ""))).name,
        **{"views": o.views, "size": o.size, "samples": o.samples, "seed": o.seed, "holdout": o.holdout},
        **{"fov_degrees": o.fov, "light": o.light, "specular": o.specular, "shininess": o.shininess, "mesh_up": o.up},
        "depth_png_black": far,
        **({"mesh_origin": mesh.origin} if any(mesh.origin) else {}),
    }
    colors = None if mesh.colors is None else mesh.colors.numpy(force=True)
    megabytes = len(places) * o.size**2 * 25 // 10**6 + 20
    with _output_folder(Path(folder).expanduser().absolute(), formats, megabytes) as unfinished:
        for name in formats:
            (unfinished / name).mkdir()
            write_truth(unfinished / name / TRUTH, vertices @ _world(name).T, faces, colors)
            (unfinished / name / ABOUT).write_text(json.dumps(about, indent=4) + "\n")
        _render_views(surface, LIGHTS[o.light], cameras, places, o.samples, far, unfinished, formats, progress)
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


def _render_views(
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
    """Renders every view and writes it in every format."""
    turn = torch.from_numpy(TO_BLENDER)
    turned = cameras.changed(turn @ cameras.camera_to_world)

    def render_one(view: int) -> tuple[Photos, np.ndarray]:
        depth, normals = geometry(surface, cameras[view], 0)
        photos = render(surface, cameras[view], samples, lights)
        return photos._replace(depth=depth[None].astype(np.float32)), normals

    def write(view: int, rendered: tuple[Photos, np.ndarray]) -> None:
        place, (photos, normals) = places[view], rendered
        if "kaolin" in formats and place.kaolin is not None:
            kaolin_writer.write_view(folder / "kaolin", place.kaolin, photos, cameras[view], normals)
        if "blender" in formats:
            own = normals @ TO_BLENDER.T.astype(np.float32)
            blender_writer.write_view(folder / "blender", place.split, place.number, photos, own, far)

    numbers = range(len(places))
    write_beside(track(numbers, len(places), "rendering") if progress else numbers, render_one, write)
    if "blender" in formats:
        for split in ("train", "test", "val"):
            mine = [view for view, place in enumerate(places) if place.split == split]
            blender_writer.write_transforms(folder / "blender", split, turned[mine])


def _world(name: str) -> np.ndarray:
    """From Kaolin's world, in which the mesh is rendered, to that of a format."""
    return TO_BLENDER if name == "blender" else np.eye(3)


@contextlib.contextmanager
def _output_folder(folder: Path, names: tuple[str, ...], megabytes: int) -> Iterator[Path]:
    """An unfinished folder inside ``folder`` whose ``names`` move up into it when the block ends without an error.

    Raises:
        SceneError: ``folder`` is a file, holds something already, or cannot be written.
    """
    mine: list[Path] = []  # the folders that are made here, and go again if the block fails
    try:
        if folder.is_dir():
            if held := sorted(p.name for p in folder.iterdir() if not p.name.startswith(UNFINISHED)):
                raise problem(str(folder), f"not empty, it holds {held[0]}", "a new or an empty folder", "Choose one.")
        elif folder.exists():
            raise problem(str(folder), "a file", "a new or an empty folder", "Choose another place.")
        mine = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(folder, UNFINISHED) as unfinished:
            yield unfinished
            for name in names:
                (unfinished / name).rename(folder / name)
            mine = []
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
