"""The options of a run that is there already: to go on with it, or to show what it made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nerfkit import hydra_words, options, store
from nerfkit.config import TrainOptions
from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.runs.configs import load_config
from nerfkit.schema import literal

BEFORE = {"trainer": {"depth_weight": 0.0, "exposure": "off"}}
"""What keys did, before there were any: a run that is older than they are goes on as it was started."""


def resumed(folder: Path, words: Sequence[str]) -> TrainOptions:
    """The options that a stopped run was started with, with the values of this command's ``words`` on top.

    Groups stay as they were: another field or sampler would not fit the checkpoint.

    Args:
        folder: the run folder, with its config.yaml.
        words: as they were typed, ``resume=...`` among them.

    Raises:
        CheckpointError: the folder has no readable config.yaml.
        ConfigError: a group, or a key or value that does not fit the saved config.
    """
    config = _saved(folder)
    with hydra_words.hydra_here():
        for override in hydra_words.parse(options.quoted("train", words)):
            key = override.key_or_group
            if hydra_words.is_group(override):
                raise ConfigError(
                    f"{override.input_line}: a resumed run keeps its {key}; only single values can change. "
                    "Start a new run to change a group."
                )
            options.check_override(override, config)
            OmegaConf.update(config, key, override.value())
    config.resume = literal(str(folder))
    return store.typed(TrainOptions, config)


def load(folder: Path) -> TrainOptions:
    """The options saved in a run folder.

    Keys that are younger than the run have their present defaults, but for those of ``BEFORE``; those that are gone are
    left out.

    Raises:
        CheckpointError: the folder has no readable config.yaml.
    """
    try:
        return store.typed(TrainOptions, _saved(folder))
    except ConfigError as error:
        raise CheckpointError(f"{folder / 'config.yaml'}: {error}") from None


def _saved(folder: Path) -> DictConfig:
    """The saved config with the types of its options."""
    path = folder / "config.yaml"
    store.register()
    try:
        saved = load_config(path)
        if not isinstance(saved, DictConfig):
            raise CheckpointError(f"{path}: expected keys and values")
        for old, new in options.RENAMED.items():
            if OmegaConf.select(saved, old) is not None:
                OmegaConf.update(saved, new, OmegaConf.select(saved, old))
        if OmegaConf.select(saved, "field.precision") == "auto" and _on_cpu(saved):
            saved.field.precision = "fp32"
        for group, keys in BEFORE.items():
            if group in saved:
                saved[group] = OmegaConf.merge(keys, saved[group])
        known = _known(OmegaConf.to_container(saved, resolve=True), store.blank(TrainOptions, saved))
        return store.schema_of(TrainOptions, OmegaConf.create(literal(known)))
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: not a run folder: it has no config.yaml") from None
    except (ConfigError, OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, ConfigError) else store.explained(error, TrainOptions)
        raise CheckpointError(f"{path}: cannot be read ({reason})") from None


def _on_cpu(saved: DictConfig) -> bool:
    """Whether a run is a CPU's. One that has field.precision=auto there is older than that is decided at its start."""
    return saved.get("device") == "cpu" or not torch.cuda.is_available()


def _known(saved: Any, schema: DictConfig) -> dict[str, Any]:
    """What ``schema`` knows of the saved values."""
    return {
        key: _known(value, schema[key]) if isinstance(schema[key], DictConfig) and isinstance(value, dict) else value
        for key, value in saved.items()
        if key in schema
    }
