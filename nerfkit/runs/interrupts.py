"""Ctrl-C between two steps of a loop, never inside one, so that what is saved then is a whole state."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[Callable[[], None]]:
    """Yields a function to call where stopping is safe: it raises KeyboardInterrupt if Ctrl-C was pressed before.

    The end of the block is such a place too. A second Ctrl-C does not wait, and the first says so, as a step may take
    minutes. Where Ctrl-C does not raise KeyboardInterrupt to begin with (another thread, a handler of the caller's own)
    nothing changes.
    """
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        with contextlib.suppress(OSError):  # not through sys.stderr: a handler may come in the midst of a print
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once, without it\n")

    def stop_if_asked() -> None:
        if pressed:
            raise KeyboardInterrupt

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop_if_asked
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield stop_if_asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    stop_if_asked()
