"""Names in the config to objects: a registry, never a path to import."""

from typing import Any

import torch

from nerfkit.scenes import open_scene
from nerfkit.scenes.scene import Scene


def build_field(config: Any, scene: Scene, device: torch.device | str = "cpu") -> Any:
    return config.field.build(scale=config.sampler.scale(scene), seed=config.seed, device=device)


def build_sampler(config: Any, scene: Scene) -> Any:
    return config.sampler.build(scene)


def load_scene(config: Any) -> Scene:
    """The scene that ``config.scene`` names.

    Raises:
        SceneError, ConfigError: it cannot be used.
    """
    s = config.scene
    return open_scene(s.name, s.root, resolution=s.resolution, background=s.background, holdout=s.holdout)
