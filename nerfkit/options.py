"""From ``key=value`` words to checked options: Hydra composes; what it would let pass or explain badly ends here.

The options are declared where they are used (``nerfkit.config`` gathers them) and are registered with Hydra from
there; files of conf/ hold only what differs: presets and experiments. Rules beyond Hydra's own: a key must exist (a
near miss is suggested), it can neither be added nor removed, a path is taken letter for letter, and a value fits its
declaration. Nothing in a config names code.
"""

import contextlib
import difflib
import functools
import importlib.metadata
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import Field, fields
from itertools import product
from typing import Any, NamedTuple

import torch
from hydra import compose as hydra_compose
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from nerfkit import recipes
from nerfkit.config import RenderOptions, TrainOptions
from nerfkit.errors import ConfigError, did_you_mean
from nerfkit.fields import FIELDS
from nerfkit.scenes import FORMATS, SceneOptions
from nerfkit.schema import Options, Registry, check_value, expected, literal, shown, type_of
from nerfkit.view.options import VideoOptions
from nerfkit.view.paths import PATHS
from nerfkit.volume import SAMPLERS

COMMANDS: dict[str, type[Options]] = {"train": TrainOptions, "render": RenderOptions}
PLAIN_GROUPS = ("trainer", "extract", "rasterizer", "refine", "export")
# Keys that had another name once: still taken from a command and from the configs of old runs.
RENAMED = {"recipe.colour_rate": "recipe.color_rate"}


class Leaf(NamedTuple):
    """One option of a config: its key, the class and the field that declare it, and its value as it stands there."""

    key: str
    made: type[Options]
    declared: "Field[Any]"
    value: Any


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
        for override in overrides:
            _check_group_option(override)
        chosen = [w for w, o in zip(words, overrides, strict=True) if is_group(o) or o.is_hydra_override()]
        schema = _composed(name, chosen)
        for group in (registry.group for registry in registries() if registry.group in schema):
            if schema[group] is not None and not issubclass(OmegaConf.get_type(schema, group), Options):  # type: ignore[arg-type]
                name_there = schema[group].get("name")
                raise ConfigError(f"the file of {group} {name_there} has no class; add to it: defaults: [{name_there}]")
        for override in overrides:
            if not (is_group(override) or override.is_hydra_override()):
                check_override(override, schema)
        config = _composed(name, words)
    return typed(COMMANDS[name], config)


def typed(made: type[Options], config: DictConfig) -> Any:
    """A config as an instance of its class, which checks it.

    Raises:
        ConfigError: a key or a value that does not fit.
    """
    try:
        return OmegaConf.to_object(schema_of(made, config))
    except OmegaConfBaseException as error:
        raise _explained(error, made) from None


def schema_of(made: type[Options], config: DictConfig) -> DictConfig:
    """``config`` with the types of ``made`` and the defaults of what it leaves out."""
    schema = blank(made, config)
    try:
        merged = OmegaConf.merge(schema, config)
    except OmegaConfBaseException as error:
        raise _explained(error, made) from None
    assert isinstance(merged, DictConfig)
    return merged


def blank(made: type[Options], config: DictConfig) -> DictConfig:
    """The defaults of ``made``; in the groups of a registry those of the class that ``config`` names there."""
    schema = OmegaConf.structured(made)
    for registry in registries():
        named = config.get(registry.group) if registry.group in schema else None
        if named is not None:
            name = named.get("name") if isinstance(named, DictConfig) else named
            schema[registry.group] = OmegaConf.structured(registry.find(name))
    return schema


def prepared(name: str, words: Sequence[str], sweep: bool = False) -> list[str]:
    """The words as Hydra must be given them: present names of keys, quoted paths, and for ``train`` a preset.

    In a ``sweep`` a comma in a path separates two of them, unless the path exists as it stands.
    """
    ready = quoted(name, words, sweep)
    return with_preset(ready) if name == "train" else ready


def quoted(name: str, words: Sequence[str], sweep: bool = False) -> list[str]:
    """The words with the present names of keys, and with paths that Hydra and OmegaConf take letter for letter."""
    register(with_recipes=any("experiment" in word or "recipe" in word for word in words))
    paths, ready = {key for key, leaf in declarations(COMMANDS[name]).items() if leaf.declared.metadata.get("path")}, []
    for word in words:
        key, equals, value = word.partition("=")
        bare = key.lstrip("+")
        present = RENAMED.get(bare, bare)
        if equals and present in paths:
            several = sweep and not os.path.exists(os.path.expanduser(value))
            value = ",".join(map(_quoted, value.split(",") if several else [value]))
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


def declarations(made: type[Options]) -> dict[str, Leaf]:
    """Every key that a command may have, with whatever alternatives are chosen."""
    found = list(leaves(OmegaConf.structured(made)))
    for registry in registries():
        for made in registry.values():
            found += leaves(OmegaConf.structured(made), f"{registry.group}.")
    return {leaf.key: leaf for leaf in found}


def expand(words: Sequence[str], config_dir: str | None = None) -> Iterator[list[str]]:
    """The words of every job of a sweep: ``seed=1,2`` stands for two jobs; words without a sweep are kept."""
    with hydra_here(config_dir):
        alternatives = [
            [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
            if override.is_discrete_sweep()
            else [word]
            for word, override in zip(words, parse(words, sweeps=True), strict=True)
        ]
    for job in product(*alternatives):
        yield list(job)


def register(with_recipes: bool = True) -> None:
    """Tells Hydra of every class of options, those of plug-ins and of the user's own modules too.

    The recipes' modules take seconds to import; a command that names none does without them.

    Raises:
        ConfigError: a plug-in that cannot be imported.
    """
    load_plugins()
    if with_recipes:
        recipes.load()
    store = ConfigStore.instance().store
    for name, made in COMMANDS.items():
        store(f"{name}_options", made)
    for name in (*FORMATS, "auto"):
        store(name, SceneOptions(name), "scene")
    for path in PATHS:
        store(path, VideoOptions(path=path), "video")
    for declared in fields(TrainOptions):
        if declared.name in PLAIN_GROUPS:
            store("default", type_of(TrainOptions, declared)[0], declared.name)
    for registry in registries():
        for name, made in registry.items():
            store(name, made, registry.group)
            for preset, values in made.suits.items():
                store(f"{name}_{preset}", values, f"suits/{registry.group}")


@functools.cache
def load_plugins() -> None:
    """Imports the installed packages that have an entry point of the group ``nerfkit``, once."""
    for plugin in importlib.metadata.entry_points(group="nerfkit"):
        try:
            plugin.load()
        except Exception as error:  # it is not our code
            raise ConfigError(f"the plug-in {plugin.name} ({plugin.value}) cannot be imported: {error}") from error


def parse(words: Sequence[str], sweeps: bool = False) -> list[Override]:
    """Hydra's own parse of the words; a sweep such as ``seed=1,2`` is an error unless ``sweeps``."""
    parser = OverridesParser.create(config_loader=_loader())
    parsed = []
    for word in words:
        if "=" not in word and not word.startswith("~"):
            raise ConfigError(f"{word!r} is not an override; expected KEY=VALUE, as in scene=clock")
        try:
            override = parser.parse_override(word)
        except HydraException as error:
            raise ConfigError(f"{word!r} is not a valid override: {str(error).splitlines()[0]}") from None
        if override.is_sweep_override() and not sweeps:
            raise ConfigError(
                f"{word}: several values. For a list write {override.key_or_group}=[{override.get_value_string()}]; "
                "to run once with each, add -m."
            )
        parsed.append(override)
    return parsed


def check_override(override: Override, schema: DictConfig) -> None:
    """Raises ConfigError where ``schema`` has no such key, for ``~key``, and for a value that does not fit."""
    key = override.key_or_group
    if override.is_delete():
        raise ConfigError(f"{override.input_line}: a key cannot be removed; give it another value")
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


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key that is not among the ``known``: near ones, and those beside it."""
    names = list(known)
    parent = key.rpartition(".")[0]
    siblings = [name for name in names if parent and name.rpartition(".")[0] == parent]
    siblings = siblings or list(dict.fromkeys(name.partition(".")[0] for name in names))
    near = difflib.get_close_matches(key, [*names, *siblings], n=1, cutoff=0.6)
    return f"{key}: unknown key{did_you_mean(key, dict.fromkeys(near + siblings))}"


def leaves(config: DictConfig, prefix: str = "") -> Iterator[Leaf]:
    """Every option of a typed config, with those of groups in it; a list is one value."""
    plain: Any = OmegaConf.to_container(config)
    for declared in fields(OmegaConf.get_type(config)):  # type: ignore[arg-type]
        inner = OmegaConf.get_type(config, declared.name)
        if isinstance(inner, type) and issubclass(inner, Options):
            yield from leaves(config[declared.name], f"{prefix}{declared.name}.")
        else:
            yield Leaf(prefix + declared.name, OmegaConf.get_type(config), declared, plain[declared.name])  # type: ignore[arg-type]


@contextlib.contextmanager
def hydra_here(config_dir: str | None = None) -> Iterator[None]:
    """A block in which Hydra looks into nerfkit's conf and ``config_dir``, whatever program of Hydra's it runs in."""
    outer, place = GlobalHydra.instance().hydra, create_config_search_path("pkg://nerfkit.conf")
    if config_dir is not None:
        if not os.path.isdir(config_dir):
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        place.prepend("command-line", f"file://{os.path.abspath(config_dir)}", SearchPathQuery(provider="schema"))
    GlobalHydra.instance().clear()
    try:
        version.setbase("1.3")
        Hydra.create_main_hydra2("nerfkit", place)
        yield
    finally:
        GlobalHydra.instance().hydra = outer


def group_options(group: str) -> list[str]:
    """What a group offers, inside ``hydra_here``; nothing where there is no such group."""
    return _loader().get_group_options(group)


def registries() -> tuple[Registry, ...]:
    """The groups whose alternatives are registered, each with a class of options of its own."""
    return FIELDS, SAMPLERS, recipes.RECIPES


def is_group(override: Override) -> bool:
    """Whether the key is a group: ``scene=clock`` is, ``scene.root=x`` is not."""
    return bool(group_options(override.key_or_group)) and not override.is_hydra_override()


def _check_group_option(override: Override) -> None:
    """Raises ConfigError where a group has no such option; ``null`` is only for those that may be left out."""
    if not is_group(override):
        return
    group, value, known = override.key_or_group, override.value(), group_options(override.key_or_group)
    if override.is_delete():
        raise ConfigError(f"{override.input_line}: a group cannot be removed")
    if value not in known and not (value is None and group in ("experiment", "recipe")):
        raise ConfigError(f"{group}={shown(value)}: unknown {group}{did_you_mean(value, known)}")


def _composed(name: str, words: Sequence[str]) -> DictConfig:
    """What Hydra makes of the words, inside ``hydra_here``."""
    try:
        return hydra_compose(name, list(words))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise _explained(error, COMMANDS[name]) from None


def _explained(error: Exception, made: type[Options]) -> ConfigError:
    """What is wrong with a file: the words of the command have been checked before."""
    file = re.match(r"In '([^']+)'", str(error))
    inner: BaseException | None = error
    while inner is not None and not getattr(inner, "full_key", None):
        inner = inner.__cause__ or inner.__context__
    if inner is None:
        return ConfigError(_one_line(error))
    key, known = str(inner.full_key), declarations(made)  # type: ignore[attr-defined]
    reason = f"{key}: {str(inner).splitlines()[0]}"
    if isinstance(inner, ConfigKeyError | ConfigAttributeError):
        reason = unknown_key(key, known)
    elif key in known:
        reason += f"; expected {expected(known[key].made, known[key].declared)}"
    return ConfigError(f"{file[1]}.yaml: {reason}" if file else reason)


def _loader() -> ConfigLoaderImpl:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None and isinstance(hydra.config_loader, ConfigLoaderImpl)
    return hydra.config_loader


def _quoted(path: str) -> str:
    """A path so that Hydra and OmegaConf take it letter for letter."""
    return path if path == "null" else QuotedString(literal(path), Quote.single).with_quotes()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
