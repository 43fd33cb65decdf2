"""A field of a signed distance: what it starts from, shows, and asks of grid and optimizer, and that it learns."""

import copy
from dataclasses import replace

import pytest
import torch

from nerfkit.errors import ConfigError
from nerfkit.fields.auto import AutoOptions
from nerfkit.fields.contracted import ContractedField
from nerfkit.fields.harmonic import HarmonicOptions
from nerfkit.fields.hash_grid import HashGridField, HashGridOptions
from nerfkit.fields.surface import EVERY, SEEN, SHARP, SHARPENED, WIDE, SurfaceField, distance_to
from nerfkit.fit.build import build_model, settled
from nerfkit.fit.field import FieldFit
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.kernels.march import positions
from nerfkit.kernels.philox import Draw
from nerfkit.options import compose
from nerfkit.scenes import Scene
from nerfkit.volume.occupancy import OccupancyGrid
from nerfkit.volume.samplers import OccupancyOptions, StratifiedOptions
from tests.dry_run import dry_run
from tests.fields.test_harmonic import scene
from tests.fields.test_hash_grid import SMALL, check_learning, check_threads, photos

__all__ = ["photos"]

SURFACE = HashGridOptions(**{**vars(SMALL), "surface": "sdf"})


def ball(radius: float, resolution: int = 32) -> torch.Tensor:
    """Cells (G,G,G) whose middle is inside."""
    line = (torch.arange(resolution) + 0.5) * 2 / resolution - 1
    x, y, z = torch.meshgrid(line, line, line, indexing="ij")
    return x**2 + y**2 + z**2 < radius**2


def points(count: int = 200) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(5)) * 1.6 - 0.8


def test_it_starts_from_what_is_occupied() -> None:
    """From a ball: its distance to half a cell; a larger one of its own where everything is occupied."""
    nodes = distance_to(ball(0.6), 16)
    line = torch.linspace(-1, 1, 17)
    length = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).norm(dim=-1)
    inside = length < 1
    assert (nodes - (length - 0.6))[inside].abs().max() < 1.5 * 2 / 32
    field = SurfaceField(HashGridField(SMALL), ball(0.6), 16)
    out = torch.nn.functional.normalize(points(), dim=-1)
    assert (field.normals(0.6 * out) * out).sum(-1).min() > 0.8
    everything = distance_to(torch.ones(8, 8, 8, dtype=torch.bool), 16)
    assert everything[8, 8, 8] < 0 < everything[0, 0, 0]


@pytest.mark.parametrize("options", [SMALL, SURFACE], ids=["mirrored", "both"])
def test_colors_are_the_inner_field_s_along_the_mirrored_view(options: HashGridOptions) -> None:
    positions, samples, directions = scene(1)
    inner = HashGridField(options, seed=7)
    torch.nn.init.uniform_(inner.table, -1, 1, generator=torch.Generator().manual_seed(7))
    field = SurfaceField(inner, ball(0.6), 16)
    density, color = field(positions, samples.offsets, directions)
    assert torch.equal(density, field.density(positions))
    for ray in range(len(directions)):
        for s in range(int(samples.offsets[ray]), int(samples.offsets[ray + 1])):
            n, d = field.normals(positions[s : s + 1]), directions[ray : ray + 1]
            mirrored = d - 2 * (d * n).sum() * n
            asked = (mirrored,) if options is SMALL else (d, mirrored)
            expected = inner(positions[s : s + 1], torch.tensor([0, 1]), *asked)[1]
            torch.testing.assert_close(color[s : s + 1], expected, rtol=1e-4, atol=1e-5)


def test_a_step_sums_the_grids_once() -> None:
    field = SurfaceField(HashGridField(SMALL), ball(0.6), 16)
    optimizer = torch.optim.Adam(field.grids, lr=0.1, fused=True)
    before = field.nodes()
    field.before_step(0.5)
    assert field.nodes() is field.nodes() and torch.equal(field.nodes(), before)
    other = copy.deepcopy(field)
    for _ in range(2):  # a graph that is gone through twice has the gradient of both
        field.nodes().square().sum().backward()
    (2 * other.nodes().square().sum()).backward()
    for one, another in zip(field.grids, other.grids, strict=True):
        torch.testing.assert_close(one.grad, another.grad)
    field.penalties(1)
    optimizer.step()
    assert (field.nodes() - before).abs().max() > 0.01 and torch.equal(other.nodes(), before)


def test_gradients_go_to_distance_and_colors_apart() -> None:
    positions, samples, directions = scene(1)
    field = SurfaceField(HashGridField(SMALL), ball(0.6), 16)
    density, color = field(positions, samples.offsets, directions)
    names = [name for name, _ in field.named_parameters()]
    by_color = torch.autograd.grad(color.sum(), list(field.parameters()), allow_unused=True, retain_graph=True)
    by_density = torch.autograd.grad(density.sum(), list(field.parameters()), allow_unused=True)
    reached = {name for name, g in zip(names, by_color, strict=True) if g is not None and g.any()}
    assert not any(name.startswith("grids") for name in reached) and "inner.table" in reached
    assert {name for name, g in zip(names, by_density, strict=True) if g is not None} == {
        f"grids.{k}" for k in range(3)
    }


def test_it_sharpens_with_the_budget() -> None:
    field = SurfaceField(HashGridField(SMALL), ball(0.6), 16)
    found = []
    for share in (0.0, SHARPENED / 2, SHARPENED, 1.0):
        field.before_step(share)
        found.append(field.beta.item())
    assert found == pytest.approx([field.unit * units for units in (WIDE, (WIDE * SHARP) ** 0.5, SHARP, SHARP)])
    other = SurfaceField(HashGridField(SMALL), ball(0.6), 16)
    other.load_state_dict(field.state_dict())
    assert other.beta.item() == found[-1]


def test_a_finer_grid_asks_for_the_same() -> None:
    """From 64 cells on, beta and the weight of what bends are those of lengths, not of cells."""
    coarse, fine = (SurfaceField(HashGridField(SMALL), ball(0.6), cells) for cells in (64, 128))
    assert coarse.beta.item() == fine.beta.item() == WIDE / 32
    line = torch.linspace(-1, 1, 129)
    bowl = (line[:, None, None] ** 2 + line[:, None] ** 2 + line**2) / 2 - 0.3  # its Laplacian is 3 everywhere
    with torch.no_grad():
        for field, step in ((coarse, 2), (fine, 1)):
            field.grids[2].copy_(bowl[::step, ::step, ::step])
    terms = [field.penalties(0) for field in (coarse, fine)]
    torch.testing.assert_close(terms[0]["laplacian"], terms[1]["laplacian"], rtol=1e-2, atol=0)
    torch.testing.assert_close(terms[0]["eikonal"], terms[1]["eikonal"], rtol=1e-2, atol=0)


def test_its_sharpness_stays_with_the_host() -> None:
    """As a kernel takes it as a number: read from a device, it would be waited for in every step."""
    with dry_run() as counts:
        field = SurfaceField(HashGridField(SMALL), ball(0.6), 16).to("cuda").float()
        assert all(grid.is_cuda for grid in field.grids) and not field.beta.is_cuda
        assert field.beta.dtype == torch.float64
        counts.clear()
        field.before_step(0.5)
        assert field.beta.item() > 0 and field.penalties(EVERY + 1)["eikonal"].is_cuda
        assert not counts.waits


def test_terms_of_the_loss_have_the_same_names_in_every_step() -> None:
    field = SurfaceField(HashGridField(SMALL), ball(0.6), 16)
    every, other = field.penalties(EVERY), field.penalties(EVERY + 1)
    assert list(every) == list(other) == ["eikonal", "laplacian"]
    assert every["eikonal"].requires_grad and not other["eikonal"].requires_grad
    assert all(torch.equal(every[name], other[name]) for name in every), "a curve of odd steps shows them, too"
    with pytest.raises(ValueError, match="cells: expected a multiple of 4, got 10"):
        SurfaceField(HashGridField(SMALL), ball(0.6), 10)


def test_the_grid_takes_bounds_that_are_known() -> None:
    """No cell that holds any of the density is dropped, and no ray stops before what is opaque."""
    field = SurfaceField(HashGridField(SMALL), ball(0.6), 16)
    field.before_step(1.0)
    allowed = torch.ones(32, 32, 32, dtype=torch.bool)
    allowed[:4] = False
    grid = OccupancyGrid(allowed, 0.02, threshold=0.01, decay=0.8, share=4, min_transmittance=1e-3)
    grid.update(field, Draw(0, 0), 0, prune=False)
    x = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    cell = ((x + 1) * 16).long().unbind(-1)
    sigma = field.density(x)
    assert not (grid.occupied & ~allowed).any() and 0.05 < grid.fraction < 0.5
    assert grid.occupied[cell][(sigma * 0.02 > 0.01) & allowed[cell]].all()
    assert (grid.solid[cell] <= sigma * (1 + 1e-5)).all()
    assert field.density_bounds(24) is None


@pytest.mark.parametrize(
    ("sampler", "unbounded", "says"),
    [
        (StratifiedOptions(), False, "density, or sampler=occupancy"),
        (OccupancyOptions(resolution=16), True, "density for photos without masks"),
    ],
)
def test_where_there_is_no_surface(photos: Scene, sampler, unbounded: bool, says: str) -> None:
    scene = replace(photos, unbounded=True, has_masks=False) if unbounded else photos
    with pytest.raises(ConfigError, match=rf"field.surface=sdf: expected {says}"):
        build_model(scene, HarmonicOptions(surface="sdf"), sampler)
    assert settled(HashGridOptions(surface="auto"), sampler, scene)[0].surface == "density"
    auto = HashGridOptions(surface="auto")
    assert settled(auto, OccupancyOptions(), photos)[0].surface == "sdf"
    assert settled(auto, OccupancyOptions(), replace(photos, has_masks=False))[0].surface == "density"


@pytest.mark.parametrize(
    ("sampler", "masks", "mesh", "made"),
    [
        (OccupancyOptions(), True, True, ("hash_grid", "sdf")),
        (OccupancyOptions(), True, False, ("planes", "density")),
        (OccupancyOptions(), False, True, ("hash_grid", "density")),
        (StratifiedOptions(), True, True, ("planes", "density")),
    ],
)
def test_auto_is_a_field_that_suits_the_photos(photos: Scene, sampler, masks: bool, mesh: bool, made: tuple) -> None:
    scene = photos if masks else replace(photos, has_masks=False, unbounded=True)
    field, why = settled(AutoOptions(), sampler, scene, mesh)
    assert (field.name, field.surface) == made and why.startswith(f"field=auto is field={made[0]}")
    assert settled(field, sampler, scene, mesh) == (field, "")


def test_the_command_takes_it_for_every_field() -> None:
    for field in ("auto", "harmonic", "hash_grid", "planes"):
        assert compose("train", [f"field={field}", "field.surface=sdf"]).field.surface == "sdf"
    with pytest.raises(ConfigError, match=r"field\.surface"):
        compose("train", ["field.surface=mesh"])


def surface_fit(photos: Scene, **words: str) -> FieldFit:
    trainer = TrainerOptions(max_steps=150, samples=2048, warmup=10, **HashGridOptions.trainer, **words)
    sampler = OccupancyOptions(resolution=16, step_size=0.06, update_every=4, warmup=8, share=2)
    return FieldFit(build_model(photos, SURFACE, sampler), photos, trainer)


def test_pixels_and_gradients_of_thinned_samples(photos: Scene) -> None:
    """Fewer samples, pixels that lack what those left out show, and gradients by the rays, with pieces and without."""
    model = surface_fit(photos).model
    model.field.before_step(1.0)
    origins, directions = photos.cameras.image_rays(0)
    origins, directions = (t[::7].clone().requires_grad_() for t in (origins, directions))
    rendered, count = model.render_rays(origins, directions)
    samples = model.sampler.sample(origins.detach(), directions.detach(), None)
    points = positions(samples, origins, directions)
    everything = model.field.render(points, samples, directions)
    assert 0 < count < len(points) / 2
    less = samples.offsets.diff() - model.field.thinned(points, samples)[1].offsets.diff()  # (R,)
    for mine, all_of_it in ((rendered.opacity, everything.opacity), (rendered.color.T, everything.color.T)):
        assert ((mine - all_of_it).abs() <= SEEN * less + 1e-5).all()
    pieces, _ = model.render_rays(origins, directions, piece=50)
    for found in (rendered, pieces):
        by_origins, by_directions = torch.autograd.grad(found.color.sum() + found.opacity.sum(), (origins, directions))
        assert by_origins.isfinite().all() and by_origins.any() and by_directions.any()


def test_what_is_not_a_number_stops_the_fit(photos: Scene) -> None:
    fit = surface_fit(photos)
    fit.step()
    with torch.no_grad():
        fit.model.field.grids[2][8, 8, 8] = torch.nan
    with pytest.raises(FloatingPointError):
        fit.train()


def test_cameras_are_refined_with_it(photos: Scene) -> None:
    fit = surface_fit(photos, poses="on")
    fit.step()
    assert fit.corrections.poses is not None and fit.corrections.poses.twist.any()


@pytest.mark.parametrize("wrapped", [lambda f: SurfaceField(f, ball(0.6), 16), ContractedField])
def test_the_inner_field_has_its_hooks(wrapped) -> None:
    class Scheduled(HashGridField):
        share = 0.0

        def before_step(self, share: float) -> None:
            self.share = share

        def penalties(self, step: int) -> dict[str, torch.Tensor]:
            return {"decay": self.table.square().mean()}

    inner = Scheduled(SMALL)
    field = wrapped(inner)
    field.before_step(0.5)
    assert inner.share == 0.5 and "decay" in field.penalties(1)


@pytest.mark.slow
def test_it_learns_a_sphere_and_goes_on_to_the_bit(photos: Scene) -> None:
    check_learning(surface_fit, photos, gain=5)


@pytest.mark.slow
@pytest.mark.usefixtures("all_threads")
def test_training_does_not_depend_on_threads(photos: Scene) -> None:
    check_threads(surface_fit, photos)
