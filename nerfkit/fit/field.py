"""The field stage: random rays through the training photos, compared with what the model renders there."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.errors import CheckpointError
from nerfkit.fit.adam import Adam
from nerfkit.fit.average import RunningAverage
from nerfkit.fit.bad_rays import bad_rays, pixels_named
from nerfkit.fit.corrections import Corrections
from nerfkit.fit.depth_hints import SHARE, WEIGHT, DepthHints, hints_of
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.fit.field_step import FIRST_RAYS, FieldProgress, Step
from nerfkit.fit.legacy import upgraded
from nerfkit.fit.loop import Callback, optimize
from nerfkit.fit.pixels import TrainingPixels, TrainingRays
from nerfkit.fit.preview import preview_field
from nerfkit.fit.register import registered
from nerfkit.fit.watch import FiniteWatch, NotFiniteError, not_finite
from nerfkit.kernels import philox
from nerfkit.kernels.philox import Draw
from nerfkit.kernels.pixel_loss import pixel_loss
from nerfkit.runs import checkpoints
from nerfkit.runs.fingerprint import FIELD, MARKS, mark, of_state
from nerfkit.runs.folder import Run
from nerfkit.runs.memory import fitting
from nerfkit.runs.ranks import ALONE, RankError, Ranks
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel

CURVES = ("loss/", "train/", "speed/", "held_out/")
RAYS = "rays of a training step"
SHORT = "trainer.samples={}: expected fewer, or a smaller field"
BEST = 30.0  # dB; a scene that cannot reach it for what is outside of its box is told so


class FieldFit:
    """One model being fitted to one scene.

    Args:
        model: what is trained, on the device that is to do it.
        scene: whose training views are compared with it.
        options: of the fit; None takes the defaults.
        seed: of rays, jitter and random backgrounds.
        run: where curves, previews and checkpoints go; None keeps nothing but the result.
        ranks: the processes that share the work; each has a fit of its own, and all have the same weights.

    Attributes:
        average: the running mean of the model, which is what to evaluate.
        progress: steps, seconds, samples so far.
        watch: finds what is not finite. On a CPU it is asked in every step; on a GPU, where asking means waiting, when
            something is logged or saved.
    """

    def __init__(
        self,
        model: RadianceModel,
        scene: Scene,
        options: TrainerOptions | None = None,
        *,
        seed: int = 0,
        run: Run | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.scene, self.seed, self.run, self.ranks = model, scene, seed, run, ranks
        self.options = options = TrainerOptions() if options is None else options
        self._average = RunningAverage(model, options.ema)
        self.average = self._average.model
        device = model.device
        self.background = torch.tensor(scene.background, device=device)
        self.corrections = Corrections(scene, options).to(device)
        groups = [*model.parameter_groups(), *self.corrections.parameter_groups()]
        named = [*model.named_parameters(), *self.corrections.named_parameters()]
        self.optimizer = Adam(groups, eps=1e-15)
        self.watch, self.waits = FiniteWatch(named, device), device.type == "cpu" or options.skip_bad_steps > 0
        self.optimizer.found_inf = self.watch.found
        self.progress = FieldProgress(rays=min(FIRST_RAYS, options.max_rays))

    @cached_property
    def pixels(self) -> TrainingPixels:
        """What is drawn from; not needed to render."""
        return TrainingPixels(self.scene, self.model.sampler, self.model.device)

    @cached_property
    def hints(self) -> DepthHints | None:
        """Where the sparse points are; None where they do not count."""
        return hints_of(self.scene, self.options.depth_weight, self.model.device)

    # ---- one step

    def losses(self, rays: TrainingRays, first: int, step: int) -> tuple[dict[str, Tensor], Tensor, int]:
        """The weighted terms of the loss over ``rays``, the sum of squared color errors, and the samples it took.

        Each term is a mean of pseudo-Huber errors, huber (sqrt(1 + (e / huber)^2) - 1). ``first`` numbers the first
        ray.
        """
        o, draw = self.options, Draw(self.seed, step, first)
        rendered, samples = self.model.render_rays(rays.origins, rays.directions, draw, capacity=o.capacity)
        count, device = len(rays.rgba), rays.rgba.device
        if o.random_background:
            background = philox.uniform(draw, philox.BACKGROUND, count, 3, device=device)
        else:
            background = self.background.expand(count, 3)
        mask_weight = o.mask_weight if self.scene.has_masks else 0.0
        color, exposure = rendered.color, self.corrections.exposure
        if exposure is not None:
            color = exposure(color, rendered.opacity, rays.view)
        loss = pixel_loss(color, rendered.opacity, rays.rgba, background, o.huber, mask_weight)
        terms = {"color": loss.color} | ({} if loss.silhouette is None else {"silhouette": loss.silhouette})
        return terms | self.corrections.penalties(), loss.squared, samples

    def step(self) -> Step:
        """One step of the optimizer, for a loop of one's own.

        Raises:
            NotFiniteError: a term of the loss or a gradient is NaN or infinite; the weights are untouched. On a GPU
                ``watch.check`` raises it, and until then further steps change nothing.
        """
        made = self._step(self.progress.share(self.options.max_steps, self.options.max_seconds))
        self.progress.step += 1
        return made

    def _step(self, share: float) -> Step:
        """One step, ``share`` of the budget being used; who calls it counts it."""
        progress, o, number = self.progress, self.options, self.progress.step
        rate = self.learning_rate(share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        cameras = self.corrections.cameras()
        drawn = self._drawn(number, cameras)
        rays = drawn if cameras is None else drawn.as_leaves()
        count = len(rays.rgba)
        self.model.before_step(share)
        at_once = self.model.sampler.rays_at_once(count, self.model.device)
        at_once, (terms, errors, samples) = fitting(
            RAYS, lambda some: self._gathered(rays, some), at_once, SHORT.format(o.samples)
        )
        if cameras is not None:
            torch.autograd.backward(drawn[:2], [rays.origins.grad, rays.directions.grad])
        penalties = self.model.penalties(number)
        if not self.ranks.first:  # they count once
            penalties = {}
        if any(term.requires_grad for term in penalties.values()):
            torch.stack(list(penalties.values())).sum().backward()
        if self.hints is not None and self.ranks.first:
            hinted = min(max(1, count // SHARE), at_once)
            depth, taken = self.hints.loss(self.model, Draw(self.seed, number), hinted, cameras)
            depth = depth * (WEIGHT if o.depth_weight is None else o.depth_weight)
            depth.backward()
            samples += taken
            penalties = penalties | {"depth": depth.detach()}
        if self.ranks.count > 1:
            terms, squared, samples = self._added_up(terms, reduce(add, errors), samples)
            errors = [squared]
        terms |= {name: term.detach() for name, term in penalties.items()}
        self.watch.look(terms, number)
        if self.waits and self._skips():
            self.watch.forget()
        else:
            self.optimizer.step()
            self._average.update(number)
        self.corrections.after_step()
        self.model.after_step(self.seed, number + 1)
        progress.samples += samples
        # The ray count follows the sample budget, at most doubling.
        wanted_rays = progress.rays * o.samples / max(samples, 1)
        progress.rays = min(int(max(64, min(wanted_rays, 2 * progress.rays))), o.max_rays)
        whole = (1.0, 0.0) if o.views_per_step else (self.pixels.share, self.pixels.outside)
        return Step(terms, reduce(add, errors), rate, count, samples, *whole)

    def _gathered(self, rays: TrainingRays, at_once: int) -> tuple[dict[str, Tensor], list[Tensor], int]:
        """Takes gradients anew over the rays, ``at_once`` together; returns terms, squared errors, and samples."""
        count, samples = len(rays.rgba), 0
        terms: dict[str, Tensor] = {}
        errors: list[Tensor] = []
        self.optimizer.zero_grad()
        rays.origins.grad = rays.directions.grad = None
        mine = self.ranks.part(count)
        for first in mine[::at_once] or range(1):  # a process without rays looks at one for nothing
            piece = TrainingRays(*(t[first : min(first + at_once, max(mine.stop, 1))] for t in rays))
            weight = len(piece.rgba) / count if mine else 0.0
            values, error, taken = self._backward(piece, first, weight)
            for name, value in values.items():
                part = value if weight == 1 else weight * value
                terms[name] = terms[name] + part if name in terms else part
            errors.append(error)
            samples += taken
        return terms, errors, samples

    def _drawn(self, step: int, cameras: Cameras | None) -> TrainingRays:
        """The rays of a step, as many as are due now."""
        o, wanted = self.options, self.options.rays or self.progress.rays
        if o.views_per_step:
            return self.pixels.draw_from_views(self.seed, step, wanted, o.views_per_step, cameras=cameras)
        return self.pixels.draw(self.seed, step, wanted, cameras=cameras)

    def _to_blame(self, step: int) -> str:
        """The rays of a step that make its loss or its gradient not finite, in words; empty where none does.

        On a GPU the number of rays may have changed since then; those that both have are the same.
        """
        with torch.no_grad():
            cameras = self.corrections.cameras()
            rays = self._drawn(step, cameras)
        at_once = self.model.sampler.rays_at_once(len(rays.rgba), self.model.device)
        parameters = [p for _, p in self.watch.parameters]

        def look(some: int) -> list[int]:
            return bad_rays(rays, lambda piece, first: self.losses(piece, first, step)[0], parameters, some)

        _, found = fitting(RAYS, look, at_once, SHORT.format(self.options.samples))
        return pixels_named(self.scene, cameras or self.pixels.cameras, rays, found)

    def _added_up(
        self, terms: dict[str, Tensor], squared: Tensor, samples: int
    ) -> tuple[dict[str, Tensor], Tensor, int]:
        """Terms, squared error and samples of all processes, whose gradients are added up."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        values = torch.stack([*terms.values(), squared, squared.new_tensor(float(samples))])
        *found, squared, total = self.ranks.add_up(parameters, values).unbind()
        return dict(zip(terms, found, strict=True)), squared, int(total.item())

    def _skips(self) -> bool:
        """Whether the step is to be skipped as something in it is not finite.

        Raises:
            NotFiniteError: it is, and no more may be skipped.
        """
        try:
            self.watch.check()
        except NotFiniteError as error:
            if self.progress.skipped >= self.options.skip_bad_steps:
                raise
            self.progress.skipped += 1
            if self.run is not None:
                found = NotFiniteError(error.step, error.what, self._to_blame(error.step))
                self.run.log(f"note: {found}; skipped ({self.progress.skipped} of {self.options.skip_bad_steps})")
            return True
        return False

    def _backward(self, rays: TrainingRays, first: int, weight: float) -> tuple[dict[str, Tensor], Tensor, int]:
        """Adds ``weight`` of the gradient over ``rays``; returns the terms, the squared error, the number of samples.

        A function of its own so that the graph of one piece is gone before that of the next is built.
        """
        terms, squared, samples = self.losses(rays, first, self.progress.step)
        loss = torch.stack(list(terms.values())).sum()
        (loss if weight == 1 else loss * weight).backward()
        return {name: term.detach() for name, term in terms.items()}, squared, samples

    def learning_rate(self, share: float) -> float:
        """Of the next step, ``share`` of the budget being used: so it reaches its end with whichever bound is first."""
        o = self.options
        warm = min(1.0, (self.progress.step + 1) / max(1, o.warmup))
        if o.decay == "step":
            return warm * o.learning_rate * (0.1 if share >= 0.75 else 1.0)
        cosine = 0.5 + 0.5 * math.cos(math.pi * min(share, 1.0))
        return warm * (o.final_learning_rate + (o.learning_rate - o.final_learning_rate) * cosine)

    # ---- the loop

    def train(self) -> RadianceModel:
        """Steps until the budget is used; returns the average.

        Raises:
            KeyboardInterrupt: after the step during which it came; the state is saved.
            NotFiniteError: the loss or a gradient is not finite; names which, the rays, and the last good checkpoint:
                the state before that step is saved.
        """
        o, callbacks = self.options, []
        if self.ranks.count > 1:
            state = self.ranks.copied(self.state_dict() if self.ranks.first else None)
            if not self.ranks.first:
                self.load_state_dict(state)
        if self.run is not None:
            self._say_what_is_outside(self.run)
            if self.hints is not None:
                self.run.log(f"{len(self.hints):,} sightings of points are hints of depth (trainer.depth_weight)")
            callbacks = [
                Callback(self._preview, share=o.preview_every, first=False),
                Callback(self._mark, steps=min(MARKS), first=False),
                Callback(lambda _: self.save(), seconds=o.checkpoint_every, first=False, stopped=True),
            ]
        try:
            optimize(
                "field",
                self._step,
                steps=o.max_steps,
                max_seconds=o.max_seconds,
                run=self.run,
                log_every=o.log_every,
                callbacks=callbacks,
                progress=self.progress,
                report=self._report,
                shown=self.ranks.first,
            )
        except RankError:  # in the midst of a step, before it changed anything
            if self.run is not None:
                self.save()
            raise
        except NotFiniteError as error:
            advice = f"{self._last_good(error.step)}. A lower trainer.learning_rate usually helps"
            advice += "; trainer.skip_bad_steps=N goes on without up to N such steps."
            raise NotFiniteError(error.step, error.what, self._to_blame(error.step), advice=advice) from None
        return self.average

    def _say_what_is_outside(self, run: Run) -> None:
        """Where photos show much beyond the box around the object, no field can be better than what that costs."""
        error = (1 - self.pixels.share) * self.pixels.outside
        if error > 10 ** (-BEST / 10):
            run.log(
                f"note: {1 - self.pixels.share:.0%} of the photos' pixels show what is outside of the box around the "
                f"object and render as background: PSNR cannot exceed {-10 * math.log10(error):.1f} dB"
            )

    def _report(self, step: Step) -> tuple[dict[str, float], str]:
        self.watch.check()
        p, logged = self.progress, step.logged()
        rate = p.samples / max(p.seconds, 1e-9)
        logged |= {"speed/samples_per_second": rate, "speed/rays_per_second": rate * step.rays / max(step.samples, 1)}
        return logged | dict(self.model.sampler.logged()), (
            f"train PSNR {logged['train/psnr']:.1f} dB  {rate / 1e6:.2f} M samples/s"
        )

    def _preview(self, step: int) -> None:
        assert self.run is not None
        scene = self.refined_scene(self.scene.test[:1])
        preview_field(self.average, scene, self.run, step, self.progress.seconds)

    def _mark(self, step: int) -> None:
        if step in MARKS and self.run is not None:
            self.run.add_fingerprints(FIELD, {mark(step): of_state(self.state_dict())})

    def refined_scene(self, views: Sequence[int] | None = None) -> Scene:
        """The scene with the cameras as they were learned, held-out ``views`` (None: all) registered with the average.

        Itself where cameras are not learned.
        """
        poses, exposure = self.corrections.poses, self.corrections.exposure
        if poses is None:
            return self.scene
        learned = poses.refined().to(self.scene.cameras.camera_to_world.device)
        scene = replace(self.scene, cameras=learned, cameras_refined=True)
        views = scene.test if views is None else views
        return replace(scene, cameras=registered(self.average, scene, views, exposure is not None))

    # ---- checkpoints

    def save(self) -> None:
        """Writes everything that the next step depends on to the run.

        Raises:
            NotFiniteError: something has not been finite; nothing is written.
        """
        self.watch.check()
        assert self.run is not None
        self.run.flush()  # what lies behind a checkpoint is not done again
        checkpoints.save(self.run.folder, self.progress.step, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "model": self.model.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress).copy(),
            "corrections": self.corrections.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], source: str = "the state") -> None:
        """Goes on from a saved state; ``source`` names it in messages.

        Raises:
            CheckpointError: it is of another field or sampler, or holds NaN or infinity.
        """
        corrupted = next(not_finite(state), None)
        if corrupted is not None:
            raise CheckpointError(
                f"{source}: {corrupted} of its newest checkpoint is not finite: the fit had diverged; delete "
                "that file from its folder checkpoints/ to go on from the one before"
            )
        try:
            state = upgraded(state)
            self.model.load_state_dict(state["model"])
            self._average.load_state_dict(state["average"])
            self.corrections.load(state["corrections"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = FieldProgress(**state["progress"])
        except (LookupError, RuntimeError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            lines = str(error).splitlines()  # torch puts the first of what differs on its second line
            reason = lines[min(1, len(lines) - 1)].strip() if lines else type(error).__name__
            raise CheckpointError(
                f"{source}: its checkpoint does not fit the config ({reason}); resume with the same "
                "field.*, sampler.*, trainer.exposure, poses and focal as the run was started with, and the version of "
                "nerfkit that its environment.yaml names"
            ) from None

    def _last_good(self, step: int) -> str:
        """Where the fit can go on from after ``step`` was not finite: its weights stayed as they were before it."""
        if self.run is None:
            return ""
        self.progress.step = step
        state = self.state_dict()
        if not any(not_finite(state)):
            checkpoints.save(self.run.folder, step, state)
        steps = checkpoints.steps(self.run.folder)
        last = f"the last good checkpoint is step {steps[0]}" if steps else "no checkpoint was saved before"
        return f"; {last} in {self.run.folder / 'checkpoints'}"
