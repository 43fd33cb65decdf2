"""Masks of many photos: nothing makes a float or bool copy of all at once, and what holds them is bounded.

Allocations are counted, not bytes of the process: those of torch by storage, those of NumPy by tracemalloc.
"""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nerfkit.fit.pixels import TrainingPixels
from nerfkit.fit.refine_options import RefineOptions
from nerfkit.fit.refine_targets import Targets
from nerfkit.fit.subject import doubt, masked
from nerfkit.fit.texels import texel_looks
from nerfkit.mesh.bake import bake_vertex_colors
from nerfkit.mesh.unwrap import unwrap
from nerfkit.raster import render
from nerfkit.scenes import hull, normalize
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.samplers import OccupancyOptions
from tests.fit.test_refine import ball
from tests.scenes.builders import Sphere, ring

SIZE = (60, 80)
MANY = 64
PIXELS = MANY * SIZE[0] * SIZE[1]
SPHERE = Sphere((0.0, 0.0, 0.0), 0.5)


class Largest(TorchDispatchMode):
    """Notes the largest new storage that an operation returns, in bytes, and which operation that was."""

    def __init__(self) -> None:
        super().__init__()
        self.nbytes, self.name = 0, ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in given:
                nbytes = tensor.untyped_storage().nbytes()
                if nbytes > self.nbytes:
                    self.nbytes, self.name = nbytes, str(func)
        return found


def photographed(count: int) -> Scene:
    """A ball from all sides, with masks and pixels to ignore."""
    cameras = ring(count, SIZE, SPHERE, distance=4.0)
    one = torch.from_numpy(SPHERE.render(cameras, 0, 1)[..., 3] > 0)  # from everywhere the same, but for perspective
    photo = torch.where(one[..., None], torch.tensor([90, 90, 90, 255]), 0).to(torch.uint8)
    unknown = torch.zeros(SIZE, dtype=torch.bool)
    unknown[:3] = True
    photos = Photos.of([photo] * count, [unknown] * count)
    return Scene("ball", photos, cameras, list(range(2, count)), [0, 1])


@pytest.fixture(scope="module")
def scene() -> Scene:
    return photographed(MANY)


@pytest.mark.slow
def test_nothing_in_training_and_refinement_copies_all_photos(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bool a pixel of all photos would be PIXELS bytes, a float mask four times that."""
    monkeypatch.setattr(hull, "MOST_VIEWS", 4)
    monkeypatch.setattr(hull, "LOOKED_AT", MANY)  # a pixel of each
    for name in ("COARSE", "FINE"):  # cells, not pixels
        monkeypatch.setattr(normalize, name, 16)
    mesh = ball((0.5, 0.5, 0.5), 1)
    textured = replace(bake_vertex_colors(unwrap(mesh, 64), 64), colors=None)
    still = {"has_masks": False, "unbounded": True}
    with Largest() as largest:
        masks = [image[..., 3] for image in scene.images]
        normalize.hull_box(scene.cameras, masks, "here")
        sampler = OccupancyOptions(resolution=16).build(scene)
        assert TrainingPixels(scene, sampler, torch.device("cpu")).chosen.size > 0
        targets = Targets(scene, RefineOptions(), 0)
        look = targets.look(targets.next_views())
        rendering = render(mesh.vertices, mesh.faces, scene.cameras[look.views], colors=mesh.colors)
        targets.wanted.terms(rendering, look, 0.1)
        texel_looks(textured, scene)
        opacities = masked(replace(scene, **still), lambda view: torch.full(SIZE, 0.9))
        assert doubt(scene, opacities, mesh) is None
    assert 4 * SIZE[0] * SIZE[1] < largest.nbytes < PIXELS, largest.name


def test_the_hull_holds_the_tables_of_a_few_masks(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hull, "MOST_VIEWS", 4)
    table = 4 * (SIZE[0] + 1) * (SIZE[1] + 1)
    masks, peaks = [image[..., 3] for image in scene.images], []
    for count in (4, 4, MANY):  # the first time, it is compiled
        tracemalloc.start()
        try:
            hull.carve(scene.cameras[:count], masks[:count], 16)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert 4 * table < peaks[1] < 16 * table
    assert peaks[2] < peaks[1] + 2 * table, "60 masks more, and no more at once"


@pytest.mark.parametrize(("budget", "kept"), [(2.5, False), (1.5, True), (0.5, True)])
def test_a_field_s_masks_and_the_photos_keep_to_one_budget(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float, kept: bool
) -> None:
    """With masks the photos are there twice: in memory where the budget holds both."""
    monkeypatch.setenv("NERFKIT_CACHE", str(tmp_path / "cache"))
    size = scene.images.pixels.nbytes / 1e9
    found = masked(replace(scene, has_masks=False), lambda view: torch.ones(SIZE), budget * size)
    assert (found.images.folder == str(tmp_path / "cache")) == kept
    assert torch.equal(found.images.pixels[..., 3], torch.full_like(found.images.pixels[..., 3], 255))
