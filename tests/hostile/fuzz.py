"""``python -m tests.hostile.fuzz TARGET [SECONDS] [--save]``: one reader is fed what reaches new branches, by atheris.

It runs until something other than ``UserError`` is raised, an input takes 10 seconds of a CPU (ten minutes where no
Python runs) or 6 GB (of which the imports have 0.3), or the time is over. What it found is written beside as
``crash-*``, ``timeout-*`` or ``oom-*``; with ``--save`` into the result ``reliability_fuzz``, and later runs of the
target begin with it. ``pip install atheris``; not part of the tests.
"""

import contextlib
import os
import shutil
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import atheris
from torch._weights_only_unpickler import Unpickler

ROOT = Path(__file__).parent.parent.parent
MEGABYTES, CPU_SECONDS, SECONDS, LONGEST = 6000, 10, 600, 20_000
OURS = tuple(f"nerfkit.{name}" for name in ("mesh.files", "scenes", "runs", "view", "cameras", "prepare", "resume"))
BELOW = ["yaml", "zipfile"]


def left_alone() -> list[str]:
    """Modules of ours that are no readers or that Numba compiles; atheris takes packages, and leaves out modules."""
    found = []
    for folder, _, names in os.walk(ROOT / "nerfkit", followlinks=True):
        for path in (Path(folder, name) for name in names if name.endswith(".py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if not module.startswith(OURS) or "@jit" in path.read_text():
                found.append(module)
    return found


with atheris.instrument_imports(include=["nerfkit", *BELOW], exclude=left_alone()):
    from nerfkit.errors import UserError
    from nerfkit.scenes import RENDERED, TAKEN
    from tests.hostile import record
    from tests.hostile.targets import PLACE, TARGETS, write_seeds

    for module in (*RENDERED.values(), *TAKEN.values()):
        import_module(module)  # else only when a scene is opened, too late

Unpickler.load = atheris.instrument_func(Unpickler.load)  # type: ignore[method-assign]


class Late(BaseException):
    """An input takes too long. Readers translate an ``Exception``, but not this."""


def late(*_: object) -> None:
    """Ends the reading of an input. libFuzzer's own timeout counts what other programs take, too."""
    raise Late(f"an input took {CPU_SECONDS} seconds of a CPU")


def main(target: str, seconds: str = "60", place: str = "") -> None:
    """Fuzzes one target, from valid files of its format and from what is in the folder ``place``."""
    every, seeds = PLACE / "every", PLACE / "seeds"
    every.mkdir()
    write_seeds(every)
    shutil.copytree(place, seeds) if place else seeds.mkdir()
    chosen = TARGETS[target]
    found = {path for pattern in chosen.seeds for path in every.rglob(pattern) if path.is_file()}
    for number, path in enumerate(sorted(found)):
        path.rename(seeds / f"valid_{number}{path.suffix}")
    shutil.rmtree(every)
    read = chosen.make()
    signal.signal(signal.SIGPROF, late)

    def one(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        with contextlib.suppress(UserError):
            read(data)

    limits = [f"-max_total_time={seconds}", f"-rss_limit_mb={MEGABYTES}", f"-timeout={SECONDS}", f"-max_len={LONGEST}"]
    own: dict[str, Any] = {"custom_mutator": chosen.mutate} if chosen.mutate else {}
    atheris.Setup([sys.argv[0], *limits, "-print_final_stats=1", str(seeds)], one, **own)
    atheris.Fuzz()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--save"]
    if "--save" in sys.argv:
        record.fuzzed(*words)
    else:
        main(*words)
