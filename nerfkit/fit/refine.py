"""The mesh stage: a coarse mesh becomes an asset by comparing its pictures with the training photos.

First vertices and vertex colors are learned, with faces moved to where the surface bends; then the mesh is unwrapped,
its texture baked from the field, and vertices and texture are learned together. ``LargeSteps`` keeps the vertices'
moves smooth. A scene without masks has nothing to say about the silhouette: only the pixels that the mesh covers count
there.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from nerfkit.errors import SceneError
from nerfkit.fit import saved
from nerfkit.fit.loop import Callback, Progress, optimize
from nerfkit.fit.refine_guard import CHECKED, Guard
from nerfkit.fit.refine_measure import preview
from nerfkit.fit.refine_options import RefineOptions
from nerfkit.fit.refine_phases import Colored, Textured
from nerfkit.fit.refine_targets import DepthTargets, Targets
from nerfkit.fit.refine_untangle import untangle
from nerfkit.fit.texels import fill_unseen, texel_looks
from nerfkit.fit.watch import NotFiniteError, not_finite
from nerfkit.mesh.bake import bake, bake_vertex_colors
from nerfkit.mesh.mesh import Mesh, face_areas
from nerfkit.mesh.unwrap import unwrap
from nerfkit.raster.visibility import Visibility
from nerfkit.runs import checkpoints
from nerfkit.runs.fingerprint import of_state
from nerfkit.runs.folder import Run
from nerfkit.runs.progress import to_stderr
from nerfkit.runs.ranks import ALONE, RankError, Ranks
from nerfkit.scenes.scene import Scene

TEXELS_PER_PIXEL = 1.3  # along each side: fewer blur, more are never seen from close enough and learn noise
KIND = "refine"  # of the checkpoints, and the title of the curves
NOT_FELT = ("checkpoint_every", "log_every", "preview_every")  # options that change nothing
CHART_SHARE = 0.65  # of a texture's area that lies in charts
SLOWER = 0.1  # times the steps' lengths, after a refinement that was lost has been taken back


def refine_mesh(
    mesh: Mesh,
    scene: Scene,
    options: RefineOptions,
    run: Run | None = None,
    seed: int = 0,
    color: Callable[[Tensor, Tensor], Tensor] | None = None,
    *,
    depth: DepthTargets | None = None,
    visibility: Visibility | str = "contour",
    callbacks: Sequence[tuple[Callable[[Mesh], None], float]] = (),
    looks: Callable[[Tensor], None] | None = None,
    taken_back: Callable[[list[dict[str, Any]]], None] | None = None,
    ranks: Ranks = ALONE,
) -> Mesh:
    """The mesh with its vertices moved, UVs and a texture, so that it looks like the scene's training views.

    Args:
        mesh: with vertex ``colors`` to start from, in normalized units; white where it has none.
        options: of the two phases.
        run: where curves, pictures and checkpoints go, and where a refinement that was stopped goes on; None shows the
            progress bar alone.
        seed: of the order of views and of the random backgrounds.
        color: what the texture starts from: points (P,3) and unit normals (P,3) on the surface to colors (P,3) in
            [0,1], the field's as a rule; None takes the vertex colors.
        depth: what the field's depth is in the training views; None for no such term.
        visibility: how outlines get a gradient.
        callbacks: what else sees the mesh on its way, such as a timelapse, and the share of the budget between two
            calls: with vertex colors in the first phase, with a texture in the second.
        looks: told the refined mesh's ``texel_looks`` (A,B).
        taken_back: told each ``step`` at which the refinement was lost and taken back to its last good state, to go on
            with steps a tenth as long, and ``why``: see ``refine_guard``.
        ranks: the processes that share the views of a step, ``options.views_per_step``, and the texture's points; of
            several, ``color`` is made of functions of modules.

    Returns:
        a mesh with ``corner_uvs`` and ``texture``, and no vertex colors. It has the same faces where
        ``options.remesh`` is 0, about ``options.faces`` otherwise, and no more self-intersections than the given one
        unless the last ones cannot be smoothed away.

    Raises:
        SceneError: the mesh has no faces.
        NotFiniteError: a term of the loss or the vertices' gradient is NaN or infinite; the message names it, and the
            photos of the step. Where checkpoints are kept, the last good state is saved.
    """
    if not len(mesh.faces):
        raise SceneError("refine: the mesh has no faces; lower extract.level or train the field for longer")
    if mesh.colors is None:
        mesh = replace(mesh, colors=torch.ones_like(mesh.vertices))
    log = to_stderr if run is None else run.log
    fit = _Refinement(mesh, scene, options, seed, color, depth, visibility, log, ranks)
    calls = [Callback(lambda _: fit.check(), share=CHECKED)]  # first: the others see what it leaves
    calls += [Callback(lambda _, call=call: call(fit.mesh()), share=share) for call, share in callbacks]  # type: ignore[misc]
    if run is not None:
        calls.append(Callback(lambda step: preview(fit.mesh(), scene, run, step), share=options.preview_every))
    saves = run is not None and not callbacks  # whoever watches wants to see all of it
    if run is not None and saves:
        fit.progress = saved.resumed(run, KIND, fit.identity, fit.load_state_dict, mesh.vertices.device)
        calls.append(Callback(lambda _: fit.save(run), seconds=options.checkpoint_every, first=False, stopped=True))
    if run is not None:
        run.forget((f"{KIND}/",), fit.progress.step)
        run.audience.shows("mesh", fit.mesh, scene)
    try:
        optimize(
            KIND,
            fit.step,
            steps=options.steps,
            max_seconds=options.max_seconds,
            run=run,
            log_every=options.log_every,
            callbacks=calls,
            progress=fit.progress,
            blame=lambda: scene.photo_names(fit.targets.views.last),
        )
    except RankError:  # in the midst of a step, before it changed anything
        if run is not None and saves:
            fit.save(run)
        raise
    except NotFiniteError as error:
        kept = f"; {fit.keep_last_good(run)}" if run is not None and saves else ""
        advice = f"{kept}. A lower {options.rates} usually helps."
        raise NotFiniteError(error.step, error.what, error.where, KIND, advice) from None
    refined, seen = fit.finished()
    ranks.forget("wanted", "surface")
    if run is not None:
        run.audience.shows("mesh", lambda: refined)
    if looks is not None:
        looks(seen)
    if taken_back is not None:
        taken_back(fit.lost)
    return refined


def _tensors(mesh: Mesh) -> dict[str, Tensor]:
    return {name: value for name, value in vars(mesh).items() if isinstance(value, Tensor)}


def texture_size(mesh: Mesh, scene: Scene) -> int:
    """Height and width of a texture whose texels are a little smaller than the photos' pixels on the surface.

    A surface of area A, seen with focal length f pixels from distance d, is A (f / d)^2 pixels large.
    """
    cameras = scene.cameras[scene.train].to(mesh.vertices.device)
    distance = (cameras.positions - mesh.vertices.mean(0)).norm(dim=-1)  # (N,)
    density = (cameras.intrinsics[:, 0] / distance).square().mean()
    texels = face_areas(mesh.vertices, mesh.faces).sum() * density * TEXELS_PER_PIXEL**2 / CHART_SHARE
    return min(4096, max(64, 32 * round(math.sqrt(texels.item()) / 32)))


class _Refinement:
    """One phase after the other, by the share of the budget that is used."""

    def __init__(
        self,
        mesh: Mesh,
        scene: Scene,
        options: RefineOptions,
        seed: int,
        color: Callable[[Tensor, Tensor], Tensor] | None,
        depth: DepthTargets | None,
        visibility: Visibility | str,
        log: Callable[[str], None],
        ranks: Ranks,
    ) -> None:
        self.ranks = ranks
        self.log, self.lost, self.pace, self.progress = log, list[dict[str, Any]](), 1.0, Progress()
        self.coarse, self.scene, self.options = mesh, scene, options
        felt = {key: value for key, value in asdict(options).items() if key not in NOT_FELT}
        depths = {} if depth is None else depth.depth
        told = [repr(visibility), *saved.told_apart(scene), depths]
        self.identity = of_state([_tensors(mesh), felt, seed, CHECKED, *told])
        self.color, self.visibility = color, visibility
        self.targets = Targets(scene, options, seed, depth)
        self.guard = Guard(mesh)
        self.phase: Colored | Textured
        self.remeshed = 0
        if options.geometry > 0:
            self.phase = Colored(mesh, self.targets, options, visibility, ranks)
        else:
            self.phase = self._textured(mesh)
        self._keep()

    def mesh(self) -> Mesh:
        """The mesh as it is now."""
        return self.phase.mesh()

    def save(self, run: Run) -> None:
        """Writes everything that the next step depends on to the run."""
        saved.save(run, KIND, self.identity, self.progress, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but the progress."""
        of_run = {"targets": self.targets.state_dict(), "guard": self.guard.state_dict()}
        good = {"step": self.good[0], "state": self.good[1]}
        return self._state() | of_run | {"pace": self.pace, "lost": self.lost, "good": good}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state of the same refinement."""
        self._load(state)
        self.targets.load_state_dict(state["targets"])
        self.guard.load_state_dict(state["guard"])
        self.pace, self.lost = state["pace"], list(state["lost"])
        self.good = state["good"]["step"], state["good"]["state"]

    def _state(self) -> dict[str, Any]:
        """What the mesh and its optimizers are; it changes with them."""
        first = _tensors(self.phase.start) if isinstance(self.phase, Textured) else None
        return {"remeshed": self.remeshed, "first": first, "phase": self.phase.state_dict()}

    def _load(self, state: dict[str, Any]) -> None:
        shared = self.targets, self.options, self.visibility, self.ranks
        if state["first"] is None and isinstance(self.phase, Textured):
            self.phase = Colored(self.coarse, *shared)
        elif state["first"] is not None and not isinstance(self.phase, Textured):
            self.phase = Textured(Mesh(**state["first"]), *shared)
        self.phase.load_state_dict(state["phase"])
        self.remeshed = state["remeshed"]

    # ---- the last good state

    def check(self) -> None:
        """Remembers the state where it is good; else goes back to the one before."""
        trouble = self.guard.trouble(self.phase.vertices.detach(), self.phase.faces, self.phase.base)
        if trouble is None:
            trouble = next((f"{name} is not finite" for name in not_finite(self._state())), None)
        if trouble is None:
            self._keep()
        else:
            self._take_back(trouble)

    def _keep(self) -> None:
        state = self._state()
        self.good = self.progress.step, state | {"phase": copy.deepcopy(state["phase"])}  # nothing changes ``first``

    def _take_back(self, trouble: str) -> None:
        step, state = self.good
        if not self.lost:
            self.log(
                f"warning: refine: {trouble} after {self.progress.step} steps; back to what it was after {step}, and "
                f"on with steps {SLOWER} times as long. Lower {self.options.rates}"
            )
        self.lost.append({"step": self.progress.step, "why": trouble})
        self.pace *= SLOWER
        self.guard.recent.clear()
        self._load(state)

    def keep_last_good(self, run: Run) -> str:
        """Saves the state before a step that was not finite, or the one that was seen to be good; says which."""
        if any(not_finite(self._state())):
            self.progress.step = self.good[0]
            self._load(self.good[1])
        checkpoints.drop(run.folder, KIND, after=self.progress.step)  # or a later start would go on from those
        self.save(run)
        return f"the last good state, step {self.progress.step}, is in {run.folder / 'checkpoints'}"

    def step(self, share: float) -> dict[str, float]:
        """One step at ``share`` of the way, after a change of faces or of phase where one is due."""
        o = self.options
        if isinstance(self.phase, Colored):
            if share >= o.geometry:
                self.check()
                mesh, _ = untangle(self.phase.mesh(), self.guard.allowed)
                self.phase = self._textured(mesh, self.phase)
                self._keep()
            elif self.remeshed < o.remesh and share >= o.geometry * self.remeshed / o.remesh:
                self.remeshed += 1
                self.phase.remesh(o.faces or len(self.coarse.faces))
        before = self.targets.state_dict()
        try:
            terms = self.phase.step(self.pace * o.final_rate**share)
        except RankError:
            self.targets.load_state_dict(before)
            raise
        self.guard.note(terms)
        return terms

    def finished(self) -> tuple[Mesh, Tensor]:
        """The refined mesh and its ``texel_looks``; a budget that ended in the first phase still gets its texture."""
        phase = self.phase if isinstance(self.phase, Textured) else self._textured(self.phase.mesh())
        mesh, _ = untangle(phase.mesh(), self.guard.allowed)
        looks = texel_looks(mesh, self.scene, self.ranks)
        return fill_unseen(mesh, looks > 0), looks

    def _textured(self, mesh: Mesh, before: Colored | None = None) -> Textured:
        size = self.options.texture or texture_size(mesh, self.scene)
        unwrapped = unwrap(mesh, size)
        if self.color is None:
            start = bake_vertex_colors(unwrapped, size)
        else:
            start = bake(unwrapped, self.color, size, ranks=self.ranks)
        shared = self.targets, self.options, self.visibility, self.ranks
        return Textured(replace(start, colors=None), *shared, before)
