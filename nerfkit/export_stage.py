"""The export stage of a run: the mesh and the cameras as files for other programs."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nerfkit.config import ExportOptions
from nerfkit.errors import CheckpointError
from nerfkit.export_record import PLACED, SUFFIXES, begin, end, exported_place, in_doubt, move_cameras, told
from nerfkit.fit.extract import ExtractOptions, finished
from nerfkit.fit.refine_measure import alike
from nerfkit.fit.specular import Specular
from nerfkit.mesh.files.gltf_cameras import Shots
from nerfkit.mesh.files.io import WRITTEN, described, load_mesh, save_mesh
from nerfkit.mesh.files.pictures import ENDINGS
from nerfkit.mesh.files.ply_write import points_to_ply
from nerfkit.mesh.files.usd import ROUGHNESS
from nerfkit.mesh.levels import coarser
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.topology import is_watertight
from nerfkit.results import SPECULAR, coarse_file, finished_file, load_own
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
OURS = re.compile(
    rf"mesh(_\d+)?(\.(glb|obj|mtl|ply|stl|usdc|usdz|{'|'.join(ENDINGS.values())})|{ROUGHNESS}\.png)|{re.escape(POINTS)}"
)


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
        new: made by this run's stages, in the scene's own units; None: the run's refined mesh, else what was exported
            before, else its coarse one.
        specular: the highlights of ``new``.
        extract: as ``asked_coarse``.
        video: the path that a GLB may hold; None: the default one.

    Raises:
        CheckpointError: the run has no mesh, and no cameras are asked for.
    """
    moved = moved_formats(options, scene, record)
    there = [name for name in WRITERS if (record.folder / "cameras" / name).exists()] if "cameras" in moved else []
    cameras = dict.fromkeys([*options.cameras, *there])
    if options.formats and (new is not None or has_mesh(options, record)):
        with moving(options, scene, record):
            export_mesh(new, specular, options, scene, record, moved, extract, video)
            export_cameras(cameras, options, scene, record)
    else:
        reason = "add extract to stages for a mesh" if options.formats else "export.formats=null"
        record.log(f"no mesh is written: {reason}")
        if "cameras" in moved:
            move_cameras(record)
        export_cameras(cameras, options, scene, record)


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


def asked_coarse(record: Run, scene: Scene, extract: ExtractOptions | None) -> Mesh:
    """The run's coarse mesh as it is asked for, in the scene's own units: of one that stays closed the file's own bits.

    Args:
        extract: whether it is opened where it is cut off, see ``finished``; None: it is not.

    Raises:
        CheckpointError: there is none.
    """
    own, units = load_mesh(coarse_file(record)), scene.normalization
    if extract is None or extract.stays_closed(scene):
        return own
    return finished(own.transformed(units.apply), scene, extract).transformed(units.invert)


def factor(format: str, options: ExportOptions, scene: Scene) -> float:
    """What the scene's own coordinates are multiplied by in a format: see ``placement``."""
    own = options.scale * (scene.meters or 1)
    return own if format in PLACED else own * UNITS.get(options.units or "", 1.0)


def placement(format: str, options: ExportOptions, scene: Scene) -> Placement:
    """Where a format's coordinates lie: in meters, or else the scene's own units, times ``options.scale``.

    What says neither its unit nor what is up, all but glb and usd, also follows ``options.units`` and ``options.up``.
    """
    place = Placement(scene.normalization.enlarged(factor(format, options, scene)))
    turns = format not in PLACED and options.up != "scene"
    return place.turned_up(scene.up, AXES[options.up]) if turns else place


def moved_formats(options: ExportOptions, scene: Scene, record: Run) -> set[str]:
    """The formats, and ``cameras``, whose files of before lie elsewhere than these options say, or may do so."""
    names = {*WRITTEN, "cameras"}
    there = {name for name in names if placement(name, options, scene) == exported_place(name, record, scene)}
    return (names - there) | in_doubt(names, record)


@contextlib.contextmanager
def moving(options: ExportOptions, scene: Scene, record: Run) -> Iterator[None]:
    """A block that writes all files of a mesh; metrics.json says at every moment where each of them lies."""
    turn = placement("ply", options, scene).turn
    about = told(factor("glb", options, scene), factor("ply", options, scene), turn, scene)
    begin(about, [path for path in record.folder.glob("mesh/*") if OURS.fullmatch(path.name)], record)
    yield
    end(about, record)


def export_mesh(
    new: Mesh | None,
    specular: Specular | None,
    options: ExportOptions,
    scene: Scene,
    record: Run,
    moved: Set[str] = frozenset(),
    extract: ExtractOptions | None = None,
    video: VideoOptions | None = None,
    name: str = "mesh",
) -> None:
    """Writes ``mesh/NAME.*``, its coarser copies ``mesh/NAME_FACES.*`` and its points, each where ``placement`` says.

    Args:
        new, specular, extract, video: as ``export``.
        moved: the formats whose files of before lie elsewhere.
        name: of the files; another one than ``mesh`` also begins that of the points.
    """
    own, formats, folder = new, tuple(options.formats or ()), record.folder / "mesh"
    if own is None:
        path = _finished_with_colors(record)
        if path is not None:
            own, specular = load_own(path, record, scene)
        else:
            path = coarse_file(record)
            own = asked_coarse(record, scene, extract)
        if own.texture is None and {"glb", "obj", "usd", "usdz"} & set(formats):
            record.log(
                f"note: no texture is written: {path}, which has none, is what there is of the mesh; "
                f"resume={record.folder} 'stages=[refine,export]' makes one"
            )
        there = [end for end in WRITTEN if (folder / f"mesh.{SUFFIXES.get(end, end)}").exists()]
        formats = tuple(dict.fromkeys([*formats, *(end for end in there if end in moved)]))  # all have one scale
    own, specular = own.to("cpu"), specular and specular.to("cpu")
    mesh = own.transformed(scene.normalization.apply)
    looks = [(own.texture, formats)]
    if options.material == "pbr" and specular is not None and "glb" in formats:  # its viewers add highlights
        looks = [(specular.diffuse, ("glb",)), (own.texture, tuple({*formats} - {"glb"}))]
    roughness = None if specular is None else specular.roughness()
    shots = _shots(options, scene, video or VideoOptions(), mesh) if "glb" in formats else []
    written = []
    for texture, some in looks:
        written += _save(replace(own, texture=texture), folder / name, some, roughness, options, scene, shots)
    for path in dict.fromkeys(written):
        record.log(f"wrote {described(path)}")
    if "stl" in formats and extract is not None and not (is_watertight(mesh) or extract.stays_closed(scene)):
        asked = f"resume={record.folder} 'stages=[refine,export]' extract.closed=true"
        record.log(f"note: the mesh is open where it is cut off; with a floor there, to print it: {asked}")
    if options.points:
        written.append(folder / (POINTS if name == "mesh" else f"{name}_{POINTS}"))
        write_bytes(written[-1], points_to_ply(placed(own, placement("ply", options, scene), scene), options.points))
        record.log(f"wrote {written[-1]}, {options.points:,} points of the surface")
    for faces in options.faces:
        levels = [(replace(mesh, texture=texture), some) for texture, some in looks]
        written += _level(levels, folder / f"{name}_{faces}", faces, roughness, options, scene, record)
    _drop_stale(new is not None, moved, written, record)


def placed(own: Mesh, place: Placement, scene: Scene) -> Mesh:
    """A mesh in the scene's own units at another place; bit by bit the same where that is no other."""
    return own.transformed(lambda points: torch.from_numpy(place.of_scene(points.numpy(), scene)))


def _save(
    own: Mesh,
    stem: Path,
    formats: Iterable[str],
    roughness: Tensor | None,
    options: ExportOptions,
    scene: Scene,
    shots: list[Shots],
) -> list[Path]:
    """One mesh in the scene's own units in every format, each where it belongs; the files."""
    written = []
    for places in (PLACED, [format for format in WRITTEN if format not in PLACED]):
        wanted = [format for format in places if format in formats]
        if wanted:
            there, unlit = placed(own, placement(wanted[0], options, scene), scene), options.material == "unlit"
            written += save_mesh(there, stem, wanted, roughness, scene.up, options.encoding, unlit, shots)
    return written


def _level(
    looks: list[tuple[Mesh, tuple[str, ...]]],
    stem: Path,
    faces: int,
    roughness: Tensor | None,
    options: ExportOptions,
    scene: Scene,
    record: Run,
) -> list[Path]:
    """A coarser copy in every format, and in the log how much like the mesh it looks; the files.

    Args:
        looks: the mesh in normalized units, as some formats show it.
    """
    fine = looks[-1][0]
    if faces >= len(fine.faces):
        record.log(f"note: no {stem}.*: the mesh itself has {len(fine.faces):,} faces")
        return []
    written = []
    for look, formats in looks:
        level, rough = coarser(look, faces, roughness if look.texture is not None else None)
        own = level.transformed(scene.normalization.invert)
        written += _save(own, stem, formats, rough, options, scene, [])
    likeness = alike(level, fine, scene)
    record.log(f"wrote {stem}.*, {len(level.faces):,} faces, PSNR {likeness:.2f} dB to the mesh's own pictures")
    for path in written:
        if path.suffix == ".stl":
            record.log(f"wrote {described(path)}")
    return written


def _shots(options: ExportOptions, scene: Scene, video: VideoOptions, mesh: Mesh) -> list[Shots]:
    """The cameras that a GLB is to hold; the mesh in normalized units is what the path goes around."""
    shots, place = [], placement("glb", options, scene)
    for kind in options.glb_cameras:
        moves = kind == "path"
        cameras = camera_path(video, scene, mesh.vertices) if moves else scene.cameras
        names, lenses = ["path"] if moves else view_names(scene), cameras.intrinsics.double().numpy(force=True)
        poses = place.poses(cameras.camera_to_world)
        shots.append(Shots(names, poses, lenses, cameras.sizes, video.fps if moves else None))
    return shots


def _drop_stale(new: bool, moved: Set[str], written: Iterable[Path], record: Run) -> None:
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


def export_cameras(names: Iterable[str], options: ExportOptions, scene: Scene, record: Run) -> None:
    """Writes the undistorted photos with their cameras, as ``cameras/NAME``, where ``mesh.obj`` is."""
    place = placement("cameras", options, scene)
    for name in names:
        path = record.folder / "cameras" / name
        with replacing_folder(path) as folder:
            WRITERS[name](scene, folder, place)
        record.log(f"wrote {path}, {len(scene.cameras)} photos with their cameras")
