"""Other projects' cameras: a point lands where their own formulas put it."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from nerfkit.cameras import Cameras
from nerfkit.cameras.conventions import from_opencv, from_opengl, from_pytorch3d, to_opencv

HEIGHT, WIDTH = 60, 90


def rotations(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    return q * torch.linalg.det(q)[:, None, None]


ROTATION = rotations(3)
TRANSLATION = torch.tensor([[0.2, -0.1, 4.0], [-0.3, 0.5, 5.0], [0.1, 0.4, 6.0]], dtype=torch.float64)
POINTS = torch.tensor([[0.5, -0.2, 0.3], [-0.6, 0.4, 0.1], [0.0, 0.7, -0.5]], dtype=torch.float64)
FOCAL = torch.tensor([[1.5, 1.6], [2.0, 2.1], [1.2, 1.1]], dtype=torch.float64)
PRINCIPAL = torch.tensor([[0.1, -0.2], [0.0, 0.3], [-0.1, 0.05]], dtype=torch.float64)


def project(cameras: Cameras) -> tuple[Tensor, Tensor]:
    return cameras.project(POINTS)


@pytest.mark.parametrize("center", [0.5, 0.0])
def test_opencv(center: float) -> None:
    """u = K (R x + t): with OpenCV's own pixels, whose first center is 0, everything lies half a pixel further here."""
    matrix = torch.zeros(3, 3, 3, dtype=torch.float64)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 2, 2] = 40 * FOCAL[:, 0], 40 * FOCAL[:, 1], 1
    matrix[:, 0, 2], matrix[:, 1, 2] = 44.0, 31.0
    pose = torch.cat([ROTATION, TRANSLATION[..., None]], -1)
    seen = POINTS @ ROTATION.transpose(1, 2) + TRANSLATION[:, None]
    expected = seen @ matrix.transpose(1, 2)
    cameras = from_opencv(pose, matrix, HEIGHT, WIDTH, pixel_center=center)
    places, depth = project(cameras)
    assert_close(places, expected[..., :2] / expected[..., 2:] + 0.5 - center)
    assert_close(depth, seen[..., 2])
    back = to_opencv(cameras, pixel_center=center)
    assert_close(back[0], pose)
    assert_close(back[1], matrix)


def test_opengl() -> None:
    """x to the right and y up in the camera, but rows count downward; its z points backward."""
    pose = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    pose[:, :3, :3], pose[:, :3, 3] = ROTATION, TRANSLATION * torch.tensor([1.0, 1.0, -1.0])
    intrinsics = torch.cat([40 * FOCAL, torch.tensor([[44.0, 31.0]]).expand(3, -1)], -1)
    cameras = from_opengl(pose, intrinsics, HEIGHT, WIDTH)
    seen = POINTS @ ROTATION.transpose(1, 2) + pose[:, None, :3, 3]
    x, y, z = seen.unbind(-1)
    expected = torch.stack(
        [44 - 40 * FOCAL[:, :1] * x / z, 31 + 40 * FOCAL[:, 1:] * y / z], -1
    )  # (N, V, 2), z is negative
    assert_close(project(cameras)[0], expected)


def test_pytorch3d() -> None:
    """Its screen: (W - 1 ... 0) as x_ndc runs over the longer side, [-1,1] over the shorter one."""
    cameras = from_pytorch3d(ROTATION, TRANSLATION, FOCAL, HEIGHT, WIDTH, PRINCIPAL)
    x, y, z = (POINTS @ ROTATION + TRANSLATION[:, None]).unbind(-1)
    ndc = torch.stack([FOCAL[:, :1] * x / z + PRINCIPAL[:, :1], FOCAL[:, 1:] * y / z + PRINCIPAL[:, 1:]], -1)
    places, depth = project(cameras)
    assert_close(places, torch.tensor([45.0, 30.0], dtype=torch.float64) - 30 * ndc)
    assert_close(depth, z)
    screen = from_pytorch3d(
        ROTATION,
        TRANSLATION,
        30 * FOCAL,
        HEIGHT,
        WIDTH,
        torch.tensor([45.0, 30.0], dtype=torch.float64) - 30 * PRINCIPAL,
        in_ndc=False,
    )
    assert_close(screen.intrinsics, cameras.intrinsics)


def test_pytorch3d_by_hand() -> None:
    """Its camera at (0, 0, -3) that looks along +z has +x on the left and +y on top."""
    one = torch.eye(3)[None]
    cameras = from_pytorch3d(one, torch.tensor([[0.0, 0, 3]]), torch.tensor([2.0]), 80, 80)
    places, _ = cameras.project(torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.3, 0.0]]))
    assert_close(places[0], torch.tensor([[40 - 8.0, 40.0], [40.0, 40 - 8.0]]))
    assert_close(cameras.positions, torch.tensor([[0.0, 0.0, -3.0]]))


def test_gradients() -> None:
    def places(rotation: Tensor, translation: Tensor, focal: Tensor, principal: Tensor) -> Tensor:
        return project(from_pytorch3d(rotation, translation, focal, HEIGHT, WIDTH, principal))[0]

    leaves = [x.clone().requires_grad_() for x in (TRANSLATION, FOCAL, PRINCIPAL)]
    assert torch.autograd.gradcheck(lambda *x: places(ROTATION, *x), leaves)


def test_what_does_not_fit_is_named() -> None:
    pose, matrix = torch.eye(4)[None], torch.eye(3)[None]
    intrinsics = torch.ones(1, 4)
    with pytest.raises(ValueError, match=r"world_to_camera: expected \(N,3,4\) or \(N,4,4\)"):
        from_opengl(pose[0], intrinsics, 4, 4)
    for wrong in (2 * pose, -pose, torch.full((1, 3, 4), float("nan"))):
        with pytest.raises(ValueError, match="camera 0 is no rotation"):
            from_opengl(wrong, intrinsics, 4, 4)
    with pytest.raises(ValueError, match=r"matrix: expected \(1,3,3\)"):
        from_opencv(pose, matrix[0], 4, 4)
    with pytest.raises(ValueError, match=r"matrix: expected .*undistort"):
        from_opencv(pose, matrix + torch.tensor([[0, 0.1, 0], [0, 0, 0], [0, 0, 0]]), 4, 4)
    with pytest.raises(ValueError, match="translation"):
        from_pytorch3d(matrix, torch.zeros(3), torch.ones(1), 4, 4)
    with pytest.raises(ValueError, match="focal_length"):
        from_pytorch3d(matrix, torch.zeros(1, 3), torch.ones(2), 4, 4)
    with pytest.raises(ValueError, match="principal_point"):
        from_pytorch3d(matrix, torch.zeros(1, 3), torch.ones(1), 4, 4, torch.zeros(2))
