"""From ``key=value`` words to checked options: Hydra composes; what it would let pass or explain badly ends here.

The options are declared where they are used, and ``nerfkit.store`` tells Hydra of them; files of conf/ hold only what
differs: presets and experiments. Rules beyond Hydra's own: a key must exist (a near miss is suggested), it can neither
be added nor removed, a path is taken letter for letter, and a value fits its declaration. Nothing in a config names
code.
"""

import functools
import os
import re
from collections.abc import Sequence
from typing import Any, get_origin

import torch
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from nerfkit.errors import ConfigError, did_you_mean
from nerfkit.hydra_words import composed, group_options, hydra_here, is_group, parse
from nerfkit.recipes import RecipeOptions
from nerfkit.schema import Options, check_value, literal, shown, type_of
from nerfkit.store import (
    COMMANDS,
    Registered,
    declarations,
    leaves,
    register,
    registered,
    registries,
    typed,
    unknown_key,
)
from nerfkit.word_checks import check_commas

LAUNCHER = "hydra/launcher"  # of a sweep's jobs
# Keys of Hydra's own that nerfkit has another way for.
ELSEWHERE = {
    "hydra.run.dir": "output=FOLDER says where runs go",
    "hydra.sweep.dir": "output=FOLDER says where runs go",
    "hydra.sweeper.params": "KEY=A,B among the words makes a sweep",
    "hydra.searchpath": "--config-dir FOLDER adds configs of your own",
}
SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort)\(")  # Hydra's functions, of which all is one sweep
BETWEEN = re.compile(r",(?![^\[]*\])")  # the commas outside of lists
# Keys that had another name once: still taken from a command and from the configs of old runs.
RENAMED = {"recipe.colour_rate": "recipe.color_rate"}


def compose(name: str, words: Sequence[str] = (), config_dir: str | None = None) -> Any:
    """The options of a command (``"train"`` or ``"render"``) under the user's words, checked: ``COMMANDS[name]``.

    Args:
        config_dir: a folder of more groups' files, as the commands' ``--config-dir``.

    Raises:
        ConfigError: a word that is not ``key=value``, an unknown key or group option, a value that does not fit.
    """
    return checked(name, prepared(name, words), config_dir)


def checked(name: str, words: Sequence[str], config_dir: str | None = None) -> Any:
    """``compose`` for words that are ``prepared``."""
    with hydra_here(config_dir):
        overrides = parse(words)
        _check_chosen_once(overrides)
        for override in overrides:
            for key in ELSEWHERE:
                if f"{override.key_or_group}.".startswith(f"{key}."):
                    raise ConfigError(f"{override.input_line}: not used here; {ELSEWHERE[key]}")
            _check_group_option(override)
        chosen = [w for w, o in zip(words, overrides, strict=True) if is_group(o) or o.is_hydra_override()]
        schema = _schema(name, tuple(chosen), registered()) if config_dir is None else composed(name, chosen)
        for group in (registry.group for registry in registries() if registry.group in schema):
            if schema[group] is not None and not issubclass(OmegaConf.get_type(schema, group), Options):  # type: ignore[arg-type]
                name_there = schema[group].get("name")
                raise ConfigError(f"the file of {group} {name_there} has no class; add to it: defaults: [{name_there}]")
        for override in overrides:
            if not (is_group(override) or override.is_hydra_override()):
                check_override(override, schema)
        for override in sorted(overrides, key=is_group):  # what ``prepared`` has added last
            _check_used(override, schema)
        config = composed(name, words) if len(chosen) < len(words) else schema
    return typed(COMMANDS[name], config)


def prepared(name: str, words: Sequence[str], sweep: bool = False) -> list[str]:
    """The words as Hydra must be given them: present names of keys, quoted paths, and for ``train`` scene and preset.

    In a ``sweep`` a comma in a path separates two of them, unless the path exists as it stands.
    """
    ready = quoted(name, words, sweep)
    if name != "train":
        return ready
    if not any(word.startswith("scene=") for word in words) and any(
        word.startswith("scene.root=") and word != "scene.root=null" for word in words
    ):
        ready.insert(0, "scene=auto")  # whoever names photos does not mean the clock
    return with_preset(ready)


def quoted(name: str, words: Sequence[str], sweep: bool = False) -> list[str]:
    """The words with the present names of keys, and with paths that Hydra and OmegaConf take letter for letter.

    A single value for a list is a list of one, but null where that is allowed; in a ``sweep`` it is one job's.
    """
    register(with_recipes=any("experiment" in word or "recipe" in word for word in words))
    known, ready = declarations(COMMANDS[name]), []
    paths = {key for key, leaf in known.items() if leaf.declared.metadata.get("path")}
    several = tuple(f"{registry.group}." for registry in registries())  # there a key may be a list or not
    kinds = {k: type_of(leaf.made, leaf.declared) for k, leaf in known.items() if not k.startswith(several)}
    lists = {key: optional for key, (kind, optional) in kinds.items() if get_origin(kind) is list}
    for word in words:
        key, equals, value = word.partition("=")
        bare = key.lstrip("+")
        present = RENAMED.get(bare, bare)
        as_it_is = present in paths and (not sweep or os.path.exists(os.path.expanduser(value)))
        if not as_it_is:
            check_commas(word)
        if equals and present in paths:
            parts = [value] if as_it_is else value.split(",")
            value = ",".join(_quoted(_bare(part)) for part in parts)
        elif present in lists and value and value[0] not in "$'\"" and not (sweep and SWEEP.match(value)):
            parts = BETWEEN.split(value) if sweep else [value]
            whole = ("null", "") if lists[present] else ("",)
            value = ",".join(one if one in whole or one[0] == "[" else f"[{one}]" for one in parts)
        ready.append(key.removesuffix(bare) + present + equals + value)
    return ready


def with_preset(words: Sequence[str]) -> list[str]:
    """The words with ``preset=auto``, or no preset at all, replaced by ``preset=gpu`` or ``preset=cpu``.

    It is ``gpu`` where the run will use one: where there is one, and ``device=cpu`` is not among the words.
    """
    on_gpu = torch.cuda.is_available() and "device=cpu" not in words
    preset = "preset=" + ("gpu" if on_gpu else "cpu")
    ready = [preset if word == "preset=auto" else word for word in words]
    return ready if any(word.startswith("preset=") for word in ready) else [preset, *ready]


def expand(words: Sequence[str], config_dir: str | None = None) -> list[list[str]]:
    """The words of every job of a sweep, as Hydra's sweeper makes them: ``seed=1,2`` stands for two jobs."""
    with hydra_here(config_dir):
        overrides = parse(words, sweeps=True)
        _check_chosen_once(overrides)
        jobs: list[list[str]] = BasicSweeper.split_arguments(overrides, None)[0]
    return jobs


def _check_chosen_once(overrides: Sequence[Override]) -> None:
    """Raises ConfigError where words choose two options of one group; of a key's values the last one counts."""
    chosen: dict[str, Override] = {}
    for override in overrides:
        if is_group(override):
            before = chosen.setdefault(override.key_or_group, override)
            if before.input_line != override.input_line:
                lines = f"{before.input_line} {override.input_line}"
                raise ConfigError(f"{lines}: {override.key_or_group} is chosen twice; expected one of the two")


def check_override(override: Override, schema: DictConfig) -> None:
    """Raises ConfigError where ``schema`` has no such key, and for a value that does not fit."""
    key = override.key_or_group
    known = {leaf.key: leaf for leaf in leaves(schema)}
    if key not in known:
        inside = [name for name in known if name.startswith(key + ".")]
        if inside:
            raise ConfigError(f"{override.input_line}: {key} holds several values; set one of {', '.join(inside)}")
        raise ConfigError(unknown_key(key, known))
    leaf, value = known[key], override.value()
    group = leaf.made.group
    if leaf.declared.name == "name" and group in {registry.group for registry in registries()}:
        word = "experiment" if group == "recipe" else group
        raise ConfigError(f"{key}={shown(value)}: cannot be set; choose another {group} with {word}={shown(value)}")
    if "${" not in str(value):  # the value of another key is checked with it
        check_value(leaf.made, leaf.declared, value)


def _check_group_option(override: Override) -> None:
    """Raises ConfigError where a group has no such option; ``null`` is only for those that may be left out."""
    launchers = group_options(LAUNCHER) if override.key_or_group == LAUNCHER else []
    if launchers and override.value() not in launchers:
        raise ConfigError(
            f"{override.input_line}: no such launcher here; joblib and submitit come with pip install "
            f"'nerfkit[sweep]'. Known: {', '.join(launchers)}"
        )
    if not is_group(override):
        return
    group, value, known = override.key_or_group, override.value(), group_options(override.key_or_group)
    if value not in known and not (value is None and group in ("experiment", "recipe")):
        raise ConfigError(f"{group}={shown(value)}: unknown {group}{did_you_mean(value, known)}")


@functools.lru_cache(maxsize=32)
def _schema(name: str, chosen: tuple[str, ...], known: Registered) -> DictConfig:
    """What Hydra makes of the groups alone, without other folders, for what is registered. To be read only.

    Made once: what is edited in nerfkit/conf while the process lives goes unseen.
    """
    return composed(name, chosen)


def _check_used(override: Override, schema: DictConfig) -> None:
    """Raises ConfigError where a recipe is chosen that does not look at the key."""
    made = OmegaConf.get_type(schema, "recipe") if schema.get("recipe") is not None else None
    if isinstance(made, type) and issubclass(made, RecipeOptions) and not override.is_hydra_override():
        made.check_used(override.key_or_group, override.input_line)


def _bare(path: str) -> str:
    """A path without the quotes that Hydra asks for and Windows' console leaves, unless its name begins with them."""
    wrapped = len(path) > 1 and path[0] == path[-1] and path[0] in "'\""
    return path[1:-1] if wrapped and not os.path.exists(path) else path


def _quoted(path: str) -> str:
    """A path so that Hydra and OmegaConf take it letter for letter."""
    return path if path == "null" else QuotedString(literal(path), Quote.single).with_quotes()
