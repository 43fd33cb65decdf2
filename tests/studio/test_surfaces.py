"""Meshes with seams and creases for the renderer, and the cameras around them."""

import math

import numpy as np
import pytest
import torch
import trimesh

from nerfkit.cameras import Cameras, look_at
from nerfkit.mesh.mesh import Mesh
from nerfkit.studio.renderer import Lights, Surface, geometry, render, vertex_normals
from nerfkit.studio.surfaces import corner_normals, surface_of
from nerfkit.studio.views import FILL, cameras_around
from tests.studio.test_renderer import camera, hits, quad

DAYLIGHT = Lights(key=0.0, fill=0.0, sky=1.0, ground=1.0)
FRONT = Cameras(
    look_at(torch.tensor([[0.0, 0.0, 100.0]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0])),
    torch.tensor([[100.0, 100.0, 20.0, 20.0]]),
    *(40, 40),
)


def square(corner_uvs: list, texture: np.ndarray) -> Mesh:
    """The square of ``quad`` around the origin, two triangles that share two vertices but not their coordinates."""
    vertices, faces = quad()
    return Mesh(
        torch.from_numpy(vertices).float(),
        torch.from_numpy(faces),
        torch.tensor(corner_uvs),
        texture=torch.from_numpy(texture).float(),
    )


def test_a_cube_keeps_its_edges_and_a_ball_is_round() -> None:
    cube = trimesh.creation.box((2.0, 3.0, 4.0))
    expected = np.repeat(cube.face_normals[:, None], 3, 1)
    np.testing.assert_allclose(corner_normals(cube.vertices, cube.faces), expected, atol=1e-12)
    ball = trimesh.creation.icosphere(3, 5.0)
    smooth = vertex_normals(ball.vertices, ball.faces)[ball.faces]
    np.testing.assert_allclose(corner_normals(ball.vertices, ball.faces), smooth, atol=1e-12)
    split = ball.vertices[ball.faces].reshape(-1, 3)  # every face on its own
    apart = corner_normals(split, np.arange(len(split)).reshape(-1, 3))
    np.testing.assert_allclose(apart, smooth, atol=1e-12)


def test_the_crease_angle_decides() -> None:
    for turn, shared in ((50.0, True), (70.0, False)):
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        vertices = np.array(
            [[0.0, 0, 0], [0, 1, 0], [-1, 0, 0], [2 * c, 0, -2 * s]]
        )  # the second face is twice as large
        faces = np.array([[0, 1, 2], [0, 3, 1]])
        normals = corner_normals(vertices, faces)
        flat = np.array([[0.0, 0, 1], [s, 0, c]])
        mean = flat[0] + 2 * flat[1]
        expected = np.stack([mean / np.linalg.norm(mean)] * 2) if shared else flat
        np.testing.assert_allclose(normals[:, 0], expected, atol=1e-12)
        np.testing.assert_allclose([normals[0, 2], normals[1, 1]], flat, atol=1e-12)


def test_normals_of_faces_without_area_are_zero_and_spoil_nothing() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0]])
    normals = corner_normals(vertices, np.array([[0, 1, 2], [0, 1, 3], [1, 1, 1]]))
    np.testing.assert_array_equal(normals[0], [[0, 0, 1]] * 3)
    np.testing.assert_array_equal(normals[1:], 0)


def test_texture_coordinates_jump_at_a_seam() -> None:
    texture = np.zeros((4, 4, 3))
    texture[:2, :2], texture[2:, 2:] = (1, 0, 0), (0, 0, 1)
    red, blue = [0.25, 0.75], [0.75, 0.25]  # v points up
    mesh = square([[red, red, red], [blue, blue, blue]], texture)
    rgb = render(surface_of(mesh), FRONT, samples=1, lights=DAYLIGHT).rgb[0]
    np.testing.assert_allclose(rgb[35, 35], (1, 0, 0), atol=1e-6)  # the first triangle is at the lower right
    np.testing.assert_allclose(rgb[4, 4], (0, 0, 1), atol=1e-6)
    assert set(map(tuple, rgb.reshape(-1, 3).round(3).tolist())) == {(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)}


def test_a_texture_repeats_where_coordinates_leave_the_unit_square() -> None:
    texture = np.zeros((2, 2, 3))
    texture[0, 0], texture[0, 1], texture[1, 0] = (1, 0, 0), (0, 1, 0), (0, 0, 1)  # top left, top right, bottom left
    a, b, c, d = [-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]
    rgb = render(surface_of(square([[a, b, c], [a, c, d]], texture)), FRONT, samples=1, lights=DAYLIGHT).rgb[0]
    # Four copies of 20 x 20 pixels: every texel's center is 5 pixels from the copy's border.
    np.testing.assert_allclose(rgb[:20, :20], rgb[20:, 20:], atol=2e-5)
    np.testing.assert_allclose(rgb[:20, :20], rgb[:20, 20:], atol=2e-5)
    np.testing.assert_allclose(rgb[4:6, 4:6].mean((0, 1)), (0.9, 0.05, 0.05), atol=0.05)
    np.testing.assert_allclose(rgb[4:6, 14:16].mean((0, 1)), (0.05, 0.9, 0), atol=0.05)
    np.testing.assert_allclose(rgb[14:16, 4:6].mean((0, 1)), (0.05, 0, 0.9), atol=0.05)
    np.testing.assert_allclose(rgb[4:6, 19:21].mean((0, 1)), (0.475, 0.475, 0.05), atol=0.06)  # green into red
    inside = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    clamped = surface_of(square([inside[:3], [inside[0], inside[2], inside[3]]], texture))
    assert not clamped.repeat
    inside[2][0] = 1 + 1e-6  # rounding
    assert not surface_of(square([inside[:3], [inside[0], inside[2], inside[3]]], texture)).repeat
    np.testing.assert_allclose(render(clamped, FRONT, 1, DAYLIGHT).rgb[0, 0, 0], (1, 0, 0), atol=1e-6)


def test_vertex_colors_and_a_turn() -> None:
    vertices, faces = quad()
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    mesh = Mesh(torch.from_numpy(vertices).float(), torch.from_numpy(faces), colors=colors)
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # counter-clockwise
    rgb = render(surface_of(mesh, quarter), FRONT, samples=1, lights=DAYLIGHT).rgb[0]
    corners = np.array([rgb[39, 0], rgb[39, 39], rgb[0, 39], rgb[0, 0]])
    np.testing.assert_allclose(corners, colors.numpy()[[3, 0, 1, 2]], atol=0.06)


@pytest.mark.parametrize("behind", [False, True])
def test_geometry_is_that_of_the_rays_through_pixel_centers(behind: bool) -> None:
    ball = trimesh.creation.icosphere(1, 30.0)
    faces = ball.faces[:, ::-1] if behind else ball.faces
    normals = np.random.default_rng(0).normal(size=ball.vertices.shape) + 2 * ball.vertices / 30
    cameras = camera()
    depth, found = geometry(Surface(ball.vertices, faces, normals=normals), cameras, 0)
    face, points = hits(ball.vertices, ball.faces, cameras)
    hit = face >= 0
    axis, eye = -cameras.camera_to_world[0, :, 2].double().numpy(), cameras.positions[0].double().numpy()
    assert hit.sum() > 500
    np.testing.assert_array_equal(np.isfinite(depth).ravel(), hit)
    np.testing.assert_allclose(depth.ravel()[hit], ((points - eye) @ axis)[hit], rtol=1e-5)
    corners = ball.vertices[ball.faces[face[hit]]]
    weights = np.linalg.solve(np.moveaxis(corners, 1, 2), points[hit][..., None])[..., 0]  # barycentrics
    expected = np.einsum("pk,pkc->pc", weights, normals[ball.faces[face[hit]]])
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(found.reshape(-1, 3)[hit], -expected if behind else expected, atol=1e-4)
    np.testing.assert_array_equal(found.reshape(-1, 3)[~hit], 0)


def test_cameras_frame_the_object_exactly_and_hold_the_horizon() -> None:
    points = np.random.default_rng(1).normal(size=(50, 3)) * [3.0, 1.0, 0.2] + [10.0, -4.0, 7.0]
    cameras = cameras_around(points, 17, 60, 35.0, seed=3)
    pixels, depth = cameras.project(torch.from_numpy(points))
    assert depth.min() > 0
    assert (pixels - 30).abs().max().item() == pytest.approx(FILL * 30, rel=1e-12)
    assert (cameras.camera_to_world[:, 1, 0].abs() < 1e-12).all()  # the camera's right is level
    assert (cameras.camera_to_world[:, 1, 1] > 0).all()
    focus = torch.from_numpy((points.min(0) + points.max(0)) / 2)
    torch.testing.assert_close(cameras.project(focus[None])[0][:, 0], torch.full((17, 2), 30.0).double())
    assert cameras.intrinsics[0, 0].item() == pytest.approx(30 / math.tan(math.radians(17.5)))


def test_cameras_are_spread_evenly_and_so_are_the_held_out_ones() -> None:
    points = trimesh.creation.icosphere(1).vertices
    cameras = cameras_around(points, 40, 60, 40.0, seed=0, first=5)
    directions = torch.nn.functional.normalize(cameras.positions, dim=-1)
    nearest = (directions @ directions.T - 2 * torch.eye(40)).amax(1).arccos().rad2deg()
    assert nearest.min() > 20  # 40 discs of 25 degrees would just cover the sphere
    assert directions.mean(0).norm() < 0.05
    held_out = directions[::10]
    apart = (held_out @ held_out.T - 2 * torch.eye(4)).amax(1).arccos().rad2deg()
    assert apart.min() > 50
    assert held_out.mean(0).norm() < 0.5  # what an even spread over one half would give


def test_the_seed_turns_the_cameras_as_a_whole() -> None:
    points = trimesh.creation.icosphere(1).vertices
    one, again, other = (cameras_around(points, 12, 60, 40.0, seed).positions for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert (one - other).norm(dim=-1).min() > 0.1
    one, other = (torch.nn.functional.normalize(p, dim=-1) for p in (one, other))
    torch.testing.assert_close(one @ one.T, other @ other.T)
