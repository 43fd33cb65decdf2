"""Refinement of a small mesh toward pictures of another, and its measurement."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import trimesh

from nerfkit.cameras import Cameras, look_at
from nerfkit.errors import CheckpointError, SceneError
from nerfkit.fit.refine import refine_mesh, texture_size
from nerfkit.fit.refine_measure import evaluate_mesh, picture
from nerfkit.fit.refine_options import RefineOptions
from nerfkit.fit.refine_phases import Phase
from nerfkit.fit.refine_targets import Targets
from nerfkit.mesh.mesh import Mesh
from nerfkit.raster import render
from nerfkit.runs import checkpoints
from nerfkit.runs.audience import Audience
from nerfkit.runs.folder import Run
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene

SIZE, VIEWS = 40, 10


def options(**changes: Any) -> RefineOptions:
    few = {"steps": 60, "log_every": 10, "preview_every": 0.5, "texture": 64, "remesh": 0}
    return RefineOptions(**(few | changes))


def ball(radii: tuple[float, float, float], subdivisions: int = 3) -> Mesh:
    plain = trimesh.creation.icosphere(subdivisions=subdivisions)
    vertices = torch.tensor(plain.vertices).float()
    colors = 0.5 + 0.4 * torch.sin(3 * vertices)
    return Mesh(vertices * torch.tensor(radii), torch.tensor(plain.faces).long(), colors=colors)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """An ellipsoid, photographed from a spiral; every fifth view is held out."""
    true = ball((0.8, 0.5, 0.6))
    height = torch.linspace(-0.8, 0.8, VIEWS)
    angle = torch.arange(VIEWS) * 2.4
    ring = (1 - height**2).sqrt()
    position = 4 * torch.stack([ring * angle.cos(), height, ring * angle.sin()], -1)
    poses = look_at(position, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    cameras = Cameras(poses, torch.tensor([[70.0, 70.0, SIZE / 2, SIZE / 2]]).repeat(VIEWS, 1), SIZE, SIZE)
    rgb, alpha, _ = render(true.vertices, true.faces, cameras.resized(4 * SIZE, 4 * SIZE), colors=true.colors)
    rgba = torch.cat([rgb, alpha[..., None]], -1).view(VIEWS, SIZE, 4, SIZE, 4, 4).mean((2, 4))
    images = (rgba * 255).round().to(torch.uint8)
    test = list(range(0, VIEWS, 5))
    return Scene("ball", Photos.of(images), cameras, [v for v in range(VIEWS) if v not in test], test)


class Recorder:
    """Stands in for a run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.audience = folder, Audience()
        self.scalars: dict[str, list[int]] = {}
        self.images: dict[str, tuple[int, ...]] = {}

    def log(self, text: str) -> None:
        """Progress lines, which these tests do not look at."""

    def flush(self) -> None:
        """Nothing is kept back."""

    def forget(self, prefixes: tuple[str, ...], step: int) -> None:
        """Nothing is there of earlier."""

    def scalar(self, tag: str, value: float, step: int) -> None:
        assert math.isfinite(value)
        self.scalars.setdefault(tag, []).append(step)

    def image(self, tag: str, image: torch.Tensor, step: int) -> None:
        self.images[tag] = tuple(image.shape)


@pytest.mark.slow
def test_shape_and_color_improve_on_held_out_views(scene: Scene, tmp_path: Path) -> None:
    start = replace(ball((0.65, 0.6, 0.65)), colors=torch.full((642, 3), 0.5))
    run = Recorder(tmp_path)
    refined = refine_mesh(start, scene, options(steps=150), run)  # type: ignore[arg-type]
    before, after = evaluate_mesh(start, scene, scene.test), evaluate_mesh(refined, scene, scene.test)
    assert after["mask_iou"] > 0.98 > before["mask_iou"] + 0.05
    assert after["psnr"] > before["psnr"] + 8
    assert after["ssim"] > before["ssim"]
    assert torch.equal(refined.faces, start.faces)
    assert refined.texture is not None
    assert refined.texture.shape == (64, 64, 3)
    assert refined.texture.min() >= 0
    assert refined.texture.max() <= 1
    assert refined.colors is None
    assert run.scalars["refine/image"] == [*range(1, 151, 10), 150]
    assert {"refine/mask", "refine/laplacian", "refine/normal", "refine/edge", "refine/loss"} <= set(run.scalars)
    assert run.images["refine/normals"] == run.images["refine/predicted"] == (SIZE, SIZE, 3)


@pytest.mark.slow
def test_the_true_mesh_stays_where_it_is(scene: Scene) -> None:
    true = ball((0.8, 0.5, 0.6))
    refined = refine_mesh(true, scene, options())
    assert (refined.vertices - true.vertices).norm(dim=-1).mean() < 0.02, "a pixel is 0.057 wide there"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_mesh(scene: Scene) -> None:
    first, second, other = (refine_mesh(ball((0.7, 0.6, 0.6)), scene, options(steps=5), seed=s) for s in (1, 1, 2))
    assert torch.equal(first.vertices, second.vertices)
    assert first.texture is not None
    assert second.texture is not None
    assert torch.equal(first.texture, second.texture)
    assert not torch.equal(first.vertices, other.vertices)


@pytest.mark.slow
def test_without_masks_only_covered_pixels_count(scene: Scene) -> None:
    """The background is no part of the object: a true mesh must not grow over it, nor its colors fade."""
    opaque = scene.images.stack().clone()
    opaque[..., 3] = 255
    bare = replace(scene, images=Photos.of(opaque), has_masks=False)
    true = ball((0.8, 0.5, 0.6))
    refined = refine_mesh(true, bare, options())
    found = evaluate_mesh(refined, bare, bare.test)
    assert "mask_iou" not in found
    assert "psnr_inside" not in found
    assert found["psnr"] > 25
    assert evaluate_mesh(refined, scene, scene.test)["mask_iou"] > 0.93


@pytest.mark.parametrize("geometry", [0.0, 1.0])
def test_a_loss_that_is_not_finite_names_its_term(
    scene: Scene, geometry: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[float] = []
    whole = Phase.step

    def watched(phase: Phase, rate: float) -> dict[str, float]:
        before = phase.vertices.detach().clone()
        terms = whole(phase, rate)
        moves.append((phase.vertices.detach() - before).abs().max().item())
        return terms

    monkeypatch.setattr(Phase, "step", watched)
    start = ball((0.7, 0.6, 0.6))
    broken = options(geometry=geometry, steps=1)
    broken.mask_weight = math.nan  # what an option is refused for, a photo may bring
    with pytest.raises(FloatingPointError, match=r"term: mask"):
        refine_mesh(start, scene, broken)
    assert moves == [0.0], "nothing moved"
    refine_mesh(start, scene, options(geometry=geometry, steps=1))
    assert moves[1] > 0


class KilledError(Exception):
    """The program is gone."""


@pytest.mark.parametrize("geometry", [0.5, 0.0])
def test_a_refinement_that_is_killed_again_and_again_is_the_one_in_one_go(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, geometry: float
) -> None:
    chosen = options(steps=14, remesh=1, geometry=geometry, checkpoint_every=0, views_per_step=3)
    expected = refine_mesh(ball((0.7, 0.6, 0.6)), scene, chosen)
    run, whole, life = Run(tmp_path), Phase.step, [0]

    def mortal(phase: Phase, rate: float) -> dict[str, float]:
        life[0] -= 1
        if life[0] < 0:
            raise KilledError
        return whole(phase, rate)

    monkeypatch.setattr(Phase, "step", mortal)
    for life[0] in (2, 1, 4, 3, 2):  # before and after the faces change, and where the texture begins
        with pytest.raises(KilledError):
            refine_mesh(ball((0.7, 0.6, 0.6)), scene, chosen, run)
    life[0] = 2
    found = refine_mesh(ball((0.7, 0.6, 0.6)), scene, chosen, run)
    assert life[0] == 0, "no step was made twice"
    for name in ("vertices", "faces", "corner_uvs", "texture"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    life[0] = 0
    assert torch.equal(refine_mesh(ball((0.7, 0.6, 0.6)), scene, chosen, run).vertices, expected.vertices)
    newest, state = checkpoints.load_latest(tmp_path, kind="refine")
    for other in (replace(chosen, mask_weight=0.5), replace(chosen, steps=15)):
        checkpoints.save(tmp_path, newest, state, "refine")
        with pytest.raises(KilledError):  # another refinement begins at its beginning
            refine_mesh(ball((0.7, 0.6, 0.6)), scene, other, run)
        assert checkpoints.steps(tmp_path, "refine") == []
    checkpoints.save(tmp_path, newest, {"of": state["of"]}, "refine")
    with pytest.raises(CheckpointError, match=r"refine_\*\.pt: damaged \('first'\)"):
        refine_mesh(ball((0.7, 0.6, 0.6)), scene, chosen, run)
    for step in checkpoints.steps(tmp_path, "refine"):
        (tmp_path / "checkpoints" / f"refine_{step:08d}.pt").write_bytes(b"")
    assert newest == 14
    with pytest.raises(KilledError):
        refine_mesh(ball((0.7, 0.6, 0.6)), scene, chosen, run)
    assert "refine begins at its start" in (tmp_path / "log.txt").read_text()


def test_every_training_view_comes_once_before_any_comes_again(scene: Scene) -> None:
    targets = Targets(scene, options(), seed=0)
    seen = [view for _ in range(4) for view in targets.next_views()]
    assert sorted(seen) == scene.train


def test_the_time_budget_ends_it(scene: Scene, tmp_path: Path) -> None:
    run = Recorder(tmp_path)
    refine_mesh(ball((0.7, 0.6, 0.6)), scene, options(steps=10**6, max_seconds=1e-6), run)  # type: ignore[arg-type]
    assert run.scalars["refine/loss"] == [1]


def test_texture_size_follows_the_photos(scene: Scene) -> None:
    mesh = ball((1.0, 1.0, 1.0), 4)
    expected = 1.3 * math.sqrt(4 * math.pi * (70 / 4) ** 2 / 0.65)
    assert abs(texture_size(mesh, scene) - expected) <= 16
    double = replace(scene, cameras=scene.cameras.resized(8 * SIZE, 8 * SIZE))
    assert abs(texture_size(mesh, double) - 8 * expected) <= 16
    tiny = replace(scene, cameras=scene.cameras.resized(2, 2))
    assert texture_size(mesh, tiny) == 64


def test_pictures_of_the_true_mesh_are_the_photos(scene: Scene, tmp_path: Path) -> None:
    true = ball((0.8, 0.5, 0.6))
    found = evaluate_mesh(true, scene, scene.test, tmp_path)
    assert found["psnr"] > 40
    assert found["mask_iou"] > 0.99
    assert [row["view"] for row in found["views"]] == scene.test
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mesh_000.png", "mesh_005.png"]
    white = replace(scene, background=(1.0, 1.0, 1.0))
    rgb, alpha = picture(true, white, 0)
    assert alpha[0, 0] == 0
    assert rgb[0, 0].tolist() == [1, 1, 1]


def test_a_mesh_without_faces_is_refused(scene: Scene) -> None:
    with pytest.raises(SceneError, match="no faces"):
        refine_mesh(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)), scene, options())
