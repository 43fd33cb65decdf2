"""Hints of depth by sparse points: the formula, which sightings count, and a shape that color does not show."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nerfkit.cameras import Cameras, look_at
from nerfkit.errors import ConfigError
from nerfkit.fields.field import Field
from nerfkit.fields.harmonic import HarmonicOptions
from nerfkit.fit import field
from nerfkit.fit.build import build_model
from nerfkit.fit.depth_hints import WIDTH, DepthHints, hints_of
from nerfkit.fit.field import FieldFit
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.kernels.philox import Draw
from nerfkit.options import compose
from nerfkit.pipeline import run
from nerfkit.runs.folder import Run
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene, Similarity
from nerfkit.scenes.sightings import Sightings
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import OccupancyOptions, StratifiedSampler
from tests.scenes.builders import ring, write_kaolin

SIDE, VIEWS, RADIUS = 12, 8, 0.6
SIMILARITY = Similarity(0.25, (1.0, 0.0, -1.0))


def ball(count: int = 400, seed: int = 0) -> Tensor:
    """Points of a ball around the origin, in normalized units."""
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return RADIUS * nn.functional.normalize(points, dim=-1)


def gray(masked: bool = False) -> Scene:
    """Cameras around a ball that is as gray as all the world; each sees the points on its side, number by number."""
    turn = torch.arange(VIEWS) * 0.8
    position = 3 * nn.functional.normalize(torch.stack([turn.cos(), turn.sin(), torch.cos(3 * turn)], -1), dim=-1)
    poses = look_at(position, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    cameras = Cameras(poses, torch.tensor([[14.0, 14.0, SIDE / 2, SIDE / 2]]).repeat(VIEWS, 1), SIDE, SIDE)
    images = torch.full((VIEWS, SIDE, SIDE, 4), 128, dtype=torch.uint8)
    images[..., 3] = 255
    points = ball()
    view, number = ((position @ points.T) > 1.1 * RADIUS**2).nonzero().T  # (M,), (M,)
    weight = torch.linspace(0.5, 1, len(view)).numpy()
    seen = Sightings(view.int().numpy(), number.int().numpy(), weight)
    own = SIMILARITY.invert(points.double()).numpy()
    return Scene(
        *("gray", Photos.of(images), cameras, [1, 2, 3, 5, 6, 7], [0, 4]),
        has_masks=masked,
        normalization=SIMILARITY,
        points=own,
        sightings=seen,
        unbounded=not masked,
    )


class Layer(Field):
    """An optical depth a sample that is highest at a learned distance from the origin."""

    def __init__(self) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(0.7))

    def density(self, positions: Tensor) -> Tensor:
        return 0.5 * torch.exp(-(((positions.norm(dim=-1) - self.radius) / 0.2) ** 2))


def test_the_loss_is_the_formula_and_so_is_its_gradient() -> None:
    """Ray by ray, sample by sample, in plain numbers; the gradient by finite differences."""
    scene = gray()
    hints = DepthHints(scene, "cpu")
    model = RadianceModel(Layer(), StratifiedSampler(1.5, 4.5, 40))
    loss, samples = hints.loss(model, Draw(3, 5), 50)
    assert samples == 50 * 40
    expected = 0.0
    # Which are drawn and where samples lie is asked of the code; all else is computed here.
    origins, directions, chosen = rays(hints, Draw(3, 5), 50)
    found, _ = model.termination(origins, directions, Draw(3, 5, 1 << 30))
    for r, k in enumerate(chosen.tolist()):
        point = hints.points[hints.number[k]]
        distance = float((point - origins[r]).norm())
        transmitted, inside = 1.0, 0.0
        for s in range(found.offsets[r], found.offsets[r + 1]):
            middle = float(found.t_start[s])  # a stratified sample has no length
            x = (origins[r] + middle * directions[r]).double().norm()
            opacity = 1 - np.exp(-0.5 * np.exp(-(((float(x) - 0.7) / 0.2) ** 2)))
            inside += transmitted * opacity * max(0, 1 - abs(middle - distance) / (WIDTH * distance))
            transmitted *= 1 - opacity
        expected += float(hints.weight[k]) * (1 - inside) / 50
    assert loss.item() == pytest.approx(expected, rel=2e-3)  # early stop leaves out what no pixel shows
    loss.backward()
    values = []
    for step in (-1e-2, 1e-2):
        with torch.no_grad():
            model.field.radius.fill_(0.7 + step)
        values.append(hints.loss(model, Draw(3, 5), 50)[0].item())
    assert model.field.radius.grad.item() == pytest.approx((values[1] - values[0]) / 2e-2, rel=0.02)
    assert abs(model.field.radius.grad.item()) > 0.01


def rays(hints: DepthHints, draw: Draw, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Origins and directions of the rays that a loss takes, and which sighting each is, by where the ray leads."""
    seen: list[Tensor] = []

    class Spy(RadianceModel):
        def termination(self, origins: Tensor, directions: Tensor, drawn: Draw | None = None):  # type: ignore[no-untyped-def]
            assert drawn == draw._replace(first=1 << 30), "jittered unlike the photos' rays"
            seen.extend((origins, directions))
            return super().termination(origins, directions, drawn)

    hints.loss(Spy(Layer(), StratifiedSampler(1.0, 4.0, 4)), draw, count)
    origins, directions = seen
    toward = nn.functional.normalize(hints.points[hints.number] - hints.cameras.positions[hints.view], dim=-1)
    exact = "donot_use_mm_for_euclid_dist"
    same = torch.cdist(directions, toward, compute_mode=exact)
    same += torch.cdist(origins, hints.cameras.positions[hints.view], compute_mode=exact)
    assert same.amin(1).max() < 1e-5
    return origins, directions, same.argmin(1)


def test_training_photos_sightings_are_drawn_all_of_them_and_as_often() -> None:
    scene = gray()
    hints = DepthHints(scene, "cpu")
    assert set(hints.view.tolist()) == set(scene.train)
    assert len(hints) == np.isin(scene.sightings.view, scene.train).sum()
    torch.testing.assert_close(hints.points, ball(), atol=1e-6, rtol=0)
    first, *others = (rays(hints, draw, 200)[2] for draw in (Draw(1, 2), Draw(1, 3), Draw(2, 2)))
    assert torch.equal(first, rays(hints, Draw(1, 2), 200)[2])
    assert all(not torch.equal(first, other) for other in others)
    counts = rays(hints, Draw(0, 0), 40 * len(hints))[2].bincount(minlength=len(hints))
    assert (counts - 40).abs().max() < 5 * 40**0.5


def test_sightings_that_say_nothing_are_left_out() -> None:
    """Of pixels to ignore, of empty ones, of points outside of the cube of a masked object or of the picture."""
    plain, masked = gray(), gray(masked=True)
    pixels = plain.cameras.project(ball())[0][plain.sightings.view, plain.sightings.point]
    corner = (pixels < torch.tensor([SIDE / 2, SIDE / 2 + 1])).all(-1)
    left = torch.from_numpy(np.isin(plain.sightings.view, plain.train)) & corner
    expected = [torch.from_numpy(values)[left].tolist() for values in (plain.sightings.view, plain.sightings.point)]
    some = torch.ones(VIEWS, SIDE, SIDE, dtype=torch.bool)
    some[:, : SIDE // 2 + 1, : SIDE // 2] = False
    ignoring = replace(plain, images=replace(plain.images, ignored=some.flatten()))
    images = plain.images.pixels.clone()
    images[some.flatten(), 3] = 100
    empty = replace(masked, images=replace(masked.images, pixels=images))
    for scene in (ignoring, empty):
        hints = DepthHints(scene, "cpu")
        assert [hints.view.tolist(), hints.number.tolist()] == expected
    assert len(DepthHints(replace(empty, has_masks=False), "cpu")) > left.sum()
    points = masked.points.copy()
    points[::2] = SIMILARITY.invert(1.9 * ball().double())[::2].numpy()  # behind the object
    even = np.isin(masked.sightings.view, masked.train) & (masked.sightings.point % 2 == 0)
    far = replace(masked, points=points)
    kept = DepthHints(far, "cpu")
    outside = (kept.points[kept.number].abs() > 1).any(-1)
    assert even.sum() > 100 and not outside.any() and len(kept) < len(DepthHints(masked, "cpu"))
    past = masked.cameras.changed(intrinsics=masked.cameras.intrinsics * torch.tensor([9.0, 9, 1, 1]))
    assert len(DepthHints(replace(masked, cameras=past), "cpu")) < 0.3 * len(DepthHints(masked, "cpu"))


def test_refined_cameras_see_the_points_from_where_they_are_and_are_not_moved() -> None:
    hints = DepthHints(gray(), "cpu")
    model = RadianceModel(Layer(), StratifiedSampler(1.5, 4.5, 40))
    pose = hints.cameras.camera_to_world.clone()
    pose[:, 0, 3] += 0.4
    pose.requires_grad_()
    loss, _ = hints.loss(model, Draw(0, 0), 30, hints.cameras.changed(pose))
    assert loss.item() != pytest.approx(hints.loss(model, Draw(0, 0), 30)[0].item(), rel=1e-4)
    loss.backward()
    assert pose.grad is None


def small(scene: Scene, **options: object) -> FieldFit:
    harmonic = HarmonicOptions(width=16, depth=2, octaves=3)
    sampler = OccupancyOptions(resolution=16, step_size=0.08, update_every=4, warmup=16, share=1, levels=2)
    chosen = TrainerOptions(samples=4096, max_rays=128, warmup=10, **options)  # type: ignore[arg-type]
    return FieldFit(build_model(scene, harmonic, sampler), scene, chosen)


def test_a_resumed_fit_goes_on_bit_for_bit() -> None:
    whole, first, second = (small(gray(), max_steps=9, depth_weight=0.1, poses="on") for _ in range(3))
    for _ in range(4):
        whole.step()
        first.step()
    second.load_state_dict(first.state_dict())
    logged = [[fit.step().logged() for _ in range(3)] for fit in (whole, second)]
    assert logged[0] == logged[1]
    assert logged[0][0]["loss/depth"] > 0
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_they_count_unless_told_otherwise_where_nothing_masks_the_photos() -> None:
    assert hints_of(gray(), 0.0, "cpu") is None
    assert hints_of(gray(masked=True), None, "cpu") is None
    assert len(hints_of(gray(masked=True), 0.1, "cpu") or ()) > 0
    terms = [small(gray(), max_steps=1, depth_weight=weight).step().terms for weight in (None, 0.02, 0.0)]
    assert terms[0]["depth"] * 2 == pytest.approx(terms[1]["depth"])
    assert "depth" not in terms[2]


def test_that_they_count_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field, "optimize", lambda *_, **__: None)
    for weight in (None, 0.0):
        fit = small(gray(), max_steps=1, depth_weight=weight)
        fit.run = Run(tmp_path / str(weight))
        fit.run.folder.mkdir()
        fit.train()
        fit.run.close()
        log = fit.run.folder / "log.txt"
        said = log.read_text() if log.exists() else ""
        assert (f"{len(DepthHints(gray(), 'cpu')):,} sightings of points are hints of depth" in said) == (
            weight is None
        )


@pytest.mark.slow
def test_hints_find_a_shape_that_color_does_not_show() -> None:
    """A gray ball in a gray world, at points that were not among the hints."""
    scene = gray()
    told = scene.sightings.point % 3 > 0
    some = Sightings(scene.sightings.view[told], scene.sightings.point[told], scene.sightings.weight[told])
    rest = DepthHints(replace(scene, sightings=Sightings(*(v[~told] for v in vars(scene.sightings).values()))), "cpu")
    errors = []
    for weight in (0.0, 0.1):
        fit = small(replace(scene, sightings=some), max_steps=150, depth_weight=weight)
        fit.train()
        away = rest.points[rest.number] - rest.cameras.positions[rest.view]
        distance = away.norm(dim=-1)
        with torch.no_grad():
            seen, _ = fit.average.render_rays(rest.cameras.positions[rest.view], away / distance[:, None])
        errors.append(float((seen.depth / seen.opacity.clamp_min(0.05) - distance).abs().median()))
    assert errors[1] < 0.15 < 0.3 < errors[0], errors


def test_scenes_without_tracks_refuse_the_option(tmp_path: Path) -> None:
    without = replace(gray(), sightings=Sightings())
    assert hints_of(without, None, "cpu") is None
    with pytest.raises(ConfigError, match="gray does not say which photo saw which point; expected a COLMAP model"):
        hints_of(without, 0.1, "cpu")
    ignored = torch.ones(VIEWS * SIDE * SIDE, dtype=torch.bool)
    with pytest.raises(ConfigError, match=r"none of .* sightings of points is in a training photo's pixel that counts"):
        hints_of(replace(gray(), images=replace(gray().images, ignored=ignored)), 0.1, "cpu")
    folder = write_kaolin(tmp_path / "views", ring(4))
    words = ["scene=kaolin", f"scene.root={folder}", f"output={tmp_path / 'runs'}", "trainer.depth_weight=0.1"]
    with pytest.raises(ConfigError, match=r"trainer\.depth_weight=0\.1: scene views .*depth_weight=0"):
        run(compose("train", words))
    assert not (tmp_path / "runs").exists()
