"""What can be known to be wrong with a config before any work is done: checked first, before a run folder exists."""

import math

import torch
from omegaconf import DictConfig

from nerfkit.errors import ConfigError
from nerfkit.fields import FIELDS
from nerfkit.fit.build import chosen
from nerfkit.fit.field import TrainerOptions
from nerfkit.mesh.extract import MAX_RESOLUTION
from nerfkit.raster.settings import check_rasterizer
from nerfkit.volume import SAMPLERS


def check_config(config: DictConfig, device: torch.device | str) -> None:
    """Checks what the stages of a training run will ask of ``config`` on ``device``.

    Raises:
        ConfigError: a value that cannot be used; the message says which values can.
    """
    for group in ("field", "sampler", "trainer", "extract", "refine"):
        for key, value in config[group].items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{group}.{key}={value}: expected a finite number")
    if not 0 <= config.seed < 2**63:
        raise ConfigError(f"seed={config.seed}: expected a whole number from 0 to 2^63 - 1")
    chosen(FIELDS, config.field).check_device(device)
    chosen(SAMPLERS, config.sampler)
    TrainerOptions(**config.trainer)
    o = config.extract
    if not 4 <= o.resolution <= MAX_RESOLUTION:
        raise ConfigError(f"extract.resolution={o.resolution}: expected 4 to {MAX_RESOLUTION}")
    _expect("extract.level", o.level, o.level is None or o.level > 0, "a density above 0, or null")
    _expect("extract.faces", o.faces, o.faces >= 4, "at least 4, the faces of a tetrahedron")
    _expect("extract.min_part", o.min_part, 0 <= o.min_part <= 1, "a share from 0 to 1")
    check_refine(config)
    check_rasterizer(config.rasterizer)


def check_refine(config: DictConfig) -> None:
    """The group ``refine``.

    Raises:
        ConfigError: a value out of range.
    """
    o = config.refine
    _expect("refine.steps", o.steps, o.steps >= 1, "at least 1; to refine nothing, leave it out of stages")
    _expect("refine.preview_every", o.preview_every, o.preview_every > 0, "a share of the budget above 0")
    _expect("refine.geometry", o.geometry, 0 <= o.geometry <= 1, "a share of the budget from 0 to 1")
    _expect("refine.faces", o.faces, o.faces == 0 or o.faces >= 4, "at least 4, or 0 for those of the coarse mesh")
    _expect("refine.texture", o.texture, o.texture is None or o.texture >= 1, "at least 1 texel, or null")
    for key in ("specular_steps", "specular_lobes"):
        _expect(f"refine.{key}", o[key], o[key] >= 1, "a whole number of at least 1")
    for key in ("remesh", "depth_weight", "mask_weight", "normal_weight", "laplacian_weight", "edge_weight"):
        _expect(f"refine.{key}", o[key], o[key] >= 0, "a number, not negative")


def _expect(key: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{key}={value}: expected {expected}")
