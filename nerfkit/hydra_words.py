"""Hydra's part in a command's words: its groups, its parse of a word, what it composes."""

import contextlib
import functools
import os
import threading
from collections.abc import Iterator, Sequence

from hydra import compose as hydra_compose, version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nerfkit.errors import ConfigError
from nerfkit.runs.configs import CheckedFiles, configs_through
from nerfkit.store import COMMANDS, SharedStore, declarations, explained
from nerfkit.word_checks import expectation

ONE_AT_A_TIME = threading.RLock()  # threads that look into Hydra, of which there is one


@contextlib.contextmanager
def hydra_here(config_dir: str | None = None) -> Iterator[None]:
    """A block in which Hydra looks into nerfkit's conf and ``config_dir``, whatever program of Hydra's it runs in."""
    place = create_config_search_path("pkg://nerfkit.conf")
    if config_dir is not None:
        if not os.path.isdir(config_dir):
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        place.prepend("command-line", f"file://{os.path.abspath(config_dir)}", SearchPathQuery(provider="schema"))
    with ONE_AT_A_TIME:
        outer = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            version.setbase("1.3")
            with configs_through(CheckedFiles, SharedStore):
                Hydra.create_main_hydra2("nerfkit", place)
                yield
        finally:
            GlobalHydra.instance().hydra = outer


def group_options(group: str) -> tuple[str, ...]:
    """What a group offers, inside ``hydra_here``; nothing where there is no such group."""
    return _group_options(_loader(), group)


@functools.lru_cache(maxsize=64)
def _group_options(loader: ConfigLoaderImpl, group: str) -> tuple[str, ...]:
    """Hydra copies all of its configs to answer, and every word is asked about."""
    return tuple(loader.get_group_options(group))


def is_group(override: Override) -> bool:
    """Whether the key is a group: ``scene=clock`` is, ``scene.root=x`` is not."""
    return bool(group_options(override.key_or_group)) and not override.is_hydra_override()


def parse(words: Sequence[str], sweeps: bool = False) -> list[Override]:
    """Hydra's own parse of the words; a sweep such as ``seed=1,2`` is an error unless ``sweeps``."""
    parser = OverridesParser.create(config_loader=_loader())
    parsed = []
    for word in words:
        if word.startswith("~"):
            raise ConfigError(f"{word}: cannot be removed; give it another value")
        if "=" not in word[1:]:
            raise ConfigError(f"{word!r} is not an override; {_hint(word, words)}")
        try:
            override = parser.parse_overrides([word])[0]  # which knows of the groups
        except HydraException as error:
            reason = (
                expectation(word) or str(error).splitlines()[0].split(" expecting {")[0]
            )  # of which there are dozens
            if any(word.count(left) != word.count(right) for left, right in ("[]", "()", "{}")):
                reason = "a bracket has no other half; a shell wants quotes around words with brackets or spaces"
            raise ConfigError(f"{word!r} is not a valid override: {reason}") from None
        if override.is_sweep_override() and not sweeps:
            as_list = f"For a list write {override.key_or_group}=[{override.get_value_string()}]; to"
            asked = "To" if is_group(override) else as_list
            raise ConfigError(f"{word}: several values. {asked} run once with each, add -m.")
        if isinstance(override.value(), Glob) and not is_group(override):
            raise ConfigError(f"{word}: glob picks among the options of a group, as in preset=glob(m*)")
        parsed.append(override)
    return parsed


def _hint(word: str, words: Sequence[str]) -> str:
    """What may have been meant by a word without ``=``, inside ``hydra_here``."""
    if "=" in words or any(other.startswith("=") or other.endswith("=") for other in words if other != word):
        return "expected KEY=VALUE without spaces around ="
    key, colon, value = word.partition(":")
    if colon and group_options(key):
        return f"did you mean {key}={value}?"
    if group_options(word) or any(word in declarations(made) for made in COMMANDS.values()):
        following = next((other for other in list(words)[list(words).index(word) + 1 :] if "=" not in other), "VALUE")
        return f"expected {word}={following}"
    found = [f"{name}={word}" for name in _loader().list_groups("") if word in group_options(name)]
    if os.path.exists(word):
        found = [f"{key}={word}" for key in ("scene.root", "resume", "run")]
    return f"did you mean {' or '.join(found)}?" if found else "expected KEY=VALUE, as in scene=clock"


def composed(name: str, words: Sequence[str]) -> DictConfig:
    """What Hydra makes of the words, inside ``hydra_here``."""
    try:
        return hydra_compose(name, list(words))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise explained(error, COMMANDS[name]) from None


def _loader() -> ConfigLoaderImpl:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None and isinstance(hydra.config_loader, ConfigLoaderImpl)
    return hydra.config_loader
