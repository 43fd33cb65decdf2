"""Options: each declared once, in a dataclass beside the class that uses it.

A declaration holds the default, the type, the range and one line of meaning::

    @dataclass
    class SphereOptions(Options):
        group: ClassVar[str] = "sphere"
        radius: float = option(1.0, "in normalized units", above=0)
        faces: int | None = option(None, "at the most; null: as many as it takes", least=4)

The config's types, ``--help``, the checks of values and the tables of docs/options.md come from it. An instance is
checked when it is made, whether from a config or in Python. ``Registry`` holds the alternatives of a group that has
several, such as fields.
"""

import functools
import math
import re
from collections.abc import Iterable
from dataclasses import Field, field, fields
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from nerfkit.errors import ConfigError, did_you_mean

TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def option(
    default: Any,
    meaning: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Iterable[str] | None = None,
    path: bool = False,
) -> Any:
    """A dataclass field that is an option.

    Args:
        default: its value where none is given; a list is copied.
        meaning: one line, with the unit.
        least, most: smallest and largest value (of each element, for a list); ``above``, ``below``: bounds that are
            themselves excluded. A float must be finite in any case.
        choices: the only values (of each element, for a list).
        path: names a file or folder: taken from the command line letter for letter.
    """
    metadata = {
        "meaning": meaning,
        "limits": {"least": least, "most": most, "above": above, "below": below},
        "choices": None if choices is None else tuple(choices),
        "path": path,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def nested(made: type["Options"]) -> Any:
    """A dataclass field that holds options of its own, with their defaults."""
    return field(default_factory=made)


class Options:
    """Base of the dataclasses of options.

    Attributes:
        group: where they stand in the config, such as ``trainer``; messages begin with it.
        suits: preset -> the values that suit it, where they differ from the defaults.
    """

    group: ClassVar[str] = ""
    suits: ClassVar[dict[str, dict[str, Any]]] = {}

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Checks every value alone; a subclass adds what depends on several.

        Raises:
            ConfigError: the first value of another type or out of its range; the message says what was expected.
        """
        for declared in fields(self):  # type: ignore[arg-type]
            check_value(type(self), declared, getattr(self, declared.name))

    def expect(self, name: str, holds: bool, wanted: str) -> None:
        """Raises ConfigError, ``GROUP.NAME=VALUE: expected WANTED``, unless ``holds``."""
        if not holds:
            raise ConfigError(f"{key_of(type(self), name)}={shown(getattr(self, name))}: expected {wanted}")


Made = TypeVar("Made", bound=type[Options])


class Registry(dict[str, type[Options]]):
    """The alternatives of one group by name; a class of options among them says how to ``build`` what it describes.

    ``register`` is a class decorator: a new alternative is one module that uses it.
    """

    def __init__(self, group: str) -> None:
        super().__init__()
        self.group = group

    def register(self, made: Made) -> Made:
        """Adds a class of options under the default of its ``name``."""
        made.group = self.group
        self[str(next(f.default for f in fields(made) if f.name == "name"))] = made  # type: ignore[arg-type]
        return made

    def find(self, name: object) -> type[Options]:
        """The options of that name.

        Raises:
            ConfigError: there is none.
        """
        if name not in self:
            raise ConfigError(f"{self.group}={shown(name)}: unknown {self.group}{did_you_mean(name, self)}")
        return self[str(name)]


def check_value(made: type[Options], declared: "Field[Any]", value: Any) -> None:
    """Checks one value against its declaration in the class ``made``.

    Raises:
        ConfigError: ``KEY=VALUE: `` and what was expected, with an example or a near name.
    """
    kind, optional = type_of(made, declared)
    if (kind not in TYPES and get_origin(kind) is not list) or (value is None and optional):
        return
    choices, problem = declared.metadata.get("choices"), ""
    example = "" if default_of(declared) is None or kind is bool else f", such as {shown(default_of(declared))}"
    if get_origin(kind) is not list:
        elements, kind_of_one = [value], kind
    elif isinstance(value, list | tuple):
        elements, kind_of_one = list(value), get_args(kind)[0]
        if not elements and default_of(declared) != []:
            problem = f"expected at least one of {', '.join(choices)}" if choices else f"expected a value{example}"
        elif kind_of_one is not float and len(set(map(str, elements))) < len(elements):
            problem = "expected each value once"
    else:
        elements, problem = [], f"expected a list{example}"
    for element in elements:
        if choices and element not in choices:
            problem = problem or f"unknown value {shown(element)}{did_you_mean(element, choices)}"
        elif not _fits(kind_of_one, declared, element):
            finite = not isinstance(element, float) or math.isfinite(element)
            problem = problem or f"expected {expected(made, declared) if finite else 'a finite number'}{example}"
    if problem:
        raise ConfigError(f"{key_of(made, declared.name)}={shown(value)}: {problem}")


def expected(made: type[Options], declared: "Field[Any]") -> str:
    """What values an option takes, in words: ``"a number above 0, or null"``, ``"a whole number from 4 to 512"``."""
    kind, optional = type_of(made, declared)
    if kind is Any or not declared.metadata:
        return ""
    one = get_args(kind)[0] if get_origin(kind) is list else kind
    if declared.metadata.get("choices"):
        words = " or ".join(declared.metadata["choices"])
        words = f"some of {', '.join(declared.metadata['choices'])}" if one is not kind else words
        return words + (", or null" if optional else "")
    limits = {key: bound for key, bound in declared.metadata.get("limits", {}).items() if bound is not None}
    words = "a path" if declared.metadata.get("path") else TYPES[one]
    if limits.keys() >= {"least", "most"}:
        words += f" from {_number(limits['least'])} to {_number(limits['most'])}"
    else:
        bounds = {"least": "of at least", "above": "above", "below": "below", "most": "at most"}
        words += " and".join(f" {word} {_number(limits[key])}" for key, word in bounds.items() if key in limits)
    return ("a list, each " if one is not kind else "") + words + (", or null" if optional else "")


def shown(value: Any) -> str:
    """The value as one would type it."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(shown(element) for element in value) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def literal(value: Any) -> Any:
    """A value, or a nest of them, as OmegaConf must be given it so that no ``${...}`` in a text is replaced."""
    if isinstance(value, dict):
        return {key: literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [literal(inner) for inner in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def key_of(made: type[Options], name: str) -> str:
    """An option's key in the config, such as ``trainer.max_steps``."""
    return f"{made.group}.{name}" if made.group else name


def default_of(declared: "Field[Any]") -> Any:
    """The default of an option."""
    return declared.default_factory() if callable(declared.default_factory) else declared.default


def type_of(made: type[Options], declared: "Field[Any]") -> tuple[Any, bool]:
    """An option's type, and whether it may be null besides."""
    kind = _types(made)[declared.name]  # type: ignore[arg-type]  # a class is hashable
    inner = [argument for argument in get_args(kind) if argument is not type(None)]
    return (inner[0], True) if len(inner) < len(get_args(kind)) else (kind, False)


@functools.cache
def _types(made: type[Options]) -> dict[str, Any]:
    return get_type_hints(made)


def _fits(kind: type, declared: "Field[Any]", value: Any) -> bool:
    if kind is str:
        return isinstance(value, str) and (value != "" or not declared.metadata.get("path"))
    if kind is bool or isinstance(value, bool):
        return isinstance(value, kind) and kind is bool
    if not isinstance(value, int if kind is int else int | float):
        return False
    limits = declared.metadata.get("limits", {})
    least, most, above, below = (limits.get(key) for key in ("least", "most", "above", "below"))
    return (
        math.isfinite(value)
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )


def _number(bound: float) -> str:
    power = isinstance(bound, int) and bound >= 1 << 32 and bound & (bound + 1) == 0
    return f"2^{int(bound).bit_length()} - 1" if power else f"{bound:.10g}"
