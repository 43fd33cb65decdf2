"""Which kernel sources have changed since they last passed their tests on a GPU: ``python -m benchmarks status``.

``results/gpu_status.json`` maps each source file to the SHA-256 that was verified, where (the GPU) and when (UTC).
``python -m benchmarks gpu`` is the only writer.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from benchmarks import measure
from nerfkit.runs.files import write_text

ROOT = Path(__file__).parent.parent
RECORD = measure.RESULTS / "gpu_status.json"


@dataclasses.dataclass(frozen=True)
class Status:
    """One kernel source: ``verified`` as it stands, ``changed`` since it was, or ``not run`` on any GPU yet."""

    source: str
    state: Literal["verified", "changed", "not run"]
    where: str = ""
    when: str = ""

    def __str__(self) -> str:
        note = {
            "verified": f"verified {self.when} on {self.where}",
            "changed": f"changed since it was verified {self.when} on {self.where}",
            "not run": "not run",
        }
        return f"{self.source:<44} {note[self.state]}"


# What GPU kernels are made of beside ``*triton*.py``: the layout of their weights, their constants, and shared sums.
SHARED = ("kernels/harmonic_field/packing.py", "kernels/harmonic_field/turns.py", "kernels/segments.py")


def sources(root: Path = ROOT) -> list[Path]:
    """Every source of a GPU kernel: ``kernels/*/*triton*.py``, and ``SHARED``."""
    shared = (path for path in map(root.joinpath, SHARED) if path.exists())
    return sorted({*root.glob("kernels/*/*triton*.py"), *shared})


def kernel_of(path: Path) -> str:
    """The kernel that a source belongs to: its folder in ``kernels/``, or its own name where it lies there itself."""
    return path.stem if path.parent.name == "kernels" else path.parent.name


def statuses(root: Path = ROOT, record: Path = RECORD) -> list[Status]:
    """The status of every source, in the order of their names."""
    known = _read(record)
    found = []
    for path in sources(root):
        name = path.relative_to(root).as_posix()
        entry = known.get(name)
        if entry is None:
            found.append(Status(name, "not run"))
        else:
            state: Literal["verified", "changed"] = "verified" if entry["sha256"] == _sha256(path) else "changed"
            found.append(Status(name, state, entry["where"], entry["when"]))
    return found


def record_verified(kernels: Iterable[str], where: str, when: str, root: Path = ROOT, record: Path = RECORD) -> None:
    """Note that ``kernels`` (see ``kernel_of``) have passed on ``where``, as their sources are now."""
    known, names = _read(record), set(kernels)
    for path in sources(root):
        if kernel_of(path) in names:
            known[path.relative_to(root).as_posix()] = {"sha256": _sha256(path), "where": where, "when": when}
    record.parent.mkdir(parents=True, exist_ok=True)
    write_text(record, json.dumps(known, indent=2, sort_keys=True) + "\n")


def _read(record: Path) -> dict[str, dict[str, str]]:
    return json.loads(record.read_text()) if record.exists() else {}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(argv: list[str]) -> int:
    """Print the status of every kernel source."""
    found = statuses()
    for status in found:
        print(status)
    stale = sum(status.state != "verified" for status in found)
    print(f"{stale} of {len(found)} to verify with `python -m benchmarks gpu`" if stale else "all verified")
    return 0
