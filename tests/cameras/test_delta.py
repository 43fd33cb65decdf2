"""Cameras as parameters: the exponential map, gradients through the projection, a pose and a focal length recovered."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.cameras.delta import CameraDelta, orbit_cameras, se3_exp
from nerfkit.raster import homogeneous_points, render
from tests.raster.conftest import bumpy_ball, make_cameras

F64 = torch.float64


def double(cameras: Cameras) -> Cameras:
    return Cameras(cameras.camera_to_world.double(), cameras.intrinsics.double(), cameras.height, cameras.width)


def random_twists(scale: float, count: int = 5) -> Tensor:
    return scale * torch.randn(count, 6, generator=torch.Generator().manual_seed(6), dtype=F64)


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e-3, 0.3, 0.57, 1.0, 3.0])
def test_exponential_map(scale):
    """Against the matrix exponential of the 4x4 twist matrix."""
    twist = random_twists(scale)
    zero = torch.zeros(5, dtype=F64)
    vx, vy, vz, x, y, z = twist.unbind(-1)
    rows = [(zero, -z, y, vx), (z, zero, -x, vy), (-y, x, zero, vz), (zero, zero, zero, zero)]
    matrix = torch.stack([torch.stack(row, -1) for row in rows], -2)
    torch.testing.assert_close(se3_exp(twist), torch.linalg.matrix_exp(matrix)[:, :3], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("length", [0.999999, 1.0, 1.000001])
def test_exponential_map_in_float32_where_series_and_formula_meet(length):
    twist = random_twists(1.0)
    twist[:, 3:] *= length / twist[:, 3:].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(se3_exp(twist.float()).double(), se3_exp(twist), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 1e-3, 0.5, 2.0])
def test_gradcheck_of_the_exponential_map(scale):
    twist = random_twists(scale).requires_grad_()
    assert torch.autograd.gradcheck(se3_exp, twist)
    assert torch.autograd.gradgradcheck(se3_exp, twist)


def test_first_guess_and_units():
    """Nothing moves at first; the twist is in the camera's own frame, the focal length's parameter a logarithm."""
    guess = double(make_cameras(3, 20, 30))
    parameters = CameraDelta(guess, focal="each")
    cameras = parameters.cameras()
    torch.testing.assert_close(cameras.camera_to_world, guess.camera_to_world)
    torch.testing.assert_close(cameras.intrinsics, guess.intrinsics)
    assert (cameras.height, cameras.width, len(parameters)) == (20, 30, 3)
    with torch.no_grad():
        parameters.twist[1] = torch.tensor([0.1, 0.2, 0.3, 0.0, math.pi / 2, 0.0])
        parameters.twist[2, :3] = torch.tensor([0.1, 0.2, 0.3])
        parameters.log_focal[2] = math.log(2)
    cameras = parameters.cameras([2, 1])
    right, up, backward, position = guess.camera_to_world.unbind(-1)
    torch.testing.assert_close(cameras.positions[0], position[2] + 0.1 * right[2] + 0.2 * up[2] + 0.3 * backward[2])
    turned = torch.stack([-backward[1], up[1], right[1]], -1)  # to the left: the new right is the old forward
    torch.testing.assert_close(cameras.camera_to_world[1, :, :3], turned)
    factors = torch.tensor([[2.0, 2, 1, 1], [1, 1, 1, 1]], dtype=F64)
    torch.testing.assert_close(cameras.intrinsics, guess.intrinsics[[2, 1]] * factors)


def test_choices():
    guess = make_cameras(2, 8, 8)
    assert [name for name, _ in CameraDelta(guess).named_parameters()] == ["twist"]
    fixed = CameraDelta(guess, poses=False)
    assert not list(fixed.parameters())
    assert torch.equal(fixed.cameras(torch.tensor([1])).camera_to_world, guess.camera_to_world[1:])
    shared = CameraDelta(guess, poses=False, focal="shared")
    assert shared.log_focal.shape == (1, 1)
    shared.cameras(slice(1, 2)).intrinsics.sum().backward()
    torch.testing.assert_close(shared.log_focal.grad[0, 0], guess.intrinsics[1, :2].sum())
    with pytest.raises(ValueError, match="focal"):
        CameraDelta(guess, focal="own")


def test_gradcheck_through_the_projection():
    guess = double(make_cameras(2, 20, 30))
    vertices = bumpy_ball(0)[0]
    inputs = [x.clone().requires_grad_() for x in (vertices, guess.camera_to_world, guess.intrinsics)]
    assert torch.autograd.gradcheck(lambda v, p, k: homogeneous_points(v, Cameras(p, k, 20, 30)), inputs)
    parameters = CameraDelta(guess, focal="shared")

    def project(twist: Tensor, log_focal: Tensor) -> Tensor:
        values = {"twist": twist, "log_focal": log_focal}
        return torch.func.functional_call(Projection(parameters, vertices), {f"own.{k}": v for k, v in values.items()})

    twist = (0.1 * random_twists(1.0, 2)).requires_grad_()
    assert torch.autograd.gradcheck(project, (twist, torch.full((1, 1), 0.3, dtype=F64, requires_grad=True)))


class Projection(torch.nn.Module):
    """Pixel coordinates of fixed vertices, as a function of the cameras' parameters."""

    def __init__(self, own: CameraDelta, vertices: Tensor) -> None:
        super().__init__()
        self.own, self.vertices = own, vertices

    def forward(self) -> Tensor:
        return homogeneous_points(self.vertices, self.own.cameras())


@pytest.mark.parametrize(
    ("up", "front", "side"),
    [((0.0, 1, 0), (0.0, 0, 1), (1.0, 0, 0)), ((0.0, 0, 1), (1.0, 0, 0), (0.0, 1, 0)),
     ((1.0, 0, 0), (0.0, 1, 0), (0.0, 0, 1)), ((0.0, -1, 0), (0.0, 0, -1), (1.0, 0, 0))],
    ids=["y", "z", "x", "-y"],
)  # fmt: skip
def test_orbit(up, front, side):
    """Where the cameras stand, that they see the target in the middle, and up upward."""
    azimuth = torch.tensor([0.0, math.pi / 2, 0.7], dtype=F64)
    elevation = torch.tensor(math.pi / 6, dtype=F64)
    intrinsics = torch.tensor([40.0, 40, 16, 12], dtype=F64)
    target = torch.tensor([0.3, -0.2, 0.1], dtype=F64)
    cameras = orbit_cameras(torch.tensor(2.0), elevation, azimuth, intrinsics, 24, 32, target=target, up=up)
    up, front, side = (torch.tensor(x, dtype=F64) for x in (up, front, side))
    torch.testing.assert_close(cameras.positions[0], target + math.sqrt(3) * front + up)
    torch.testing.assert_close(cameras.positions[1], target + math.sqrt(3) * side + up)
    pixel, depth = cameras.project(torch.stack([target, target + 0.1 * up]))
    torch.testing.assert_close(pixel[:, 0], intrinsics[2:].expand(3, 2))
    torch.testing.assert_close(depth[:, 0], torch.full((3,), 2.0, dtype=F64))
    torch.testing.assert_close(pixel[:, 1, 0], torch.full((3,), 16.0, dtype=F64))
    assert (pixel[:, 1, 1] < 12).all()


def test_gradcheck_of_orbit_and_look_at():
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(3, generator=generator, dtype=F64) + 0.3 for _ in range(3)]
    inputs += [torch.rand(4, generator=generator, dtype=F64), torch.rand(3, generator=generator, dtype=F64)]
    inputs = [x.requires_grad_() for x in inputs]

    def orbit(distance: Tensor, elevation: Tensor, azimuth: Tensor, intrinsics: Tensor, target: Tensor):  # type: ignore[no-untyped-def]
        cameras = orbit_cameras(distance, elevation, azimuth, intrinsics, 8, 8, target=target)
        return cameras.camera_to_world, cameras.intrinsics

    assert torch.autograd.gradcheck(orbit, inputs)
    position = torch.randn(4, 3, generator=generator, dtype=F64, requires_grad=True)
    up = torch.tensor([0.1, 0.9, 0.3], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(look_at, (position, inputs[-1], up))


@pytest.mark.parametrize("position", [(0.0, 2.0, 0.0), (0.0, -2.0, 0.0), (0.0, 0.0, 0.0), (1e-30, 2.0, 0.0)])
def test_look_at_from_where_it_is_undefined(position):
    position = torch.tensor([position], requires_grad=True)
    target = torch.zeros(3, requires_grad=True)
    pose = look_at(position, target, torch.tensor([0.0, 1, 0]))
    rotation = pose[0, :, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.tensor(1.0))
    (pose * torch.arange(12.0).view(3, 4)).sum().backward()
    assert position.grad.isfinite().all() and target.grad.isfinite().all()


@pytest.mark.slow
def test_a_pose_and_a_focal_length_are_recovered_from_a_picture():
    """Of a colored ball nearby; the camera starts 5 degrees, 5 % of its distance and 5 % of a focal length off."""
    vertices, faces = bumpy_ball(1)
    vertices = vertices.float()
    colors = 0.5 + 0.5 * torch.sin(4 * vertices + torch.arange(3.0))
    truth = make_cameras(1, 32, 32, distance=1.8)
    guess = CameraDelta(truth, focal="shared")
    turn = torch.nn.functional.normalize(torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    with torch.no_grad():
        guess.twist.copy_((turn * torch.tensor([[0.09], [math.radians(5)]])).view(1, 6))
        guess.log_focal.fill_(math.log(1.05))
        target = render(vertices, faces, truth, colors=colors).rgb

    def apart() -> tuple[float, float]:
        """Largest shift of a vertex in pixels; relative error of the focal length."""
        with torch.no_grad():
            cameras = guess.cameras()
            shift = cameras.project(vertices)[0] - truth.project(vertices)[0]
            return shift.norm(dim=-1).max().item(), (cameras.intrinsics / truth.intrinsics - 1)[0, 0].abs().item()

    assert apart()[0] > 5
    steps = 100
    optimizer = torch.optim.Adam(guess.parameters(), lr=3e-2, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (render(vertices, faces, guess.cameras(), colors=colors).rgb - target).square().mean().backward()
        optimizer.step()
        schedule.step()
    shift, focal = apart()
    assert shift < 0.5
    assert focal < 0.01


def test_one_camera_by_a_number_of_any_kind():
    cameras = make_cameras(3, 5, 4)
    for index in (1, -2, torch.tensor(1), np.int64(1), [1], slice(1, 2)):
        chosen = cameras[index]
        assert torch.equal(chosen.camera_to_world, cameras.camera_to_world[1:2])
        assert torch.equal(chosen.intrinsics, cameras.intrinsics[1:2])
    guess = CameraDelta(cameras, focal="each")
    for index in (1, -2, torch.tensor(1), np.int64(1), [1], slice(1, 2)):
        assert torch.equal(guess.cameras(index).camera_to_world, cameras.camera_to_world[1:2])


def test_cameras_of_wrong_shapes():
    pose, intrinsics = torch.eye(4)[:3].expand(2, -1, -1), torch.ones(2, 4)
    for wrong in (torch.eye(4).expand(2, -1, -1), pose[0]):
        with pytest.raises(ValueError, match=r"^camera_to_world: expected \(N,3,4\)"):
            Cameras(wrong, intrinsics, 4, 4)
    for wrong in (intrinsics[:1], intrinsics[0], torch.eye(3).expand(2, -1, -1)):
        with pytest.raises(ValueError, match=r"^intrinsics: expected \(2,4\)"):
            Cameras(pose, wrong, 4, 4)


def test_autocast_rounds_no_ray_and_no_projection():
    cameras, points = make_cameras(2, 5, 4), torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    exact = [*cameras.project(points), *cameras.image_rays(1)]
    with torch.autocast("cpu", torch.bfloat16):
        cast = [*cameras.project(points), *cameras.image_rays(1)]
    assert all(map(torch.equal, exact, cast))
