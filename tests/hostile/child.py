"""``python -m tests.hostile.child GROUP``: reads a group's inputs in the working folder; a line of JSON for each.

The process may take ``MEMORY`` more than it has once all is imported and compiled, and ``SECONDS`` for an input.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from nerfkit.errors import UserError
from tests.hostile import cases, made, runs
from tests.hostile.cases import Case

MEMORY, SECONDS = 4 << 30, 10
GROUPS: dict[str, tuple[Callable[[], Iterator[Case]], ...]] = {
    "scenes": (cases.scenes, made.links),
    "files": (cases.meshes, cases.paths, cases.scans, cases.pictures, made.archives, made.counts),
    "runs": (runs.configs, runs.run_folders, runs.checkpoints, runs.weights, runs.videos),
}


class Endless(BaseException):
    """An input that took too long."""


def attempt(case: Case) -> dict[str, object]:
    """What became of a case."""
    before, start = listing(), time.monotonic()
    outcome, message = "read", ""
    signal.alarm(SECONDS)
    try:
        case.read()
    except UserError as error:
        outcome, message = "refused", str(error)
    except SystemExit as error:
        outcome, message = f"exit {error.code}", ""
    except BaseException:
        outcome, message = "fault", traceback.format_exc()
    finally:
        signal.alarm(0)
    seconds = round(time.monotonic() - start, 2)
    written = sorted(listing() ^ before)
    return {"case": case.name, "outcome": outcome, "message": message, "seconds": seconds, "written": written}


def listing() -> set[tuple[str, int]]:
    """Every file in the working folder, with its size."""
    found = set()
    for parent, _, files in os.walk("."):
        for file in files:
            with contextlib.suppress(OSError):
                found.add((os.path.join(parent, file), os.lstat(os.path.join(parent, file)).st_size))
    return found


def _too_long(*_: object) -> None:
    raise Endless


def main(group: str) -> None:
    """Reads every input of a group."""
    signal.signal(signal.SIGALRM, _too_long)
    for _ in cases.scenes():  # imports and compiles what the first input would otherwise be charged with
        break
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for make in GROUPS[group]:
        for case in make():
            print(json.dumps({"refused": case.refused} | attempt(case)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
