"""The two commands: all stages of a run, or a recipe; videos of what a run has made."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nerfkit.config import RenderOptions, TrainOptions
from nerfkit.errors import CheckpointError, ConfigError, UserError, command
from nerfkit.fit.build import load_scene, settled
from nerfkit.fit.depth_hints import hints_of
from nerfkit.fit.field import FieldFit
from nerfkit.fit.given_mesh import given_mesh
from nerfkit.fit.walls import crop_of
from nerfkit.mesh.files.usd import usd_modules
from nerfkit.prepare import has_photos_only, prepare
from nerfkit.prepared import prepared_folder, with_points
from nerfkit.report.page import write_report
from nerfkit.results import load_fit, new_fit, source_of
from nerfkit.resume import load as load_config
from nerfkit.runs import elastic
from nerfkit.runs.checkpoints import KINDS
from nerfkit.runs.files import followed
from nerfkit.runs.folder import Run, find, has_checkpoint
from nerfkit.runs.lock import alone
from nerfkit.runs.output import check_output
from nerfkit.runs.ranks import Ranks, join
from nerfkit.runs.threads import set_threads
from nerfkit.scenes.record import record as record_scene, recorded
from nerfkit.scenes.scene import Scene
from nerfkit.stage_checks import check_stages, meant
from nerfkit.stages import Stages
from nerfkit.view.route import settle_path
from nerfkit.view.show import pick_source, seen_over, show
from nerfkit.viewer.live import check_viewer, watched


def run(config: TrainOptions, words: Sequence[str] | None = None) -> Path | None:
    """Runs the stages that ``config.stages`` names, in the order of ``STAGES``, or a recipe; returns the run folder.

    Of several processes (``runs.ranks``) the first does so; the others share the training of the field, the pictures
    and their gradients, return None and write nothing.

    Args:
        words: of the command, for the run's records; None takes them from Hydra, where Hydra runs the program.

    Raises:
        SceneError, ConfigError, CheckpointError: bad input; nothing is left half written.
    """
    if config.recipe is not None:
        return _run_recipe(config, words)
    config.stages = meant(config)
    if config.resume is None:
        check_stages(config)
    ranks = _joined(config)
    if ranks.first:
        check_viewer(config)
    else:
        ranks.wait()  # for what the first finds out about the photos
    scene, device = ready(config)
    ranks.all_have("photos", scene.images)
    if ranks.first:
        ranks.wait()
    else:
        if "field" in config.stages:
            new_fit(config, scene, None, device, ranks=ranks).train()
        del scene
        ranks.help()
        return None
    given = given_mesh(Path(config.mesh), scene) if config.mesh is not None and config.resume is None else None
    if config.resume is not None:
        record = Run.open(config.resume)
        record.hold()
    else:
        again = elastic.begun()
        if again is not None and (elastic.goes_on(again) or again.parent.name != scene.name):
            again = None  # a program that makes several runs: this one is not that
        record = Run.create(config.output, scene.name, config, words, again)
    try:
        with watched(record, config, device), contextlib.closing(record):
            stages = Stages(config, scene, record, device, ranks, given)
            if config.resume is not None:
                _go_on(stages)
            else:
                record_scene(scene, record.folder)
            elastic.note(record.folder)
            made = stages.run()
            ranks.leave()  # the viewer may stay
        return made
    except KeyboardInterrupt:
        if has_checkpoint(record.folder) or config.mesh is not None:
            record.log(f"stopped; go on with: {command('train')} resume={record.folder}")
        else:
            record.log(f"stopped before the first checkpoint: {record.folder} holds nothing to go on with; start again")
        raise
    except OSError as error:
        if error.errno and not error.filename:  # the log's and TensorBoard's writes do not say where
            error.filename = str(record.folder)
        raise


def _go_on(stages: Stages) -> None:
    """Records that an existing run goes on.

    Raises:
        CheckpointError: it cannot; nothing is written.
    """
    config, record = stages.config, stages.record
    try:
        stages.check_resumed()
    except CheckpointError as error:
        changed = "; ".join(record.differences(config))
        raise CheckpointError(f"{error}" + (f". Changed here: {changed}" if changed else "")) from None
    record.go_on(config)
    kept = recorded(record.folder)
    if kept is None or not kept.cameras_refined:
        record_scene(stages.scene, record.folder)


def _joined(config: TrainOptions) -> Ranks:
    """The processes that share the run.

    Raises:
        ConfigError: several cannot do what is asked.
    """
    ranks = join(pick_device(config.device))
    seconds = config.trainer.max_seconds
    if ranks.count > 1 and seconds is not None:
        raise ConfigError(
            f"trainer.max_seconds={seconds}: the clocks of {ranks.count} processes differ; expected null, and a number "
            "for trainer.max_steps"
        )
    if ranks.count > 1 and config.trainer.skip_bad_steps:
        raise ConfigError(
            f"trainer.skip_bad_steps={config.trainer.skip_bad_steps}: {ranks.count} processes may disagree; expected 0"
        )
    return ranks


def ready(config: TrainOptions) -> tuple[Scene, torch.device]:
    """The scene and the device of a run; what they decide is settled in ``config``.

    Raises:
        SceneError, ConfigError, CheckpointError: bad input.
    """
    device = pick_device(config.device)
    config.field.check_device(device)
    config.threads = set_threads(config.threads)
    if config.resume is not None and config.mesh is None and not has_checkpoint(find(config.resume)):
        raise CheckpointError(
            f"{config.resume}: no checkpoint in its folder checkpoints/, so there is nothing to resume"
        )
    if "video" in config.stages:
        settle_path(config.video)
    _find_photos(config)
    scene = load_scene(config)
    if scene.unbounded and config.trainer.capacity is not None:
        raise ConfigError(f"trainer.capacity={config.trainer.capacity}: not for photos without masks; expected null")
    if config.resume is None:
        scene = with_points(config, scene)
    config.field, why = settled(config.field, config.sampler, scene, "extract" in config.stages)
    config.field = config.field.on(device)
    config.field.check_device(device)
    if why:
        scene = replace(scene, notes=[*scene.notes, why])
    if "export" in config.stages and {"usd", "usdz"} & set(config.export.formats or ()):
        usd_modules("export.formats")
    crop_of(scene, config.extract.crop())  # before hours of training
    if config.trainer.poses == "on":
        config.sampler.for_moving_cameras(scene)
    if "field" in config.stages:
        hints_of(scene, config.trainer.depth_weight, "cpu")
    return scene, device


def _find_photos(config: TrainOptions) -> None:
    """Makes the scene's path absolute: a run is rendered and resumed from other folders too.

    Photos without cameras get them first, in ``OUTPUT/prepared/NAME``, which is the scene's path from then on.
    """
    scene = config.scene
    if config.mesh is not None:
        config.mesh = os.path.abspath(followed(config.mesh))
    if scene.root is None:
        return
    scene.root = os.path.abspath(followed(scene.root))
    if scene.points is not None:
        scene.points = os.path.abspath(followed(scene.points))
    if scene.name == "auto" and has_photos_only(scene.root):
        place = prepared_folder(config)
        new = [folder for folder in place.parents if not folder.exists()]
        check_output(place.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with alone(place.parent):  # other runs may want them too, or have others of the same name
                scene.root = str(prepare(Path(scene.root), place).folder)
        finally:
            for folder in new:
                with contextlib.suppress(OSError):  # where nothing came of it they are empty
                    folder.rmdir()


def _run_recipe(config: TrainOptions, words: Sequence[str] | None) -> Path:
    """An experiment that is a recipe of its own; its run folder is OUTPUT/RECIPE/DATE_TIME."""
    if config.resume is not None:
        raise ConfigError("resume: a recipe is short and cannot be resumed; start it again")
    device = pick_device(config.device)
    if join(device).count > 1:
        raise ConfigError(f"recipe={config.recipe.name}: a recipe is for one process; start it without torchrun")
    check_viewer(config)
    config.threads = set_threads(config.threads)
    _find_photos(config)
    record = Run.create(config.output, config.recipe.name, config, words)
    with watched(record, config, device), contextlib.closing(record):
        record.log(f"run folder: {record.folder}")
        record.text("config", f"```yaml\n{(record.folder / 'config.yaml').read_text(encoding='utf-8')}```")
        try:
            with record.stage(config.recipe.name):
                config.recipe.run(config, record, device)
            record.sum_up()
            record.log(f"wrote {write_report(record)}, to open in a browser")
        except UserError:  # bad input leaves nothing behind
            record.discard()
            raise
    return record.folder


def render(config: RenderOptions) -> list[Path]:
    """Videos of the trained run ``config.run``. Returns the videos' paths, none where another process makes them."""
    assert config.run is not None
    settle_path(config)
    device = pick_device(config.device)
    ranks = join(device)
    if not ranks.first:
        ranks.help()
        return []
    record = Run.open(config.run)
    trained = load_config(record.folder)
    name = pick_source(record.folder, config.source)
    if name == "mesh" and config.checkpoint != "last":
        raise ConfigError(f"checkpoint={config.checkpoint} is of the field, and this shows the mesh; add source=field")
    scene = seen_over(recorded(record.folder) or load_scene(trained), config)
    folder = Path(os.path.expanduser(config.output)) if config.output else record.folder / "video"

    def fit() -> FieldFit:
        return load_fit(trained, scene, record, device, rendering=True, kind=KINDS[config.checkpoint])

    source, identity = source_of(name, record, scene, fit, device)
    shown = name if config.checkpoint == "last" else f"{name}_{config.checkpoint}"
    videos = show(source, shown, config, scene, folder, identity, record.log, ranks)
    ranks.leave()
    return videos


def pick_device(name: str) -> torch.device:
    """``auto`` is the GPU where torch sees one.

    Raises:
        ConfigError: ``cuda`` where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda: torch sees no GPU here; use device=cpu, or run `python -m nerfkit doctor`")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
