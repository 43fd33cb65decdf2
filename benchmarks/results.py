"""The saved results, and how tables show them.

What was not run reads "not run", what a run could not measure "not known".
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS

__all__ = ["NOT_KNOWN", "NOT_RUN", "RESULTS", "UncommittedError", "filled_marks", "load", "table", "value"]

NOT_RUN, NOT_KNOWN = "not run", "not known"


class UncommittedError(Exception):
    """A results file that does not name the code it was measured with."""


def load(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The saved file of one benchmark, or None where it was not run.

    Raises:
        UncommittedError: the code had changes that no commit holds.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    commit = found["machine"].get("commit", "")
    if commit.endswith("-dirty"):
        raise UncommittedError(
            f"{path.name}: measured with uncommitted changes ({commit}); commit them and measure again"
        )
    return found


def value(found: dict[str, Any] | None, keys: str, style: str, factor: float = 1.0) -> str:
    """The number under dotted ``keys`` of the results, formatted.

    Where its part of the results is there and it is not, "not known"; where that part is missing too, or says why it
    is, "not run".
    """
    *parts, last = keys.split(".")
    node: Any = found["results"] if found else None
    for key in parts:
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict) or "not_run" in node or "failed" in node:
        return NOT_RUN
    return style.format(node[last] * factor) if last in node else NOT_KNOWN


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]]


def filled_marks(text: str, section: Callable[[str], list[str]]) -> str:
    """``text`` with the lines of each ``section`` between ``<!-- results: NAME -->`` and ``<!-- /results -->``.

    Raises:
        KeyError: a mark names no section.
    """

    def fresh(match: re.Match[str]) -> str:
        return f"<!-- results: {match[1]} -->\n" + "\n".join(section(match[1])) + "\n<!-- /results -->"

    return re.sub(r"<!-- results: (\w+) -->(?:(?!<!-- results).)*?<!-- /results -->", fresh, text, flags=re.DOTALL)
