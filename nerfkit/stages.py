"""What each stage of a run does and leaves for the next: field, extract, refine, export, video."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nerfkit.config import FINISHING, STAGES, TrainOptions
from nerfkit.errors import CheckpointError
from nerfkit.export_stage import asked_coarse, export, has_mesh
from nerfkit.fit.evaluate import evaluate_field
from nerfkit.fit.extract import coarse_mesh
from nerfkit.fit.field import CURVES, FieldFit
from nerfkit.fit.refine import KIND as REFINEMENT
from nerfkit.fit.residuals import photo_psnr
from nerfkit.fit.specular import Specular
from nerfkit.fit.specular_fit import KIND as HIGHLIGHTS
from nerfkit.mesh.files.io import save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.repair import drop_unused, merge_vertices, repair
from nerfkit.mesh_stage import refine_stage
from nerfkit.prepare.residuals import MARKDOWN as CAPTURE, write_capture
from nerfkit.report.page import write_report
from nerfkit.results import (
    coarse_file,
    drop_refined,
    keep_refined,
    keep_weights,
    load_coarse,
    load_fit,
    new_fit,
    source_of,
)
from nerfkit.runs import checkpoints
from nerfkit.runs.fingerprint import FIELD, MARKS, SECTION, STATE, mark, of_stage, of_state
from nerfkit.runs.folder import Run, has_checkpoint
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.scenes.record import record as record_scene, recorded
from nerfkit.scenes.scene import Scene
from nerfkit.view.show import pick_source, seen_over, show


class Stages:
    """What one stage leaves for the next. A stage that was not asked for is replaced by what the run folder holds."""

    def __init__(
        self,
        config: TrainOptions,
        scene: Scene,
        record: Run,
        device: torch.device,
        ranks: Ranks = ALONE,
        given: Mesh | None = None,
    ) -> None:
        self.given = given  # a mesh of the user's, in the scene's own units
        self.extract = config.extract if config.mesh is None else None  # nothing cuts a mesh of the user's
        self.config, self.scene, self.record, self.device, self.ranks = config, scene, record, device, ranks
        self.fit: FieldFit | None = None
        self.coarse: Mesh | None = None
        self.refined: Mesh | None = None  # in the scene's own units, unlike the coarse one
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
                f"({before.normalization}, {self.scene.normalization}); keep scene.root, scene.center, scene.radius "
                "and scene.box (or, if it is of an older version and a note says that the cameras may be off, start "
                "again: the region is another one now). To crop its mesh: extract.box=[[x,y,z],[x,y,z]], corners in "
                "the scene's own units"
            )
        if self.config.mesh is None:
            self._have_fit()
        exports = "export" in stages and bool(self.config.export.formats)
        if "extract" not in stages:
            if {*FINISHING} & {*stages}:
                coarse_file(self.record)
            elif "export" in stages:
                exports = has_mesh(self.config.export, self.record)
        if "video" in stages and not exports:
            pick_source(folder, self.config.video.source)

    def run(self) -> Path:
        scene, record, stages = self.scene, self.record, self.config.stages
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
        # From now on it says which stages are done; training goes on, and its first steps stay what they were.
        before: dict[str, dict[str, str]] = record.metrics().get(SECTION, {})
        replaced = {*stages, *(FINISHING if {*FINISHING} & {*stages} else ())}
        known = {stage: names for stage, names in before.items() if stage not in replaced}
        if marks := {name: found for name, found in before.get(FIELD, {}).items() if name in map(mark, MARKS)}:
            known[FIELD] = known.get(FIELD, marks)
        record.update_metrics(
            {"scene": {**facts, **_plain(scene.provenance)}, "device": str(self.device), SECTION: known}
        )
        if "field" not in stages:
            if self.config.mesh is None:
                self._take_cameras(self._have_fit())
            if self.given is not None:
                self._take_mesh(self.given)
        for name in STAGES:
            if name in stages:
                with record.stage(name, continued=name == "field" and self.config.resume is not None):
                    getattr(self, f"_{name}")()
                record.add_fingerprints(name, of_stage(record.folder, name))
        if {*FINISHING} & {*stages}:  # not before: a run that is killed in a later stage goes through this one again
            for kind in (REFINEMENT, HIGHLIGHTS):
                checkpoints.drop(record.folder, kind)
        record.sum_up()
        record.log(f"wrote {write_report(record)}, to open in a browser")
        return record.folder

    # ---- the stages

    def _field(self) -> None:
        if has_checkpoint(self.record.folder):
            self.fit = self._have_fit()
            self.record.forget(CURVES, self.fit.progress.step, self.fit.progress.seconds)
            self.record.log(f"going on from step {self.fit.progress.step}")
        else:
            self.fit = new_fit(self.config, self.scene, self.record, self.device, ranks=self.ranks)
        fit, progress = self.fit, self.fit.progress
        self._show(fit)
        fit.train()
        self._take_cameras(fit)
        keep_weights(fit, self.config, self.record)
        found = evaluate_field(fit.average, self.scene, self.record.folder / "images", self.ranks)
        found |= {"steps": progress.step, "seconds": round(progress.seconds, 3), "samples": progress.samples}
        self.record.update_metrics({"field": found})
        inside = f" ({found['psnr_inside']:.2f} inside the masks)" if "psnr_inside" in found else ""
        if "psnr_aligned" in found:
            inside = f" ({found['psnr_aligned']:.2f} with each photo's exposure)"
        self.record.log(
            f"field: PSNR {found['psnr']:.2f} dB{inside}, SSIM {found['ssim']:.4f} on {len(found['views'])} held-out "
            f"views after {progress.step} steps, {progress.seconds:.0f} s"
        )
        self._look_at_photos(fit)
        asked, steps = self.config.trainer.max_seconds, self.config.trainer.max_steps
        if asked is not None and progress.seconds < asked:
            self.record.log(
                f"note: trainer.max_steps={steps} was reached before trainer.max_seconds={asked}; with "
                "trainer.max_steps=null the time alone ends it"
            )
        self.record.add_fingerprints(FIELD, {STATE: of_state(fit.state_dict())})

    def _look_at_photos(self, fit: FieldFit) -> None:
        """Which photos the field cannot come near, where nothing masks them: ``capture.md``."""
        scene = self.scene
        if not scene.unbounded or "views" not in scene.provenance:
            return
        names, held_out = scene.provenance["views"], set(scene.test)
        near = photo_psnr(fit.average, scene, self.ranks)
        kinds = [view in held_out for view in range(len(names))]
        said = write_capture(self.record.folder, Path(scene.provenance["path"]), names, near, kinds)
        if said is not None:
            self.record.log(f"note: {said}. {self.record.folder / CAPTURE} has all photos")

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
        own = self.coarse.transformed(self.scene.normalization.invert)
        drop_refined(self.record)
        save_mesh(own, self.record.folder / "mesh" / "coarse", ("ply",))
        self.coarse = load_coarse(self.record, self.scene)  # as a run that is resumed after this stage finds it
        self.record.log(f"coarse mesh: {len(self.coarse.vertices)} vertices, {len(self.coarse.faces)} faces")

    def _take_mesh(self, mesh: Mesh) -> None:
        """The user's mesh becomes the run's coarse one."""
        save_mesh(mesh, self.record.folder / "mesh" / "coarse", ("ply",))
        self.record.log(f"mesh: {len(mesh.vertices)} vertices, {len(mesh.faces)} faces from {self.config.mesh}")

    def _refine(self) -> None:
        coarse = load_coarse(self.record, self.scene) if self.coarse is None else self.coarse
        if self.config.mesh is not None:
            coarse, lines = repair(coarse)
            for line in lines:
                self.record.log(f"{self.config.mesh}: {line}")
        refined = self._looking_like_photos(coarse, keep_shape=False)
        self._keep(refined.transformed(self.scene.normalization.invert))

    def _texture(self) -> None:
        """A texture for the coarse mesh, or the user's: no vertex moves, no face changes."""
        # its faces stay in their order; welded, as whoever reads refined.glb finds it, it can be decimated
        own = merge_vertices(drop_unused(asked_coarse(self.record, self.scene, self.extract)))
        made = self._looking_like_photos(own.transformed(self.scene.normalization.apply), keep_shape=True)
        self._keep(replace(own, colors=None, corner_uvs=made.corner_uvs, texture=made.texture))

    def _looking_like_photos(self, mesh: Mesh, keep_shape: bool) -> Mesh:
        """What the photos make of a mesh in normalized units, and its highlights."""
        model = None
        if self.config.mesh is None:
            model = self._have_fit().average
            self._show(self._have_fit())
        shared = model, self.config, self.scene, self.record, self.ranks
        made, self.specular = refine_stage(mesh.to(self.device), *shared, keep_shape=keep_shape)
        return made

    def _keep(self, mesh: Mesh) -> None:
        """Leaves the finished mesh, in the scene's own units, for later stages and runs."""
        self.refined = mesh
        keep_refined(mesh, self.specular, self.record, self.scene)

    def _export(self) -> None:
        o, new = self.config, self.refined
        if new is None and self.coarse is not None:
            new = asked_coarse(self.record, self.scene, self.extract)
        export(new, self.specular, o.export, self.scene, self.record, self.extract, o.video)

    def _video(self) -> None:
        o, folder = self.config.video, self.record.folder
        name = pick_source(folder, o.source)
        scene = seen_over(self.scene, o)
        source, identity = source_of(name, self.record, scene, self._have_fit, self.device)
        show(source, name, o, scene, folder / "video", identity, self.record.log, self.ranks)

    # ---- between the stages

    def _show(self, fit: FieldFit) -> None:
        self.record.audience.shows(FIELD, lambda: fit.average, self.scene)

    def _have_fit(self) -> FieldFit:
        if self.fit is None:
            self.fit = load_fit(self.config, self.scene, self.record, self.device, ranks=self.ranks)
        return self.fit


def _plain(provenance: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in provenance.items() if isinstance(value, str | int | float)}
