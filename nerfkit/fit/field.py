"""The field stage: random rays through the training photos, compared with what the field renders there."""

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from omegaconf import DictConfig
from torch import Tensor

from nerfkit.errors import CheckpointError
from nerfkit.fields.field import Field
from nerfkit.fit.metrics import psnr
from nerfkit.fit.pixels import TrainingPixels, TrainingRays
from nerfkit.fit.watch import FiniteWatch
from nerfkit.kernels import philox
from nerfkit.kernels.philox import Draw
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run
from nerfkit.runs.interrupts import interrupts_held_back
from nerfkit.runs.progress import Progress as ProgressBar
from nerfkit.scenes.scene import Scene
from nerfkit.schema import Options, option
from nerfkit.volume.renderer import over, render_rays, render_view
from nerfkit.volume.samplers import OccupancySampler, StratifiedSampler

FIRST_RAYS = 1024


@dataclass
class TrainerOptions(Options):
    """The field stage. It ends at whichever bound is reached first; null is no bound (one of the two must be set)."""

    group: ClassVar[str] = "trainer"

    max_seconds: float | None = option(150.0, "of training; with it the result depends on the machine", above=0)
    max_steps: int | None = option(None, "of the optimizer", least=1)
    samples: int = option(16384, "field evaluations a step: rays are added or taken away to keep to it", least=1)
    max_rays: int = option(65536, "rays a step at the most", least=1)
    rays: int | None = option(None, "a fixed number of rays a step instead", least=1)
    views_per_step: int | None = option(
        None, "photos to draw them from, as many from each; null: from all pixels that meet the hull", least=1
    )
    learning_rate: float = option(0.01, "at the start", above=0)
    final_learning_rate: float = option(0.0003, "at the end of a cosine", least=0)
    decay: str = option(
        "cosine", "over the whole budget; or step: divided by 10 at 75 % of it", choices=("cosine", "step")
    )
    warmup: int = option(100, "steps until the learning rate is reached", least=0)
    ema: float = option(0.99, "running mean of the weights that is evaluated and exported; 0: none", least=0, below=1)
    huber: float = option(0.1, "scale of the pseudo-Huber losses: squared below, linear above", above=0)
    mask_weight: float = option(0.1, "of the silhouette loss, where the scene has masks", least=0)
    random_background: bool = option(
        True, "a random color behind every ray, in prediction and truth, so that opacity is learned"
    )
    log_every: int = option(50, "steps", least=1)
    preview_every: float = option(0.1, "of the budget: a held-out view to TensorBoard", above=0)
    checkpoint_every: float = option(60.0, "seconds", least=0)

    def check(self) -> None:
        super().check()
        bounded = self.max_seconds is not None or self.max_steps is not None
        self.expect("max_steps", bounded, "a number, or one for trainer.max_seconds: without both a fit never ends")


# Of a lock-step sampler; the occupancy sampler keeps to trainer.samples by itself.
SAMPLES_AT_ONCE = {"cpu": 1 << 15, "cuda": 1 << 20}


def pseudo_huber(error: Tensor, scale: float) -> Tensor:
    """Mean of scale (sqrt(1 + (e / scale)^2) - 1): squared below ``scale``, linear above (Charbonnier et al. 1994)."""
    return ((1 + (error / scale) ** 2).sqrt() - 1).mean() * scale


@dataclass
class Progress:
    """How far a fit has come. ``seconds`` counts the time of earlier parts of a resumed run too."""

    step: int = 0
    seconds: float = 0.0
    samples: int = 0
    rays: int = FIRST_RAYS
    next_update: int = 0


@dataclass
class Step:
    """What one step did. The ``terms`` of the loss and the sum of ``squared`` color errors are still on the device."""

    terms: dict[str, Tensor]
    squared: Tensor
    learning_rate: float
    rays: int
    samples: int

    def logged(self) -> dict[str, float]:
        """What to log of it, by tag. Waits for the device."""
        values = {f"loss/{name}": term.item() for name, term in self.terms.items()}
        return values | {
            "train/psnr": -10 * math.log10(max(self.squared.item() / (3 * self.rays), 1e-10)),
            "train/learning_rate": self.learning_rate,
            "train/rays": self.rays,
            "train/samples": self.samples,
        }


class FieldFit:
    """One field being fitted to one scene.

    Attributes:
        field: the weights being optimized; ``average`` their running mean, which is what to evaluate.
        sampler: where the field is evaluated along rays.
        progress: steps, seconds, samples so far.
        watch: finds what is not finite. On a CPU it is asked in every step; on a GPU, where asking means waiting, when
            something is logged or saved.
    """

    def __init__(
        self,
        scene: Scene,
        field: Field,
        average: Field,
        sampler: OccupancySampler | StratifiedSampler,
        config: DictConfig,
        run: Run,
        device: torch.device,
    ) -> None:
        self.scene, self.run, self.seed = scene, run, int(config.seed)
        # Plain attributes: a look-up in a config object costs as much as a small kernel, and a step does dozens.
        self.options, self.grid_options = config.trainer, config.sampler
        self.field, self.average, self.sampler = field.to(device), average.to(device), sampler.to(device)
        self.average.load_state_dict(field.state_dict())
        self.pixels = TrainingPixels(scene, sampler, device)
        self.background = torch.tensor(scene.background, device=device)
        self.optimizer = torch.optim.Adam(field.parameters(), lr=1e-3, eps=1e-15, fused=True)
        self.watch, self.waits = FiniteWatch(field.named_parameters(), device), device.type == "cpu"
        self.optimizer.found_inf = self.watch.found  # type: ignore[attr-defined]
        self.progress = Progress(rays=min(FIRST_RAYS, self.options.max_rays))

    # ---- one step

    def losses(self, rays: TrainingRays, first: int, step: int) -> tuple[dict[str, Tensor], Tensor, int]:
        """The weighted terms of the loss over ``rays``, the sum of squared color errors, and the samples it took.

        Each term is a mean of pseudo-Huber errors, huber (sqrt(1 + (e / huber)^2) - 1). ``first`` numbers the first
        ray.
        """
        o, draw = self.options, Draw(self.seed, step, first)
        rendered, samples = render_rays(self.field, self.sampler, rays.origins, rays.directions, draw)
        predicted, true, alpha = rendered.color, rays.rgba[:, :3], rays.rgba[:, 3]
        if o.random_background:
            background = philox.uniform(draw, philox.BACKGROUND, len(true), 3, device=true.device)
        else:
            background = self.background.expand_as(true)
        error = predicted - true + (alpha - rendered.opacity)[:, None] * background  # (R, 3)
        terms = {"color": pseudo_huber(error, o.huber)}
        if self.scene.has_masks and o.mask_weight > 0:
            terms["silhouette"] = o.mask_weight * pseudo_huber(rendered.opacity - alpha, o.huber)
        return terms, error.detach().square().sum(), samples

    def step(self) -> Step:
        """One optimizer step.

        Raises:
            FloatingPointError: a term of the loss or a gradient is NaN or infinite; the weights are untouched. On a GPU
                ``watch.check`` raises it, and until then further steps change nothing.
        """
        progress, o = self.progress, self.options
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        wanted = o.rays or progress.rays
        if o.views_per_step:
            rays = self.pixels.draw_from_views(self.seed, progress.step, wanted, o.views_per_step)
        else:
            rays = self.pixels.draw(self.seed, progress.step, wanted)
        count, samples = len(rays.rgba), 0
        terms: dict[str, Tensor] = {}
        squared = self.background.new_zeros(())
        self.optimizer.zero_grad()
        at_once = self._rays_at_once(count)
        for first in range(0, count, at_once):
            piece = TrainingRays(*(t[first : first + at_once] for t in rays))
            share = len(piece.rgba) / count
            values, error, taken = self._backward(piece, first, share)
            for name, value in values.items():
                terms[name] = terms[name] + share * value if name in terms else share * value
            squared, samples = squared + error, samples + taken
        self.watch.look(terms, progress.step)
        if self.waits:
            self.watch.check()
        self.optimizer.step()
        self._average()
        progress.step += 1
        progress.samples += samples
        self._adapt(samples)
        return Step(terms, squared, rate, count, samples)

    def _backward(self, rays: TrainingRays, first: int, share: float) -> tuple[dict[str, Tensor], Tensor, int]:
        """Adds ``share`` of the gradient over ``rays``; returns the terms, the squared error, the number of samples.

        A function of its own so that the graph of one piece is gone before that of the next is built.
        """
        terms, squared, samples = self.losses(rays, first, self.progress.step)
        (torch.stack(list(terms.values())).sum() * share).backward()
        return {name: term.detach() for name, term in terms.items()}, squared, samples

    def _rays_at_once(self, count: int) -> int:
        """Rays whose samples fit in memory together; the gradient of a step is the same however it is cut up."""
        if isinstance(self.sampler, StratifiedSampler):
            return max(1, SAMPLES_AT_ONCE[self.background.device.type] // self.sampler.count)
        return max(count, 1)

    def learning_rate(self) -> float:
        """By the share of the budget that is used, so that it reaches its end with whichever bound comes first."""
        o, done = self.options, self.done()
        warm = min(1.0, (self.progress.step + 1) / max(1, o.warmup))
        if o.decay == "step":
            return warm * o.learning_rate * (0.1 if done >= 0.75 else 1.0)
        cosine = 0.5 + 0.5 * math.cos(math.pi * min(done, 1.0))
        return warm * (o.final_learning_rate + (o.learning_rate - o.final_learning_rate) * cosine)

    def done(self) -> float:
        """Share of the budget used, 1 at the end."""
        o, p = self.options, self.progress
        by_time = p.seconds / o.max_seconds if o.max_seconds else 0.0
        return max(by_time, p.step / o.max_steps if o.max_steps else 0.0)

    def _average(self) -> None:
        # A short memory at first: the running mean must not remember the initial weights.
        keep = min(self.options.ema, 1 - 1 / (1 + self.progress.step / 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.field.parameters()), 1 - keep)

    def _adapt(self, samples: int) -> None:
        """The ray count follows the sample budget, at most doubling; the occupancy grid follows the field."""
        o, p = self.options, self.progress
        wanted = p.rays * o.samples / max(samples, 1)
        p.rays = min(int(max(64, min(wanted, 2 * p.rays))), o.max_rays)
        if isinstance(self.sampler, OccupancySampler) and p.step >= p.next_update:
            g = self.grid_options
            self.sampler.grid.update(
                self.field, Draw(self.seed, p.step), p.step // g.update_every, prune=p.step >= g.warmup
            )
            p.next_update = p.step + g.update_every

    # ---- the loop

    def train(self) -> None:
        """Steps until the budget is used.

        Raises:
            KeyboardInterrupt: after the step during which it came; the state is saved.
            FloatingPointError: the loss or a gradient is not finite; names which, and the last good checkpoint. Nothing
                is saved.
        """
        try:
            try:
                self._loop()
            except KeyboardInterrupt:
                self.save()
                raise
            self.save()
        except FloatingPointError as error:
            steps = checkpoints.steps(self.run.folder)
            last = f"the last good checkpoint is step {steps[0]}" if steps else "no checkpoint was saved before"
            raise FloatingPointError(
                f"{error}; {last} in {self.run.folder / 'checkpoints'}. A lower trainer.learning_rate usually helps."
            ) from None

    def _loop(self) -> None:
        before, previously, start = self.progress.seconds, self.done(), time.perf_counter()
        saved, previewed = before, self.done()
        with ProgressBar("field", self.run.log) as bar, interrupts_held_back() as stop_if_asked:
            for count in itertools.count():
                stop_if_asked()
                if self.done() >= 1:
                    break
                step = self.step()
                self.progress.seconds = before + time.perf_counter() - start
                if count % self.options.log_every == 0:
                    self._report(bar, step, previously)
                if self.done() - previewed >= self.options.preview_every:
                    previewed = self.done()
                    self._preview()
                if self.progress.seconds - saved > self.options.checkpoint_every:
                    saved = self.progress.seconds
                    self.save()

    def _report(self, bar: ProgressBar, step: Step, previously: float) -> None:
        self.watch.check()
        p, logged = self.progress, step.logged()
        for tag, value in logged.items():
            self.run.scalar(tag, value, p.step)
        rate = p.samples / max(p.seconds, 1e-9)
        self.run.scalar("speed/samples_per_second", rate, p.step)
        self.run.scalar("speed/rays_per_second", rate * step.rays / max(step.samples, 1), p.step)
        if isinstance(self.sampler, OccupancySampler):
            self.run.scalar("train/occupied_fraction", self.sampler.grid.fraction, p.step)
        text = f"step {p.step}  train PSNR {logged['train/psnr']:.1f} dB  {rate / 1e6:.2f} M samples/s"
        bar.show(self.done(), text, previously)

    def _preview(self) -> None:
        """A held-out view to TensorBoard: picture, truth, error, depth, normals; PSNR by step and by second."""
        p, view = self.progress, self.scene.test[0]
        image = render_view(self.average, self.sampler, self.pixels.cameras, view, normals=True)
        true = self.scene.image(view)
        predicted = over(image, self.scene.background).cpu()
        value = psnr(predicted, true)
        self.run.scalar("held_out/psnr", value, p.step)
        self.run.scalar_by_second("held_out/psnr", value, p.seconds)
        self.run.image("held_out/predicted", predicted, p.step)
        self.run.image("held_out/true", true, p.step)
        self.run.image("held_out/error", (predicted - true).abs(), p.step)
        alpha = image.alpha.cpu()
        depth = image.depth.cpu() / alpha.clamp_min(1e-6)
        near, far = (depth[alpha > 0.5] if (alpha > 0.5).any() else depth).aminmax()
        shown = ((far - depth) / (far - near).clamp_min(1e-6)).clamp(0, 1) * alpha
        self.run.image("held_out/depth", shown[..., None].expand(-1, -1, 3), p.step)
        if image.normal is not None:
            self.run.image("held_out/normals", image.normal.cpu() * 0.5 + 0.5, p.step)

    # ---- checkpoints

    def save(self) -> None:
        """Writes everything that the next step depends on.

        Raises:
            FloatingPointError: something has not been finite; nothing is written.
        """
        self.watch.check()
        state: dict[str, Any] = {
            "field": self.field.state_dict(),
            "average": self.average.state_dict(),
            "sampler": self.sampler.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress).copy(),
        }
        checkpoints.save(self.run.folder, self.progress.step, state)

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state.

        Raises:
            CheckpointError: it is of another field or sampler, or holds NaN or infinity.
        """
        corrupted = next(_not_finite(state), None)
        if corrupted is not None:
            raise CheckpointError(
                f"{self.run.folder}: {corrupted} of its newest checkpoint is not finite: the fit had diverged; delete "
                "that file from its folder checkpoints/ to go on from the one before"
            )
        try:
            self.field.load_state_dict(state["field"])
            self.average.load_state_dict(state["average"])
            self.sampler.load_state_dict(state["sampler"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"{self.run.folder}: its checkpoint does not fit the config ({reason}); resume with the same "
                "field.* and sampler.* as the run was started with"
            ) from None


def _not_finite(value: Any, name: str = "") -> Iterator[str]:
    """Names of the tensors with NaN or infinity in a nest of dictionaries, such as ``field.color.bias``."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and not value.isfinite().all():
            yield name
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{name}.{key}" if name else str(key))
