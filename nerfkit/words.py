"""The words of a small command, ``PATH PATH KEY=VALUE ...``, whose options a dataclass declares."""

import contextlib
from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any, TypeVar

from nerfkit.errors import ConfigError, did_you_mean
from nerfkit.schema import Options, check_value, default_of, expected, shown, type_of

Made = TypeVar("Made", bound=Options)


def wants_help(words: Sequence[str]) -> bool:
    """Whether one of the words asks for help."""
    return any(word in ("-h", "--help", "help") for word in words)


def table(made: type[Options]) -> str:
    """A line for each option: its default, its meaning, what it takes."""
    every: tuple[Field[Any], ...] = fields(made)  # type: ignore[arg-type]
    heads = [f"{declared.name}={shown(default_of(declared))}" for declared in every]
    width = max(15, *map(len, heads))
    lines = [
        f"  {head:<{width}} {declared.metadata['meaning']} ({expected(made, declared)})"
        for head, declared in zip(heads, every, strict=True)
    ]
    return "\n".join(lines)


def parse(made: type[Made], words: Sequence[str]) -> tuple[list[str], Made]:
    """The words without ``=``, and the options that the others make.

    Raises:
        ConfigError: a flag, an unknown key, or a value of another type or out of its range.
    """
    keys: dict[str, Field[Any]] = {declared.name: declared for declared in fields(made)}  # type: ignore[arg-type]
    flag = next((word for word in words if word.startswith("-")), None)
    if flag is not None:
        key = flag.lstrip("-").partition("=")[0]
        example = f", as in {key}={shown(default_of(keys[key]))}" if key in keys else ""
        raise ConfigError(f"{flag}: expected KEY=VALUE{example}")
    paths = [word for word in words if "=" not in word]
    return paths, made(**dict(_pair(made, keys, word) for word in words if "=" in word))


def _pair(made: type[Options], keys: "dict[str, Field[Any]]", word: str) -> tuple[str, Any]:
    """Key and value of a word ``KEY=VALUE``; the value has the type of the key."""
    key, value = word.split("=", 1)
    if key not in keys:
        raise ConfigError(f"{key}: unknown key{did_you_mean(key, keys)}")
    converted: Any = value
    with contextlib.suppress(ValueError):  # ``check_value`` says what was expected
        converted = type_of(made, keys[key])[0](value)
    check_value(made, keys[key], converted)
    return key, converted
