"""What a config is refused for before any work: each message names its key, and what would do."""

import pytest
import torch

from nerfkit.errors import ConfigError
from nerfkit.fields import harmonic
from nerfkit.fields.harmonic import HarmonicOptions
from nerfkit.options import compose

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("words", [[], ["preset=gpu"], ["preset=smoke"], ["experiment=nerf_tutorial"]])
@pytest.mark.parametrize("device", [CPU, GPU])
def test_presets_pass(words: list[str], device: torch.device) -> None:
    compose("train", ["preset=cpu", *words] if "preset" not in str(words) else words).field.check_device(device)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("seed=-1", "from 0 to 2^63 - 1"),
        (f"seed={2**63}", "from 0 to 2^63 - 1"),
        ("field.activation=gelu", "Known: relu, softplus"),
        ("field.density_activation=relu", "Known: exp, softplus"),
        ("field.depth=0", "at least 1"),
        ("field.octaves=65", "from 1 to 64"),
        ("field.omega0=0.0", "above 0"),
        ("field.beta=nan", "finite"),
        ("field.skip=3", "from 1 to 2"),
        ("field.skip=0", "at least 1"),
        ("field.precision=fp8", "Known: auto, fp32, tf32, bf16, fp16"),
        ("sampler.resolution=4", "8 to 512"),
        ("sampler.step_size=inf", "finite"),
        ("sampler.decay=1.5", "from 0 to 1"),
        ("sampler.threshold=-0.1", "at least 0"),
        ("sampler.hull_margin=-1.0", "at least 0"),
        ("sampler.warmup=-1", "at least 0"),
        ("sampler.min_transmittance=1", "above 0 and below 1"),
        ("trainer.max_steps=null", "without both a fit never ends"),
        ("trainer.preview_every=0.0", "above 0"),
        ("trainer.ema=1.0", "below 1"),
        ("trainer.final_learning_rate=-0.1", "at least 0"),
        ("extract.resolution=3", "4 to 1024"),
        ("extract.level=0.0", "above 0"),
        ("extract.faces=2", "at least 4"),
        ("extract.min_part=2.0", "from 0 to 1"),
        ("refine.steps=0", "at least 1"),
        ("refine.faces=3", "at least 4, or 0"),
        ("refine.preview_every=0.0", "above 0"),
        ("refine.geometry=1.5", "from 0 to 1"),
        ("rasterizer.softras.sigma=0", "above 0"),
    ],
)
def test_what_is_refused(word: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("train", ["preset=cpu", word])
    message = str(caught.value)
    assert message.startswith(word.partition(".")[0].partition("=")[0]) and expected in message, message
    assert "\n" not in message


def test_seeds_of_more_than_32_bits_are_fine() -> None:
    assert compose("train", ["preset=cpu", f"seed={2**63 - 1}"]).seed == 2**63 - 1


def test_stratified_planes_are_in_order() -> None:
    words = ["preset=cpu", "sampler=stratified", "sampler.near=3.0", "sampler.far=2.0"]
    with pytest.raises(ConfigError, match=r"sampler.near=3.0: expected from 0 to less than sampler.far=2.0"):
        compose("train", words)


@pytest.mark.parametrize(
    ("values", "named"), [({"width": 48}, "32, 64, 128, 256"), ({"depth": 1}, "2, 3"), ({"depth": 9}, "7, 8")]
)
def test_sizes_that_the_gpu_kernels_have_not(values: dict[str, int], named: str) -> None:
    ((key, value),) = values.items()
    with pytest.raises(ConfigError, match=rf"^field\.{key}={value}: .*{named}.*field\.fused=false"):
        HarmonicOptions(**values).check_device(GPU)
    HarmonicOptions(**values, fused=False).check_device(GPU)
    HarmonicOptions(**values).check_device(CPU)


def test_a_field_of_any_size_can_be_rendered_on_a_gpu() -> None:
    """render.py has no field.fused: what was trained on a CPU finds the plain field by itself."""
    odd = HarmonicOptions(width=48, precision="tf32")
    odd.for_rendering(GPU).check_device(GPU)
    assert (odd.fused, odd.precision) == (True, "tf32")
    assert odd.for_rendering(CPU) == odd
    assert HarmonicOptions().for_rendering(GPU) == HarmonicOptions()


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(harmonic, "_has_bf16", lambda device, has=has: has)
        for device in (CPU, GPU):
            assert HarmonicOptions().build(device=device).spec.precision == ("bf16" if has else "fp32")
        assert HarmonicOptions(precision="tf32").build(device=GPU).spec.precision == "tf32"
    with pytest.raises(ConfigError, match=r"field\.precision=bf16: .*this GPU has no bf16"):
        HarmonicOptions(precision="bf16").check_device(GPU)
    with pytest.raises(ConfigError, match=r"field\.precision=fp16: .*only with field\.fused=true"):
        HarmonicOptions(precision="fp16", fused=False).check_device(GPU)
