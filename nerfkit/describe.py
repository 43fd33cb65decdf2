"""What the declarations say, for people: the commands' ``--help``, and the tables of docs/options.md.

``python -m nerfkit options`` prints the tables.
"""

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from omegaconf import OmegaConf

from nerfkit import options, store
from nerfkit.config import RenderOptions, TrainOptions
from nerfkit.errors import ConfigError, command, did_you_mean
from nerfkit.fields import FieldOptions
from nerfkit.recipes import RECIPES
from nerfkit.schema import Options, Registry, expected, shown, type_of
from nerfkit.store import Leaf, leaves

GROUPS = ("scene", "field", "sampler", *store.PLAIN_GROUPS, "video", "preset", "experiment")
HEAD = """# Options

Every key of `python train.py KEY=VALUE ...` and `python render.py KEY=VALUE ...`, from the declarations in the code.
Made by `python -m nerfkit options > docs/options.md`.
"""


SENTENCE = 120  # characters of what a file says of itself
FOOT = "--help GROUP shows one group; --cfg job prints the config; -m sweeps: KEY=A,B runs once with each"


def help_text(name: str, words: Sequence[str], config_dir: str | None = None) -> str:
    """What ``--help`` prints: what the groups offer, and by group a line for each key, with its value under the words
    of the command. Words without ``=`` name the groups that are asked for.

    Raises:
        ConfigError: as ``options.compose``, and for a group that is none.
    """
    asked = [word for word in words if "=" not in word and not word.startswith("~")]
    composed = options.compose(name, [word for word in words if word not in asked], config_dir)
    groups: dict[str, list[str]] = {}
    for leaf in leaves(OmegaConf.structured(composed)):
        takes = expected(leaf.made, leaf.declared)
        line = f"  {f'{leaf.key}={shown(leaf.value)}':<38} {_said(leaf)}{f' ({takes})' if takes else ''}"
        groups.setdefault(leaf.key.rpartition(".")[0].partition(".")[0], []).append(line)
    for word in asked:
        if word not in groups and (name != "train" or word not in GROUPS):
            raise ConfigError(
                f"--help {word}: unknown group{did_you_mean(word, filter(None, dict.fromkeys([*groups, *GROUPS])))}"
            )
    lines = [f"usage: {command(name)} KEY=VALUE ...", "", _meaning(type(composed)), ""]
    if name == "train":
        lines += _choices(asked, config_dir)
    for group, keys in groups.items():
        if not asked or group in asked:
            title = f"{group}: {_meaning(type(getattr(composed, group)))}" if group else "Values: KEY=VALUE changes one"
            lines += [title, *keys, ""]
    return "\n".join([*lines, FOOT])


def _choices(asked: Sequence[str], config_dir: str | None) -> list[str]:
    """A line for each group and what it offers; of what files of configs offer, what the files say of it."""
    lines = ["Groups: GROUP=NAME picks one"]
    with options.hydra_here(config_dir):
        for group in GROUPS:
            names = options.group_options(group)
            if asked and group not in asked:
                continue
            if group not in ("preset", "experiment"):
                lines.append(f"  {group:<12}{', '.join(names)}")
                continue
            lines.append(f"  {group}")
            lines += [f"    {name:<18}{_of_file(group, name, config_dir)}" for name in names]
    return [*lines, ""] if len(lines) > 1 else []


def _of_file(group: str, name: str, config_dir: str | None) -> str:
    """The first sentence of the comment at the top of a group's file; nothing where it has none."""
    for place in (Path(config_dir) if config_dir else None, Path(__file__).parent / "conf"):
        if place is not None and (file := place / group / f"{name}.yaml").is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            said = itertools.takewhile(lambda line: line.startswith("#"), lines)
            words = " ".join(line.lstrip("# ") for line in said if not line.startswith("# @package"))
            return textwrap.shorten(words.split(". ")[0].removesuffix("."), SENTENCE, placeholder=" ...")
    return ""


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
