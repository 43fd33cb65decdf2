"""Slips in the words of a command that Hydra would explain badly, or let pass."""

import re
from collections.abc import Sequence

from nerfkit.errors import ConfigError
from nerfkit.schema import default_of, expected, shown
from nerfkit.store import COMMANDS, declarations

NOTHING = re.compile(r"(^|[,\[(])\s*,|,\s*($|[\])])")  # beside a comma


def check_commas(word: str) -> None:
    """Raises ConfigError where a list or a sweep, not in quotes, has nothing on one side of a comma."""
    key, _, left = word.partition("=")
    if left[:1] in ("'", '"') or not NOTHING.search(left):
        return
    while NOTHING.search(left):
        left = NOTHING.sub(lambda found: found[0].replace(",", "", 1).strip(), left, count=1)
    meant = f"{key}={left}" if left.strip("[]() ") else "a value on both sides"
    raise ConfigError(f"{word}: there is nothing on one side of a comma; expected {meant}")


def said_twice(words: Sequence[str]) -> list[str]:
    """A line for each key that words give several values, of which the last one counts."""
    found: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.lstrip("+").partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return [
        f"note: {key} is given {len(values)} values, {' and '.join(values)}; the last one counts"
        for key, values in found.items()
        if len(set(values)) > 1
    ]


def expectation(word: str) -> str:
    """What the key of a word takes; empty where there is no such key."""
    key = word.partition("=")[0].lstrip("+")
    leaf = next((known[key] for known in map(declarations, COMMANDS.values()) if key in known), None)
    if leaf is None:
        return ""
    default = default_of(leaf.declared)
    example = f", such as {shown(default)}" if isinstance(default, list) and default else ""
    return f"expected {expected(leaf.made, leaf.declared)}{example}"
