"""What is learned beside the field: the cameras' frame is held, pieces add up, cameras are found, a resume goes on."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.cameras.delta import se3_exp
from nerfkit.fields.field import Field
from nerfkit.fit.build import build_model
from nerfkit.fit.corrections import CameraRefinement, shared_motions
from nerfkit.fit.exposure import Exposure
from nerfkit.fit.field import FieldFit
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.fit.register import registered
from nerfkit.scenes import Scene, open_scene
from nerfkit.scenes.photos import Photos
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import OccupancyOptions
from tests.fit.test_field import new_fit
from tests.scenes.builders import ring, write_kaolin


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = write_kaolin(tmp_path_factory.mktemp("sphere") / "views", ring(16))
    return open_scene("kaolin", folder, holdout=5)


def moved(cameras: Cameras, twist: Tensor) -> Cameras:
    motion, pose = se3_exp(twist), cameras.camera_to_world
    turned = pose[..., :3] @ motion
    return cameras.changed(torch.cat([turned[..., :3], turned[..., 3:] + pose[..., 3:]], -1))


@pytest.mark.parametrize(("count", "free"), [(1, 6), (2, 7), (9, 7)])
def test_the_shared_motions_are_those_of_the_world(scene: Scene, count: int, free: int) -> None:
    """A small similarity of the world, written as twists by finite differences, lies in the basis."""
    cameras = scene.cameras[:count]
    basis = shared_motions(cameras).double()
    assert basis.shape == (6 * count, free)
    torch.testing.assert_close(basis.T @ basis, torch.eye(free).double(), atol=1e-6, rtol=0)
    rotation, position = cameras.camera_to_world.double().split((3, 1), -1)
    small, generator = 1e-6, torch.Generator().manual_seed(1)
    for _ in range(3):
        turn, shift = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        world = se3_exp(small * torch.cat([shift, turn]))
        after = (1 + 0.7 * small) * (world[:, :3] @ position) + world[:, 3:]
        own = rotation.mT @ (after - position)  # (N, 3, 1)
        spin = rotation.mT @ (world[:, :3] @ rotation)
        skew = (spin - spin.mT) / 2  # float32 rotations are not quite orthonormal
        turned = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], -1)
        twist = torch.cat([own[..., 0], turned], -1).flatten() / small
        torch.testing.assert_close(basis @ (basis.T @ twist), twist, atol=1e-5, rtol=1e-5)


def test_the_frame_is_held(scene: Scene) -> None:
    poses = CameraRefinement(scene.cameras, scene.train)
    with torch.no_grad():
        poses.twist.copy_(torch.randn(16, 6, generator=torch.Generator().manual_seed(0)))
        poses.twist[scene.test] = 0
    poses.hold_frame()
    once = poses.twist.detach().clone()
    assert (poses.frame.T @ once[scene.train].flatten()).abs().max() < 1e-5
    assert once[scene.train].abs().min() > 0
    poses.hold_frame()
    torch.testing.assert_close(poses.twist.detach(), once, atol=1e-6, rtol=0)


def test_pieces_of_a_batch_add_up(scene: Scene) -> None:
    """The gradient of the cameras does not depend on how many rays fit in memory at once."""

    def gradient(at_once: int) -> Tensor:
        options = TrainerOptions(max_steps=9, rays=96, poses="on", focal="each")
        fit = FieldFit(build_model(scene), scene, options)
        fit.model.sampler.rays_at_once = lambda count, device: at_once  # type: ignore[method-assign]
        fit.step()
        assert fit.corrections.poses is not None
        found = [parameter.grad for parameter in fit.corrections.poses.parameters()]
        assert all(each is not None and each.abs().max() > 0 for each in found)
        return torch.cat([each.flatten() for each in found if each is not None])

    whole = gradient(96)
    torch.testing.assert_close(gradient(40), whole, atol=2e-4 * float(whole.abs().max()), rtol=0)


def test_a_resumed_fit_goes_on_with_them(scene: Scene) -> None:
    def fit() -> FieldFit:
        learned = {"exposure": "on", "poses": "on", "focal": "shared"}
        options = TrainerOptions(max_steps=9, samples=512, **learned)
        return FieldFit(build_model(scene), scene, options)

    whole, first, second = fit(), fit(), fit()
    for _ in range(4):
        whole.step()
        first.step()
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        whole.step()
        second.step()
    for (name, a), b in zip(whole.corrections.named_parameters(), second.corrections.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert a.abs().max() > 0, name


@pytest.mark.slow
def test_cameras_that_are_off_are_found(scene: Scene, tmp_path: Path) -> None:
    """Turned by 1.5 degrees each: the field fits better, and what was held out registers to its own camera."""
    generator = torch.Generator().manual_seed(3)
    twist = torch.zeros(16, 6)
    axis = torch.nn.functional.normalize(torch.randn(16, 3, generator=generator), dim=-1)
    twist[:, 3:] = axis * math.radians(1.5)
    twist[scene.test] = 0
    off = replace(scene, cameras=moved(scene.cameras, twist))
    words = ("trainer.max_steps=400", "trainer.samples=4096", "trainer.preview_every=1", "sampler.hull_margin=4")
    loss = {}
    for poses in ("on", "off"):
        fit = new_fit(off, tmp_path / poses, *words, f"trainer.poses={poses}")
        fit.train()
        loss[poses] = sum(float(fit.step().terms["color"]) for _ in range(10))
        if poses == "on":
            refined = fit.refined_scene()
            given, found = (project(each, scene.train) for each in (off.cameras, refined.cameras))
            true = project(scene.cameras, scene.train)
            assert (found - true).norm(dim=-1).median() < 0.6 * (given - true).norm(dim=-1).median()
            assert refined.cameras_refined
            astray = moved(refined.cameras, 1.5 * torch.where(twist == 0, 0.01, 0.0))
            back = registered(fit.average, replace(refined, cameras=astray), scene.test)
            before, after = (
                project(each, scene.test) - project(refined.cameras, scene.test) for each in (astray, back)
            )
            assert after.norm(dim=-1).mean() < 0.5 * before.norm(dim=-1).mean()
    assert loss["on"] < 0.8 * loss["off"]


class Lit(Field):
    """A ball of radius 0.5, colored by place: an exact field."""

    def density(self, positions: Tensor) -> Tensor:
        return 60.0 * (positions.norm(dim=-1) < 0.5)

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return self.density(positions), 0.4 + 0.3 * torch.sin(9 * positions)


@pytest.mark.parametrize("gain", [0.75, 1.35])
def test_a_held_out_photo_is_registered_whatever_its_exposure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    """Photos of the field itself, one of them of another exposure and with its camera off."""
    made: list[Exposure] = []

    class Watched(Exposure):
        def __init__(self, count: int, train: list[int]) -> None:
            super().__init__(count, train)
            made.append(self)

    monkeypatch.setattr("nerfkit.fit.register.Exposure", Watched)
    model, view = RadianceModel(Lit(), OccupancyOptions(resolution=32, hull=False).build(scene)), scene.test[1]
    found = model.render_view(scene.cameras, view)
    rgb = (gain * found.rgb + 0.02 * found.alpha[..., None]).clamp(0, 1)
    photos = list(scene.images)
    photos[view] = (255 * torch.cat([rgb, found.alpha[..., None]], -1)).round().to(torch.uint8)
    exposed = replace(scene, images=Photos.of(photos))
    twist = torch.zeros(len(photos), 6)
    twist[view] = torch.tensor([0.02, -0.02, 0.0, 0.015, 0.02, 0.02])
    astray = replace(exposed, cameras=moved(scene.cameras, twist))

    def off(cameras: Cameras) -> float:
        return float((project(cameras, [view]) - project(scene.cameras, [view])).norm(dim=-1).mean())

    with_it, without = (off(registered(model, astray, [view], exposure)) for exposure in (True, False))
    assert with_it < 0.2 * off(astray.cameras)
    assert with_it < 0.5 * without
    (exposure,) = made
    gains = exposure(torch.ones(1, 3), torch.zeros(1), torch.zeros(1, dtype=torch.int64)).log().flatten()
    assert (gains / math.log(gain) > 0.2).all()  # offsets do their part


def project(cameras: Cameras, views: list[int]) -> Tensor:
    """Where the corners of a small cube are to be seen, (V, 8, 2) pixels; a turn and a move can look alike."""
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)
    return cameras[views].project(corners)[0]


def test_the_hull_leaves_room_for_moves() -> None:
    class Sized:
        cameras = Cameras(torch.eye(3, 4).expand(1, 3, 4), torch.ones(1, 4), 100, 200)

    options = OccupancyOptions()
    assert options.for_moving_cameras(Sized()).hull_margin == 8.0  # type: ignore[arg-type]
    assert OccupancyOptions(hull_margin=30).for_moving_cameras(Sized()).hull_margin == 30  # type: ignore[arg-type]
