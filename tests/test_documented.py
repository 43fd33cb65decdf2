"""What README and docs print runs: every command's words compose, and README's Python is executed."""

import re
import shlex
from pathlib import Path

import pytest

from nerfkit import describe, options
from nerfkit.__main__ import USAGE

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:^ {4}|`)python (?:(train|render)\.py|-m nerfkit) ([^`\n]+?)(?:`|  .*|$)", re.MULTILINE)
PATTERN = re.compile(r"\b(NAME|VALUE|KEY|PATH)\b")  # stands for what a reader has to put in


def commands() -> list[tuple[str, str]]:
    """The commands in all pages: what they start, and their words."""
    found = [(name or "nerfkit", words) for page in PAGES for name, words in COMMAND.findall(page.read_text("utf-8"))]
    return sorted({(name, words) for name, words in found if not PATTERN.search(words)})


def test_commands_are_found() -> None:
    assert len(commands()) > 30
    assert {name for name, _ in commands()} == {"train", "render", "nerfkit"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "words"), [c for c in commands() if c[0] != "nerfkit"])
def test_a_command_composes(name: str, words: str, tmp_path: Path) -> None:
    parts = shlex.split(words)
    place = None
    if "--config-dir" in parts:
        at = parts.index("--config-dir")
        place = str(ROOT / parts.pop(at + 1))
        parts.pop(at)
    if any(part.startswith(("hydra/launcher=joblib", "hydra/launcher=submitit")) for part in parts):
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="nerfkit[sweep] is not installed")
    sweep = "-m" in parts
    if "--help" in parts:
        described = describe.help_text(name, [part for part in parts if not part.startswith("-")], place)
        assert "\n\n  preset=long  " in described and "  experiment=widths  " in described
        return
    ready = options.prepared(name, [part for part in parts if part != "-m"], sweep)
    jobs = options.expand(ready, place) if sweep else [ready]
    assert (len(jobs) > 1) == sweep
    for job in jobs:
        options.checked(name, job, place)


@pytest.mark.parametrize("words", [words for name, words in commands() if name == "nerfkit"])
def test_a_small_command_exists(words: str) -> None:
    assert f"\n  {words.split()[0]} " in USAGE


@pytest.mark.slow
def test_the_readme_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert code is not None
    shorter = {
        "resolution=128": "resolution=48",
        "TrainerOptions(max_steps=4000)": "TrainerOptions(max_steps=150)",
        "faces=8000": "faces=2000, resolution=64",
        "RefineOptions(steps=1000)": "RefineOptions(steps=20)",
    }
    quick = code[1]
    for printed, short in shorter.items():
        assert printed in quick
        quick = quick.replace(printed, short)
    exec(compile(quick, "README.md", "exec"), {})
    assert (tmp_path / "clock.glb").stat().st_size > 10_000
