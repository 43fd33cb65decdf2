"""Names in the config to objects: registries, never a path to import."""

from dataclasses import replace
from typing import Any

import torch

from nerfkit.fields.contracted import ContractedField
from nerfkit.fields.harmonic import HarmonicOptions
from nerfkit.fields.surface import CELLS, SurfaceField
from nerfkit.scenes import open_scene
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import OccupancyOptions


def build_model(
    scene: Scene, field: Any = None, sampler: Any = None, *, seed: int = 0, device: torch.device | str = "cpu"
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
    field, _ = settled(field, sampler, scene)
    made, around = field.build(scale=sampler.scale(scene), seed=seed, device=device), sampler.build(scene)
    if field.surface == "sdf":
        made = SurfaceField(made, around.occupied, min(CELLS, len(around.occupied) // 4 * 4))
    if scene.unbounded and isinstance(sampler, OccupancyOptions):
        made = ContractedField(made)
    return RadianceModel(made, around).to(device)


def settled(field: Any, sampler: Any, scene: Scene, mesh: bool = True) -> tuple[Any, str]:
    """The field's options with what they leave open decided, the field itself and ``surface``, and in words why.

    Args:
        mesh: whether a mesh is to be made of it.

    Raises:
        ConfigError: a signed distance is asked for, and nothing says where the object ends, or the density is not one
            per unit length.
    """
    by_length, masked = isinstance(sampler, OccupancyOptions), scene.has_masks and not scene.unbounded
    asked, (field, why) = field, field.chosen(masked, by_length and mesh)
    if field.surface == "auto":
        field = replace(field, surface="sdf" if by_length and masked else "density")
    elif field.surface == "sdf":
        asked.expect("surface", not scene.unbounded, "density for photos without masks")
        asked.expect("surface", by_length, "density, or sampler=occupancy")
    return field, why and f"field=auto is field={field.name} field.surface={field.surface}: {why}"


def model_of(config: Any, scene: Scene, device: torch.device | str = "cpu", rendering: bool = False) -> RadianceModel:
    """The model that ``config.field`` and ``config.sampler`` describe; ``rendering`` only, sizes that ``device`` has no
    kernel for are computed by plain PyTorch.

    Raises:
        ConfigError: as ``build_model``.
    """
    field = config.field.for_rendering(device) if rendering else config.field
    sampler = config.sampler.for_moving_cameras(scene) if config.trainer.poses == "on" else config.sampler
    return build_model(scene, field, sampler, seed=config.seed, device=device)


def load_scene(config: Any) -> Scene:
    """The scene that ``config.scene`` names.

    Raises:
        SceneError, ConfigError: it cannot be used.
    """
    s = config.scene
    return open_scene(
        s.name,
        s.root,
        resolution=s.resolution,
        background=s.background,
        holdout=s.holdout,
        center=s.center,
        radius=s.radius,
        box=s.box,
        up=s.up,
        points=s.points,
        length=s.length,
        memory_gb=s.memory_gb,
    )
