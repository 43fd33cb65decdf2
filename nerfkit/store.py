"""The declared options as Hydra and OmegaConf know them: groups in Hydra's store, and a config's types.

``nerfkit.config`` gathers what stands beside the classes that use it; what has alternatives (fields, samplers, recipes)
comes from their registries, to which plug-ins and the user's own modules add.
"""

import functools
import importlib.metadata
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import Field, fields
from typing import Any, NamedTuple, TypeVar, cast

from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from nerfkit import recipes
from nerfkit.config import RenderOptions, TrainOptions
from nerfkit.errors import ConfigError, nearest
from nerfkit.fields import FIELDS, FieldOptions
from nerfkit.scenes import FORMATS, SceneOptions
from nerfkit.schema import Options, Registry, expected, type_of
from nerfkit.view.options import VideoOptions
from nerfkit.view.paths import PATHS
from nerfkit.volume import SAMPLERS

COMMANDS: dict[str, type[Options]] = {"train": TrainOptions, "render": RenderOptions}
Made = TypeVar("Made", bound=Options)
Registered = tuple[tuple[str, str, type[Options]], ...]  # group, name, options
PLAIN_GROUPS = ("trainer", "extract", "rasterizer", "refine", "export")


class Leaf(NamedTuple):
    """One option of a config: its key, the class and the field that declare it, and its value as it stands there."""

    key: str
    made: type[Options]
    declared: "Field[Any]"
    value: Any


def register(with_recipes: bool = True) -> None:
    """Tells Hydra of every class of options, those of plug-ins and of the user's own modules too.

    The recipes' modules take seconds to import; a command that names none does without them.

    Raises:
        ConfigError: a plug-in that cannot be imported.
    """
    load_plugins()
    if with_recipes:
        recipes.load()
    _store(registered())


def registered() -> Registered:
    """The registries' alternatives, as they are now: what is made of them is remembered until they change."""
    return tuple((registry.group, name, made) for registry in registries() for name, made in registry.items())


@functools.lru_cache(maxsize=1)
def _store(known: Registered) -> None:
    OmegaConf.register_new_resolver("expanded", os.path.expanduser, replace=True)
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
    for group, name, made in known:
        store(name, made, group)
        for preset, values in made.suits.items():
            store(f"{name}_{preset}", values, f"suits/{group}")
        if issubclass(made, FieldOptions) and made.trainer:
            store(name, made.trainer, "suits/trainer")


class SharedStore(StructuredConfigSource):
    """Hydra's store as a source of configs that is not copied.

    Hydra copies its sources for each of its answers, and with this one every config in the store: a third of what
    composing took. It goes by the name of Hydra's own, by which Hydra knows it.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedStore":
        return self  # a config is copied when it is loaded


SharedStore.__name__ = StructuredConfigSource.__name__


@functools.cache
def load_plugins() -> None:
    """Imports the installed packages that have an entry point of the group ``nerfkit``, once."""
    for plugin in importlib.metadata.entry_points(group="nerfkit"):
        try:
            plugin.load()
        except Exception as error:  # it is not our code
            raise ConfigError(f"the plug-in {plugin.name} ({plugin.value}) cannot be imported: {error}") from error


def registries() -> tuple[Registry, ...]:
    """The groups whose alternatives are registered, each with a class of options of its own."""
    return FIELDS, SAMPLERS, recipes.RECIPES


def leaves(config: DictConfig, prefix: str = "") -> Iterator[Leaf]:
    """Every option of a typed config, with those of groups in it; a list is one value."""
    plain: Any = OmegaConf.to_container(config)
    for declared in fields(OmegaConf.get_type(config)):  # type: ignore[arg-type]
        inner = OmegaConf.get_type(config, declared.name)
        if isinstance(inner, type) and issubclass(inner, Options):
            yield from leaves(config[declared.name], f"{prefix}{declared.name}.")
        else:
            yield Leaf(prefix + declared.name, OmegaConf.get_type(config), declared, plain[declared.name])  # type: ignore[arg-type]


def declarations(made: type[Options]) -> dict[str, Leaf]:
    """Every key that a command may have, with whatever alternatives are chosen."""
    return _declarations(made, registered())  # type: ignore[arg-type]  # a class is hashable


@functools.lru_cache(maxsize=8)
def _declarations(command: type[Options], known: Registered) -> dict[str, Leaf]:
    found = list(leaves(OmegaConf.structured(command)))
    for group, _, made in known:
        found += leaves(OmegaConf.structured(made), f"{group}.")
    return {leaf.key: leaf for leaf in found}


def typed(made: type[Made], config: DictConfig) -> Made:
    """A config as an instance of its class, which checks it.

    Raises:
        ConfigError: a key or a value that does not fit.
    """
    try:
        return cast(Made, OmegaConf.to_object(schema_of(made, config)))
    except OmegaConfBaseException as error:
        raise explained(error, made) from None


def schema_of(made: type[Options], config: DictConfig) -> DictConfig:
    """``config`` with the types of ``made`` and the defaults of what it leaves out."""
    merged = OmegaConf.merge(blank(made, config), config)
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


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key that is not among the ``known``: near ones, and those beside it."""
    names = list(known)
    parent = key.rpartition(".")[0]
    siblings = [name for name in names if parent and name.rpartition(".")[0] == parent]
    siblings = siblings or list(dict.fromkeys(name.partition(".")[0] for name in names))
    near = [name for name in names if parent == "" and name.endswith(f".{key}")]  # its group was left out
    near = near[:3] or [name for name in [nearest(key, [*names, *siblings])] if name]
    question = f"; did you mean {' or '.join(near)}?" if near else "."
    return f"{key}: unknown key{question} Known: {', '.join(dict.fromkeys([*near, *siblings]))}"


def explained(error: Exception, made: type[Options]) -> ConfigError:
    """What is wrong with a file: the words of the command have been checked before."""
    file = re.match(r"In '([^']+)'", str(error))
    inner: BaseException | None = error
    while inner is not None and not getattr(inner, "full_key", None):
        inner = inner.__cause__ or inner.__context__
    if inner is None:
        return ConfigError(" ".join(str(error).split()))
    key, known = str(inner.full_key), declarations(made)  # type: ignore[attr-defined]
    reason = f"{key}: {str(inner).splitlines()[0]}"
    if isinstance(inner, ConfigKeyError | ConfigAttributeError):
        reason = unknown_key(key, known)
    elif key in known:
        reason += f"; expected {expected(known[key].made, known[key].declared)}"
    return ConfigError(f"{file[1]}.yaml: {reason}" if file else reason)
