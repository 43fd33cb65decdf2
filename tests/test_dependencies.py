"""Licenses of what is installed, and that the lists of packages have all that pyproject.toml asks for."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.test_api import ROOT, load

MADE = load(ROOT / "docs" / "generate_dependencies.py")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_no_package_is_under_the_gpl() -> None:
    licenses = {
        name: MADE.license_of(p) for group in MADE.groups().values() for name, p in group.items() if p is not None
    }
    assert len(licenses) > 40 and licenses["numba"] == "BSD"
    assert {name: text for name, text in licenses.items() if MADE.COPYLEFT.search(text)} == {}
    silent = {name for name, text in licenses.items() if text == "not stated"}
    assert silent <= {"cuda-toolkit"}  # torch's builds for CUDA bring this list of packages that state theirs


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *(("GPL-3.0-or-later", True), ("AGPLv3", True), ("MIT AND LGPL-2.1-only", True), ("GNU GPL", True)),
        *(("GNU Lesser General Public License v3", True), ("MPL-2.0", False), ("Apache-2.0", False)),
    ],
)
def test_what_counts_as_gpl(text: str, found: bool) -> None:
    assert bool(MADE.COPYLEFT.search(text)) == found


def test_every_dependency_is_listed_and_pinned() -> None:
    extras = PROJECT["optional-dependencies"]
    always = {MADE.named(Requirement(text).name) for text in PROJECT["dependencies"]}
    dev = {MADE.named(Requirement(text).name) for text in extras["dev"]}
    rest = {MADE.named(Requirement(text).name) for texts in extras.values() for text in texts}
    listed = set(re.findall(r"^\| ([\w.-]+) \|", MADE.PAGE.read_text(), re.MULTILINE))
    assert always | rest <= listed
    lines = [line for line in (ROOT / "requirements-ci.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {MADE.named(line.partition("==")[0]) for line in lines}
    assert (always | dev) - {"torch"} <= pinned
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
