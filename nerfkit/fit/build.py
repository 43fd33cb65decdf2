"""Names in the config to objects: a registry, never a path to import."""

from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from nerfkit.fields.harmonic import HarmonicField
from nerfkit.fit.checks import check_field, check_sampler, resolved_precision
from nerfkit.scenes import open_scene
from nerfkit.scenes.hull import carve
from nerfkit.scenes.scene import Scene
from nerfkit.volume.occupancy import OccupancyGrid
from nerfkit.volume.samplers import OccupancySampler, StratifiedSampler


def build_field(config: DictConfig, scene: Scene, device: torch.device | str = "cpu") -> HarmonicField:
    """The field that ``config.field`` describes, with its initial weights, still on the CPU.

    Args:
        device: where it will compute: what sizes it may have and what ``field.precision=auto`` is depend on it.

    Raises:
        ConfigError: as ``check_field``.
    """
    check_field(config, device)
    options: dict[str, Any] = OmegaConf.to_container(config.field)  # type: ignore[assignment]
    del options["name"]
    options["precision"] = resolved_precision(options.get("precision", "auto"), device)
    scale = tutorial_scale(config, scene) if config.sampler.name == "stratified" else 1.0
    return HarmonicField(**options, scale=scale, seed=int(config.seed))


def build_sampler(config: DictConfig, scene: Scene) -> OccupancySampler | StratifiedSampler:
    """The sampler that ``config.sampler`` describes; its grid starts from the masks' visual hull where there are masks.

    Raises:
        ConfigError: as ``check_sampler``.
    """
    check_sampler(config)
    o = config.sampler
    if o.name == "stratified":
        scale = tutorial_scale(config, scene)
        return StratifiedSampler(o.near / scale, o.far / scale, o.count)
    if scene.has_masks and o.hull:
        masks = scene.images[..., 3][scene.train] > 0  # (T, H, W)
        allowed = carve(scene.cameras[scene.train], masks, o.resolution, margin_pixels=o.hull_margin)
    else:
        allowed = torch.ones((o.resolution,) * 3, dtype=torch.bool)
    grid = OccupancyGrid(
        allowed,
        o.step_size,
        threshold=o.threshold,
        decay=o.decay,
        share=o.share,
        min_transmittance=o.min_transmittance,
    )
    return OccupancySampler(grid)


def tutorial_scale(config: DictConfig, scene: Scene) -> float:
    """What normalized lengths are multiplied by so that the far plane is 1 behind the center for the farthest camera.

    The tutorial's planes and frequencies are meant for its own scene's size; this brings any scene to that size.
    """
    farthest = float(scene.cameras.positions.norm(dim=-1).max()) + 1.0
    return config.sampler.far / farthest


def load_scene(config: DictConfig) -> Scene:
    """The scene that ``config.scene`` names.

    Raises:
        SceneError, ConfigError: it cannot be used.
    """
    s = config.scene
    background: Any = OmegaConf.to_container(s.background) if OmegaConf.is_config(s.background) else s.background
    return open_scene(s.name, s.root, resolution=s.resolution, background=background, holdout=s.holdout)
