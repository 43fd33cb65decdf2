"""The commit that a run records says which code ran."""

import subprocess
from pathlib import Path

import pytest

import nerfkit
from nerfkit.runs import environment


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in place of the one that holds this code."""
    for name in (
        "nerfkit/__init__.py",
        "benchmarks/results/speed.json",
        "docs/pictures/cup.png",
        "README.md",
        "docs/page.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        author = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *author, *words], check=True, capture_output=True)
    monkeypatch.setattr(nerfkit, "__file__", str(tmp_path / "nerfkit" / "__init__.py"))
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    head = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert environment.git_commit() == head.stdout[:12]


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("nerfkit/__init__.py", True),
        ("benchmarks/results/speed.json", False),  # what the benchmark before this one wrote
        ("docs/pictures/cup.png", False),
        ("README.md", False),
        ("docs/page.md", False),
        ("notes.txt", False),  # a new file that nobody has added
    ],
)
def test_changed_code_is_marked(checkout: Path, name: str, dirty: bool) -> None:
    (checkout / name).write_text("second")
    assert str(environment.git_commit()).endswith("-dirty") is dirty


def test_no_checkout_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nerfkit, "__file__", str(tmp_path / "nerfkit" / "__init__.py"))
    assert environment.git_commit() is None
