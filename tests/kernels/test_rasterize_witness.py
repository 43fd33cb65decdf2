"""The rasterizer against the independent renderer that makes our photos: the same silhouette and depth.

A closed mesh that hides parts of itself, a face that fills the background, cameras beside and above.
"""

import numpy as np
import pytest
import torch

from nerfkit.cameras import Cameras
from nerfkit.kernels import use
from nerfkit.kernels.rasterize import rasterize
from nerfkit.raster import rasterize as rasterize_mesh
from nerfkit.studio.renderer import Surface, project, render
from tests.dry_run import fewer


def torus(rings, sides):
    """A torus with a bumpy surface, (V,3) float32 and (F,3), and one large triangle behind a part of it."""
    u, v = np.meshgrid(np.arange(rings) * 2 * np.pi / rings, np.arange(sides) * 2 * np.pi / sides, indexing="ij")
    r = 0.25 + 0.05 * np.sin(3 * u + v)
    ring = 0.6 + r * np.cos(v)
    vertices = np.stack([ring * np.cos(u), r * np.sin(v), ring * np.sin(u)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rings), np.arange(sides), indexing="ij")
    a, b = i * sides + j, (i + 1) % rings * sides + j
    c, d = (i + 1) % rings * sides + (j + 1) % sides, i * sides + (j + 1) % sides
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)
    back = np.array([[-2.0, -1.1, -0.9], [1.5, -0.9, -1.2], [-0.4, 1.7, -1.0]])
    faces = np.concatenate([faces, [[len(vertices), len(vertices) + 1, len(vertices) + 2]]])
    return np.concatenate([vertices, back]).astype(np.float32), faces


def cameras_around(height, width):
    poses = []
    for position in ([0.3, 1.1, 1.9], [-1.3, 0.5, 1.4]):
        position = np.array(position)
        backward = position / np.linalg.norm(position)
        right = np.cross([0.0, 1.0, 0.0], backward)
        right /= np.linalg.norm(right)
        poses.append(np.stack([right, np.cross(backward, right), backward, position], 1))
    pose = torch.tensor(np.stack(poses), dtype=torch.float32)
    intrinsics = torch.tensor([1.1 * width, 1.15 * width, 0.5 * width, 0.48 * height]).expand(2, 4)
    return Cameras(pose, intrinsics, height, width)


def assert_equals_witness(backend, rings, sides, height, width):
    vertices, faces = torus(rings, sides)
    cameras = cameras_around(height, width)
    truth = render(Surface(vertices, faces), cameras, samples=1)
    points = torch.tensor(np.stack([project(vertices.astype(np.float64), cameras, view, 1) for view in range(2)]))
    with use(backend):
        face, barycentrics, depth = rasterize(points, torch.tensor(faces), height, width)
    beside_edges = ((face < 0) | (barycentrics.amin(-1) > 1e-9)).numpy()
    assert beside_edges.mean() > 0.95
    hit = truth.coverage > 0
    assert 0.2 < hit.mean() < 0.95
    assert ((face.numpy() >= 0) == hit)[beside_edges].all()
    both = hit & beside_edges
    np.testing.assert_allclose(depth.numpy()[both], truth.depth[both], rtol=1e-6)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_silhouette_and_depth(backend):
    assert_equals_witness(backend, 18, 9, 45, 52)


def test_silhouette_and_depth_of_many_faces():
    assert_equals_witness("cpu", 120, 50, 190, 230)


@pytest.mark.interpreted
def test_interpreted_silhouette_and_depth():
    assert_equals_witness("triton", 5, 3, 16, 16)


@pytest.mark.gpu
def test_gpu_silhouette_and_depth():
    vertices, faces = torus(fewer(120, 40), fewer(50, 20))
    height, width = fewer(190, 80), fewer(230, 90)
    cameras = cameras_around(height, width)
    truth = render(Surface(vertices, faces), cameras, samples=1)
    points = torch.tensor(np.stack([project(vertices.astype(np.float64), cameras, view, 1) for view in range(2)]))
    face, _, depth = (x.cpu().numpy() for x in rasterize(points.cuda(), torch.tensor(faces).cuda(), height, width))
    hit = truth.coverage > 0
    assert (face >= 0)[hit].mean() > 0.9999
    assert ((face >= 0) == hit).mean() > 0.9999
    both = hit & (face >= 0)
    np.testing.assert_allclose(depth[both], truth.depth[both], rtol=1e-6)


def test_float32_projection():
    """Through ``nerfkit.raster``: points are float32 there, so a pixel counts whose surroundings are all in or out."""
    vertices, faces = torus(60, 30)
    cameras = cameras_around(90, 100)
    share = render(Surface(vertices, faces), cameras, samples=8).coverage
    truth = render(Surface(vertices, faces), cameras, samples=1)
    fragments = rasterize_mesh(torch.tensor(vertices), torch.tensor(faces), cameras)
    face = fragments.face.numpy()
    assert (face[share == 1] >= 0).all()
    assert (face[share == 0] == -1).all()
    inner = fragments.barycentrics.amin(-1).numpy() > 1e-3
    relative = np.abs(fragments.depth.numpy()[inner] / truth.depth[inner] - 1)
    assert np.quantile(relative, 0.99) < 1e-6
    assert relative.max() < 1e-5  # faces seen at grazing angles make more of the points' rounding
