"""What a run ran on: versions, device, git commit; and how much memory it took."""

import contextlib
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import nerfkit

PACKAGES = ("torch", "triton", "numba", "numpy", "hydra-core")


def describe() -> dict[str, str]:
    """Versions, device and commit, as text; what is not known is absent."""
    facts = {"nerfkit": nerfkit.__version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        found = package_version(package)
        if found:
            facts[package] = found
    facts["device"] = device_name()
    if (processes := os.environ.get("WORLD_SIZE", "1")) != "1":
        facts["processes"] = processes  # of torchrun
    commit = git_commit()
    if commit:
        facts["commit"] = commit
    return facts


def package_version(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def device_name(device: str = "auto") -> str:
    """The GPU's name, else the CPU's with its number of threads."""
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{_processor()}, {torch.get_num_threads()} threads"


def git_commit() -> str | None:
    """The commit of the checkout of this code, with ``-dirty`` where files changed; None for an installed wheel.

    Text, pictures of the docs and saved results run nothing: where only they changed, the commit still says what ran.
    """
    root = Path(nerfkit.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    inert = [":(exclude)*.md", ":(exclude)benchmarks/results", ":(exclude)docs/pictures"]
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *inert)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def reset_peak_memory() -> None:
    """Starts a new measurement of ``peak_memory``; where the system offers none, the peak stays that of the process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, int]:
    """Bytes since ``reset_peak_memory``: ``peak_memory_bytes``, and ``peak_gpu_memory_bytes`` where a GPU was used."""
    peaks = {}
    status = Path("/proc/self/status")
    if status.exists():  # what ``reset_peak_memory`` resets; getrusage may remember an older peak
        (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        peaks["peak_memory_bytes"] = int(peak) * 1024
    elif sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peaks["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if torch.cuda.is_initialized():
        peaks["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated()
    return peaks


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
