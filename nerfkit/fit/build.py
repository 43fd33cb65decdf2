"""Names in the config to objects: a registry, never a path to import."""

import torch
from omegaconf import DictConfig, OmegaConf

from nerfkit.errors import ConfigError
from nerfkit.fields.harmonic import HarmonicField
from nerfkit.kernels.harmonic_field import ACTIVATIONS, DENSITY_ACTIVATIONS
from nerfkit.scenes.hull import carve
from nerfkit.scenes.scene import Scene
from nerfkit.volume.occupancy import OccupancyGrid
from nerfkit.volume.samplers import OccupancySampler, StratifiedSampler


def build_field(config: DictConfig, scene: Scene) -> HarmonicField:
    """The field that ``config.field`` describes, with its initial weights.

    Raises:
        ConfigError: an unknown name or activation, or a size below 1.
    """
    options = dict(OmegaConf.to_container(config.field))  # type: ignore[arg-type]
    _known("field.name", options.pop("name"), ("harmonic",))
    _known("field.activation", options["activation"], ACTIVATIONS)
    _known("field.density_activation", options["density_activation"], DENSITY_ACTIVATIONS)
    for key in ("width", "depth", "octaves", "direction_octaves"):
        if options[key] < 1:
            raise ConfigError(f"field.{key}={options[key]}: expected a whole number of at least 1")
    scale = tutorial_scale(config, scene) if config.sampler.name == "stratified" else 1.0
    return HarmonicField(**options, scale=scale, seed=int(config.seed))


def build_sampler(config: DictConfig, scene: Scene) -> OccupancySampler | StratifiedSampler:
    """The sampler that ``config.sampler`` describes; its grid starts from the masks' visual hull where there are masks.

    Raises:
        ConfigError: an unknown name, or a value out of range.
    """
    o = config.sampler
    _known("sampler.name", o.name, ("occupancy", "stratified"))
    if o.name == "stratified":
        scale = tutorial_scale(config, scene)
        return StratifiedSampler(o.near / scale, o.far / scale, o.count)
    if not 8 <= o.resolution <= 512:
        raise ConfigError(f"sampler.resolution={o.resolution}: expected 8 to 512")
    if not o.step_size > 0:
        raise ConfigError(f"sampler.step_size={o.step_size}: expected a length above 0, in normalised units")
    if not 0 < o.min_transmittance < 1:
        raise ConfigError(f"sampler.min_transmittance={o.min_transmittance}: expected a share between 0 and 1")
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
    """What normalised lengths are multiplied by so that the far plane is 1 behind the centre for the farthest camera.

    The tutorial's planes and frequencies are meant for its own scene's size; this brings any scene to that size.
    """
    farthest = float(scene.cameras.positions.norm(dim=-1).max()) + 1.0
    return config.sampler.far / farthest


def _known(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{key}={value}: unknown; expected {' or '.join(known)}")
