import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that this checkout builds; built from a copy, so that no build/ appears in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("nerfkit", "kernels", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    command = [*pip, "--no-build-isolation", "--wheel-dir", str(folder), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


@pytest.mark.slow
def test_only_nerfkit_goes_into_site_packages(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert top == {"nerfkit", next(name for name in top if name.endswith(".dist-info"))}


@pytest.mark.slow
def test_every_source_file_and_config_is_inside(wheel: zipfile.ZipFile) -> None:
    places = {"nerfkit": "nerfkit", "kernels": "nerfkit/kernels", "conf": "nerfkit/conf"}
    expected = {"nerfkit/py.typed"}
    for folder, place in places.items():
        for ending in ("py", "yaml"):
            expected |= {f"{place}/{path.relative_to(ROOT / folder)}" for path in (ROOT / folder).rglob(f"*.{ending}")}
    assert expected - set(wheel.namelist()) == set()
    assert "nerfkit/conf/train.yaml" in expected


def test_console_scripts(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    scripts = configparser.ConfigParser()
    scripts.read_string(wheel.read(name).decode())
    assert dict(scripts["console_scripts"]) == {
        "nerfkit": "nerfkit.__main__:main",
        "nerfkit-train": "nerfkit.start:train",
        "nerfkit-render": "nerfkit.start:render",
    }
