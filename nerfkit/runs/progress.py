"""How far a long piece of work is, and how long it will take: a bar on a terminal; elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0  # often enough for a log file to tell work from a hang

Item = TypeVar("Item")


def to_stderr(text: str) -> None:
    """One line to standard error."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Work of which the share done is known; used as a context.

    Args:
        title: what is being done.
        log: takes a line where there is no terminal.
        shown: or not, where another process shows it.
    """

    def __init__(self, title: str, log: Callable[[str], None] = to_stderr, shown: bool = True) -> None:
        self.title, self.log, self.shown = title, log, shown
        self.start = self.said = time.monotonic()
        self.bar: tqdm | None = None

    def __enter__(self) -> "Progress":
        if self.shown and sys.stderr.isatty():
            style = f"{self.title} {{percentage:3.0f}}%|{{bar:24}}| {{desc}}"
            self.bar = tqdm(total=1000, bar_format=style, leave=False, dynamic_ncols=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, share: float, text: str = "", before: float = 0.0) -> None:
        """``share`` (0 to 1) is done, ``before`` of which was done when the work began; ``text`` says more."""
        now = time.monotonic()
        gone = share - before
        left = f"{clock((now - self.start) * (1 - share) / gone)} left" if gone > 0 else ""
        shown = "  ".join(part for part in (text, left) if part)
        if self.bar is not None:
            self.bar.set_description_str(shown, refresh=False)
            self.bar.update(min(1000, int(1000 * share)) - self.bar.n)
        elif self.shown and share < 1 and now - self.said >= SECONDS_BETWEEN_LINES:
            self.said = now
            self.log(f"{self.title} {share:4.0%}: {shown}")


def track(
    items: Iterable[Item], total: int, title: str, done: int = 0, log: Callable[[str], None] = to_stderr
) -> Iterator[Item]:
    """Passes ``items`` on and shows how many of ``total`` are through; ``done`` were before the first."""
    with Progress(title, log) as progress:
        for number, item in enumerate(items, start=done):
            progress.show(number / max(total, 1), f"{number} of {total}", before=done / max(total, 1))
            yield item


def clock(seconds: float) -> str:
    """Minutes and seconds, such as 0:07, with hours from one hour on."""
    seconds = min(round(seconds), 359999)
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"
