"""The config of a run that is there already: to go on with it, or to show what it made."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.options import (
    check_key,
    check_values,
    compose_unchecked,
    group_options,
    hydra_here,
    is_group,
    parse,
)


def resumed(folder: Path, overrides: Sequence[str]) -> DictConfig:
    """The config that a stopped run was started with, with the value ``overrides`` of this command on top.

    Groups stay as they were: another field or sampler would not fit the checkpoint.

    Args:
        folder: the run folder, with its config.yaml.
        overrides: this command's words, ``resume=...`` among them.

    Raises:
        CheckpointError: the folder has no readable config.yaml.
        ConfigError: a group override, or a key or value that does not fit the saved config.
    """
    saved = load(folder)
    config = saved.copy()
    with hydra_here():
        for override in parse(overrides):
            if is_group(override):
                raise ConfigError(
                    f"{override.input_line}: a resumed run keeps its {override.key_or_group}; "
                    "only single values can change. Start a new run to change a group."
                )
            check_key(override, saved)
            OmegaConf.update(config, override.key_or_group, override.value())
    config.resume = str(folder)
    check_values(config, saved)
    return config


def load(folder: Path) -> DictConfig:
    """The config saved in a run folder.

    Keys that are younger than the run have the present defaults of its scene, field and sampler. Those of its preset
    and experiment are not known.

    Raises:
        CheckpointError: the folder has no readable config.yaml.
    """
    path = folder / "config.yaml"
    try:
        saved = OmegaConf.load(path)
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: not a run folder: it has no config.yaml") from None
    except Exception as error:  # PyYAML and OmegaConf have no common base
        raise _unreadable(path, error) from None
    if not isinstance(saved, DictConfig):
        raise CheckpointError(f"{path}: expected keys and values")
    try:
        return _completed(saved)
    except OmegaConfBaseException as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: cannot be read ({' '.join(str(error).split())})")


def _completed(saved: DictConfig) -> DictConfig:
    """The defaults of the groups that a run names, and its own values on top."""
    with hydra_here():
        names = {group: OmegaConf.select(saved, f"{group}.name") for group in ("scene", "field", "sampler")}
        groups = [f"{group}={name}" for group, name in names.items() if name in group_options(group)]
        defaults = OmegaConf.create(OmegaConf.to_container(compose_unchecked("train", groups)))  # open to keys gone
    completed = OmegaConf.merge(defaults, saved)
    assert isinstance(completed, DictConfig)
    return completed
