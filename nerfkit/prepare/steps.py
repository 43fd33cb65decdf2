"""Long calls into a compiled library, shown while they run and stopped by Ctrl-C."""

import itertools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from nerfkit.runs.progress import SECONDS_BETWEEN_LINES, Progress, to_stderr

POLL = 0.25  # seconds


def watched(
    call: Callable[[], Any],
    title: str,
    done: Callable[[], float] | None = None,
    cancel: Callable[[], None] | None = None,
) -> Any:
    """What ``call()`` returns; it runs in a thread, so that this one can show how far it is.

    Args:
        title: of the bar.
        done: the share done, 0 to 1; None where it is not known: the time that has gone is shown then.
        cancel: asks the call to return early; called on Ctrl-C, which waits for it.

    Raises:
        BaseException: whatever the call raises.
    """
    result: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name=title, daemon=True)
    thread.start()
    try:
        if done is None:
            _spin(thread, title)
        else:
            first = done()
            with Progress(title) as progress:
                while thread.is_alive():
                    share = min(done(), 1.0)
                    progress.show(share, before=min(first, share))
                    thread.join(POLL)
    except KeyboardInterrupt:
        if cancel is not None:
            cancel()
            thread.join(60)
        raise
    if failure:
        raise failure[0]
    return result[0]


def _spin(thread: threading.Thread, title: str) -> None:
    """Shows until ``thread`` ends that it goes on: on a terminal a turning bar, elsewhere a line now and then."""
    start = said = time.monotonic()
    terminal = sys.stderr.isatty()
    for sign in itertools.cycle("|/-\\"):
        if not thread.is_alive():
            break
        now = time.monotonic()
        gone = f"{int(now - start) // 60}:{int(now - start) % 60:02d}"
        if terminal:
            print(f"\r{title} {sign} {gone}", end="", file=sys.stderr, flush=True)
        elif now - said >= SECONDS_BETWEEN_LINES:
            said = now
            to_stderr(f"{title}: {gone}")
        thread.join(POLL)
    if terminal:
        print(f"\r{' ' * (len(title) + 12)}\r", end="", file=sys.stderr, flush=True)
