"""Configs and measurements as plain values, and what differs between two of them."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf


def plain(config: Any) -> dict[str, Any]:
    """The config as dictionaries, lists and numbers, resolved."""
    found: Any = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else asdict(config)
    return found


def changes(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Key, old and new value wherever ``new`` is not as ``old``."""
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict):
            yield from changes(before if isinstance(before, dict) else {}, value, f"{prefix}{key}.")
        elif value != before:
            yield prefix + key, (before, value)


def newer(old: Any, new: dict[str, Any]) -> dict[str, Any]:
    """What is to be written of ``new`` in the place of ``old``: None only where there was something else."""
    before = old if isinstance(old, dict) else {}
    return {
        key: newer(before.get(key), value) if isinstance(value, dict) else value
        for key, value in new.items()
        if value is not None or key in before
    }


def measured(value: Any) -> Any:
    """Plain JSON values; NaN and infinity are None."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return measured(value.tolist())
    if isinstance(value, dict):
        return {str(key): measured(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [newer(None, item) if isinstance(item, dict) else item for item in map(measured, value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
