"""The stages of a run in order: field, extract, refine, export, video."""

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from nerfkit.config import STAGES, RenderOptions, TrainOptions
from nerfkit.errors import CheckpointError, ConfigError, UserError, command
from nerfkit.fields.harmonic import HarmonicOptions
from nerfkit.fit.build import load_scene, model_of
from nerfkit.fit.depth_hints import hints_of
from nerfkit.fit.evaluate import evaluate_field
from nerfkit.fit.extract import coarse_mesh
from nerfkit.fit.field import FieldFit
from nerfkit.fit.specular import Specular, SpecularSource
from nerfkit.mesh.files.io import FORMATS, load_mesh, save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh_stage import refine_stage
from nerfkit.prepare import has_photos_only, prepare
from nerfkit.raster.shade import MeshSource
from nerfkit.resume import load as load_config
from nerfkit.runs import checkpoints
from nerfkit.runs.files import replacing_folder
from nerfkit.runs.folder import Run, find, has_checkpoint
from nerfkit.runs.threads import set_threads
from nerfkit.scenes.record import record as record_scene, recorded
from nerfkit.scenes.scene import Scene, Similarity
from nerfkit.scenes.writers import WRITERS
from nerfkit.view.show import Source, pick_source, seen_over, show
from nerfkit.volume.model import FieldSource

USUAL_RATE = 0.7e6  # samples a second in training, of the default field on two free cores of 2026, the slower ones
SPECULAR = "specular.npz"
EXPORTS = ("mesh.glb", "mesh.obj", "mesh.mtl", "mesh.png", "mesh.ply", SPECULAR)
"""What an export of every format leaves in a run's folder ``mesh``."""


def run(config: TrainOptions) -> Path:
    """Runs the stages that ``config.stages`` names, in the order of ``STAGES``, or a recipe; returns the run folder.

    Raises:
        SceneError, ConfigError, CheckpointError: bad input; nothing is left half written.
    """
    if config.recipe is not None:
        return _run_recipe(config)
    if "field" not in config.stages and config.resume is None:
        raise ConfigError(
            "stages: without the field stage there must be a run to go on with: resume=OUTPUT/SCENE/DATE_TIME"
        )
    device = pick_device(config.device)
    config.field.check_device(device)
    config.threads = set_threads(config.threads)
    if config.resume is not None and not has_checkpoint(find(config.resume)):
        raise CheckpointError(
            f"{config.resume}: no checkpoint in its folder checkpoints/, so there is nothing to resume"
        )
    _find_photos(config)
    scene = load_scene(config)
    if scene.unbounded and config.trainer.capacity is not None:
        raise ConfigError(f"trainer.capacity={config.trainer.capacity}: not for photos without masks; expected null")
    if config.trainer.poses == "on":
        config.sampler.for_moving_cameras(scene)
    if "field" in config.stages:
        hints_of(scene, config.trainer.depth_weight, "cpu")
    if config.resume is not None:
        record = Run.open(config.resume)
        stages = _Stages(config, scene, record, device)
        try:
            stages.check_resumed()  # before anything is written
        except CheckpointError as error:
            changed = "; ".join(record.differences(config))
            raise CheckpointError(f"{error}" + (f". Changed here: {changed}" if changed else "")) from None
        record.go_on(config)
        kept = recorded(record.folder)
        if kept is None or not kept.cameras_refined:
            record_scene(scene, record.folder)
    else:
        record = Run.create(config.output, scene.name, config)
        record_scene(scene, record.folder)
        stages = _Stages(config, scene, record, device)
    try:
        with contextlib.closing(record):
            return stages.run()
    except KeyboardInterrupt:
        if has_checkpoint(record.folder):
            record.log(f"stopped; go on with: {command('train')} resume={record.folder}")
        else:
            record.log(f"stopped before the first checkpoint: {record.folder} holds nothing to go on with; start again")
        raise
    except OSError as error:
        if error.errno and not error.filename:  # the log's and TensorBoard's writes do not say where
            error.filename = str(record.folder)
        raise


def _find_photos(config: TrainOptions) -> None:
    """Makes the scene's path absolute: a run is rendered and resumed from other folders too.

    Photos without cameras get them first, in ``OUTPUT/prepared/NAME``, which is the scene's path from then on.
    """
    scene = config.scene
    if scene.root is None:
        return
    scene.root = os.path.abspath(os.path.expanduser(scene.root))
    if scene.name == "auto" and has_photos_only(scene.root):
        source = Path(scene.root)
        name = source.name if source.is_dir() else source.stem
        output = Path(os.path.abspath(os.path.expanduser(config.output)))
        scene.root = str(prepare(source, output / "prepared" / name).folder)


def _run_recipe(config: TrainOptions) -> Path:
    """An experiment that is a recipe of its own; its run folder is OUTPUT/RECIPE/DATE_TIME."""
    if config.resume is not None:
        raise ConfigError("resume: a recipe is short and cannot be resumed; start it again")
    device = pick_device(config.device)
    config.threads = set_threads(config.threads)
    _find_photos(config)
    with contextlib.closing(Run.create(config.output, config.recipe.name, config)) as record:
        record.log(f"run folder: {record.folder}")
        record.text("config", f"```yaml\n{(record.folder / 'config.yaml').read_text(encoding='utf-8')}```")
        try:
            with record.stage(config.recipe.name):
                config.recipe.run(config, record, device)
            record.chart_losses()
        except UserError:  # bad input leaves nothing behind
            record.discard()
            raise
    return record.folder


def render(config: RenderOptions) -> list[Path]:
    """Videos of the trained run ``config.run``. Returns the videos' paths."""
    assert config.run is not None
    record = Run.open(config.run)
    trained = load_config(record.folder)
    name = pick_source(record.folder, config.source)
    scene = seen_over(recorded(record.folder) or load_scene(trained), config)
    folder = Path(os.path.expanduser(config.output)) if config.output else record.folder / "video"

    device = pick_device(config.device)

    def fit() -> FieldFit:
        return _load_fit(trained, scene, record, device, rendering=True)

    source, identity = _source(name, record, scene, fit, device)
    return show(source, name, config, scene, folder, identity, record.log)


def pick_device(name: str) -> torch.device:
    """``auto`` is the GPU where torch sees one.

    Raises:
        ConfigError: ``cuda`` where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda: torch sees no GPU here; use device=cpu, or run `python -m nerfkit doctor`")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def new_fit(config: TrainOptions, scene: Scene, record: Run, device: torch.device, rendering: bool = False) -> FieldFit:
    """An untrained model and what trains it, as ``config`` says; checkpoints and curves go to ``record``.

    Raises:
        ConfigError: a value that cannot be used.
    """
    return FieldFit(model_of(config, scene, device, rendering), scene, config.trainer, seed=config.seed, run=record)


def _load_fit(
    config: TrainOptions, scene: Scene, record: Run, device: torch.device, rendering: bool = False
) -> FieldFit:
    fit = new_fit(config, scene, record, device, rendering)
    fit.load_state_dict(checkpoints.load_latest(record.folder, device, tqdm.write)[1], str(record.folder))
    return fit


def _exported(folder: Path) -> Path | None:
    """The run's exported mesh, in the format that holds most of it; None where there is none."""
    return next((p for p in (folder / "mesh" / f"mesh.{end}" for end in ("glb", "obj", "ply")) if p.exists()), None)


def _source(
    name: str, record: Run, scene: Scene, fit: Callable[[], FieldFit], device: torch.device
) -> tuple[Source, str]:
    """What to show of a run, its mesh or its field, and what tells one state of that from another."""
    if name == "mesh":
        return _mesh_source(record, scene, device)
    trained = fit()
    return FieldSource(trained.average, scene.background), str(trained.progress.step)


def _units(record: Run, scene: Scene) -> Similarity:
    """From the units of the run's exported mesh, as large as ``export.scale`` was then, to normalized ones."""
    return scene.normalization.enlarged(record.metrics().get("export", {}).get("scale", 1.0))


def _mesh_source(record: Run, scene: Scene, device: torch.device) -> tuple[Source, str]:
    """The exported mesh, back in normalized units, with its highlights where it has some, and when it was written."""
    path = _exported(record.folder)
    assert path is not None  # ``pick_source`` has seen it
    mesh = load_mesh(path).transformed(_units(record, scene).apply).to(device)
    identity = f"{path.name} {path.stat().st_mtime_ns}"
    highlights = path.with_name(SPECULAR)
    if highlights.exists() and mesh.texture is not None:
        identity += f" {highlights.stat().st_mtime_ns}"
        return SpecularSource(mesh, Specular.load(highlights).to(device), scene.background), identity
    return MeshSource(mesh, scene.background), identity


class _Stages:
    """What one stage leaves for the next. A stage that was not asked for is replaced by what the run folder holds."""

    def __init__(self, config: TrainOptions, scene: Scene, record: Run, device: torch.device) -> None:
        self.config, self.scene, self.record, self.device = config, scene, record, device
        self.fit: FieldFit | None = None
        self.coarse: Mesh | None = None
        self.refined: Mesh | None = None
        self.specular: Specular | None = None

    def check_resumed(self) -> None:
        """Loads the checkpoint that an earlier part of the run has left, and looks for its meshes.

        Raises:
            CheckpointError: what the first of the stages goes on from is not there, or does not fit the config.
        """
        stages, folder, before = self.config.stages, self.record.folder, recorded(self.record.folder)
        if before is not None and before.normalization != self.scene.normalization:
            raise CheckpointError(
                f"{folder}: its field was learned in another region than the scene has now "
                f"({before.normalization}, {self.scene.normalization}); keep scene.root, scene.center and scene.radius"
            )
        self._have_fit()
        if "extract" not in stages and ("refine" in stages or ("export" in stages and _exported(folder) is None)):
            self._path("coarse.ply", "extract")
        if "video" in stages and "export" not in stages:
            pick_source(folder, self.config.video.source)

    def run(self) -> Path:
        scene, record = self.scene, self.record
        record.log(f"run folder: {record.folder}")
        record.text("config", f"```yaml\n{(record.folder / 'config.yaml').read_text(encoding='utf-8')}```")
        for note in scene.notes:
            record.log(f"note: {note}")
        facts = {
            "name": scene.name,
            "size": list(scene.cameras.sizes[0]),
            "train_views": len(scene.train),
            "test_views": len(scene.test),
        }
        record.update_metrics({"scene": {**facts, **_plain(scene.provenance)}, "device": str(self.device)})
        if "field" not in self.config.stages:
            self._take_cameras(self._have_fit())
        for name in STAGES:
            if name in self.config.stages:
                with record.stage(name, continued=name == "field" and self.config.resume is not None):
                    getattr(self, f"_{name}")()
        record.chart_losses()
        return record.folder

    # ---- the stages

    def _field(self) -> None:
        if has_checkpoint(self.record.folder):
            self.fit = self._have_fit()
            self.record.board.resume_at(self.fit.progress.step)
            self.record.log(f"going on from step {self.fit.progress.step}")
        else:
            self.fit = new_fit(self.config, self.scene, self.record, self.device)
        self.fit.train()
        fit, progress = self.fit, self.fit.progress
        self._take_cameras(fit)
        found = evaluate_field(fit.average, self.scene, self.record.folder / "images")
        found |= {"steps": progress.step, "seconds": round(progress.seconds, 3), "samples": progress.samples}
        self.record.update_metrics({"field": found})
        inside = f" ({found['psnr_inside']:.2f} inside the masks)" if "psnr_inside" in found else ""
        if "psnr_aligned" in found:
            inside = f" ({found['psnr_aligned']:.2f} with each photo's exposure)"
        self.record.log(
            f"field: PSNR {found['psnr']:.2f} dB{inside}, SSIM {found['ssim']:.4f} on {len(found['views'])} held-out "
            f"views after {progress.step} steps, {progress.seconds:.0f} s"
        )
        usual = progress.seconds * USUAL_RATE / max(progress.samples / progress.step, 1.0)
        plain = self.device.type == "cpu" and self.config.field == HarmonicOptions()
        ended = progress.seconds >= (self.config.trainer.max_seconds or math.inf)
        if plain and ended and progress.step < usual / 3:
            self.record.log(
                f"note: {progress.step} steps in {progress.seconds:.0f} s, where two free cores make about "
                f"{usual:,.0f}: a busy or slow machine. More: resume={self.record.folder} "
                f"trainer.max_seconds={3 * progress.seconds:.0f}"
            )

    def _take_cameras(self, fit: FieldFit) -> None:
        """What follows sees the photos from where the field stage has found them to be taken."""
        poses = fit.corrections.poses
        if poses is None:
            return
        before = recorded(self.record.folder)
        finished = before is not None and before.cameras_refined and before.cameras.sizes == self.scene.cameras.sizes
        if finished and "field" not in self.config.stages:
            self.scene = replace(self.scene, cameras=before.cameras, cameras_refined=True)  # type: ignore[union-attr]
            return
        self.scene = fit.refined_scene()
        record_scene(self.scene, self.record.folder)
        moved, turned = (float(values.median()) for values in poses.moved())
        units = moved / self.scene.normalization.scale
        self.record.update_metrics({"cameras": {"moved_units": units, "turned_degrees": turned}})
        self.record.log(f"cameras: turned by {turned:.2g} degrees, moved by {units:.2g} units (medians)")

    def _extract(self) -> None:
        fit = self._have_fit()
        self.coarse = coarse_mesh(fit.average, self.scene, self.config.extract)
        self._save(self.coarse, "coarse", ("ply",), self.scene.normalization)
        self.record.log(f"coarse mesh: {len(self.coarse.vertices)} vertices, {len(self.coarse.faces)} faces")

    def _refine(self) -> None:
        if self.coarse is None:
            self.coarse = self._load_coarse()
        fit = self._have_fit()
        self.refined, self.specular = refine_stage(self.coarse, fit.average, self.config, self.scene, self.record)

    def _export(self) -> None:
        new = mesh = self.refined or self.coarse
        formats, scale = tuple(self.config.export.formats), self.config.export.scale
        scale *= self.scene.meters or 1
        units, before = self.scene.normalization.enlarged(scale), _units(self.record, self.scene)
        if mesh is None:
            path = _exported(self.record.folder)
            mesh = self._load_coarse() if path is None else load_mesh(path).transformed(before.apply)
            if units != before:  # the files of one mesh have one scale
                there = [end for end in FORMATS if (self.record.folder / "mesh" / f"mesh.{end}").exists()]
                formats = tuple(dict.fromkeys([*formats, *there]))
        if mesh is self.refined and self.specular is not None and {"glb", "obj"} & set(formats):
            written = self._save(mesh, "mesh", formats, units, self.specular.roughness())
            written.append(self.record.folder / "mesh" / SPECULAR)
            self.specular.save(written[-1])
        else:
            written = self._save(mesh, "mesh", formats, units)
        self.record.update_metrics({"export": {"scale": scale, "meters_per_unit": self.scene.meters}})
        for path in written:
            self.record.log(f"wrote {path}")
        if new is not None:  # a new mesh: files of the one before would pass for it
            for path in {self.record.folder / "mesh" / name for name in EXPORTS} - set(written):
                if path.exists():
                    path.unlink()
                    self.record.log(f"removed {path}, an earlier mesh")
        for name in self.config.export.cameras:
            path = self.record.folder / "cameras" / name
            with replacing_folder(path) as folder:
                WRITERS[name](self.scene, folder)
            self.record.log(f"wrote {path}, {len(self.scene.cameras)} photos with their cameras")

    def _video(self) -> None:
        o, folder = self.config.video, self.record.folder
        name = pick_source(folder, o.source)
        scene = seen_over(self.scene, o)
        source, identity = _source(name, self.record, scene, self._have_fit, self.device)
        show(source, name, o, scene, folder / "video", identity, self.record.log)

    # ---- between the stages

    def _have_fit(self) -> FieldFit:
        if self.fit is None:
            self.fit = _load_fit(self.config, self.scene, self.record, self.device)
        return self.fit

    def _save(
        self, mesh: Mesh, stem: str, formats: tuple[str, ...], units: Similarity, roughness: Tensor | None = None
    ) -> list[Path]:
        """Written in the units that ``units`` normalizes."""
        own = mesh.transformed(units.invert)
        return save_mesh(own, self.record.folder / "mesh" / stem, formats, roughness, self.scene.up)

    def _path(self, file: str, stage: str) -> Path:
        path = self.record.folder / "mesh" / file
        if not path.exists():
            raise CheckpointError(f"{path}: not there yet; add {stage} to stages")
        return path

    def _load_coarse(self) -> Mesh:
        return load_mesh(self._path("coarse.ply", "extract")).transformed(self.scene.normalization.apply)


def _plain(provenance: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in provenance.items() if isinstance(value, str | int | float)}
