"""How the programs begin. Ctrl-C waits until what they import is whole.

A package of C code that an interrupt leaves half imported cannot be imported again: the program would end with that
package's traceback, not with exit code 130.
"""

import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Any


def imported(module: str, name: str) -> Any:
    """What ``module`` calls ``name``.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    in_main_thread = threading.current_thread() is threading.main_thread()
    holds = in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if holds:
        signal.signal(signal.SIGINT, note)
    try:
        found = getattr(import_module(module), name)
    finally:
        if holds:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked:
        raise KeyboardInterrupt
    return found


def started(module: str, name: str) -> Callable[..., Any]:
    """The same at the very start of a program, which Ctrl-C ends with exit code 130."""
    try:
        found: Callable[..., Any] = imported(module, name)
    except KeyboardInterrupt:
        sys.exit(130)
    return found


def train() -> None:
    """``train.py``."""
    started("nerfkit.cli", "train")()


def render() -> None:
    """``render.py``."""
    started("nerfkit.cli", "render")()
