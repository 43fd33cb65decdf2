"""Self-intersections against linear programs, and on shapes whose number is known."""

import numpy as np
import pytest
import torch
from mesh_shapes import box, joined, quad, sphere
from scipy.optimize import linprog

from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.mesh import Mesh, face_areas


def meet(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether weights exist that give the same point of both triangles (3,3)."""
    equal = np.zeros((5, 6))
    equal[:3, :3], equal[:3, 3:] = first.T, -second.T
    equal[3, :3] = equal[4, 3:] = 1
    return linprog(np.zeros(6), A_eq=equal, b_eq=[0, 0, 0, 1, 1], bounds=(0, None)).status == 0


@pytest.mark.parametrize("kind", ["anywhere", "lattice", "plane"])
def test_random_triangles_against_linear_programs(kind: str) -> None:
    generator = torch.Generator().manual_seed(1)
    vertices = torch.rand(42, 3, generator=generator)
    if kind != "anywhere":
        vertices = torch.randint(0, 4, (42, 3), generator=generator).float()  # touching, coplanar and collinear
    if kind == "plane":
        vertices[:, 2] = vertices[:, 0] - vertices[:, 1]
    mesh = Mesh(vertices, torch.arange(42).view(14, 3))
    corners = vertices[mesh.faces].double().numpy()
    flat = face_areas(mesh.vertices, mesh.faces) == 0
    expected = []
    for f in range(14):
        for g in range(f + 1, 14):
            common = any((p == q).all() for p in corners[f] for q in corners[g])
            if not common and not (flat[f] and flat[g]) and meet(corners[f], corners[g]):
                expected.append([f, g])
    assert len(expected) > 3
    assert self_intersections(mesh).tolist() == expected


def test_clean_shapes_have_none() -> None:
    far = sphere(2).transformed(lambda p: p + 3)
    soup = Mesh(sphere(2).vertices[sphere(2).faces].reshape(-1, 3), torch.arange(960).view(-1, 3))
    for mesh in (sphere(3), box(), quad(), joined(sphere(2), far), joined(sphere(2), sphere(2, 0.5)), soup):
        assert self_intersections(mesh).shape == (0, 2)
    assert self_intersections(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))).shape == (0, 2)


def test_a_blade_through_a_square() -> None:
    """The blade's edge runs through one of the square's two faces only."""
    vertices = torch.tensor(
        [[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.8, 0.1, -1], [0.8, 0.1, 1], [0.9, 0.2, 0]]
    )
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6]]))
    assert self_intersections(mesh).tolist() == [[0, 2]]


def test_two_spheres_meet_along_a_circle() -> None:
    """Every pair has one face of each sphere, on the circle where they cut each other."""
    two = joined(sphere(3), sphere(3).transformed(lambda p: p + torch.tensor([1.0, 0.013, 0.017])))
    pairs = self_intersections(two)
    assert len(pairs) > 100
    assert (pairs[:, 0] < 1280).all() and (pairs[:, 1] >= 1280).all()
    centers = two.vertices[two.faces[pairs]].mean((1, 2))
    assert (centers[:, 0] - 0.5).abs().max() < 0.12
    order = pairs[:, 0] * len(two.faces) + pairs[:, 1]
    assert (order.diff() > 0).all()
    assert torch.equal(pairs, self_intersections(two))


def test_size_does_not_matter() -> None:
    two = joined(sphere(2), sphere(2).transformed(lambda p: p + torch.tensor([1.0, 0.013, 0.017])))
    expected = self_intersections(two)
    for scale in (2.0**-60, 2.0**50):
        assert torch.equal(self_intersections(two.transformed(lambda p, s=scale: p * s)), expected)
