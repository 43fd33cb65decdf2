"""The export stage of a run: the mesh and the cameras as files for other programs."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from nerfkit.config import ExportOptions
from nerfkit.errors import CheckpointError
from nerfkit.fit.extract import ExtractOptions, finished
from nerfkit.fit.metrics import psnr
from nerfkit.fit.specular import Specular
from nerfkit.mesh.files.gltf_cameras import Shots
from nerfkit.mesh.files.io import WRITTEN, described, save_mesh
from nerfkit.mesh.files.pictures import ENDINGS
from nerfkit.mesh.files.ply_write import points_to_ply
from nerfkit.mesh.files.usd import ROUGHNESS
from nerfkit.mesh.levels import coarser
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.topology import is_watertight
from nerfkit.raster.shade import MeshSource
from nerfkit.results import PLACED, SPECULAR, coarse_file, exported_place, finished_file, load_coarse, load_finished
from nerfkit.runs.files import replacing_folder, write_bytes
from nerfkit.runs.folder import Run
from nerfkit.scenes.frame import AXES
from nerfkit.scenes.placement import UNITS, Placement
from nerfkit.scenes.scene import Scene
from nerfkit.scenes.writers import WRITERS, view_names
from nerfkit.view.options import VideoOptions
from nerfkit.view.route import camera_path
from nerfkit.view.show import REFINED

POINTS = "points.ply"
SUFFIXES = {"usd": "usdc"}
"""Format -> how its files' names end, where that is another word."""
OURS = re.compile(
    rf"mesh(_\d+)?(\.(glb|obj|mtl|ply|stl|usdc|usdz|{'|'.join(ENDINGS.values())})|{ROUGHNESS}\.png)|{re.escape(POINTS)}"
)
LARGEST = 512  # pixels of the longer side of the pictures by which levels of detail are compared


def export(
    new: Mesh | None,
    specular: Specular | None,
    options: ExportOptions,
    scene: Scene,
    record: Run,
    extract: ExtractOptions | None = None,
    video: VideoOptions | None = None,
) -> None:
    """Writes the mesh, where one is asked for and there, and the cameras that are asked for.

    Args:
        new: made by this run's stages, in normalized units; None: the run's refined mesh, else what was exported
            before, else its coarse one.
        specular: the highlights of ``new``.
        extract: whether the run's coarse mesh, where that is written, stays closed; None: it does.
        video: the path that a GLB may hold; None: the default one.

    Raises:
        CheckpointError: the run has no mesh, and no cameras are asked for.
    """
    place = placement("cameras", options, scene)
    moved = place != exported_place("cameras", record, scene)
    if options.formats and (new is not None or has_mesh(options, record)):
        export_mesh(new, specular, options, scene, record, extract, video)
    else:
        reason = "add extract to stages for a mesh" if options.formats else "export.formats=null"
        record.log(f"no mesh is written: {reason}")
    there = [name for name in WRITERS if (record.folder / "cameras" / name).exists()] if moved else []
    export_cameras(dict.fromkeys([*options.cameras, *there]), scene, record, place)


def has_mesh(options: ExportOptions, record: Run) -> bool:
    """Whether a mesh is asked for, and an earlier part of the run has made one.

    Raises:
        CheckpointError: it has made none, and no cameras are asked for either.
    """
    if not options.formats or finished_file(record) is not None:
        return bool(options.formats)
    try:
        coarse_file(record)
    except CheckpointError as error:
        if not options.cameras:
            raise CheckpointError(f"{error}, or ask for cameras alone, such as export.cameras=[transforms]") from None
        return False
    return True


def placement(format: str, options: ExportOptions, scene: Scene) -> Placement:
    """Where a format's coordinates lie: in meters, or else the scene's own units, times ``options.scale``.

    What says neither its unit nor what is up, all but glb and usd, also follows ``options.units`` and ``options.up``.
    """
    factor = options.scale * (scene.meters or 1)
    if format in PLACED:
        return Placement(scene.normalization.enlarged(factor))
    place = Placement(scene.normalization.enlarged(factor * UNITS.get(options.units or "", 1.0)))
    return place if options.up == "scene" else place.turned_up(scene.up, AXES[options.up])


def export_mesh(
    new: Mesh | None,
    specular: Specular | None,
    options: ExportOptions,
    scene: Scene,
    record: Run,
    extract: ExtractOptions | None = None,
    video: VideoOptions | None = None,
) -> None:
    """Writes ``mesh/mesh.*``, its coarser copies ``mesh/mesh_FACES.*`` and its points, each where ``placement`` says.

    Args:
        new, specular, extract, video: as ``export``.
    """
    mesh, formats, folder = new, tuple(options.formats or ()), record.folder / "mesh"
    places = {format: placement(format, options, scene) for format in WRITTEN}
    moved = {format for format, place in places.items() if place != exported_place(format, record, scene)}
    if mesh is None:
        path = _finished_with_colors(record)
        if path is not None:
            mesh, specular = load_finished(path, record, scene)
        else:
            path, mesh = coarse_file(record), load_coarse(record, scene)
            mesh = mesh if extract is None else finished(mesh, scene, extract)
        if mesh.texture is None and {"glb", "obj", "usd", "usdz"} & set(formats):
            record.log(
                f"note: no texture is written: {path}, which has none, is what there is of the mesh; "
                f"resume={record.folder} stages=[refine,export] makes one"
            )
        there = [end for end in WRITTEN if (folder / f"mesh.{SUFFIXES.get(end, end)}").exists()]
        formats = tuple(dict.fromkeys([*formats, *(end for end in there if end in moved)]))  # all have one scale
    mesh, specular = mesh.to("cpu"), specular and specular.to("cpu")
    looks = [(mesh, formats)]
    if options.material == "pbr" and specular is not None and "glb" in formats:  # its viewers add highlights
        looks = [(replace(mesh, texture=specular.diffuse), ("glb",)), (mesh, tuple({*formats} - {"glb"}))]
    roughness = None if specular is None else specular.roughness()
    shots = _shots(options, scene, video or VideoOptions(), places["glb"], mesh) if "glb" in formats else []
    written = []
    for look, some in looks:
        written += _save(look, folder / "mesh", some, roughness, options, scene, shots)
    about: dict[str, Any] = {"scale": options.scale * (scene.meters or 1), "meters_per_unit": scene.meters}
    plain = places["ply"]
    same = plain == places["glb"]
    scale = scene.normalization.scale / plain.units.scale
    record.update_metrics({"export": about | {"others": None if same else {"scale": scale, "turn": plain.turn}}})
    for path in dict.fromkeys(written):
        record.log(f"wrote {described(path)}")
    if "stl" in formats and extract is not None and not (is_watertight(mesh) or extract.stays_closed(scene)):
        asked = f"resume={record.folder} stages=[refine,export] extract.closed=true"
        record.log(f"note: the mesh is open where it is cut off; with a floor there, to print it: {asked}")
    if options.points:
        written.append(folder / POINTS)
        write_bytes(written[-1], points_to_ply(mesh.transformed(plain.invert), options.points))
        record.log(f"wrote {written[-1]}, {options.points:,} points of the surface")
    for faces in options.faces:
        written += _level(looks, faces, roughness, options, scene, record)
    _drop_stale(new is not None, moved, written, record)


def _save(
    mesh: Mesh,
    stem: Path,
    formats: Iterable[str],
    roughness: Tensor | None,
    options: ExportOptions,
    scene: Scene,
    shots: list[Shots],
) -> list[Path]:
    """One mesh in normalized units in every format, each where it belongs; the files."""
    written = []
    for places in (PLACED, [format for format in WRITTEN if format not in PLACED]):
        wanted = [format for format in places if format in formats]
        if wanted:
            own, unlit = mesh.transformed(placement(wanted[0], options, scene).invert), options.material == "unlit"
            written += save_mesh(own, stem, wanted, roughness, scene.up, options.encoding, unlit, shots)
    return written


def _level(
    looks: list[tuple[Mesh, tuple[str, ...]]],
    faces: int,
    roughness: Tensor | None,
    options: ExportOptions,
    scene: Scene,
    record: Run,
) -> list[Path]:
    """A coarser copy in every format, and in the log how much like the mesh it looks; the files."""
    fine, stem = looks[-1][0], record.folder / "mesh" / f"mesh_{faces}"
    if faces >= len(fine.faces):
        record.log(f"note: no {stem}.*: the mesh itself has {len(fine.faces):,} faces")
        return []
    written = []
    for look, formats in looks:
        level, rough = coarser(look, faces, roughness if look.texture is not None else None)
        written += _save(level, stem, formats, rough, options, scene, [])
    likeness = alike(level, fine, scene)
    record.log(f"wrote {stem}.*, {len(level.faces):,} faces, PSNR {likeness:.2f} dB to the mesh's own pictures")
    for path in written:
        if path.suffix == ".stl":
            record.log(f"wrote {described(path)}")
    return written


def alike(mesh: Mesh, other: Mesh, scene: Scene) -> float:
    """Mean PSNR in dB of a mesh's pictures to another's, both in normalized units, from the held-out photos' places.

    Pictures are as large as the photos, but at most ``LARGEST`` pixels; without held-out photos, the first ten's places
    are taken.
    """
    found = []
    for view in scene.test or range(min(10, len(scene.cameras))):
        camera = scene.cameras[view]
        share = min(1.0, LARGEST / max(camera.size))
        camera = camera.resized(*(max(1, round(share * side)) for side in camera.size))
        one, two = (MeshSource(some, scene.background).render(camera, 0, ("rgb",))["rgb"] for some in (mesh, other))
        found.append(psnr(one, two))
    return sum(found) / len(found)


def _shots(options: ExportOptions, scene: Scene, video: VideoOptions, place: Placement, mesh: Mesh) -> list[Shots]:
    """The cameras that a GLB is to hold, which lies at ``place``."""
    shots = []
    for kind in options.glb_cameras:
        moves = kind == "path"
        cameras = camera_path(video, scene, mesh.vertices) if moves else scene.cameras
        names, lenses = ["path"] if moves else view_names(scene), cameras.intrinsics.double().numpy(force=True)
        poses = place.poses(cameras.camera_to_world)
        shots.append(Shots(names, poses, lenses, cameras.sizes, video.fps if moves else None))
    return shots


def _drop_stale(new: bool, moved: set[str], written: Iterable[Path], record: Run) -> None:
    """Removes what would pass for files of the mesh: those of an earlier one, or of other units and axes."""
    folder = record.folder / "mesh"
    for path in sorted(set(folder.iterdir()) - set(written)):
        ours, ending = OURS.fullmatch(path.name) is not None, path.suffix[1:]
        elsewhere = ending in {SUFFIXES.get(format, format) for format in moved}
        highlights = path.name == SPECULAR and not (folder / REFINED).exists()
        if (new and (ours or highlights)) or (ours and elsewhere):
            path.unlink()
            record.log(f"removed {path}, {'an earlier mesh' if new else 'in other units or axes'}")


def _finished_with_colors(record: Run) -> Path | None:
    """The file of the run's finished mesh; None for the coarse one, also where that was only written without colors."""
    path = finished_file(record)
    if path is None or path.suffix != ".stl" or record.metrics().get("mesh"):
        return path
    try:
        coarse_file(record)
    except CheckpointError:
        return path
    return None


def export_cameras(names: Iterable[str], scene: Scene, record: Run, place: Placement) -> None:
    """Writes the undistorted photos with their cameras, as ``cameras/NAME``, where ``mesh.obj`` is."""
    for name in names:
        path = record.folder / "cameras" / name
        with replacing_folder(path) as folder:
            WRITERS[name](scene, folder, place)
        record.log(f"wrote {path}, {len(scene.cameras)} photos with their cameras")
