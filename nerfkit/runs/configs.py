"""YAML that may come from a stranger: run folders' files, and those of ``--config-dir``. It holds values, never code.

OmegaConf's loader makes texts, numbers, lists and dictionaries, no objects. What it would let pass is refused here: a
text of some kilobytes that is gigabytes once its aliases are followed, nests that exhaust the stack, ``${oc.env:NAME}``
and other resolvers, which read the environment, and keys of Hydra's own (``hydra.callbacks``, ``hydra.job_logging``,
``hydra.job.env_set``), which name code that Hydra would call. A file is looked at when Hydra loads it: by whatever name
it was asked for, wherever that leads, and no other file beside it.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.runs.untrusted import RefusedError, read_file

BYTES, VALUES, DEPTH = 1 << 18, 20_000, 40
HARMLESS = "${expanded:"  # nerfkit's own: a path with ~ expanded
CALLS = re.compile(r"(?<!\\)(?:\\\\)*\$\{[^}]*(?::|\$\{)")  # a resolver; or a nest, whose name may be one
INSERTS = re.compile(r"(?<!\\)(?:\\\\)*\$\{")
HYDRA = re.compile(r"(?:^|[/@.\s])hydra(?:$|[/@.\s:])")


def load_config(path: Path) -> Any:
    """The config of a file of a run folder, as OmegaConf has it; its values are final: none is another key's.

    Raises:
        CheckpointError: it is no YAML, too large or too deep, or has values to be filled in.
        FileNotFoundError: it is not there.
    """
    try:
        insert = next((text for text in _texts(path) if INSERTS.search(text)), None)
        if insert is not None:
            raise RefusedError(f"{insert[:80]!r} is to be filled in; a run's files hold values: write the value")
        return OmegaConf.load(path)
    except FileNotFoundError:
        raise
    except (ConfigError, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({' '.join(str(error).split())[:300]})") from None


def texts_by_key(path: Path) -> dict[str, list[str]]:
    """The texts of a run folder's YAML file by dotted key, ``""`` of a list at the top: for a look at many runs.

    It is some ten times faster than ``load_config``, and takes nothing but plain keys, values and lists.

    Raises:
        CheckpointError: it is no such YAML, or too large.
        FileNotFoundError: it is not there.
    """
    found: dict[str, list[str]] = {}
    stack: list[tuple[str, bool]] = []  # of mappings and lists: prefix of the keys, and whether it is a mapping
    key: str | None = None  # of the innermost mapping, once it is read
    try:
        for event in yaml.parse(read_file(path, BYTES), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            prefix, mapping = stack[-1] if stack else ("", False)
            if isinstance(event, yaml.CollectionEndEvent):
                stack.pop()
            elif isinstance(event, yaml.ScalarEvent) and mapping and key is None:
                key = event.value
            elif isinstance(event, yaml.NodeEvent):
                if isinstance(event, yaml.AliasEvent) or (mapping and key is None):
                    raise RefusedError("it has an alias, or a key that is no text")
                name = f"{prefix}.{key}".lstrip(".") if mapping else prefix
                key = None
                if isinstance(event, yaml.ScalarEvent):
                    found.setdefault(name, []).append(event.value)
                else:
                    stack.append((name, isinstance(event, yaml.MappingStartEvent)))
    except FileNotFoundError:
        raise
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({' '.join(str(error).split())[:300]})") from None
    return found


class CheckedFiles(FileConfigSource):
    """A ``--config-dir`` as Hydra reads it: its files may set nerfkit's options, and nothing else.

    It and its subclasses go by the name of Hydra's own class. A launcher's process takes over what is registered, and
    registers all of Hydra's own again: one of that name is left in its place, of any other it is an error.
    """

    def __init_subclass__(cls) -> None:
        cls.__name__ = FileConfigSource.__name__

    def load_config(self, config_path: str) -> ConfigResult:
        """As Hydra's.

        Raises:
            ConfigError: the file names a resolver or a key of Hydra's, is no file, or is too large or too deep.
        """
        name = self._normalize_file_name(config_path)
        check_config(Path(self.path, name), os.path.dirname(name))
        return super().load_config(config_path)


CheckedFiles.__name__ = FileConfigSource.__name__


@contextlib.contextmanager
def configs_through(*sources: type[ConfigSource]) -> Iterator[None]:
    """A block in which Hydra reads configs through ``sources``, each in the place of Hydra's own of its scheme."""
    Plugins.instance()  # which registers Hydra's own
    types = SourcesRegistry.instance().types
    before = dict(types)
    try:
        types.update({source.scheme(): source for source in sources})
        yield
    finally:
        types.update({source.scheme(): before[source.scheme()] for source in sources})


def check_config(path: Path, group: str) -> None:
    """Looks through a file that Hydra is about to load, in the folder ``group`` of the configs.

    Raises:
        ConfigError: it does more than set options, is too large or too deep.
    """
    try:
        if any(HYDRA.search(word) for word in (group, *_texts(path, keys_only=True), *_packages(path))):
            raise RefusedError("it sets keys of Hydra's own, which can name code; those are for the command line")
        for text in _texts(path):
            if CALLS.search(text.replace(HARMLESS, " ")):
                raise RefusedError(
                    f"{text[:80]!r} calls a resolver, which can read the environment; write the value, or give it in "
                    "the words of the command"
                )
    except RefusedError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError):
        return  # Hydra says so


def _packages(path: Path) -> list[str]:
    """The comments that say where Hydra puts what a file holds: ``# @package NAME``."""
    lines = read_file(path, BYTES).decode().splitlines()
    return [line.split("@package", 1)[1] for line in lines if line.lstrip().startswith("#") and "@package" in line]


def _texts(path: Path, keys_only: bool = False) -> Iterator[str]:
    """Every text of a YAML file, keys too; or keys, and what a list ``defaults`` holds, alone.

    Raises:
        RefusedError: it is too large or too deep.
        yaml.YAMLError, UnicodeDecodeError, OSError: it cannot be read.
    """
    try:
        root = yaml.compose(read_file(path, BYTES).decode(), Loader=get_yaml_loader())
    except RecursionError:
        raise RefusedError("its lists and keys are nested too deep") from None
    stack, seen = [(root, 0, not keys_only)], 0
    while stack:
        node, depth, wanted = stack.pop()
        seen += 1
        if seen > VALUES or depth > DEPTH:
            what = f"more than {VALUES:,} values" if seen > VALUES else f"values nested more than {DEPTH} deep"
            raise RefusedError(f"it has {what}, aliases followed")
        if isinstance(node, yaml.ScalarNode) and wanted:
            yield node.value
        elif isinstance(node, yaml.SequenceNode):
            stack += [(inner, depth + 1, wanted) for inner in node.value]
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                stack.append((key, depth + 1, True))
                chosen = isinstance(key, yaml.ScalarNode) and key.value == "defaults"
                stack.append((value, depth + 1, wanted or chosen))
