"""The refine stage of photos without masks: the field's opacity masks them where it is sure, and only there."""

import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nerfkit import mesh_stage, options
from nerfkit.fields.contracted import ContractedField
from nerfkit.mesh.shapes import icosphere
from nerfkit.mesh_stage import refine_stage
from nerfkit.runs.folder import Run
from nerfkit.runs.ranks import ALONE
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import OccupancyOptions
from tests.volume.test_nested import SIDE, Room, ring

GRAY = 200


class Dense(Room):
    """A ball of radius 0.5 of a given density, in a room; all of it is as gray as the photos."""

    def __init__(self, density: float) -> None:
        super().__init__()
        self.of_ball = density

    def density(self, positions: torch.Tensor) -> torch.Tensor:
        ball, wall = positions.norm(dim=-1) < 0.5, positions.abs().amax(-1) > 6
        return self.of_ball * ball + 40.0 * wall

    def forward(
        self, positions: torch.Tensor, offsets: torch.Tensor, directions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.density(positions), torch.full_like(positions, GRAY / 255)


def test_one_set_of_masked_photos_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The field's, which will not do, is gone before the outline's is made: both keep to one budget of memory."""
    photos = Photos.of(torch.full((1, 4, 4, 4), GRAY, dtype=torch.uint8))
    scene = Scene("room", photos, ring()[:1], [0], [0], has_masks=False, unbounded=True)
    made: list[weakref.ref[Scene]] = []

    def masked(photos: Scene, *_: object, **__: object) -> Scene:
        assert all(earlier() is None for earlier in made)
        found = replace(photos)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(mesh_stage, "masked", masked)
    monkeypatch.setattr(mesh_stage, "doubt", lambda *_: "not sure")
    config = options.compose("train", ["scene=clock"])
    found = mesh_stage._with_masks(scene, None, None, None, config, Run(tmp_path), ALONE)
    assert found[1] == "outline" and len(made) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("density", "masks"), [(60.0, "field"), (0.1, "outline"), (0.8, "outline")])
def test_a_field_that_is_not_sure_changes_no_shape(tmp_path: Path, density: float, masks: str) -> None:
    """At 0.1 it says that nothing is there, at 0.8 (half opaque in the middle) that it does not know."""
    cameras = ring()
    photos = Photos.of(torch.full((len(cameras), SIDE, SIDE, 4), GRAY, dtype=torch.uint8))
    scene = Scene("room", photos, cameras, [1, 2, 3, 5, 6, 7], [0, 4], has_masks=False, unbounded=True)
    sampler = OccupancyOptions(resolution=32, step_size=0.03, threshold=1e-4).build(scene)
    model = RadianceModel(ContractedField(Dense(density)), sampler)
    few = ["refine.steps=20", "refine.remesh=0", "refine.texture=64", "refine.specular=false"]
    config = options.compose("train", ["scene=clock", *few, "refine.depth_weight=0.1"])
    coarse = icosphere(2, 0.45).without_appearance()
    record = Run(tmp_path)
    refined, _ = refine_stage(coarse, model, config, scene, record)
    record.close()
    found = json.loads((tmp_path / "metrics.json").read_text())["mesh"]
    said = (tmp_path / "log.txt").read_text()
    assert found["masks"] == masks
    assert ("note: the field is sure of the object on" in said) == (masks == "outline")
    assert torch.equal(refined.vertices, coarse.vertices) == (masks == "outline")
    assert refined.texture is not None
    for figures in (found, found["coarse"], *found["views"]):
        assert ("mask_iou" in figures) == (masks == "field") and "psnr" in figures
    if masks == "outline":
        assert found["psnr"] > found["coarse"]["psnr"]  # which is white
