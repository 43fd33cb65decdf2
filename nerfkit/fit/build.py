"""Names in the config to objects: registries, never a path to import."""

from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from nerfkit.fields import FIELDS
from nerfkit.fields.harmonic import HarmonicOptions
from nerfkit.scenes import open_scene
from nerfkit.scenes.scene import Scene
from nerfkit.schema import Registry
from nerfkit.volume import SAMPLERS
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import OccupancyOptions


def build_model(
    scene: Scene,
    field: Any = None,
    sampler: Any = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> RadianceModel:
    """An untrained model of a scene, on ``device``.

    Args:
        scene: its masks and cameras say where the sampler looks, and how large the field's world is.
        field: options out of ``FIELDS``, such as ``HarmonicOptions(width=32)``; None takes ``HarmonicOptions()``.
        sampler: options out of ``SAMPLERS``; None takes ``OccupancyOptions()``.
        seed: of the initial weights.

    Raises:
        ConfigError: what ``device`` cannot compute.
    """
    field = HarmonicOptions() if field is None else field
    sampler = OccupancyOptions() if sampler is None else sampler
    made = field.build(scale=sampler.scale(scene), seed=seed, device=device)
    return RadianceModel(made, sampler.build(scene)).to(device)


def chosen(registry: Registry, group: DictConfig) -> Any:
    """The options that a group of the config describes, checked: those of the class that its ``name`` names.

    Raises:
        ConfigError: an unknown name, or a value out of its range.
    """
    values: Any = OmegaConf.to_container(group, resolve=True)
    return registry.find(values["name"])(**values)


def model_of(
    config: DictConfig, scene: Scene, device: torch.device | str = "cpu", rendering: bool = False
) -> RadianceModel:
    """The model that ``config.field`` and ``config.sampler`` describe; ``rendering`` only, sizes that ``device`` has no
    kernel for are computed by plain PyTorch.

    Raises:
        ConfigError: as ``chosen`` and ``build_model``.
    """
    field, sampler = chosen(FIELDS, config.field), chosen(SAMPLERS, config.sampler)
    if rendering:
        field = field.for_rendering(device)
    return build_model(scene, field, sampler, seed=int(config.seed), device=device)


def load_scene(config: DictConfig) -> Scene:
    """The scene that ``config.scene`` names.

    Raises:
        SceneError, ConfigError: it cannot be used.
    """
    s = config.scene
    background: Any = OmegaConf.to_container(s.background) if OmegaConf.is_config(s.background) else s.background
    return open_scene(s.name, s.root, resolution=s.resolution, background=background, holdout=s.holdout)
