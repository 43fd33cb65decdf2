"""The three errors that bad input raises. A command prints their message alone and exits with code 2."""

import contextlib
import difflib
import errno
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

SYNONYMS = {"gpu": "cuda"}  # what other programs call it


def escaped(text: str) -> str:
    r"""A text in which what steers a terminal, or cannot be encoded, is spelled out, as ``\x1b``: names may hold it."""
    if text.isprintable():
        return text
    plain = ("\n", "\t")
    return "".join(
        c if c.isprintable() or c in plain or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text
    )


class UserError(Exception):
    """Bad input. The message says which file or key, what is wrong there, what was expected, and how to fix it."""

    def __init__(self, message: str) -> None:
        super().__init__(escaped(message))


class SceneError(UserError):
    """A scene, image, mask, camera or mesh file that cannot be used."""


class ConfigError(UserError):
    """A configuration key or value that cannot be used."""


class CheckpointError(UserError):
    """A run folder or checkpoint that cannot be used."""


READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)  # a folder that cannot be written
MORE_MEMORY = "Close other programs, lower scene.resolution, or take a machine with more memory"
SHORT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation has failed: Python's or NumPy's, or PyTorch's on a CPU or a GPU."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in said for sign in SHORT_OF_MEMORY)
    )


def told(error: Exception) -> tuple[int, str] | None:
    """The exit code and what is printed of an error that is no bug: bad input, a place that cannot be written, too
    little memory, a fit that diverged. None for others."""
    if isinstance(error, UserError):
        return 2, str(error)
    if isinstance(error, OSError) and error.errno in READ_ONLY and error.filename:
        return 2, f"{error.filename}: {error.strerror}; nothing can be kept there, or it is not ours to read"
    if out_of_memory(error):
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        return 2, f"there is not enough memory ({reason}). {MORE_MEMORY}"
    if isinstance(error, FloatingPointError):  # nothing is wrong with the program or its input
        return 3, str(error)
    return None


def problem(where: str, wrong: str, expected: str, remedy: str) -> SceneError:
    """The error for bad input: where it is, what is wrong there, what was expected, how to fix it."""
    return SceneError(f"{where}: {wrong}; expected {expected}. {remedy}")


def command(name: str) -> str:
    """How ``train`` or ``render`` was started here: by the script in a checkout, or as an installed command."""
    return f"python {name}.py" if sys.argv[0].endswith(".py") else f"nerfkit {name}"


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """Ends the program with exit code 141, as the shell's tools, when what it prints is read no further: ``| head``."""
    try:
        yield
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
            raise  # it was another pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        sys.exit(141)


def did_you_mean(word: object, known: Iterable[str], among: Iterable[str] = ()) -> str:
    """``"; did you mean X? Known: X, Y, Z"``, the question only where one of ``known``, or ``among``, is near ``word``.

    Near is what differs by a few letters or by case; else what begins with ``word``.
    """
    names = list(known)
    found = nearest(word, [*names, *among])
    return f"{f'; did you mean {found}?' if found else '.'} Known: {', '.join(names)}"


def nearest(word: object, names: Sequence[str]) -> str | None:
    """The one of ``names`` that was meant by ``word``, or None."""
    said = str(word).lower()
    said = SYNONYMS[said] if SYNONYMS.get(said) in names else said
    by_lower = {name.lower(): name for name in reversed(names)}
    near = difflib.get_close_matches(said, by_lower, n=1, cutoff=0.6)
    near += [name for name in by_lower if len(said) > 2 and name.startswith(said)]
    return by_lower[near[0]] if near else None
