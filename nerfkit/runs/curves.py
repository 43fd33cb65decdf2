"""A run's losses as pictures, for those who do without TensorBoard: ``images/loss_TITLE.png``."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from nerfkit.runs.plot import COLORS, line_chart

Points = list[tuple[float, float]]


def write_losses(folder: Path) -> list[Path]:
    """One chart for every fit whose curves the event files of ``folder`` hold: the terms of its loss over the steps.

    The axis is logarithmic: terms that are ever 0 or below stay out, and so do those of a single point.
    """
    charts = []
    for title, terms in losses(scalars(folder)):
        if terms:
            shown = dict(list(terms.items())[: len(COLORS)])
            path = folder / "images" / f"loss_{title}.png"
            charts.append(line_chart(path, f"{title}: terms of the loss", "step", "loss", shown))
    return charts


def scalars(folder: Path) -> dict[str, Points]:
    """Every curve of the event files of ``folder``, by tag: finite (step, value) points."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    events.Reload()
    return {
        tag: _latest([(event.step, event.value) for event in events.Scalars(tag) if math.isfinite(event.value)])
        for tag in events.Tags()[SCALARS]
    }


def losses(curves: Mapping[str, Points]) -> Iterator[tuple[str, dict[str, Points]]]:
    """Title and terms of each fit: the field's curves are ``loss/TERM``, those of other fits ``TITLE/TERM``.

    Terms that are ever 0 or below, which a logarithmic axis does not have, are left out, and those of a single point.
    """
    found: dict[str, dict[str, Points]] = {}
    for tag, points in curves.items():
        title, _, term = tag.rpartition("/")
        found.setdefault(title, {})[term] = points
    for title, terms in found.items():
        if title == "loss" or "loss" in terms:
            shown = {
                name: points
                for name, points in terms.items()
                if not name.startswith("held_out") and len(points) > 1 and min(y for _, y in points) > 0
            }
            yield ("field" if title == "loss" else title.replace("/", "_")), shown


def _latest(points: Points) -> Points:
    """The points without those whose steps were done a second time: a resumed run begins a fit anew, or goes on."""
    kept: Points = []
    for point in points:
        while kept and kept[-1][0] >= point[0]:
            kept.pop()
        kept.append(point)
    return kept
