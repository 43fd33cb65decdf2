"""What the declarations say, for people: the commands' ``--help``, and the tables of docs/options.md.

``python -m nerfkit options`` prints the tables, ``python -m nerfkit options GROUP`` what ``--help GROUP`` does.
"""

import importlib.resources
import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from omegaconf import OmegaConf

from nerfkit import hydra_words, options, store
from nerfkit.config import RenderOptions, TrainOptions
from nerfkit.errors import ConfigError, command, did_you_mean, escaped
from nerfkit.fields import FieldOptions
from nerfkit.recipes import RECIPES
from nerfkit.runs.configs import BYTES
from nerfkit.runs.untrusted import read_file
from nerfkit.schema import Options, Registry, expected, shown, type_of
from nerfkit.store import Leaf, leaves

GROUPS = ("scene", "field", "sampler", *store.PLAIN_GROUPS, "video", "preset", "experiment")
CHOSEN = ("preset", "experiment")  # groups whose files set keys of others
ORDER = ("scene", "field", "sampler", "trainer", "extract", "refine", "rasterizer", "export", "video", "timelapse")
WIDTH, COLUMN, NAMES = 100, 36, 27  # of a line; where its text begins; the same of presets and experiments
HEAD = """# Options

Every key of `python train.py KEY=VALUE ...` and `python render.py KEY=VALUE ...`, from the declarations in the code.
Made by `python -m nerfkit options > docs/options.md`.
"""
FLAGS = """Flags:
  --help GROUP ...       a group, or a key, with all there is to say of it; --help all: of all
  --config-dir FOLDER    groups' files of one's own, FOLDER/GROUP/NAME.yaml: docs/configs.md
  -m                     a sweep, KEY=A,B once with each: docs/configs.md
  --cfg job              the config as these words make it; nothing runs
"""


def help_text(name: str, words: Sequence[str], config_dir: str | None = None) -> str:
    """What ``--help`` prints: a line for each key, with its value under the words of the command, by group.

    Words without ``=`` are groups or keys to be shown whole: choices, ranges, the alternatives of a group.

    Raises:
        ConfigError: as ``options.compose``; an unknown group or key.
    """
    topics = [word for word in words if "=" not in word]
    composed = options.compose(name, [word for word in words if "=" in word], config_dir)
    found = {leaf.key: leaf for leaf in leaves(OmegaConf.structured(composed))}
    with hydra_words.hydra_here(config_dir):
        groups = {group: hydra_words.group_options(group) for group in GROUPS} if name == "train" else {}
    by_section: dict[str, list[Leaf]] = {section: [] for section in ("run", *(ORDER if groups else ()))}
    for key, leaf in ((key, leaf) for key, leaf in found.items() if leaf.declared.name != "name"):
        by_section.setdefault(key.partition(".")[0] if "." in key else "run", []).append(leaf)
    if topics:
        return "\n\n".join(
            _whole(topic, by_section, groups, config_dir) for topic in _wanted(topics, by_section, groups)
        )
    lines = [f"usage: {command(name)} KEY=VALUE ...", "", *_filled("", _meaning(type(composed))), "", FLAGS]
    for group in CHOSEN if groups else ():
        lines += [
            f"{group}=NAME:",
            *(_line(*one, column=NAMES) for one in _alternatives(group, groups[group], config_dir)),
            "",
        ]
    for section, inside in by_section.items():
        lines += [*_title(section, inside, groups), *(_line(*_head_and_text(leaf)) for leaf in inside), ""]
    return "\n".join(lines).rstrip()


def _wanted(topics: Sequence[str], by_section: dict[str, list[Leaf]], groups: dict[str, tuple[str, ...]]) -> list[str]:
    known = [*by_section, *(group for group in CHOSEN if group in groups)]
    keys = [leaf.key for inside in by_section.values() for leaf in inside]
    for topic in topics:
        if topic not in (*known, *keys, "all") and not any(key.startswith(f"{topic}.") for key in keys):
            raise ConfigError(f"--help {topic}: no such group or key{did_you_mean(topic, known, [*known, *keys])}")
    return known if "all" in topics else list(topics)


def _whole(
    topic: str, by_section: dict[str, list[Leaf]], groups: dict[str, tuple[str, ...]], config_dir: str | None
) -> str:
    """A group, or the keys that begin so, with nothing left out."""
    inside = by_section.get(topic)
    lines = _title(topic, inside, {}) if inside else []
    if topic in groups:
        lines += [_wrapped(*one) for one in _alternatives(topic, groups[topic], config_dir)]
    every = (leaf for one in by_section.values() for leaf in one)
    for leaf in inside or [leaf for leaf in every if f"{leaf.key}.".startswith(f"{topic}.")]:
        lines.append(_wrapped(*_head_and_text(leaf)))
    return "\n".join(lines)


def _title(section: str, inside: Sequence[Leaf], groups: dict[str, tuple[str, ...]]) -> list[str]:
    """A section's heading, with the alternatives of its group."""
    if section == "run":
        return ["run: what belongs to no group"]
    lines = _filled("", f"{section}: {_meaning(next(leaf.made for leaf in inside))}")
    if len(groups.get(section, [])) > 1:
        lines += _filled("  ", f"{section}=NAME picks one of {', '.join(groups[section])}")
    return lines


def _alternatives(group: str, names: Sequence[str], config_dir: str | None) -> Iterator[tuple[str, str]]:
    """``GROUP=NAME`` and what it is: the first sentence of its file's comment, or of its class."""
    registered: dict[str, type[Options]] = next((one for one in store.registries() if one.group == group), {})
    for name in names:
        text = _comment(group, name, config_dir) or (_meaning(registered[name]) if name in registered else "")
        yield f"{group}={name}", text.partition(". ")[0].rstrip(".")


def _comment(group: str, name: str, config_dir: str | None) -> str:
    """The comment with which the file of a group's alternative begins; nothing where it has no file, or no comment."""
    own = Path(config_dir, group, f"{name}.yaml") if config_dir is not None else None
    packaged = importlib.resources.files("nerfkit.conf") / group / f"{name}.yaml"
    if own is not None and own.is_file():
        text = read_file(own, BYTES).decode(errors="replace")
    else:
        text = packaged.read_text(encoding="utf-8") if packaged.is_file() else ""
    comments = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return escaped(" ".join(line.lstrip("# ") for line in comments if "@package" not in line))


def _head_and_text(leaf: Leaf) -> tuple[str, str, str]:
    takes = expected(leaf.made, leaf.declared)
    return f"{leaf.key}={shown(leaf.value)}", _said(leaf), f" ({takes})" if takes else ""


def _line(head: str, said: str, takes: str = "", column: int = COLUMN) -> str:
    """One line of at most ``WIDTH``: where there is no room, without what it takes, then without all of its meaning."""
    room = WIDTH - 3 - max(column, len(head))
    text = said + takes if len(said + takes) <= room else textwrap.shorten(said, max(room, 20), placeholder=" ...")
    return f"  {head:<{column}} {text}".rstrip()


def _wrapped(head: str, said: str, takes: str = "") -> str:
    return "\n".join(_filled("  ", f"{head:<{COLUMN}} {said}{takes}", " " * (COLUMN + 3)))


def _filled(indent: str, text: str, following: str | None = None) -> list[str]:
    rest = indent if following is None else following
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    )


def tables() -> str:
    """docs/options.md."""
    store.register()
    parts = [HEAD, *_section("train.py", TrainOptions)]
    for declared in fields(TrainOptions):
        kind = type_of(TrainOptions, declared)[0]
        if isinstance(kind, type) and issubclass(kind, Options):
            parts += _section(declared.name, kind)
        for registry in store.registries():
            if registry.group == declared.name and registry is not RECIPES:
                for name, made in _own(registry):
                    parts += _section(f"{registry.group}={name}", made)
    for name, made in _own(RECIPES):
        parts += _section(f"experiment={name}", made)
    return "\n".join([*parts, *_section("render.py", RenderOptions)])


def _own(registry: Registry) -> list[tuple[str, type[Options]]]:
    """The alternatives that come with nerfkit, in an order that does not depend on what was imported first."""
    return sorted((name, made) for name, made in registry.items() if made.__module__.startswith("nerfkit."))


def _section(title: str, made: type[Options]) -> Iterator[str]:
    """A heading, what the class says of itself, and a row for each key; groups within it have their own section."""
    yield f"## {title}\n\n{_meaning(made)}\n\n| key | default | takes | meaning |\n| --- | --- | --- | --- |"
    for leaf in leaves(OmegaConf.structured(made), f"{made.group}." if made.group else ""):
        if leaf.made is made or made.group:
            yield "| " + " | ".join(_cell(leaf)) + " |"
    for preset, values in made.suits.items():
        yield f"\n`preset={preset}`: " + ", ".join(f"`{key}={shown(value)}`" for key, value in values.items())
    if issubclass(made, FieldOptions) and made.trainer:
        yield "\nWith it: " + ", ".join(f"`trainer.{key}={shown(value)}`" for key, value in made.trainer.items())
    yield ""


def _cell(leaf: Leaf) -> tuple[str, ...]:
    return f"`{leaf.key}`", f"`{shown(leaf.value)}`", expected(leaf.made, leaf.declared), _said(leaf)


def _said(leaf: Leaf) -> str:
    return str(leaf.declared.metadata.get("meaning", f"chosen with {leaf.made.group}=NAME"))


def _meaning(made: type[Options]) -> str:
    """The first paragraph of a class' docstring on one line, its double backquotes single."""
    return " ".join((made.__doc__ or "").split("\n\n")[0].split()).replace("``", "`")
