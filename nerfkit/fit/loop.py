"""The loop that every mesh fit runs: steps until a bound, with curves, a progress bar and things done now and then."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nerfkit.runs.folder import Run
from nerfkit.runs.progress import Progress, to_stderr


@dataclass(frozen=True)
class Watch:
    """Something to do now and then: ``look(step)`` before the first step, after every ``share`` of the way, at the end.

    Attributes:
        share: of the budget between two looks, in (0,1].
        look: called with the number of steps done.
    """

    share: float
    look: Callable[[int], None]


def optimize(
    title: str,
    step: Callable[[float], dict[str, float]],
    *,
    steps: int,
    max_seconds: float | None = None,
    run: Run | None = None,
    log_every: int = 20,
    watches: Sequence[Watch] = (),
    until: Callable[[dict[str, float]], bool] | None = None,
) -> int:
    """Calls ``step`` until ``steps`` or ``max_seconds`` is reached or ``until`` says so; returns the steps done.

    Args:
        title: what is being fitted; curves are ``TITLE/TERM`` and ``TITLE/loss``, the sum of the terms.
        step: takes the share of the budget that is used, in [0,1), makes one step and returns the terms of the loss.
        steps: at least 1.
        max_seconds: None for no bound; with one the result depends on the machine.
        run: where curves go; None shows the progress bar alone.
        log_every: steps between two values of the curves.
        watches: what else is done on the way; the time it takes does not count.
        until: asked with the terms of every step, whether that was enough.

    Raises:
        FloatingPointError: a term of the loss is NaN or infinite; the message names it.
    """
    begin = time.perf_counter()
    share, done, waited = 0.0, 0, 0.0
    due = [0.0] * len(watches)
    with Progress(title, run.log if run is not None else to_stderr) as bar:
        while share < 1:
            waited += _look(watches, due, share, done)
            terms = step(share)
            for name, value in terms.items():
                if not math.isfinite(value):
                    raise FloatingPointError(
                        f"{title}: the loss is not finite (term: {name}) at step {done}. A lower rate usually helps."
                    )
            seconds = time.perf_counter() - begin - waited
            done += 1
            share = max(done / steps, seconds / max_seconds if max_seconds else 0.0)
            if until is not None and until(terms):
                share = 1.0
            if (done - 1) % log_every == 0 or share >= 1:
                _report(bar, title, run, terms, done - 1, share)
        _look(watches, [0.0] * len(watches), share, done)
    return done


def _look(watches: Sequence[Watch], due: list[float], share: float, done: int) -> float:
    """Calls the watches that are due and returns the seconds that took."""
    begin = time.perf_counter()
    for k, watch in enumerate(watches):
        if share >= due[k]:
            due[k] = (math.floor(share / watch.share + 1e-9) + 1) * watch.share - 1e-9
            watch.look(done)
    return time.perf_counter() - begin


def _report(bar: Progress, title: str, run: Run | None, terms: dict[str, float], step: int, share: float) -> None:
    if run is not None:
        for name, value in terms.items():
            run.scalar(f"{title}/{name}", value, step)
        run.scalar(f"{title}/loss", sum(terms.values()), step)
    shown = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
    bar.show(share, f"step {step + 1}  {shown}")
