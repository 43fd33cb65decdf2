"""What README and docs print runs: every command's words compose, and every page's Python is executed."""

import argparse
import ast
import importlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

import nerfkit as nk
from nerfkit import describe, options
from nerfkit.__main__ import USAGE

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(
    r"(?:^ {4}(?:[A-Z_]+=\w+ )?|^ {4}srun |`)(?:python|torchrun(?: --[\w=.:-]+)*) (?:(train|render)\.py|-m nerfkit) "
    r"([^`\n]+?)(?:`| [&|2>].*|  .*|$)",
    re.MULTILINE,
)
PATTERN = re.compile(r"\b(NAME|VALUE|KEY|PATH)\b")  # stands for what a reader has to put in
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


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
        assert "  preset=fast  " in described and "  experiment=refine  " in described
        assert ("  preset=long  " in described and "  experiment=widths  " in described) == (place is not None)
        return
    ready = options.prepared(name, [part for part in parts if part != "-m"], sweep)
    jobs = options.expand(ready, place) if sweep else [ready]
    assert (len(jobs) > 1) == sweep
    for job in jobs:
        options.checked(name, job, place)


TYPED = re.compile(r"^ {4}(?:[A-Z_]+=\w+ )?((?:python|pip|srun|torchrun) .*?)(?: {2}.*)?$", re.MULTILINE)


def test_brackets_of_commands_are_quoted() -> None:
    """zsh, the Mac's shell, takes a word with [...] for a pattern, and refuses it where no file is so named."""
    lines = [line for page in PAGES for line in TYPED.findall(page.read_text("utf-8")) if "[KEY=VALUE ...]" not in line]
    assert len(lines) > 100
    for line in lines:
        for word in shlex.shlex(line, posix=False, punctuation_chars=True):
            assert "[" not in word or word[0] in "'\"" or word[-1] in "'\"", line
    for code in (ROOT / "nerfkit").rglob("*.py"):
        assert "pip install nerfkit[" not in code.read_text("utf-8"), code
    for path in (*PAGES, *(ROOT / "nerfkit").rglob("*.py")):
        assert not re.search(r"resume=\S+\s+stages=\[", path.read_text("utf-8")), path


def test_code_in_lists_is_code_on_the_site_too() -> None:
    """Python-Markdown takes code that is indented by six spaces for text; fenced code by four is code there and on
    GitHub."""
    for page in PAGES:
        assert not re.search(r"^(?:- |\d\. ).*\n(?: +\S.*\n)*\n {5,7}\S", page.read_text("utf-8"), re.MULTILINE), page


class ParsedError(Exception):
    """A command has understood its words, and would begin to work."""


def stop(*_: Any, **__: Any) -> NoReturn:
    raise ParsedError


@pytest.mark.parametrize("words", [words for name, words in commands() if name == "nerfkit"])
def test_a_small_command_is_understood(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, *rest = shlex.split(words.partition(" > ")[0].replace(" [KEY=VALUE ...]", ""))
    assert f"\n  {name} " in USAGE
    parse = argparse.ArgumentParser.parse_args

    def parsed(self: argparse.ArgumentParser, words: Sequence[str]) -> NoReturn:
        parse(self, words)
        raise ParsedError

    starts = {"prepare": "prepare", "synthesize": "load_mesh"}
    if name in ("train", "render", "options", "completion", "doctor"):
        assert not rest or name in ("completion", "doctor")
        return
    module = importlib.import_module(f"nerfkit.{name}_command")
    if name in starts:
        monkeypatch.setattr(module, starts[name], stop)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    with pytest.raises(ParsedError):
        module.main(rest)


SHORTER = {
    "resolution=128": "resolution=32",
    "TrainerOptions(max_steps=4000)": "TrainerOptions(max_steps=30)",
    "faces=8000": "faces=500, resolution=32",
    "RefineOptions(steps=1000)": "RefineOptions(steps=10)",
    "size, rays = 64, 512": "size, rays = 32, 64",
    "resolution=64": "resolution=32",
    "range(200)": "range(10)",
    "range(300)": "range(10)",
    "nk.icosphere(4)": "nk.icosphere(2)",
    "0.25, iterations=5": "0.5, iterations=1",
}
"""What the pages' Python says, and what is run in its place."""
GIVEN = {"rasterizer.md": "cameras = colors = mask = None"}
"""Names that a page's snippet takes from the reader: it is read and its own names looked up, not run."""


def snippets() -> list[tuple[str, str]]:
    """Page and text of each block of Python, but for the generated signatures of api.md."""
    pages = [page for page in PAGES if page.name not in ("README.md", "api.md")]
    return [(page.name, code) for page in pages for code in PYTHON.findall(page.read_text("utf-8"))]


@pytest.mark.parametrize(("page", "code"), snippets(), ids=[f"{page}-{len(code)}" for page, code in snippets()])
def test_a_page_s_python_runs(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"\bnk\.(\w+)", code):
        assert hasattr(nk, name)
    if page in GIVEN:
        imports = [node for node in ast.parse(code).body if isinstance(node, ast.ImportFrom)]
        assert imports
        exec(compile(ast.Module(imports, []), page, "exec"), {})
        return
    for printed, short in SHORTER.items():
        code = code.replace(printed, short)
    exec(compile(code, page, "exec"), {})


def test_links_of_pages_outside_the_site_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"):
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_a_link_s_heading_is_there() -> None:
    """The same as GitHub writes them: what leaves README for a page's heading."""
    for page, heading in re.findall(r"\]\((docs/[\w/]+\.md)#([^)]+)\)", (ROOT / "README.md").read_text("utf-8")):
        titles = re.findall(r"^#+ (.*)", (ROOT / page).read_text("utf-8"), re.MULTILINE)
        assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


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
