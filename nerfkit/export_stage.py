"""The export stage of a run: the mesh and the cameras as files for other programs."""

from pathlib import Path

from nerfkit.config import ExportOptions
from nerfkit.errors import CheckpointError
from nerfkit.fit.extract import ExtractOptions, finished
from nerfkit.fit.specular import Specular
from nerfkit.mesh.files.io import WRITTEN, described, save_mesh
from nerfkit.mesh.files.usd import ROUGHNESS
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.topology import is_watertight
from nerfkit.results import SPECULAR, coarse_file, exported_units, finished_file, load_coarse, load_finished
from nerfkit.runs.files import replacing_folder
from nerfkit.runs.folder import Run
from nerfkit.scenes.scene import Scene
from nerfkit.scenes.writers import WRITERS
from nerfkit.view.show import REFINED

EXPORTS = tuple(
    f"mesh{end}" for end in (".glb", ".obj", ".mtl", ".png", ".ply", ".stl", ".usdc", ".usdz", f"{ROUGHNESS}.png")
)
"""What an export of every format leaves in a run's folder ``mesh``."""


def export(
    new: Mesh | None,
    specular: Specular | None,
    options: ExportOptions,
    scene: Scene,
    record: Run,
    extract: ExtractOptions | None = None,
) -> None:
    """Writes the mesh, where one is asked for and there, and the cameras that are asked for.

    Args:
        new: made by this run's stages, in normalized units; None: the run's refined mesh, else what was exported
            before, else its coarse one.
        specular: the highlights of ``new``.
        extract: whether the run's coarse mesh, where that is written, stays closed; None: it does.

    Raises:
        CheckpointError: the run has no mesh, and no cameras are asked for.
    """
    if options.formats and (new is not None or has_mesh(options, record)):
        export_mesh(new, specular, options, scene, record, extract)
    else:
        reason = "add extract to stages for a mesh" if options.formats else "export.formats=null"
        record.log(f"no mesh is written: {reason}")
    export_cameras(options, scene, record)


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


def export_mesh(
    new: Mesh | None,
    specular: Specular | None,
    options: ExportOptions,
    scene: Scene,
    record: Run,
    extract: ExtractOptions | None = None,
) -> None:
    """Writes a mesh as ``mesh/mesh.*`` in meters or the scene's own units, times ``options.scale``.

    Args:
        new, specular, extract: as ``export``.
    """
    mesh, formats, scale = new, tuple(options.formats or ()), options.scale * (scene.meters or 1)
    units, before = scene.normalization.enlarged(scale), exported_units(record, scene)
    folder = record.folder / "mesh"
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
        if units != before:  # the files of one mesh have one scale
            there = [end for end in WRITTEN if (folder / f"mesh.{'usdc' if end == 'usd' else end}").exists()]
            formats = tuple(dict.fromkeys([*formats, *there]))
    roughness = None
    if specular is not None and {"glb", "usd", "usdz"} & set(formats):
        roughness = specular.roughness()
    written = save_mesh(mesh.transformed(units.invert), folder / "mesh", formats, roughness, scene.up)
    record.update_metrics({"export": {"scale": scale, "meters_per_unit": scene.meters}})
    for path in written:
        record.log(f"wrote {described(path)}")
    if "stl" in formats and extract is not None and not (is_watertight(mesh) or extract.stays_closed(scene)):
        asked = f"resume={record.folder} stages=[refine,export] extract.closed=true"
        record.log(f"note: the mesh is open where it is cut off; with a floor there, to print it: {asked}")
    if new is not None:  # files of the mesh before would pass for it
        others = {folder / name for name in EXPORTS} - set(written)
        for path in others if (folder / REFINED).exists() else {*others, folder / SPECULAR}:
            if path.exists():
                path.unlink()
                record.log(f"removed {path}, an earlier mesh")


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


def export_cameras(options: ExportOptions, scene: Scene, record: Run) -> None:
    """Writes the undistorted photos with their cameras, as ``cameras/FORMAT``."""
    for name in options.cameras:
        path = record.folder / "cameras" / name
        with replacing_folder(path) as folder:
            WRITERS[name](scene, folder)
        record.log(f"wrote {path}, {len(scene.cameras)} photos with their cameras")
