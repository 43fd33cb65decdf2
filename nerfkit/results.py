"""What a run folder holds for later stages and for pictures: the field of its checkpoints, its meshes."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from nerfkit.config import TrainOptions
from nerfkit.errors import CheckpointError
from nerfkit.export_record import exported_place
from nerfkit.fit.build import model_of
from nerfkit.fit.field import FieldFit
from nerfkit.fit.specular import Specular, SpecularSource
from nerfkit.mesh.files.io import FORMATS, load_mesh, save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.raster.shade import MeshSource
from nerfkit.runs import checkpoints
from nerfkit.runs.fingerprint import of_files, of_state
from nerfkit.runs.folder import Run
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.runs.tensors import save_tensors
from nerfkit.scenes.placement import own_units
from nerfkit.scenes.scene import Scene
from nerfkit.view.show import REFINED, SideBySide, Source
from nerfkit.volume.model import FieldSource

SPECULAR, WEIGHTS = "specular.npz", "field.safetensors"
LAYOUT = "1"  # of the weights' texts


def new_fit(
    config: TrainOptions,
    scene: Scene,
    record: Run | None,
    device: torch.device,
    rendering: bool = False,
    ranks: Ranks = ALONE,
) -> FieldFit:
    """An untrained model and what trains it, as ``config`` says; checkpoints and curves go to ``record``.

    Raises:
        ConfigError: a value that cannot be used.
    """
    model = model_of(config, scene, device, rendering)
    return FieldFit(model, scene, config.trainer, seed=config.seed, run=record, ranks=ranks)


def load_fit(
    config: TrainOptions,
    scene: Scene,
    record: Run,
    device: torch.device,
    rendering: bool = False,
    ranks: Ranks = ALONE,
    kind: str = checkpoints.FIELD,
) -> FieldFit:
    """The model of the run's newest checkpoint, of one ``kind``, and what trains it.

    Raises:
        CheckpointError: there is none, or it does not fit the config.
    """
    fit = new_fit(config, scene, record, device, rendering, ranks)
    fit.load_state_dict(checkpoints.load_latest(record.folder, device, tqdm.write, kind)[1], str(record.folder))
    return fit


def keep_weights(fit: FieldFit, config: TrainOptions, record: Run) -> None:
    """Leaves the model that the run is evaluated by, for programs without nerfkit: ``field.safetensors``.

    Its texts: ``version`` of this layout; ``field``, ``sampler`` and ``normalization`` as JSON, from which
    ``build_model`` makes the model of the scene that takes these tensors by ``load_state_dict``.
    """
    told = {"field": config.field, "sampler": config.sampler, "normalization": fit.scene.normalization}
    about = {"format": "pt", "version": LAYOUT} | {key: json.dumps(asdict(value)) for key, value in told.items()}
    save_tensors(record.folder / WEIGHTS, fit.average.state_dict(), about)


def coarse_file(record: Run) -> Path:
    """The run's mesh before refinement.

    Raises:
        CheckpointError: there is none.
    """
    path = record.folder / "mesh" / "coarse.ply"
    if not path.exists():
        raise CheckpointError(f"{path}: not there yet; add extract to stages")
    return path


def load_coarse(record: Run, scene: Scene) -> Mesh:
    """The same, in normalized units."""
    return load_mesh(coarse_file(record)).transformed(scene.normalization.apply)


def keep_refined(mesh: Mesh, specular: Specular | None, record: Run, scene: Scene) -> None:
    """Leaves a finished mesh whole, whatever is exported: ``mesh/refined.glb``, and ``specular.npz`` beside it.

    Args:
        mesh: in the scene's own units, as the file.
        specular: its highlights, where it has some.
    """
    folder = record.folder / "mesh"
    (folder / SPECULAR).unlink(missing_ok=True)  # it would be taken for this mesh's
    save_mesh(mesh, folder / Path(REFINED).stem, ("glb",), up=scene.up)
    if specular is not None:
        specular.save(folder / SPECULAR)


def drop_refined(record: Run) -> None:
    """Removes what ``keep_refined`` left, for the run has another coarse mesh; exported files stay as they are."""
    (record.folder / "mesh" / REFINED).unlink(missing_ok=True)


def finished_file(record: Run) -> Path | None:
    """The file that holds most of the run's finished mesh: refined, else exported; None where there is none."""
    folder = record.folder / "mesh"
    names = [REFINED, *(f"mesh.{end}" for end in FORMATS)]
    return next((path for path in (folder / name for name in names) if path.exists()), None)


def load_finished(path: Path, record: Run, scene: Scene) -> tuple[Mesh, Specular | None]:
    """The mesh of ``finished_file`` in normalized units, and its highlights where it has some and a texture."""
    mesh, specular = load_own(path, record, scene)
    return mesh.transformed(scene.normalization.apply), specular


def load_own(path: Path, record: Run, scene: Scene) -> tuple[Mesh, Specular | None]:
    """The same in the scene's own units, bit by bit where the file is in these."""
    own, mesh, highlights = own_units(scene), load_mesh(path), path.with_name(SPECULAR)
    place = own if path.name == REFINED else exported_place(path.suffix[1:], record, scene)
    if place != own:
        mesh = mesh.transformed(lambda points: own.invert(place.apply(points)))
    return mesh, Specular.load(highlights) if mesh.texture is not None and highlights.exists() else None


def source_of(
    name: str, record: Run, scene: Scene, fit: Callable[[], FieldFit], device: torch.device
) -> tuple[Source, str]:
    """What to show of a run, its mesh, its field or both, and what tells one state of that from another."""
    if name == "both":
        (field, step), (mesh, written) = (source_of(one, record, scene, fit, device) for one in ("field", "mesh"))
        return SideBySide(field, mesh), f"{step}, {written}"
    if name == "mesh":
        return mesh_source(record, scene, device)
    trained = fit()
    return FieldSource(trained.average, scene.background), of_state(trained.average.state_dict())


def mesh_source(record: Run, scene: Scene, device: torch.device) -> tuple[Source, str]:
    """The finished mesh, in normalized units, with its highlights where it has some, and a fingerprint of both."""
    path = finished_file(record)
    assert path is not None  # ``pick_source`` has seen it
    mesh, specular = load_finished(path, record, scene)
    if specular is not None:
        identity = of_files([path, path.with_name(SPECULAR)])
        return SpecularSource(mesh.to(device), specular.to(device), scene.background), identity
    return MeshSource(mesh.to(device), scene.background), of_files([path])
