"""The field of features on planes as a module: what it starts from, what it renders, and that it learns.

What all fields of features share stands in ``test_hash_grid.py``.
"""

from dataclasses import replace

import pytest
import torch

from nerfkit.errors import ConfigError
from nerfkit.fields.contracted import ContractedField
from nerfkit.fields.features import BETAS
from nerfkit.fields.field import Field
from nerfkit.fields.planes import INITIAL, RATE, PlanesField, PlanesOptions
from nerfkit.fields.surface import SurfaceField
from nerfkit.fit.build import build_model
from nerfkit.fit.field import FieldFit
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.options import compose
from nerfkit.scenes import Scene
from nerfkit.volume.samplers import OccupancyOptions
from tests.fields.test_hash_grid import check_learning, check_rendering, check_scale, check_threads, photos

__all__ = ["photos"]  # a fixture

SMALL = PlanesOptions(levels=2, coarsest=4, finest=12, width=12)


def made(scale: float = 1.0) -> PlanesField:
    field = PlanesField(SMALL, scale=scale, seed=7)
    torch.nn.init.constant_(field.density_head.bias, 1.5)
    return field


@pytest.mark.parametrize("opacity", ["density", "raw"])
def test_rendering_is_compositing_the_samples(opacity: str) -> None:
    check_rendering(made(), opacity)


def test_positions_are_scaled() -> None:
    check_scale(made)


def test_it_starts_where_products_have_gradients() -> None:
    table = PlanesField().table.detach()
    assert (PlanesOptions().spec().rows, 16) == table.shape
    assert INITIAL[0] <= float(table.min()) < float(table.max()) <= INITIAL[1]


def test_normals_point_out_of_the_solid() -> None:
    """One feature falls along y in two planes that hold it, so the density does."""
    field = PlanesField(PlanesOptions(levels=1, coarsest=4, finest=4, width=8))
    falling = torch.linspace(1.5, 0.5, 5)
    with torch.no_grad():
        field.table.fill_(1.0)
        field.table[:25, 0] = falling.repeat_interleave(5)  # y is the second axis of xy
        field.table[50:, 0] = falling.repeat(5)  # and the first of yz
        field.hidden.weight.fill_(0.1)
        field.density_head.weight.fill_(0.5)
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(2)) * 1.8 - 0.9
    torch.testing.assert_close(field.normals(points), torch.tensor([[0.0, 1.0, 0.0]]).expand(50, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("field", [made(), ContractedField(made())], ids=["bounded", "contracted"])
def test_the_table_has_a_group_of_its_own(field: Field) -> None:
    layers, table = field.parameter_groups()
    assert table["lazy"] and table["scale"] == RATE and layers["betas"] == table["betas"] == BETAS
    assert [p.shape for p in table["params"]] == [(3 * (5**2 + 13**2), 16)]
    assert {id(p) for p in field.parameters()} == {id(p) for p in (*layers["params"], *table["params"])}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"features": 24}, r"field.features=24: expected 16 or 32"),
        ({"finest": 8}, r"field.finest=8: expected at least field.coarsest=32"),
        ({"levels": 9}, r"field.levels=9: expected a whole number from 1 to 8"),
    ],
)
def test_sizes_that_there_are_not(words: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PlanesOptions(**words)


def test_the_command_takes_it() -> None:
    config = compose("train", ["field=planes", "field.levels=2"])
    assert isinstance(config.field, PlanesOptions) and config.field.levels == 2 and config.trainer.ema == 0
    with pytest.raises(ConfigError, match=r"field.width=129: expected 128 at most on a GPU, or device=cpu"):
        PlanesOptions(width=129).build(device="cuda")


def planes_fit(photos: Scene, **words: str) -> FieldFit:
    trainer = TrainerOptions(max_steps=150, samples=2048, warmup=10, **PlanesOptions.trainer, **words)
    sampler = OccupancyOptions(resolution=16, step_size=0.06, update_every=4, warmup=8, share=2)
    return FieldFit(build_model(photos, SMALL, sampler), photos, trainer)


def test_colors_of_a_surface_and_refined_cameras(photos: Scene) -> None:
    """It takes the mirrored direction beside a distance, and its positions have gradients."""
    model = build_model(photos, replace(SMALL, surface="sdf"), OccupancyOptions(resolution=16))
    assert isinstance(model.field, SurfaceField) and model.field.inner.mirrors
    fit = planes_fit(photos, poses="on")
    fit.step()
    assert fit.corrections.poses is not None and fit.corrections.poses.twist.any()


@pytest.mark.slow
def test_it_learns_a_sphere_and_goes_on_to_the_bit(photos: Scene) -> None:
    check_learning(planes_fit, photos, gain=8)


@pytest.mark.slow
@pytest.mark.usefixtures("all_threads")
def test_training_does_not_depend_on_threads(photos: Scene) -> None:
    check_threads(planes_fit, photos)
