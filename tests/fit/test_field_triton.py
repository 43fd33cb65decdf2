"""Whole training steps on the Triton kernels, interpreted: the same as on the CPU's, to rounding."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nerfkit.fields.features import FeatureOptions
from nerfkit.fields.hash_grid import HashGridOptions
from nerfkit.fields.planes import PlanesOptions
from nerfkit.fit.build import build_model
from nerfkit.fit.field import FieldFit
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.kernels import use
from nerfkit.scenes import Scene, open_scene
from nerfkit.volume.samplers import OccupancyOptions
from tests.dry_run import dry_run
from tests.fit.test_field import new_fit, weights
from tests.scenes.builders import ring, write_kaolin

STEPS = 8
MARCH = "nerfkit/kernels/march/triton.py"
COUNTED = ("sampler.resolution=8", "sampler.step_size=0.15", "trainer.rays=4")  # launches do not go by the samples


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    views = write_kaolin(tmp_path_factory.mktemp("sphere") / "views", ring(6))
    return open_scene("kaolin", views, holdout=6, resolution=12)


def losses(fit: FieldFit, backend: str) -> list[float]:
    with use(backend):
        return [sum(term.item() for term in fit.step().terms.values()) for _ in range(STEPS)]


@pytest.mark.interpreted
def test_some_steps_equal_the_cpu(scene: Scene, tmp_path: Path) -> None:
    """Rays, march, positions, field, compositing, backward, the grid's updates: all but Adam is ours.

    With a capacity, too, whose padding changes nothing.

    Adam makes much of gradients that are nothing but rounding, so weights drift apart between any two ways to compute
    the same: the measure is how far the CPU's kernels drift from plain PyTorch.
    """
    words = (
        "field.width=32",
        "field.precision=fp32",
        "sampler.resolution=8",
        "sampler.step_size=0.15",
        "trainer.rays=8",
    )
    fits, found = {}, {}
    roomy = {"triton": ["trainer.capacity=300"]}
    for backend in ("triton", "cpu", "reference"):
        fits[backend] = new_fit(scene, tmp_path / backend, *words, *roomy.get(backend, []))
        start = weights(fits[backend])
        found[backend] = losses(fits[backend], backend)
    ours, cpu, plain = (weights(fits[backend]) for backend in ("triton", "cpu", "reference"))
    torch.testing.assert_close(found["triton"], found["cpu"], rtol=1e-5, atol=1e-7)
    assert torch.equal(fits["triton"].model.sampler.grid.occupied, fits["cpu"].model.sampler.grid.occupied)
    assert (cpu - start).norm() > 0.1
    assert (ours - cpu).norm() <= 3 * (plain - cpu).norm()


@pytest.mark.interpreted
def test_with_a_capacity_no_step_waits_and_none_has_other_shapes(scene: Scene, tmp_path: Path) -> None:
    """What a CUDA graph needs, between two updates of the grid."""
    words = (*COUNTED, "field.width=32", "field.precision=bf16")
    with dry_run() as counts:
        fit = new_fit(scene, tmp_path, *words, "trainer.capacity=48", "sampler.update_every=16", device="cuda")
        fit.step()
        for _ in range(2):
            counts.clear()
            assert fit.step().samples == 48
            assert not counts.waits
            assert sum(counts.aten.values()) <= 51, counts.aten


@pytest.mark.interpreted
def test_a_step_on_photos_without_masks_runs_on_a_device(scene: Scene, tmp_path: Path) -> None:
    """Nested grids, contracted space and exposures: every tensor is where it belongs; a grid is waited for once."""
    still = replace(scene, has_masks=False, unbounded=True)
    words = ("field.width=32", "field.precision=bf16", "sampler.resolution=16", "sampler.step_size=0.2")
    with dry_run() as counts:
        fit = new_fit(still, tmp_path, *words, "trainer.rays=8", "sampler.update_every=16", device="cuda")
        fit.step()
        counts.clear()
        fit.step()
        assert [wait.split(" at ")[1].partition(":")[0] for wait in counts.waits] == [MARCH] * 3, counts.waits


@pytest.mark.interpreted
def test_a_step_asks_little_of_a_gpu_and_waits_once(scene: Scene, tmp_path: Path) -> None:
    """Launches are what a small step's time goes into: fewer than 60 of PyTorch's kernels, 20 of ours, and one wait.

    The wait is for the number of samples, by which the rest of a step is sized. Steps that update the grid are not
    counted: one of 16.
    """
    words = (*COUNTED, "field.width=32", "field.precision=bf16")
    with dry_run() as counts:
        fit = new_fit(scene, tmp_path, *words, "sampler.update_every=16", device="cuda")
        fit.step()
        for _ in range(2):
            counts.clear()
            fit.step()
            assert [wait.split(" at ")[1].partition(":")[0] for wait in counts.waits] == [MARCH], counts.waits
            assert sum(counts.aten.values()) <= 45, counts.aten
            assert sum(counts.triton.values()) <= 19, counts.triton


def features_fit(scene: Scene, encoding: str, surface: str, device: str = "cpu") -> FieldFit:
    field: FeatureOptions = PlanesOptions(levels=2, coarsest=4, finest=16, width=16, surface=surface)
    if encoding == "hash_grid":
        field = HashGridOptions(levels=3, log2_table=7, coarsest=4, finest=16, width=16, surface=surface)
    sampler = OccupancyOptions(resolution=8, step_size=0.5, update_every=16)
    options = TrainerOptions(max_steps=20, rays=4, **FeatureOptions.trainer)
    return FieldFit(build_model(scene, field, sampler, device=device), scene, options)


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("encoding", "surface"), [("hash_grid", "density"), ("hash_grid", "sdf"), ("planes", "density")]
)
def test_some_steps_of_the_field_of_features_equal_the_cpu(scene: Scene, encoding: str, surface: str) -> None:
    """Field, compositing, the lazy step of its table; of a surface its distance, two terms and the grid's bounds."""
    fits = {backend: features_fit(scene, encoding, surface) for backend in ("triton", "cpu")}
    start = weights(fits["cpu"])
    found = {backend: losses(fit, backend) for backend, fit in fits.items()}
    torch.testing.assert_close(found["triton"], found["cpu"], rtol=1e-4, atol=1e-6)
    ours, cpu = (weights(fit) for fit in fits.values())
    assert (ours - cpu).norm() <= 1e-3 * (cpu - start).norm()


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("encoding", "surface", "waits", "aten", "own"),
    [
        # the table's gradient is sorted: more of PyTorch's kernels than the default's
        ("hash_grid", "density", [MARCH], 48, 24),
        ("planes", "density", [MARCH], 48, 24),
        # how many colors are asked for
        ("hash_grid", "sdf", [MARCH, "nerfkit/fields/surface.py"], 108, 43),
    ],
)
def test_a_step_of_the_field_of_features_waits_for_its_samples_alone(
    scene: Scene, encoding: str, surface: str, waits: list[str], aten: int, own: int
) -> None:
    with dry_run() as counts:
        fit = features_fit(scene, encoding, surface, "cuda")
        trained = [p for name, p in fit.model.named_parameters() if surface == "density" or "grids" in name]
        before = [p.detach().clone() for p in trained]
        fit.step()
        assert all((p != old).any() for p, old in zip(trained, before, strict=True))
        for _ in range(2):
            counts.clear()
            fit.step()
            assert [wait.split(" at ")[1].partition(":")[0] for wait in counts.waits] == waits, counts.waits
            assert sum(counts.aten.values()) <= aten, counts.aten
            assert sum(counts.triton.values()) <= own, counts.triton
