"""Files of strangers: read, or refused with one message, in bounded time and memory; nothing in them is executed."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
CODE = {"eval", "exec", "compile", "__import__", "execfile"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "code", "runpy"}
LEAST = {"scenes": 370, "files": 640, "runs": 400}  # inputs of each group, or some have been lost


@pytest.mark.slow
@pytest.mark.parametrize("group", LEAST)
def test_every_hostile_input_is_read_or_refused(group: str, tmp_path: Path) -> None:
    """A process a group: it may take 4 GB, and 10 seconds for an input."""
    rows = answers(group, tmp_path)
    assert len(rows) >= LEAST[group]
    faults = [row for row in rows if not right(row, str(tmp_path / "work"))]
    assert not faults, f"{len(faults)} of {len(rows)}:\n" + "\n".join(json.dumps(row)[:2000] for row in faults[:12])
    assert sorted(path.name for path in tmp_path.iterdir()) in (["work"], ["home", "work"])


def answers(group: str, place: Path) -> list[dict[str, Any]]:
    """A row for every input of a group, read in ``place/work``."""
    (place / "work").mkdir()
    around = {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HOME": str(place / "home")}
    found = subprocess.run(
        [sys.executable, "-m", "tests.hostile.child", group],
        cwd=place / "work",
        env=around,
        capture_output=True,
        text=True,
        timeout=600,
    )
    rows = [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]
    assert found.returncode == 0, (rows[-1:], found.stderr[-3000:])
    return rows


def right(row: dict[str, Any], place: str) -> bool:
    """Whether a row says what it should: read where that may be; or refused, for its reason, in a short message that
    names the file; nothing written."""
    if row["written"] or row["outcome"] not in ("read", "refused"):
        return False
    if row["outcome"] == "read":
        return row["refused"] is None or row["case"].startswith("mesh: ")  # that looked at the notes by itself
    message = row["message"]
    named = place in message or message.startswith("experiment/x.yaml: ")  # as Hydra names files of --config-dir
    return (row["refused"] or "") in message and named and len(message) < 2000 and message.isprintable()


def sources() -> list[Path]:
    return [path for folder in ("nerfkit", "kernels", "conf") for path in sorted((ROOT / folder).rglob("*.py"))]


def called(node: ast.AST) -> str:
    """The dotted name of what a call calls."""
    if isinstance(node, ast.Attribute):
        return f"{called(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(tree: ast.AST) -> list[str]:
    """What a file of Python does that could run what a file of data holds."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"imports {name}" for name in names if name.partition(".")[0] in MODULES]
        if isinstance(node, ast.Constant) and node.value == "_target_":
            found.append("names _target_")
        if not isinstance(node, ast.Call):
            continue
        name, given = called(node.func), {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        last = name.rpartition(".")[2]
        if name in CODE or last in ("instantiate", "unsafe_load", "full_load", "read_pickle"):
            found.append(f"calls {name}")
        if name == "torch.load" and given.get("weights_only") is not True:
            found.append("torch.load without weights_only=True")
        if name in ("np.load", "numpy.load") and given.get("allow_pickle") is not False:
            found.append("np.load without allow_pickle=False")
        if last == "load" and name.startswith("yaml"):
            found.append("yaml.load")
        if last in ("extractall", "extract", "unpack_archive") and name != "features.extract":
            found.append(f"{name}: unpacks to the disk")
        if name.endswith("OmegaConf.load") or given.get("shell") is True or name == "os.system":
            found.append(f"calls {name}")
    return found


def test_nothing_in_the_sources_runs_what_a_file_holds() -> None:
    allowed = {
        "nerfkit/runs/configs.py": ["calls OmegaConf.load"],  # behind its checks
        "nerfkit/runs/parcels.py": ["imports pickle"],  # of what this run's own first process sends
    }
    found = {str(path.relative_to(ROOT)): faults(ast.parse(path.read_text())) for path in sources()}
    assert len(found) > 300
    assert {path: list_ for path, list_ in found.items() if list_} == allowed


@pytest.mark.parametrize(
    "text",
    [
        *("import pickle", "from pickle import loads", "eval('1')", "exec(x)", "torch.load(path)", "np.load(path)"),
        *("torch.load(path, weights_only=False)", "np.load(path, allow_pickle=True)", "yaml.load(x, Loader=y)"),
        *("hydra.utils.instantiate(x)", "OmegaConf.load(p)", "archive.extractall()", "x = '_target_'"),
        *("subprocess.run(x, shell=True)", "os.system(x)"),
    ],
)
def test_the_look_at_the_sources_finds(text: str) -> None:
    assert faults(ast.parse(text))
