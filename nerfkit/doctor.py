"""``python -m nerfkit doctor``: what this machine has, which backend each kernel will use and why, and what is missing.

``doctor --compile [KEY=VALUE ...]`` compiles the CPU kernels of a run instead, ahead of it (``nerfkit.precompile``).

The report imports torch last and inside a ``try``: a machine that cannot run nerfkit is the one that needs it most.
"""

import importlib
import os
import pkgutil
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

# The packages named in the report, and what each is for; the others are checked too, and named where they are missing.
NAMED = ("torch", "triton", "numba", "numpy", "hydra-core", "tensorboard", "imageio-ffmpeg")
# Where the name to import is not the package's name.
MODULES = {"hydra-core": "hydra", "scikit-image": "skimage", "imageio-ffmpeg": "imageio_ffmpeg", "pillow": "PIL"}


def main(words: Sequence[str] = ()) -> None:
    """Prints the report; exit code 0 if nerfkit can run here, 1 if not; 2 for an unknown word.

    With ``--compile``, and the words of a run, it compiles that run's CPU kernels instead; exit code 1 where some could
    not be.
    """
    if words and words[0] == "--compile":
        from nerfkit.cli import exit_codes
        from nerfkit.precompile import precompile

        print("compiling the CPU kernels, once", file=sys.stderr, flush=True)
        with exit_codes():
            said, failed = precompile(words[1:])
        print("\n".join([*said, *(f"{name}: failed; the first run compiles instead" for name in failed)]))
        sys.exit(1 if failed else 0)
    if words:
        print(f"error: {words[0]}: doctor takes --compile and the words of a run, or nothing", file=sys.stderr)
        sys.exit(2)
    report, problems = diagnose()
    print("\n".join(report))
    if problems:
        print("\nmissing:")
        print("\n".join(f"  {problem}" for problem in problems))
        sys.exit(1)
    print("\neverything that nerfkit needs is here")


def diagnose() -> tuple[list[str], list[str]]:
    """The lines of the report, and what keeps nerfkit from running, each with its remedy."""
    problems: list[str] = []
    report = [_line("python", f"{platform.python_version()} ({sys.executable})")]
    if not (3, 11) <= sys.version_info < (3, 14):
        problems.append("Python 3.11, 3.12 or 3.13: this one is not supported")
    report += _packages(problems)
    try:
        import torch
    except ImportError:
        return report, problems  # already among the problems
    report += _devices(torch)
    report += _kernels(torch)
    report.append(_line("kernel cache", _kernel_cache()))
    report.append(_line("ffmpeg", _ffmpeg(problems)))
    return report, problems


def requirements() -> list[str]:
    """The packages that nerfkit's own metadata requires on this platform, without versions and extras."""
    names = []
    for requirement in requires("nerfkit") or []:
        wanted, _, condition = requirement.partition(";")
        if "extra" in condition or ("linux" in condition and sys.platform != "linux"):
            continue
        names.append(wanted.split("<")[0].split(">")[0].split("=")[0].split("!")[0].strip())
    return names


def _packages(problems: list[str]) -> list[str]:
    lines = []
    for package in requirements():
        try:
            found = version(package)
            importlib.import_module(MODULES.get(package, package.replace("-", "_")))
        except (PackageNotFoundError, ImportError) as error:
            found = "missing" if isinstance(error, PackageNotFoundError) else f"does not import ({error})"
            problems.append(f"{package}: {found}; pip install {package}")
        if package in NAMED:
            lines.append(_line(package, found))
    return lines


def _devices(torch: object) -> list[str]:
    from nerfkit.runs.environment import device_name

    lines = [_line("cpu", device_name("cpu"))]
    cuda = torch.cuda  # type: ignore[attr-defined]
    for index in range(cuda.device_count()):
        facts = cuda.get_device_properties(index)
        lines.append(_line(f"gpu {index}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"))
    if not cuda.is_available():
        built = torch.version.cuda or torch.version.hip  # type: ignore[attr-defined]
        reason = "this torch is a CPU build" if built is None else f"torch was built for {built}, but finds no device"
        lines.append(_line("gpu", f"none: {reason}"))
        if built is not None:
            lines.append(
                _line("note", "a CPU build of torch is several gigabytes smaller: pytorch.org says how, for CPU")
            )
    if os.environ.get("TRITON_INTERPRET"):
        lines.append(
            _line("note", "TRITON_INTERPRET is set: Triton kernels are interpreted, thousands of times slower")
        )
    return lines


def _kernels(torch: object) -> list[str]:
    """Which file of each kernel folder runs on the device that ``device=auto`` picks."""
    import nerfkit.kernels

    on_gpu = torch.cuda.is_available()  # type: ignore[attr-defined]
    wanted = "triton" if on_gpu else "cpu"
    lines = []
    for module in pkgutil.iter_modules(nerfkit.kernels.__path__):
        if not module.ispkg:
            continue
        folder = Path(nerfkit.kernels.__path__[0]) / module.name
        has = [name for name in ("reference", "cpu", "triton") if (folder / f"{name}.py").exists()]
        if not has:
            continue
        if wanted in has:
            reason = "tensors are on the GPU" if on_gpu else "tensors are on the CPU: Numba, compiled once and cached"
            lines.append(_line(module.name, f"{wanted} ({reason})"))
        else:
            lines.append(_line(module.name, f"reference (it has no {wanted} implementation)"))
    return lines


def _kernel_cache() -> str:
    """Where compiled CPU kernels are kept."""
    from nerfkit.kernels.composite import cpu

    path = cpu._forward_kernel.stats.cache_path
    return (
        str(path) if path else "none: each process compiles anew; set NUMBA_CACHE_DIR to a folder that can be written"
    )


def _ffmpeg(problems: list[str]) -> str:
    try:
        import imageio_ffmpeg

        path, found = imageio_ffmpeg.get_ffmpeg_exe(), imageio_ffmpeg.get_ffmpeg_version()
    except (ImportError, RuntimeError, OSError):
        problems.append("ffmpeg, for MP4: pip install --force-reinstall imageio-ffmpeg")
        return "missing"
    return f"{found} ({path})"


def _line(name: str, text: str) -> str:
    return f"{name:<16}{text}"
