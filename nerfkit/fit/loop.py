"""The loop that every fit runs: steps until a bound, with curves, a progress bar and callbacks now and then."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nerfkit.fit.watch import NotFiniteError, loss_not_finite
from nerfkit.kernels.jit import compile_seconds
from nerfkit.runs.folder import Run
from nerfkit.runs.interrupts import interrupts_held_back
from nerfkit.runs.progress import Progress as ProgressBar, to_stderr


@dataclass
class Progress:
    """How far a fit has come, earlier parts of a resumed one included.

    Attributes:
        step: steps done.
        seconds: that they took; those of callbacks, and of compiling CPU kernels, do not count.
    """

    step: int = 0
    seconds: float = 0.0

    def share(self, steps: int | None, max_seconds: float | None) -> float:
        """Share of the budget that is used, 1 at its end: of the bound that is nearer; None is no bound."""
        by_time = self.seconds / max_seconds if max_seconds else 0.0
        return max(self.step / steps if steps else 0.0, by_time)


@dataclass
class Callback:
    """Something to do now and then between two steps.

    Attributes:
        call: called with the number of steps done.
        share, steps, seconds: what lies between two calls; None: not due by it.
        first, last: also before the first step of all, after the last one.
        stopped: also when Ctrl-C stops the fit between two steps. After the last step those with ``last`` are called
            then too, all in their order.
    """

    call: Callable[[int], None]
    share: float | None = None
    steps: int | None = None
    seconds: float | None = None
    first: bool = True
    last: bool = True
    stopped: bool = False
    _next: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def due(self, progress: Progress, share: float) -> bool:
        """Whether a multiple of ``share``, ``steps`` or ``seconds`` has been passed since it was last asked."""
        due = False
        for key, now in (("share", share), ("steps", float(progress.step)), ("seconds", progress.seconds)):
            every = getattr(self, key)
            if every is None:
                continue
            due |= now >= self._next.get(key, math.inf)
            self._next[key] = (math.floor(now / every + 1e-9) + 1) * every - 1e-9 if every else now
        return due


def optimize(
    title: str,
    step: Callable[[float], Any],
    *,
    steps: int | None,
    max_seconds: float | None = None,
    run: Run | None = None,
    log_every: int = 20,
    callbacks: Sequence[Callback] = (),
    until: Callable[[Any], bool] | None = None,
    progress: Progress | None = None,
    report: Callable[[Any], tuple[Mapping[str, float], str]] | None = None,
    shown: bool = True,
    blame: Callable[[], str] | None = None,
) -> int:
    """Calls ``step`` until ``steps`` or ``max_seconds`` is reached or ``until`` says so; returns the steps done.

    Ctrl-C stops it between two steps.

    Args:
        title: what is being fitted.
        step: takes the share of the budget that is used, in [0,1), and makes one step. It returns the terms of the
            loss, or with ``report`` anything.
        steps: at least 1, those of ``progress`` included; None for no bound.
        max_seconds: None for no bound; with one the result depends on the machine.
        run: where curves go, and whose audience has its turn after each step; None shows the progress bar alone.
        log_every: steps between two values of the curves.
        callbacks: what else is done on the way.
        until: asked with what every step returned, whether that was enough.
        progress: where a resumed fit goes on; it is counted on. None begins at 0.
        report: what to log of what a step returned, by tag, and what the progress bar says. None takes terms, which
            must be finite: curves are ``TITLE/TERM`` and ``TITLE/loss``, their sum.
        shown: with a progress bar.
        blame: asked after a step whose terms are not finite, which photos or pixels it looked at.

    Raises:
        NotFiniteError: a term of the loss is NaN or infinite; the message names it.
        KeyboardInterrupt: after Ctrl-C, and after the callbacks that are called then.
    """
    progress, whole = Progress() if progress is None else progress, True
    share = begun = progress.share(steps, max_seconds)
    first_step = progress.step
    for callback in callbacks:
        callback.due(progress, share)
        if callback.first and not first_step:
            callback.call(progress.step)
    try:
        with (
            ProgressBar(title, run.log if run is not None else to_stderr, shown) as bar,
            interrupts_held_back() as stop,
        ):
            begin, compiled = time.perf_counter(), compile_seconds()
            while share < 1:
                stop()
                whole = False
                try:
                    made = step(share)
                except FloatingPointError as error:
                    if isinstance(error, NotFiniteError):
                        raise
                    raise _failed(title, str(error), progress.step, blame) from None
                if report is None:
                    _check(title, made, progress.step, blame)
                # On a GPU the wait for a step may come in the next report: all but the callbacks counts.
                now, idle = time.perf_counter(), compile_seconds() - compiled
                progress.seconds, begin, compiled = progress.seconds + now - begin - idle, now, compiled + idle
                bar.start += idle  # compiling happens once: it says nothing of how long the rest takes
                progress.step, whole = progress.step + 1, True
                share = progress.share(steps, max_seconds)
                if until is not None and until(made):
                    share = 1.0
                if (progress.step - 1) % log_every == 0 or share >= 1:
                    curves, text = _report(title, made) if report is None else report(made)
                    for tag, value in curves.items() if run is not None else ():
                        run.scalar(tag, value, progress.step)  # type: ignore[union-attr]
                    bar.show(share, f"step {progress.step}  {text}", begun)
                for callback in callbacks:
                    if callback.due(progress, share) and share < 1:
                        callback.call(progress.step)
                        begin, compiled = time.perf_counter(), compile_seconds()
                if run is not None and run.audience.turn(title, progress.step):
                    begin, compiled = time.perf_counter(), compile_seconds()
    except KeyboardInterrupt:
        for callback in callbacks:
            ended = callback.last and share >= 1 and progress.step > first_step  # and no later start calls it
            if whole and (callback.stopped or ended):  # a second Ctrl-C may have come within a step
                callback.call(progress.step)
        raise
    for callback in callbacks:
        if callback.last and progress.step > first_step:
            callback.call(progress.step)
    return progress.step


def _check(title: str, terms: Mapping[str, float], step: int, blame: Callable[[], str] | None) -> None:
    for name, value in terms.items():
        if not math.isfinite(value):
            raise _failed(title, loss_not_finite(name), step, blame)


def _failed(title: str, what: str, step: int, blame: Callable[[], str] | None) -> NotFiniteError:
    return NotFiniteError(step, what, "" if blame is None else blame(), title, ". A lower rate usually helps.")


def _report(title: str, terms: Mapping[str, float]) -> tuple[dict[str, float], str]:
    curves = {f"{title}/{name}": value for name, value in terms.items()} | {f"{title}/loss": sum(terms.values())}
    return curves, "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
