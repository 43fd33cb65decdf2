"""Small valid files, spoiled: cut off, bits flipped, huge counts, other types, deep nests, names that lead out."""

import json
import random
import re
from collections.abc import Iterator
from typing import Any

DEEP = 100_000
NAMES = (
    "/etc/passwd",
    "../../../../../../etc/passwd",
    "..",
    "",
    "a" * 5000,
    "x\0y",
    "\ud800",
    "\x1b[2J\u202e",
    "C:\\x",
    "~",
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, 10**400, 2**63, float("nan"), float("-inf")),
    *([], {}, [[[[]]]], {"a": 1}, [1e308] * 16, [["x"] * 4] * 4, *NAMES),
)
WORDS = (b"nan", b"-inf", b"1e999", b"-1", b"99999999999999999999", b"9" * 5000, b"x", b"\xff\xfe", b"", b"0")


def spoiled(data: bytes, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """``count`` and a few more spoiled copies of a file, each with a word on what was done to it."""
    chance = random.Random(seed)
    yield "empty", b""
    yield "half", data[: len(data) // 2]
    yield "one byte short", data[:-1]
    yield "the beginning", data[:20]
    yield "noise", chance.randbytes(200)
    for number in range(count):
        at = chance.randrange(len(data))
        kind = number % 4
        if kind == 0:
            flipped = bytearray(data)
            for place in [at, *(chance.randrange(len(data)) for _ in range(number % 3))]:
                flipped[place] ^= 1 << chance.randrange(8)
            yield f"bits at {at}", bytes(flipped)
        elif kind == 1:
            size = chance.choice((4, 8))
            yield f"huge at {at}", data[:at] + chance.choice((b"\xff", b"\x7f")) * size + data[at + size :]
        elif kind == 2:
            yield f"repeated from {at}", data[:at] + data[at // 2 :]
        else:
            numbers = [match.span() for match in re.finditer(rb"-?\d+(?:\.\d+)?", data)] or [(at, at + 1)]
            begin, end = chance.choice(numbers)
            word = chance.choice(WORDS)
            yield f"{word[:8]!r} at {begin}", data[:begin] + word + data[end:]


def spoiled_json(data: bytes, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """A JSON object with ``count`` of its values, one a copy, replaced by others; and one that is nested deep."""
    chance = random.Random(seed)
    yield "deep", b'{"frames":' * DEEP
    yield "deep lists", b'{"frames":' + b"[" * DEEP + b"]" * DEEP + b"}"
    for _ in range(count):
        content = json.loads(data)
        found = list(places(content))
        parent, key = chance.choice(found)
        value = chance.choice(VALUES)
        label = f"{key} = {str(value)[:20]!a}"
        parent[key] = value
        yield label, json.dumps(content).encode()


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value in a nest, as what holds it and its key there."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(inside):
        yield content, key
        yield from places(value)
