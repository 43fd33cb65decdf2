"""Cameras to fragments: the projection's convention, against rays cast through the same cameras."""

import pytest
import torch
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.raster import homogeneous_points, interpolate, interpolate_corners, rasterize
from tests.raster.conftest import make_cameras


def cast(vertices, faces, origins, directions):
    """Nearest hit of rays (R,3) with triangles (Moeller and Trumbore 1997): face (R,), barycentrics (R,3), t (R,)."""
    a, b, c = vertices[faces].unbind(1)  # (F, 3)
    side, up = b - a, c - a
    p = torch.linalg.cross(directions[:, None].expand(-1, len(faces), -1), up.expand(len(directions), -1, -1))
    det = (p * side).sum(-1)  # (R, F)
    s = origins[:, None] - a
    u = (s * p).sum(-1) / det
    q = torch.linalg.cross(s, side.expand_as(s))
    v = (directions[:, None] * q).sum(-1) / det
    t = (up * q).sum(-1) / det
    t = torch.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, torch.inf)
    nearest, face = t.min(1)
    u, v = u.gather(1, face[:, None])[:, 0], v.gather(1, face[:, None])[:, 0]
    return torch.where(nearest < torch.inf, face, -1), torch.stack([1 - u - v, u, v], -1), nearest


def test_points_are_the_cameras_projection(ball):
    cameras = make_cameras(3, 21, 30)
    pixels, depth = cameras.project(ball[0])
    points = homogeneous_points(ball[0], cameras)
    assert_close(points[..., :2] / points[..., 2:], pixels, rtol=1e-5, atol=1e-4)
    assert_close(points[..., 2], depth)


def test_fragments_are_where_rays_hit(ball):
    """Same faces, barycentrics and depth as rays through the pixels' centers; an odd size and unequal focal lengths."""
    vertices, faces = ball
    cameras = make_cameras(3, 27, 38)
    fragments = rasterize(vertices, faces, cameras)
    for view in range(3):
        origins, directions = cameras.image_rays(view)
        face, barycentrics, t = cast(vertices.double(), faces, origins.double(), directions.double())
        face = face.view(27, 38)
        same = fragments.face[view] == face
        assert same.float().mean() > 0.999  # a center may lie within rounding of an edge
        assert (face >= 0).float().mean() > 0.2
        shown = same & (face >= 0)
        along = -(directions @ cameras.camera_to_world[view, :, 2]).double() * t
        assert_close(fragments.depth[view][shown].double(), along.view(27, 38)[shown], rtol=1e-5, atol=0)
        assert_close(
            fragments.barycentrics[view][shown].double(), barycentrics.view(27, 38, 3)[shown], rtol=0, atol=2e-3
        )


def test_positions_interpolate_to_points_on_the_rays(ball):
    vertices, faces = ball
    cameras = make_cameras(2, 15, 15)
    fragments = rasterize(vertices, faces, cameras)
    world = interpolate(fragments, faces, vertices)  # (N, H, W, 3)
    for view in range(2):
        row, column = fragments.covered[view].nonzero(as_tuple=True)
        pixels, depth = cameras.project(world[view, row, column])
        assert_close(pixels[view], torch.stack([column + 0.5, row + 0.5], -1), atol=1e-3, rtol=0)
        assert_close(depth[view], fragments.depth[view, row, column])


def test_corner_attributes_follow_their_face(ball):
    vertices, faces = ball
    fragments = rasterize(vertices, faces, make_cameras(2, 15, 15))
    assert_close(
        interpolate_corners(fragments, vertices[faces]), interpolate(fragments, faces, vertices), rtol=0, atol=1e-6
    )
    numbers = torch.arange(len(faces), dtype=torch.float32)[:, None, None].expand(-1, 3, 1)
    found = interpolate_corners(fragments, numbers)[..., 0]
    expected = fragments.face.clamp(min=0).float()
    assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_shading_gradient_reaches_the_vertices(ball):
    """Gradients of a picture of positions, through projection and perspective-correct barycentrics, in float64."""
    vertices, faces = ball[0].double(), ball[1]
    cameras = make_cameras(1, 7, 7)
    face = rasterize(vertices, faces, cameras).face
    used = faces[face[face >= 0].long()].unique()
    attributes = torch.rand(len(vertices), 2, dtype=torch.float64)

    def picture(moved):
        fragments = rasterize(vertices.index_copy(0, used, moved), faces, cameras)
        return interpolate(fragments, faces, attributes), fragments.depth

    assert torch.autograd.gradcheck(picture, vertices[used].requires_grad_(), eps=1e-8, atol=1e-4)


@pytest.mark.parametrize("vertices", [torch.zeros(0, 3), torch.zeros(4, 3)])
def test_no_faces(vertices):
    vertices.requires_grad_()
    fragments = rasterize(vertices, torch.zeros(0, 3, dtype=torch.int64), make_cameras(2, 4, 5))
    assert not fragments.covered.any()
    fragments.depth.sum().backward()
    assert not vertices.grad.any()


def test_backends_agree(ball):
    vertices, faces = ball
    cameras = make_cameras(2, 19, 24)
    fast = rasterize(vertices, faces, cameras)
    with use("reference"):
        exact = rasterize(vertices, faces, cameras)
    assert (fast.face == exact.face).float().mean() > 0.999


def test_corner_attributes_have_three_corners(ball):
    vertices, faces = ball
    fragments = rasterize(vertices, faces, make_cameras(2, 4, 4))
    for shape in ((len(faces), 3), (len(faces), 4, 2)):
        with pytest.raises(ValueError, match="corner_attributes: expected"):
            interpolate_corners(fragments, torch.zeros(shape))


def test_sixteen_bit_vertices_are_drawn_in_float32():
    vertices = torch.tensor([[-1.0, -1.1, 0], [1.3, -0.7, 0.2], [0.1, 1, 0]])
    cameras = make_cameras(1, 48, 64)
    for dtype in (torch.float16, torch.bfloat16):
        leaf = vertices.to(dtype).requires_grad_()
        found, exact = (rasterize(x, torch.tensor([[0, 1, 2]]), cameras) for x in (leaf, leaf.detach().float()))
        assert found.points.dtype == torch.float32
        assert torch.equal(found.points, exact.points) and torch.equal(found.face, exact.face)
        found.depth.sum().backward()
        assert leaf.grad is not None and leaf.grad.dtype == dtype
