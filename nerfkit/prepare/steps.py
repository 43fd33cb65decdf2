"""Long calls into a compiled library, shown while they run and stopped by Ctrl-C."""

import itertools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from nerfkit.runs.progress import SECONDS_BETWEEN_LINES, Progress, clock, to_stderr

POLL = 0.25  # seconds
PATIENCE = (10.0, 60.0)  # seconds that Ctrl-C waits for a call that cannot be asked to return, and for one that can


def watched(
    call: Callable[[], Any],
    title: str,
    done: Callable[[], float] | None = None,
    cancel: Callable[[], None] | None = None,
    likely: tuple[float, float] | None = None,
) -> Any:
    """What ``call()`` returns; it runs in a thread, so that this one can show how far it is.

    Args:
        title: of the bar.
        done: the share done, 0 to 1; None where it is not known: the time that has gone is shown then.
        cancel: asks the call to return early; called on Ctrl-C, which then waits for it, for a minute at the most.
        likely: from how many seconds to how many the call is likely to take, where ``done`` is not known.

    Raises:
        BaseException: whatever the call raises.
    """
    result: list[Any] = []
    failure: list[BaseException] = []
    ended = threading.Event()  # a join that Ctrl-C interrupts takes the thread for ended (Python 3.11)

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:
            failure.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name=title, daemon=True).start()
    try:
        if done is None:
            _spin(ended, title, likely)
        else:
            first = done()
            with Progress(title) as progress:
                while not ended.is_set():
                    share = min(done(), 1.0)
                    progress.show(share, before=min(first, share))
                    ended.wait(POLL)
    except KeyboardInterrupt:
        if cancel is not None:
            cancel()
        ended.wait(PATIENCE[cancel is not None])  # compiled code that outlives the interpreter aborts
        raise
    if failure:
        raise failure[0]
    return result[0]


def _spin(ended: threading.Event, title: str, likely: tuple[float, float] | None) -> None:
    """Shows that something goes on until it has ``ended``: a turning bar on a terminal, else a line now and then.

    What it is ``likely`` to take stands beside; without a terminal also in a line at the start, unless it is short.
    """
    start = said = time.monotonic()
    terminal = sys.stderr.isatty()
    span = "" if likely is None else f"{clock(likely[0])} to {clock(likely[1])}"
    hint = span and f" of likely {span}"
    if likely is not None and not terminal and likely[1] >= SECONDS_BETWEEN_LINES:
        to_stderr(f"{title}: begins; likely to take {span}, how far it is cannot be seen")
    for sign in itertools.cycle("|/-\\"):
        if ended.is_set():
            break
        now = time.monotonic()
        gone = clock(now - start) + hint
        if terminal:
            print(f"\r{title} {sign} {gone}", end="", file=sys.stderr, flush=True)
        elif now - said >= SECONDS_BETWEEN_LINES:
            said = now
            to_stderr(f"{title}: {gone}")
        ended.wait(POLL)
    if terminal:
        print(f"\r{' ' * (len(title) + len(hint) + 12)}\r", end="", file=sys.stderr, flush=True)
