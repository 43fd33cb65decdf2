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

import math
from collections.abc import Iterable
from dataclasses import Field, field, fields
from typing import Any, ClassVar, TypeVar, get_type_hints

from nerfkit.errors import ConfigError, did_you_mean


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
        choices: the only values (of each element, for a list, which must then not be empty).
        path: names a file or folder: taken from the command line letter for letter.
    """
    metadata = {
        "meaning": meaning,
        "least": least,
        "most": most,
        "above": above,
        "below": below,
        "choices": None if choices is None else tuple(choices),
        "path": path,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


class Options:
    """Base of the dataclasses of options.

    Attributes:
        group: where they stand in the config, such as ``trainer``; messages begin with it.
    """

    group: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Checks every value alone; a subclass adds what depends on several.

        Raises:
            ConfigError: the first value out of its range; the message says what was expected.
        """
        for declared in fields(self):  # type: ignore[arg-type]
            value = getattr(self, declared.name)
            if declared.metadata and value is not None and not in_range(declared, value):
                self.expect(declared.name, False, expected(declared))

    def expect(self, name: str, holds: bool, wanted: str) -> None:
        """Raises ConfigError, ``GROUP.NAME=VALUE: expected WANTED``, unless ``holds``."""
        if not holds:
            key = f"{self.group}.{name}" if self.group else name
            raise ConfigError(f"{key}={shown(getattr(self, name))}: expected {wanted}")


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
        self[next(f.default for f in fields(made) if f.name == "name")] = made  # type: ignore[arg-type]
        return made

    def find(self, name: str) -> type[Options]:
        """The options of that name.

        Raises:
            ConfigError: there is none.
        """
        if name not in self:
            raise ConfigError(f"{self.group}.name={name}: unknown {self.group}{did_you_mean(name, self)}")
        return self[name]


def in_range(declared: "Field[Any]", value: Any) -> bool:
    """Whether a value, not None, keeps to its declaration's range and choices."""
    limits = declared.metadata
    if limits["choices"] is not None:
        chosen = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        return bool(chosen) and all(element in limits["choices"] for element in chosen)
    return all(_within(limits, x) for x in (value if isinstance(value, list | tuple) else [value]))


def expected(declared: "Field[Any]") -> str:
    """What values the declaration takes, in words: ``"a number above 0"``, ``"a whole number from 4 to 512"``."""
    limits = declared.metadata
    if limits["choices"] is not None:
        return f"{' or '.join(limits['choices'])}"
    whole = "int" in str(declared.type)
    words = ["a whole number" if whole else "a number"]
    if limits["least"] is not None and limits["most"] is not None:
        words.append(f"from {limits['least']:g} to {limits['most']:g}")
    else:
        bounds = {"least": "of at least", "above": "above", "below": "below", "most": "of at most"}
        words += [f"{word} {limits[key]:g}" for key, word in bounds.items() if limits[key] is not None]
    return " ".join(words) + (", or null" if "None" in str(declared.type) else "")


def shown(value: Any) -> str:
    """The value as one would type it."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(shown(element) for element in value) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def types_of(made: type[Options]) -> dict[str, Any]:
    """The types of all options of a class, by name."""
    return get_type_hints(made)


def _within(limits: Any, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return (
        math.isfinite(value)
        and (limits["least"] is None or value >= limits["least"])
        and (limits["most"] is None or value <= limits["most"])
        and (limits["above"] is None or value > limits["above"])
        and (limits["below"] is None or value < limits["below"])
    )
