"""The field stage: random rays through the training photos, compared with what the model renders there."""

import math
from functools import cached_property, reduce
from operator import add

import torch
from torch import Tensor

from nerfkit.fit.best import keep_best, kept_psnr
from nerfkit.fit.depth_hints import SHARE, WEIGHT, DepthHints, hints_of
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.fit.field_rays import RAYS, SHORT, FieldRays
from nerfkit.fit.field_state import FieldState
from nerfkit.fit.field_step import Step
from nerfkit.fit.loop import Callback, optimize
from nerfkit.fit.pixels import TrainingRays
from nerfkit.fit.preview import preview_field
from nerfkit.fit.watch import FiniteWatch, NotFiniteError, not_finite
from nerfkit.kernels.philox import Draw
from nerfkit.runs import checkpoints
from nerfkit.runs.fingerprint import FIELD, MARKS, mark, of_state
from nerfkit.runs.folder import Run
from nerfkit.runs.memory import fitting
from nerfkit.runs.ranks import ALONE, RankError, Ranks
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel

CURVES = ("loss/", "train/", "speed/", "held_out/")


class FieldFit(FieldState):
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
        options = TrainerOptions() if options is None else options
        super().__init__(model, scene, options)
        self.seed, self.run, self.ranks = seed, run, ranks
        self.rays = FieldRays(model, scene, options, self.corrections, seed)
        named, device = [*model.named_parameters(), *self.corrections.named_parameters()], model.device
        self.watch, self.waits = FiniteWatch(named, device), device.type == "cpu" or options.skip_bad_steps > 0
        self.optimizer.found_inf = self.watch.found
        self.best = -math.inf  # PSNR of what ``keep_best`` keeps

    @cached_property
    def hints(self) -> DepthHints | None:
        """Where the sparse points are; None where they do not count."""
        return hints_of(self.scene, self.options.depth_weight, self.model.device)

    # ---- one step

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
        drawn = self.rays.draw(number, progress.rays, cameras)
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
        self.model.after_step(self.seed, number + 1, self.ranks)
        progress.samples += samples
        # The ray count follows the sample budget, at most doubling.
        wanted_rays = progress.rays * o.samples / max(samples, 1)
        progress.rays = min(int(max(64, min(wanted_rays, 2 * progress.rays))), o.max_rays)
        whole = (1.0, 0.0) if o.views_per_step else (self.rays.pixels.share, self.rays.pixels.outside)
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
                found = NotFiniteError(error.step, error.what, self.rays.to_blame(error.step, self.progress.rays))
                self.run.log(f"note: {found}; skipped ({self.progress.skipped} of {self.options.skip_bad_steps})")
            return True
        return False

    def _backward(self, rays: TrainingRays, first: int, weight: float) -> tuple[dict[str, Tensor], Tensor, int]:
        """Adds ``weight`` of the gradient over ``rays``; returns the terms, the squared error, the number of samples.

        A function of its own so that the graph of one piece is gone before that of the next is built.
        """
        terms, squared, samples = self.rays.losses(rays, first, self.progress.step)
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
            if note := self.rays.outside_noted():
                self.run.log(note)
            if self.hints is not None:
                self.run.log(f"{len(self.hints):,} sightings of points are hints of depth (trainer.depth_weight)")
            checkpoints.drop(self.run.folder, checkpoints.BEST, after=self.progress.step if o.keep_best else -1)
            self.best = kept_psnr(self.run)
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
            where = self.rays.to_blame(error.step, self.progress.rays)
            raise NotFiniteError(error.step, error.what, where, advice=advice) from None
        return self.average

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
        psnr = preview_field(self.average, scene, self.run, step, self.progress.seconds)
        if self.options.keep_best and psnr > self.best:
            self.watch.check()
            keep_best(self.run, step, psnr, self.state_dict())
            self.best = psnr

    def _mark(self, step: int) -> None:
        if step in MARKS and self.run is not None:
            self.run.add_fingerprints(FIELD, {mark(step): of_state(self.state_dict())})

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
