"""A checkout where little is installed: what the commands import, and the script that starts them there."""

import subprocess
import sys

import pytest

from benchmarks import gpu, status

# Wheels that are large or compiled, or that only some commands use.
ABSENT = ("imageio_ffmpeg", "fast_simplification", "xatlas", "trimesh", "pxr")
MODULES = ("nerfkit.pipeline", "nerfkit.cli", "benchmarks.gpu_training", "benchmarks.gpu_mesh", "benchmarks.gpu_frames")


@pytest.mark.slow
def test_what_a_module_needs_is_imported_where_it_is_used() -> None:
    code = f"import sys; sys.modules |= dict.fromkeys({ABSENT})\nimport {', '.join(MODULES)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=status.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_script_can_be_read() -> None:
    subprocess.run(["bash", "-n", "benchmarks/bare.sh"], cwd=status.ROOT, check=True)


def test_a_whole_call_fits_into_590_seconds() -> None:
    assert sum(gpu.PARTS.values()) + gpu.TESTS + gpu.AFTER_TESTS <= gpu.TOTAL
    assert gpu.TOTAL + gpu.GRACE <= 575  # and 15 to start and to end
