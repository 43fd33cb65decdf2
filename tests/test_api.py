"""``import nerfkit``: quick, complete, the same for type checkers; docs/api.md is that of today; the examples run."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import nerfkit as nk

ROOT = Path(__file__).parent.parent


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_name_is_there_and_type_checkers_see_it() -> None:
    for name in dir(nk):
        assert getattr(nk, name) is not None
    with pytest.raises(AttributeError, match="rastorize"):
        _ = nk.rastorize
    tree = ast.parse((ROOT / "nerfkit" / "__init__.py").read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {(node.module, alias.name) for node in imports for alias in node.names}
    lazy = {(module, name) for name, module in nk._NAMES.items()}
    lazy |= {(module.rpartition(".")[0], name) for name, module in nk._MODULES.items()}
    assert seen == lazy


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, nerfkit; print(sorted({'torch', 'numba', 'triton', 'numpy', 'hydra'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_is_that_of_today() -> None:
    generate = load(ROOT / "docs" / "generate_api.py")
    assert {name for names in generate.GROUPS.values() for name in names} == set(dir(nk)) - {"__version__"}
    assert generate.PAGE.read_text(encoding="utf-8") == generate.page(), "run python docs/generate_api.py"


SMALL: dict[str, dict[str, Any]] = {
    "fit_field": {"size": 32, "steps": 80},
    "fit_mesh": {"size": 32, "steps": 60},
    "own_field": {"size": 32, "steps": 60, "rays": 128},
    "render": {"size": 32, "views": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = load(ROOT / "examples" / f"{name}.py").main(**SMALL[name])
    least = {"fit_field": 10.0, "own_field": 12.0}
    if name in least:
        assert result > least[name], "dB"
    elif name == "fit_mesh":
        assert result < 0.05 and (tmp_path / "silhouette.glb").exists()
    else:
        assert result.stat().st_size > 500


def test_every_example_is_tested() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(SMALL)


@pytest.mark.slow
def test_the_notebook_runs_and_holds_no_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads((ROOT / "examples" / "clock.ipynb").read_text(encoding="utf-8"))["cells"]
    written = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in written)
    code = "\n".join("".join(cell["source"]) for cell in written)
    numbers = "resolution, field_steps, mesh_steps, faces = 128, 1000, 300, 6000"
    assert numbers in code
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    exec(
        compile(code.replace(numbers, f"{numbers.partition(' = ')[0]} = 32, 150, 10, 500"), "clock.ipynb", "exec"),
        space,
    )
    assert space["psnr"] > 10 and space["drawn"].rgb.max() > 0.2
    assert (tmp_path / "clock.glb").stat().st_size > 5_000
