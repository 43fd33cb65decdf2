"""What a config is refused for before any work: each message names its key, and what would do."""

import pytest
import torch
from omegaconf import OmegaConf

from nerfkit.errors import ConfigError
from nerfkit.fit import checks
from nerfkit.fit.checks import check_config, check_field, for_rendering, resolved_precision
from nerfkit.options import compose

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    "words", [[], ["preset=gpu"], ["preset=smoke"], ["experiment=nerf_tutorial"], ["field.skip=2"]]
)
@pytest.mark.parametrize("device", [CPU, GPU])
def test_presets_pass(words: list[str], device: torch.device) -> None:
    check_config(compose("train", ["preset=cpu", *words] if "preset" not in str(words) else words), device)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("seed=-1", "from 0 to 2^63 - 1"),
        (f"seed={2**63}", "from 0 to 2^63 - 1"),
        ("field.activation=gelu", "relu or softplus"),
        ("field.density_activation=relu", "exp or softplus"),
        ("field.depth=0", "at least 1"),
        ("field.octaves=65", "from 1 to 64"),
        ("field.omega0=0.0", "above 0"),
        ("field.beta=nan", "finite"),
        ("field.skip=3", "from 1 to 2"),
        ("field.skip=0", "from 1 to 2"),
        ("sampler.resolution=4", "8 to 512"),
        ("sampler.step_size=inf", "finite"),
        ("sampler.decay=1.5", "from 0 to 1"),
        ("sampler.threshold=-0.1", "not negative"),
        ("sampler.hull_margin=-1.0", "not negative"),
        ("sampler.warmup=-1", "not negative"),
        ("trainer.preview_every=0.0", "above 0"),
        ("trainer.ema=1.0", "less than 1"),
        ("trainer.final_learning_rate=-0.1", "not negative"),
        ("extract.resolution=3", "4 to 512"),
        ("extract.level=0.0", "above 0"),
        ("extract.faces=2", "at least 4"),
        ("extract.min_part=2.0", "from 0 to 1"),
        ("refine.steps=0", "at least 1"),
        ("refine.preview_every=0.0", "above 0"),
    ],
)
def test_what_is_refused(word: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(compose("train", ["preset=cpu", word]), CPU)
    message = str(caught.value)
    assert message.startswith(word.split("=")[0]) and expected in message, message


def test_seeds_of_more_than_32_bits_are_fine() -> None:
    check_config(compose("train", ["preset=cpu", f"seed={2**63 - 1}"]), CPU)


def test_stratified_planes_are_in_order() -> None:
    words = ["preset=cpu", "sampler=stratified", "sampler.near=3.0", "sampler.far=2.0"]
    with pytest.raises(ConfigError, match=r"sampler.near=3.0: expected from 0 to less than sampler.far=2.0"):
        check_config(compose("train", words), CPU)


@pytest.mark.parametrize(
    ("word", "named"),
    [("field.width=48", "32, 64, 128 or 256"), ("field.depth=1", "2 to 8"), ("field.depth=9", "2 to 8")],
)
def test_sizes_that_the_gpu_kernels_have_not(word: str, named: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{word}: .*{named}.*field\.fused=false"):
        check_field(compose("train", ["preset=gpu", word]), GPU)
    check_field(compose("train", ["preset=gpu", word, "field.fused=false"]), GPU)
    check_field(compose("train", ["preset=gpu", word]), CPU)


def test_a_field_of_any_size_can_be_rendered_on_a_gpu() -> None:
    """render.py has no field.fused: what was trained on a CPU finds the plain field by itself."""
    odd = compose("train", ["preset=cpu", "field.width=48", "field.precision=tf32"])
    check_field(for_rendering(odd, GPU), GPU)
    assert (odd.field.fused, odd.field.precision) == (True, "tf32")
    assert for_rendering(odd, CPU) == odd
    even = compose("train", ["preset=cpu"])
    assert for_rendering(even, GPU) == even
    early: dict = OmegaConf.to_container(odd)  # type: ignore[assignment]
    del early["field"]["fused"], early["field"]["precision"]  # a run from before there were these keys
    check_field(for_rendering(OmegaConf.create(early), GPU), GPU)


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(checks, "_has_bf16", lambda has=has: has)
        assert resolved_precision("auto", CPU) == "fp32"
        assert resolved_precision("auto", GPU) == ("bf16" if has else "fp32")
        assert resolved_precision("tf32", GPU) == "tf32"
    with pytest.raises(ConfigError, match=r"field\.precision=bf16: this GPU has none"):
        check_field(compose("train", ["preset=gpu", "field.precision=bf16"]), GPU)
    with pytest.raises(ConfigError, match=r"field\.precision=fp16: only with field\.fused=true"):
        check_field(compose("train", ["preset=gpu", "field.precision=fp16", "field.fused=false"]), GPU)
    with pytest.raises(ConfigError, match=r"field\.precision: unknown value fp8"):
        compose("train", ["field.precision=fp8"])


def test_the_rasterizer_s_settings_are_checked() -> None:
    config = compose("train", ["rasterizer.softras.sigma=0"])
    with pytest.raises(ConfigError, match=r"rasterizer\.softras\.sigma=0"):
        check_config(config, "cpu")
