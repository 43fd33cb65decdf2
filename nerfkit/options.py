"""From ``key=value`` words to a checked config: Hydra composes; what it would let pass or explain badly ends here.

Rules beyond Hydra's own: a key must exist (a near miss is suggested), it can neither be added nor removed, its
value has the type of the default, and the values of ``CHOICES`` are the only ones of their keys. Nothing in
a config names code.
"""

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nerfkit.errors import ConfigError, did_you_mean

STAGES = ("field", "extract", "refine", "export", "video")
VIDEO_CHOICES = {
    "source": ("auto", "field", "mesh"),
    "path": ("orbit", "wave", "spiral"),
    "channels": ("rgb", "depth", "normal", "alpha"),
    "format": ("mp4", "gif"),
}
# The only values of these keys (of each element, for a list); their order is the order of the suggestions.
CHOICES: dict[str, tuple[str, ...]] = {"stages": STAGES, "device": ("auto", "cpu", "cuda"), **VIDEO_CHOICES}
CHOICES["trainer.decay"] = ("cosine", "step")
CHOICES["field.precision"] = ("auto", "fp32", "tf32", "bf16", "fp16")
CHOICES["export.formats"] = ("glb", "obj", "ply")
CHOICES["timelapse.formats"] = ("glb", "ply", "usd", "video")
CHOICES["rasterizer.visibility"] = ("contour", "antialias", "dibr", "softras", "nmr", "edge_grad")
CHOICES |= {f"video.{key}": values for key, values in VIDEO_CHOICES.items()}
# Keys with these last names take null, or a value of this type.
OPTIONAL: dict[str, type] = {
    "run": str,
    "resume": str,
    "root": str,
    "resolution": int,
    "radius": float,
    "max_seconds": float,
    "max_steps": int,
    "threads": int,
    "rays": int,
    "views_per_step": int,
    "level": float,
    "skip": int,
    "mesh": str,
    "target": str,
    "texture": int,
}
# Keys with these last names must be greater than 0.
POSITIVE = (
    *("frames", "fps", "radius", "resolution", "max_seconds", "max_steps", "samples", "max_rays", "rays"),
    *("views_per_step", "learning_rate", "huber", "log_every", "update_every", "share", "count", "budget"),
)
TYPE_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


def compose(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The config ``conf/NAME.yaml`` (``"train"`` or ``"render"``) under ``overrides``, checked.

    Raises:
        ConfigError: a word that is not ``key=value``, an unknown key or group option, a value of the wrong type.
    """
    overrides = with_preset(overrides) if name == "train" else list(overrides)
    with hydra_here():
        parsed = parse(overrides)
        groups = [word for word, override in zip(overrides, parsed, strict=True) if is_group(override)]
        for override in parsed:
            check_group_option(override)
        defaults = compose_unchecked(name, groups)
        for override in parsed:
            if not (override.is_hydra_override() or is_group(override)):
                check_key(override, defaults)
        config = compose_unchecked(name, overrides)
    check_values(config, defaults)
    return config


@contextlib.contextmanager
def hydra_here() -> Iterator[None]:
    """A block in which Hydra looks into nerfkit's conf, whatever program of Hydra's it runs in."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("nerfkit.conf", version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = outer


def expand(overrides: Sequence[str]) -> Iterator[list[str]]:
    """The overrides of every job of a sweep: ``seed=1,2`` stands for two jobs; words without a sweep are kept."""
    with hydra_here():
        alternatives = [
            [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
            if override.is_discrete_sweep()
            else [word]
            for word, override in zip(overrides, parse(overrides, sweeps=True), strict=True)
        ]
    for job in product(*alternatives):
        yield list(job)


def with_preset(overrides: Sequence[str]) -> list[str]:
    """The words with ``preset=auto``, or no preset at all, replaced by ``preset=gpu`` or ``preset=cpu``.

    It is ``gpu`` where the run will use one: where there is one, and ``device=cpu`` is not among the words.
    """
    on_gpu = torch.cuda.is_available() and "device=cpu" not in overrides
    preset = "preset=" + ("gpu" if on_gpu else "cpu")
    words = [preset if word == "preset=auto" else word for word in overrides]
    return words if any(word.startswith("preset=") for word in words) else [preset, *words]


def parse(overrides: Sequence[str], sweeps: bool = False) -> list[Override]:
    """Hydra's own parse of the words; a sweep such as ``seed=1,2`` is an error unless ``sweeps``."""
    parser = OverridesParser.create(config_loader=_loader())
    parsed = []
    for word in overrides:
        if "=" not in word and not word.startswith("~"):
            raise ConfigError(f"{word!r} is not an override; expected KEY=VALUE, as in scene=clock")
        try:
            override = parser.parse_override(word)
        except HydraException as error:
            raise ConfigError(f"{word!r} is not a valid override: {str(error).splitlines()[0]}") from None
        if override.is_sweep_override() and not sweeps:
            raise ConfigError(
                f"{word}: several values. For a list write {override.key_or_group}=[{override.get_value_string()}]; "
                "to run once with each, add -m."
            )
        parsed.append(override)
    return parsed


def is_group(override: Override) -> bool:
    """Whether the key is a folder of conf/: ``scene=clock`` is, ``scene.root=x`` is not."""
    return bool(group_options(override.key_or_group)) and not override.is_hydra_override()


def check_group_option(override: Override) -> None:
    """Raises ConfigError where a group has no such file; ``null`` is only for ``experiment``."""
    if not is_group(override):
        return
    group, value, options = override.key_or_group, override.value(), group_options(override.key_or_group)
    if override.is_delete():
        raise ConfigError(f"{override.input_line}: a group cannot be removed")
    if value is None and group == "experiment":
        return
    if value not in options:
        raise ConfigError(f"{group}={_show(value)}: unknown {group}{did_you_mean(value, options)}")


def check_key(override: Override, config: DictConfig) -> None:
    """Raises ConfigError where ``config`` has no such key, and for ``~key``, which would leave a hole."""
    key = override.key_or_group
    if override.is_delete():
        raise ConfigError(f"{override.input_line}: a key cannot be removed; give it another value")
    known = dict(leaves(config))
    if key in known:
        return
    inside = [name for name in known if name.startswith(key + ".")]
    if inside:
        raise ConfigError(f"{override.input_line}: {key} holds several values; set one of {', '.join(inside)}")
    parent = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    names = siblings if parent and siblings else list(map(str, config))
    near = difflib.get_close_matches(key, [*known, *names], n=1, cutoff=0.6)
    raise ConfigError(f"{key}: unknown key{did_you_mean(key, dict.fromkeys(near + names))}")


def check_values(config: DictConfig, defaults: DictConfig) -> None:
    """Raises ConfigError for the first value whose type is not its default's, or not in ``CHOICES`` or ``POSITIVE``.

    And for a fit without an end.
    """
    expected = {key: None if value == MISSING else value for key, value in leaves(defaults)}
    for key, value in leaves(config):
        if value == MISSING:
            raise ConfigError(f"{key}: needs a value; add {key}=... to the command")
        name, default, choices = key.rpartition(".")[2], expected.get(key), CHOICES.get(key)
        kind = OPTIONAL.get(name, type(default))
        if value is None and (default is None or name in OPTIONAL):
            continue
        if kind is not type(None) and not _has_type(value, kind):
            raise ConfigError(f"{key}={_show(value)}: expected {TYPE_NAMES[kind]}{_example(default)}")
        if choices and value == []:
            raise ConfigError(f"{key}=[]: expected at least one of {', '.join(choices)}")
        for element in value if isinstance(value, list) else [value]:
            if isinstance(default, list) and default and not _has_type(element, _element_type(default)):
                raise ConfigError(
                    f"{key}={_show(value)}: expected {TYPE_NAMES[_element_type(default)]} in place of {_show(element)}"
                )
            if choices and element not in choices:
                raise ConfigError(f"{key}: unknown value {_show(element)}{did_you_mean(element, choices)}")
        if name in POSITIVE and not value > 0:
            raise ConfigError(f"{key}={_show(value)}: expected a number greater than 0")
    trainer = config.get("trainer")
    if trainer is not None and trainer.get("max_seconds") is None and trainer.get("max_steps") is None:
        raise ConfigError("trainer.max_seconds and trainer.max_steps are both null; set one, or the fit never ends")


def leaves(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key and its resolved value, ``???`` where a mandatory one is missing; a list is one value."""
    for key in map(str, config):
        value = MISSING if OmegaConf.is_missing(config, key) else config[key]
        if isinstance(value, DictConfig):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _loader() -> ConfigLoaderImpl:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    assert isinstance(hydra.config_loader, ConfigLoaderImpl)
    return hydra.config_loader


def group_options(group: str) -> list[str]:
    """The files of a folder of conf/, inside ``hydra_here``; none where there is no such folder."""
    return _loader().get_group_options(group)


def compose_unchecked(name: str, overrides: list[str]) -> DictConfig:
    """What Hydra makes of the words, inside ``hydra_here``."""
    try:
        return hydra_compose(name, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(" ".join(str(error).split())) from None


def _has_type(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _element_type(default: list) -> type:
    return float if isinstance(default[0], int) else type(default[0])


def _show(value: Any) -> str:
    """The value as one would type it."""
    if isinstance(value, list):
        return "[" + ",".join(_show(element) for element in value) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def _example(default: Any) -> str:
    return "" if default is None else f", such as {_show(default)}"
