import builtins
import importlib
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

import nerfkit.kernels
from nerfkit import doctor


def lines() -> dict[str, str]:
    report, _ = doctor.diagnose()
    return {line[:16].strip(): line[16:] for line in report}


def test_this_machine_can_run(capsys: pytest.CaptureFixture) -> None:
    doctor.main()  # no SystemExit: exit code 0
    assert "everything that nerfkit needs is here" in capsys.readouterr().out


def test_versions_and_devices() -> None:
    found = lines()
    assert found["torch"] == torch.__version__
    assert {"python", "numba", "numpy", "hydra-core", "cpu", "ffmpeg"} <= set(found)
    assert any(name.startswith("gpu") for name in found)


@pytest.mark.parametrize("gpu", [False, True])
def test_the_backend_of_every_kernel_folder(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    found = lines()
    wanted = "triton" if gpu else "cpu"
    folders = [path.parent for path in Path(nerfkit.kernels.__path__[0]).glob("*/reference.py")]
    assert folders
    for folder in folders:
        backend = wanted if (folder / f"{wanted}.py").exists() else "reference"
        assert found[folder.name].startswith(backend)


def test_interpreted_triton_is_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert "thousands of times slower" in lines()["note"]


def test_the_requirements_are_those_of_the_package() -> None:
    names = doctor.requirements()
    assert {"torch", "numba", "hydra-core", "scikit-image", "xatlas"} <= set(names)
    assert "ruff" not in names  # an extra


def test_a_missing_package_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    real = doctor.version

    def without_xatlas(package: str) -> str:
        if package == "xatlas":
            raise PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(doctor, "version", without_xatlas)
    with pytest.raises(SystemExit) as stop:
        doctor.main()
    assert stop.value.code == 1
    assert "xatlas: missing; pip install xatlas" in capsys.readouterr().out


def test_without_torch_it_still_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(real: Any) -> Any:
        def load(name: str, *args: Any, **kwargs: Any) -> Any:
            if name == "torch":
                raise ImportError("libtorch_cpu.so: cannot open shared object file")
            return real(name, *args, **kwargs)

        return load

    monkeypatch.setattr(builtins, "__import__", refuse(builtins.__import__))
    monkeypatch.setattr(importlib, "import_module", refuse(importlib.import_module))
    report, problems = doctor.diagnose()
    assert any(problem.startswith("torch: does not import (libtorch_cpu.so") for problem in problems)
    assert any(line.startswith("python") for line in report)


def test_without_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
    report, problems = doctor.diagnose()
    assert any("imageio-ffmpeg" in problem for problem in problems)
    assert any(line.startswith("ffmpeg") and "missing" in line for line in report)


@pytest.mark.parametrize(("built", "said"), [(None, False), ("12.8", True)])
def test_a_gpu_build_of_torch_without_a_gpu_is_noted(
    monkeypatch: pytest.MonkeyPatch, built: str | None, said: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    found = lines()
    assert ("CPU build of torch is several gigabytes smaller" in found.get("note", "")) == said
    reason = "torch was built for 12.8, but finds no device" if said else "this torch is a CPU build"
    assert found["gpu"] == f"none: {reason}"


def test_a_read_only_installation_is_told_where_kernels_are_kept() -> None:
    """Neither the package's folder nor the user's cache can be written; the report names the way out."""
    code = (
        "import numba.core.caching as caching\n"
        "def refuse(self): raise PermissionError(13, 'read-only')\n"
        "caching._CacheLocator.ensure_cache_path = refuse\n"
        "from nerfkit import doctor\n"
        "print('\\n'.join(doctor.diagnose()[0]))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    (line,) = [line for line in found.stdout.splitlines() if line.startswith("kernel cache")]
    assert "none: each process compiles anew; set NUMBA_CACHE_DIR to a folder that can be written" in line
