"""The field of features as a module: what it renders, its normals, what it asks of an optimizer, and that it learns."""

from collections.abc import Callable

import numba
import pytest
import torch

from nerfkit.errors import ConfigError
from nerfkit.fields.contracted import ContractedField
from nerfkit.fields.features import BETAS
from nerfkit.fields.field import Field
from nerfkit.fields.hash_grid import HashGridField, HashGridOptions
from nerfkit.fit.build import build_model
from nerfkit.fit.evaluate import evaluate_field
from nerfkit.fit.field import FieldFit
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.options import compose
from nerfkit.scenes import Scene, open_scene
from nerfkit.volume.samplers import OccupancyOptions
from tests.fields.test_harmonic import scene
from tests.scenes.builders import ring, write_kaolin

SMALL = HashGridOptions(levels=3, features=4, log2_table=10, coarsest=4, finest=16, width=12)


def made(scale: float = 1.0) -> HashGridField:
    """A field whose features differ from place to place."""
    field = HashGridField(SMALL, scale=scale, seed=7)
    torch.nn.init.uniform_(field.table, -1, 1, generator=torch.Generator().manual_seed(7))
    torch.nn.init.constant_(field.density_head.bias, 1.5)
    return field


def check_rendering(field: Field, opacity: str) -> None:
    """A field's own way from samples to pixels against the composite of their densities and colors."""
    points, samples, directions = scene(1)
    own = field.render(points, samples, directions, opacity, 0.0)  # type: ignore[arg-type]
    general = Field.render(field, points, samples, directions, opacity, 0.0)  # type: ignore[arg-type]
    for a, b in zip(own, general, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert own.opacity[1] == 0 and own.opacity[2] > own.opacity[3] > 0


def check_scale(made: Callable[..., Field]) -> None:
    """A field of half the scale has at twice the position what one of the whole scale has."""
    points, _, _ = scene()
    wide, near = made(scale=0.5), made()
    assert torch.equal(wide.density(2 * points), near.density(points))
    assert near.density(points).std() > 1e-3


@pytest.mark.parametrize("opacity", ["density", "raw"])
def test_rendering_is_compositing_the_samples(opacity: str) -> None:
    check_rendering(made(), opacity)


def test_positions_are_scaled() -> None:
    """As for unbounded scenes, whose contracted positions reach to 2."""
    check_scale(made)


def test_normals_point_out_of_the_solid() -> None:
    """One feature falls with the distance to the origin along x, so the density does."""
    field = HashGridField(HashGridOptions(levels=1, log2_table=12, coarsest=4, finest=4, width=8))
    x = torch.linspace(1, -1, 5).expand(25, 5).reshape(-1)
    with torch.no_grad():
        field.table[:, 0], field.table[:, 1] = x, 0
        field.hidden.weight.fill_(1.0)
        field.hidden.bias.fill_(2.0)
        field.density_head.weight.fill_(0.5)
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(2)) * 1.8 - 0.9
    torch.testing.assert_close(field.normals(points), torch.tensor([[1.0, 0.0, 0.0]]).expand(50, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("field", [made(), ContractedField(made())], ids=["bounded", "contracted"])
def test_the_table_has_a_group_of_its_own(field: Field) -> None:
    layers, table = field.parameter_groups()
    assert table["lazy"] and layers["betas"] == table["betas"] == BETAS
    assert [p.shape for p in table["params"]] == [(5**3 + 9**3 + 1024, 4)]
    assert {id(p) for p in field.parameters()} == {id(p) for p in (*layers["params"], *table["params"])}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"features": 3}, r"field.features=3: expected 2, 4 or 8"),
        ({"finest": 8}, r"field.finest=8: expected at least field.coarsest=16"),
        ({"log2_table": 25}, r"field.log2_table=25: expected a whole number from 4 to 24"),
    ],
)
def test_sizes_that_there_are_not(words: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HashGridOptions(**words)


def test_a_width_that_the_gpu_kernels_have_not_is_refused() -> None:
    for width in (1, 128):
        HashGridOptions(width=width).build(device="cuda")
    HashGridOptions(width=129).check_device("cpu")
    with pytest.raises(ConfigError, match=r"field.width=129: expected 128 at most on a GPU, or device=cpu"):
        HashGridOptions(width=129).build(device="cuda")


def test_the_command_takes_the_trainer_that_suits_it() -> None:
    assert compose("train", ["field=hash_grid"]).trainer.ema == 0
    assert compose("train", ["field=hash_grid", "trainer.ema=0.9"]).trainer.ema == 0.9
    assert compose("train", []).trainer.ema == TrainerOptions().ema


def sphere_fit(photos: Scene) -> FieldFit:
    trainer = TrainerOptions(max_steps=150, samples=2048, warmup=10, **HashGridOptions.trainer)
    sampler = OccupancyOptions(resolution=16, step_size=0.06, update_every=4, warmup=8, share=2)
    return FieldFit(build_model(photos, SMALL, sampler), photos, trainer)


def same(one: FieldFit, other: FieldFit) -> bool:
    """Whether all weights are equal to the bit."""
    return all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return open_scene("kaolin", write_kaolin(tmp_path_factory.mktemp("sphere") / "views", ring(12)), holdout=6)


def check_learning(fit: Callable[[Scene], FieldFit], photos: Scene, gain: float) -> None:
    """It gains so many dB on held-out views; saved on the way, it goes on to the bit."""
    whole, first, second = (fit(photos) for _ in range(3))
    assert whole.average is whole.model
    before = evaluate_field(whole.average, photos)["psnr"]
    whole.train()
    assert evaluate_field(whole.average, photos)["psnr"] > before + gain
    for _ in range(60):
        first.step()
    second.load_state_dict(first.state_dict())
    second.train()
    assert same(whole, second)


def check_threads(fit: Callable[[Scene], FieldFit], photos: Scene) -> None:
    """The same bits with one thread and with all."""
    threads, fits = (numba.get_num_threads(), torch.get_num_threads()), []
    try:
        for count in (1, threads[0]):
            numba.set_num_threads(count)
            torch.set_num_threads(count)
            fits.append(fit(photos))
            for _ in range(40):
                fits[-1].step()
    finally:
        numba.set_num_threads(threads[0])
        torch.set_num_threads(threads[1])
    assert same(*fits)


@pytest.mark.slow
def test_it_learns_a_sphere_and_goes_on_to_the_bit(photos: Scene) -> None:
    check_learning(sphere_fit, photos, gain=8)


@pytest.mark.slow
@pytest.mark.usefixtures("all_threads")
def test_training_does_not_depend_on_threads(photos: Scene) -> None:
    check_threads(sphere_fit, photos)
