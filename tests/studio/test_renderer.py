"""The renderer against brute force, analytic spheres and its own formula evaluated by hand."""

import math

import numba
import numpy as np
import pytest
import torch
import trimesh

from nerfkit.cameras import Cameras, look_at
from nerfkit.studio.renderer import Lights, Surface, nearest_faces, project, render

DAYLIGHT = Lights(key=0.0, fill=0.0, sky=1.0, ground=1.0)


def camera(position=(3.0, 40.0, 90.0), size=(48, 64), focal=100.0, center=(30.0, 26.0)) -> Cameras:
    pose = look_at(torch.tensor([position]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    return Cameras(pose, torch.tensor([[focal, focal * 1.1, *center]]), *size)


def quad(tilt: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A square of side 40 around the origin that faces +z, turned about the y axis."""
    c, s = math.cos(tilt), math.sin(tilt)
    corners = np.array([[-20.0, -20, 0], [20, -20, 0], [20, 20, 0], [-20, 20, 0]])
    return corners @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]), np.array([[0, 1, 2], [0, 2, 3]])


def hits(vertices: np.ndarray, faces: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Brute force (Moeller and Trumbore): nearest face or -1, and hit point, of the ray through each pixel."""
    origins, directions = (r.double().numpy() for r in cameras.image_rays(0))
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    p = np.cross(directions[:, None], c - a)  # (R, F, 3)
    det = np.einsum("fk,rfk->rf", b - a, p)
    s = origins[:, None] - a
    u = np.einsum("rfk,rfk->rf", s, p) / det
    q = np.cross(s, b - a)
    v = np.einsum("rk,rfk->rf", directions, q) / det
    t = np.einsum("fk,rfk->rf", c - a, q) / det
    t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, np.inf)
    nearest = t.argmin(1)
    found = np.isfinite(t[np.arange(len(t)), nearest])
    points = origins + np.where(found, t.min(1), 0)[:, None] * directions
    return np.where(found, nearest, -1), points


def test_nearest_face_is_that_of_brute_force_even_behind_the_camera():
    rng = np.random.default_rng(0)
    centers = rng.normal(0, 60, (150, 1, 3))  # the camera stands in the middle of them
    vertices = (centers + rng.normal(0, 16, (150, 3, 3))).reshape(-1, 3)
    faces = np.arange(450).reshape(-1, 3)
    cameras = camera((20.0, 10.0, 30.0), focal=40.0)
    depth = -cameras.world_to_view(torch.from_numpy(vertices).float())[0, :, 2].numpy()
    straddling = np.flatnonzero((depth[faces] > 0).any(1) & (depth[faces] < 0).any(1))
    expected, _ = hits(vertices, faces, cameras)
    found, inverse, _ = nearest_faces(project(vertices, cameras, 0, 1), faces.astype(np.int32), 48, 64)
    assert len(np.unique(expected)) > 12
    assert np.isin(expected, straddling).any()
    assert (found.ravel() != expected).sum() <= 2  # a ray may graze an edge: poses are float32
    np.testing.assert_array_equal(inverse > 0, found >= 0)


def test_sphere_has_its_analytic_area_and_depth():
    radius, focal = 30.0, 120.0
    mesh = trimesh.creation.icosphere(5, radius)
    cameras = camera((0.0, 40.0, 90.0), (96, 112), focal, (50.0, 51.0))
    photos = render(Surface(mesh.vertices, mesh.faces), cameras, samples=8)
    distance = math.hypot(40, 90)
    area = math.pi * 1.1 * (focal * radius) ** 2 / (distance**2 - radius**2)
    assert photos.coverage.sum() == pytest.approx(area, rel=1e-3)

    origins, directions = (r.double().numpy() for r in cameras.image_rays(0))
    along = -(origins * directions).sum(-1)
    inside = along**2 - (origins**2).sum(-1) + radius**2
    axis = -cameras.camera_to_world[0, :, 2].double().numpy()
    expected = (along - np.sqrt(np.maximum(inside, 0))) * (directions @ axis)
    solid = inside > 100  # away from the rim, where depth is steep
    assert solid.sum() > 1000
    np.testing.assert_allclose(photos.depth.ravel()[solid], expected[solid], atol=0.05)
    assert np.isinf(photos.depth[photos.coverage == 0]).all()
    assert np.isfinite(photos.depth[photos.coverage > 0]).all()


def test_coverage_lies_in_unit_range():
    mesh = trimesh.creation.icosphere(2, 30.0)
    cameras = camera()
    photos = render(Surface(mesh.vertices, mesh.faces), cameras, samples=4, lights=DAYLIGHT)
    assert photos.coverage.min() == 0
    assert photos.coverage.max() == 1
    assert ((photos.coverage > 0) & (photos.coverage < 1)).sum() > 50
    # White under even light: premultiplied color is the coverage itself.
    np.testing.assert_allclose(photos.rgb, photos.coverage[..., None].repeat(3, -1), atol=1e-6)


def test_no_sample_is_lost_between_faces():
    n = 25  # vertices exactly on sample centers, edges through them
    x, y = np.meshgrid(np.arange(n) - 12.0, np.arange(n) - 12.0)
    vertices = np.stack([x.ravel(), y.ravel(), 0.3 * np.sin(x * y).ravel()], -1)
    i = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + n + 1], -1), np.stack([i, i + n + 1, i + n], -1)])
    pose = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 20]]])
    cameras = Cameras(pose, torch.tensor([[20.0, 20.0, 10.5, 10.5]]), 20, 20)
    assert render(Surface(vertices, faces), cameras, samples=2).coverage.min() == 1


def test_colors_are_interpolated_in_space_not_on_the_screen():
    vertices, faces = quad(tilt=1.1)
    cameras = camera()
    colors = 0.5 + 0.4 * vertices / 20
    photos = render(Surface(vertices, faces, colors), cameras, samples=1, lights=DAYLIGHT)
    face, points = hits(vertices, faces, cameras)
    hit = face >= 0
    assert hit.sum() > 100
    np.testing.assert_allclose(photos.rgb.reshape(-1, 3)[hit], (0.5 + 0.4 * points / 20)[hit], atol=1e-5)


def test_texture_lies_the_right_way_up():
    vertices, faces = quad()
    uvs = vertices[:, :2] / 40 + 0.5
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0], texture[0, 1], texture[1, 0] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
    )  # top left, top right, bottom left
    pose = look_at(torch.tensor([[0.0, 0.0, 100.0]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    cameras = Cameras(pose, torch.tensor([[100.0, 100.0, 20.0, 20.0]]), 40, 40)
    rgb = render(Surface(vertices, faces, uvs=uvs, texture=texture), cameras, samples=1, lights=DAYLIGHT).rgb[0]
    np.testing.assert_allclose(rgb[3, 3], (1, 0, 0), atol=1e-6)
    np.testing.assert_allclose(rgb[3, 36], (0, 1, 0), atol=1e-6)
    np.testing.assert_allclose(rgb[36, 3], (0, 0, 1), atol=1e-6)
    np.testing.assert_allclose(rgb[36, 36], (0, 0, 0), atol=1e-6)
    np.testing.assert_allclose(rgb[19:21, 3].mean(0), (0.5, 0, 0.5), atol=1e-6)  # half way between two texels


@pytest.mark.parametrize("behind", [False, True])
def test_shading_is_the_stated_formula(behind):
    vertices, faces = quad(tilt=0.4)
    cameras = camera((-20.0, 15.0, 80.0))
    normal = np.array([math.sin(0.4), 0, math.cos(0.4)])
    if behind:
        faces = faces[:, ::-1]  # the same picture, seen from the faces' backs
    lights = Lights((0.6, 0.3, 0.9), 0.5, (-0.2, 0.8, 0.4), 0.3, 0.2, 0.1, (0.0, 1.0, 0.0))
    albedo, specular, exponent, sky, key = np.array([0.7, 0.5, 0.3]), np.array([0.3, 0.2, 0.1]), 9.0, 0.8, 0.6
    surface = Surface(
        vertices,
        faces,
        np.tile(albedo, (4, 1)),
        specular=np.tile(specular, (4, 1)),
        shininess=np.full(4, exponent),
        sky=np.full(4, sky),
        key=np.full(4, key),
    )
    photos = render(surface, cameras, samples=1, lights=lights)
    face, points = hits(vertices, faces, cameras)
    hit = face >= 0
    points = points[hit]
    eye = cameras.positions[0].double().numpy() - points
    eye /= np.linalg.norm(eye, axis=-1, keepdims=True)
    expected = np.zeros((len(points), 3))
    ambient = 0.1 + (0.2 - 0.1) * (normal[1] + 1) / 2
    expected += albedo * sky * ambient
    for direction, strength, seen in (((0.6, 0.3, 0.9), 0.5, key), ((-0.2, 0.8, 0.4), 0.3, sky)):
        light = np.array(direction) / np.linalg.norm(direction)
        half = (eye + light) / np.linalg.norm(eye + light, axis=-1, keepdims=True)
        expected += albedo * seen * strength * max(normal @ light, 0)
        expected += specular * seen * strength * (np.maximum(half @ normal, 0) ** exponent)[:, None]
    assert hit.sum() > 500
    np.testing.assert_allclose(photos.rgb.reshape(-1, 3)[hit], expected, atol=2e-6)


@pytest.mark.usefixtures("all_threads")
def test_result_does_not_depend_on_threads():
    mesh = trimesh.creation.icosphere(3, 30.0)
    surface = Surface(mesh.vertices, mesh.faces, specular=np.full((len(mesh.vertices), 3), 0.4))
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = render(surface, camera(), samples=3)
    finally:
        numba.set_num_threads(before)
    for one, several in zip(alone, render(surface, camera(), samples=3), strict=True):
        np.testing.assert_array_equal(one, several)


def test_nothing_to_see():
    vertices, faces = quad()
    for some in (faces[:0], np.array([[0, 1, 1]])):  # no face, and one without an area
        photos = render(Surface(vertices, some), camera(), samples=2)
        assert photos.coverage.max() == 0
        assert photos.rgb.max() == 0
        assert np.isinf(photos.depth).all()
