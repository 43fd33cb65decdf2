"""Ctrl-C and SIGTERM between two steps of a loop, never inside one, so that what is saved then is a whole state."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM: the machine is shut down, or a queue's time is over."""


def terminate(number: int, frame: FrameType | None) -> None:
    """Raises ``Terminated``."""
    raise Terminated


def take_terminations() -> None:
    """From now on SIGTERM raises ``Terminated``, where nothing else is made of it already."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[Callable[[], None]]:
    """Yields a function to call where stopping is safe: it raises KeyboardInterrupt if Ctrl-C was pressed before.

    It raises ``Terminated`` after SIGTERM where ``take_terminations`` was called. The end of the block is such a place
    too. A second Ctrl-C does not wait, and the first says so, as a step may take minutes. Where Ctrl-C does not raise
    KeyboardInterrupt to begin with (another thread, a handler of the caller's own) nothing changes.
    """
    asked: type[KeyboardInterrupt] | None = None

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if asked is not None:
            raise kind
        asked = kind
        with contextlib.suppress(OSError):  # not through sys.stderr: a handler may come in the midst of a print
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once, without it\n")

    def stop_if_asked() -> None:
        if asked is not None:
            raise asked

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}
    in_main_thread = threading.current_thread() is threading.main_thread()
    held = [number for number, own in usual.items() if in_main_thread and signal.getsignal(number) is own]
    for number in held:
        signal.signal(number, note)
    try:
        yield stop_if_asked
    finally:
        for number in held:
            signal.signal(number, usual[number])
    stop_if_asked()
