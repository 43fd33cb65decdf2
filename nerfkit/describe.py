"""What the declarations say, for people: the commands' ``--help``, and the tables of docs/options.md.

``python -m nerfkit options`` prints the tables.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields

from omegaconf import OmegaConf

from nerfkit import options, store
from nerfkit.config import RenderOptions, TrainOptions
from nerfkit.errors import command
from nerfkit.fields import FieldOptions
from nerfkit.recipes import RECIPES
from nerfkit.schema import Options, Registry, expected, shown, type_of
from nerfkit.store import Leaf, leaves

GROUPS = ("scene", "field", "sampler", *store.PLAIN_GROUPS, "video", "preset", "experiment")
HEAD = """# Options

Every key of `python train.py KEY=VALUE ...` and `python render.py KEY=VALUE ...`, from the declarations in the code.
Made by `python -m nerfkit options > docs/options.md`.
"""


def help_text(name: str, words: Sequence[str], config_dir: str | None = None) -> str:
    """What ``--help`` prints: the groups, and every key with its value under the words of the command.

    Raises:
        ConfigError: as ``options.compose``.
    """
    composed = options.compose(name, words, config_dir)
    lines = [f"usage: {command(name)} KEY=VALUE ...", "", _meaning(type(composed)), ""]
    if name == "train":
        lines.append("Groups: GROUP=OPTION picks one")
        with options.hydra_here(config_dir):
            lines += [f"  {group:<12}{', '.join(options.group_options(group))}" for group in GROUPS]
        lines.append("")
    lines.append("Values: KEY=VALUE changes one")
    for leaf in leaves(OmegaConf.structured(composed)):
        takes = expected(leaf.made, leaf.declared)
        lines.append(f"  {f'{leaf.key}={shown(leaf.value)}':<38} {_said(leaf)}{f' ({takes})' if takes else ''}")
    return "\n".join([*lines, "", "--cfg job prints the config; -m sweeps: KEY=A,B runs once with each"])


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
