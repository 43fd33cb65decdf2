"""What can be known to be wrong with a config before any work is done: checked first, before a run folder exists."""

import math
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from nerfkit.errors import ConfigError
from nerfkit.kernels.harmonic_field import ACTIVATIONS, DENSITY_ACTIVATIONS, PRECISIONS
from nerfkit.kernels.harmonic_field.packing import DEPTHS, MOST_OCTAVES, WIDTHS
from nerfkit.mesh.extract import MAX_RESOLUTION
from nerfkit.raster.settings import check_rasterizer

GRID_RESOLUTIONS = (8, 512)


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
    check_field(config, device)
    check_sampler(config)
    check_trainer(config)
    o = config.extract
    if not 4 <= o.resolution <= MAX_RESOLUTION:
        raise ConfigError(f"extract.resolution={o.resolution}: expected 4 to {MAX_RESOLUTION}")
    _expect("extract.level", o.level, o.level is None or o.level > 0, "a density above 0, or null")
    _expect("extract.faces", o.faces, o.faces >= 4, "at least 4, the faces of a tetrahedron")
    _expect("extract.min_part", o.min_part, 0 <= o.min_part <= 1, "a share from 0 to 1")
    check_refine(config)
    check_rasterizer(config.rasterizer)


def check_field(config: DictConfig, device: torch.device | str) -> None:
    """The group ``field``.

    Raises:
        ConfigError: an unknown name, a size out of range, or one that the device's fused kernel is not made for.
    """
    o: dict[str, Any] = OmegaConf.to_container(config.field)  # type: ignore[assignment]
    _known("field.name", o["name"], ("harmonic",))
    _known("field.activation", o["activation"], ACTIVATIONS)
    _known("field.density_activation", o["density_activation"], DENSITY_ACTIVATIONS)
    for key in ("width", "depth"):
        _expect(f"field.{key}", o[key], o[key] >= 1, "a whole number of at least 1")
    for key in ("octaves", "direction_octaves"):
        _expect(f"field.{key}", o[key], 1 <= o[key] <= MOST_OCTAVES, f"a whole number from 1 to {MOST_OCTAVES}")
    for key in ("omega0", "beta"):
        _expect(f"field.{key}", o[key], o[key] > 0, "a number above 0")
    skip = o.get("skip")
    if skip is not None and not 1 <= skip < o["depth"]:
        layers = f"a hidden layer from 1 to {o['depth'] - 1}, counted from 0, or null" if o["depth"] > 1 else "null"
        raise ConfigError(f"field.skip={skip}: expected {layers}")
    precision, fused = o.get("precision", "auto"), o.get("fused", True)
    _known("field.precision", precision, ("auto", *PRECISIONS))
    if torch.device(device).type == "cpu":
        return
    if precision == "bf16" and not _has_bf16():
        raise ConfigError("field.precision=bf16: this GPU has none; expected auto, fp32, tf32 or fp16")
    if not fused:
        if precision in ("tf32", "fp16"):
            raise ConfigError(f"field.precision={precision}: only with field.fused=true; expected auto, fp32 or bf16")
        return
    way_out = "field.fused=false takes any"
    if o["width"] not in WIDTHS:
        raise ConfigError(f"field.width={o['width']}: on a GPU {_listed(WIDTHS)}; {way_out}")
    if o["depth"] not in DEPTHS:
        raise ConfigError(f"field.depth={o['depth']}: on a GPU {DEPTHS[0]} to {DEPTHS[-1]}; {way_out}")


def resolved_precision(name: str, device: torch.device | str) -> str:
    """``field.precision`` with ``auto`` replaced: bf16 on a GPU that has it, fp32 elsewhere."""
    if name != "auto":
        return name
    return "bf16" if torch.device(device).type != "cpu" and _has_bf16() else "fp32"


def for_rendering(config: DictConfig, device: torch.device | str) -> DictConfig:
    """A trained run's config as ``device`` can compute its field, which may have been trained on another one.

    Where the device's fused kernel is not made for the field's sizes, the plain field is taken: the same to rounding.
    """
    o = config.field
    if torch.device(device).type == "cpu" or (o.width in WIDTHS and o.depth in DEPTHS):
        return config
    return OmegaConf.merge(config, {"field": {"fused": False, "precision": "auto"}})  # type: ignore[return-value]


def check_sampler(config: DictConfig) -> None:
    """The group ``sampler``.

    Raises:
        ConfigError: an unknown name, or a value out of range.
    """
    o = config.sampler
    _known("sampler.name", o.name, ("occupancy", "stratified"))
    if o.name == "stratified":
        _expect("sampler.near", o.near, 0 <= o.near < o.far, f"from 0 to less than sampler.far={o.far}")
        _expect("sampler.count", o.count, o.count >= 1, "a whole number of at least 1")
        return
    least, most = GRID_RESOLUTIONS
    if not least <= o.resolution <= most:
        raise ConfigError(f"sampler.resolution={o.resolution}: expected {least} to {most}")
    _expect("sampler.step_size", o.step_size, o.step_size > 0, "a length above 0, in normalized units")
    stop = o.min_transmittance
    _expect("sampler.min_transmittance", stop, 0 < stop < 1, "a share between 0 and 1")
    _expect("sampler.threshold", o.threshold, o.threshold >= 0, "an optical depth, not negative")
    _expect("sampler.decay", o.decay, 0 <= o.decay <= 1, "a factor from 0 to 1")
    for key in ("hull_margin", "warmup"):
        _expect(f"sampler.{key}", o[key], o[key] >= 0, "a number, not negative")


def check_trainer(config: DictConfig) -> None:
    """The group ``trainer``.

    Raises:
        ConfigError: no bound, or a value out of range.
    """
    o = config.trainer
    if o.max_seconds is None and o.max_steps is None:
        raise ConfigError("trainer.max_seconds and trainer.max_steps are both null: set one, or the fit never ends")
    _expect("trainer.ema", o.ema, 0 <= o.ema < 1, "from 0 to less than 1")
    _expect("trainer.preview_every", o.preview_every, o.preview_every > 0, "a share of the budget above 0")
    for key in ("final_learning_rate", "mask_weight", "warmup", "checkpoint_every"):
        _expect(f"trainer.{key}", o[key], o[key] >= 0, "a number, not negative")


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


def _has_bf16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _listed(numbers: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"


def _expect(key: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{key}={value}: expected {expected}")


def _known(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{key}={value}: unknown; expected {' or '.join(known)}")
