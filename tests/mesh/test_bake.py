"""UV charts and baking."""

import pytest
import torch
from mesh_shapes import quad, sphere

from nerfkit.errors import SceneError
from nerfkit.mesh.bake import bake, bake_vertex_colors, fill_outside, texel_map
from nerfkit.mesh.files.io import texture_colors
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.unwrap import unwrap


def uv_areas(uvs: torch.Tensor) -> torch.Tensor:
    (ax, ay), (bx, by) = (uvs[:, 1] - uvs[:, 0]).unbind(-1), (uvs[:, 2] - uvs[:, 0]).unbind(-1)
    return (ax * by - ay * bx).abs() / 2


def test_charts_lie_in_the_unit_square_and_do_not_overlap() -> None:
    mesh = unwrap(sphere(3), size=256)
    assert mesh.corner_uvs is not None
    assert mesh.corner_uvs.min() >= 0
    assert mesh.corner_uvs.max() <= 1
    size = 512
    face, _ = texel_map(mesh.corner_uvs, size, size)
    covered = (face >= 0).float().mean().item()
    total = uv_areas(mesh.corner_uvs).sum().item()
    assert 0.4 < total < 1
    assert covered == pytest.approx(total, rel=0.02), "overlapping charts would cover less than their areas' sum"


def test_unwrapping_keeps_faces_and_refuses_nothing_to_unwrap() -> None:
    mesh = sphere(1)
    unwrapped = unwrap(mesh, size=64)
    assert torch.equal(unwrapped.faces, mesh.faces)
    assert torch.equal(unwrapped.vertices, mesh.vertices)
    with pytest.raises(SceneError, match="no face with an area"):
        unwrap(Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int64)))
    with pytest.raises(SceneError, match="no face with an area"):
        unwrap(Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]])))


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**-3, 2.0**5, 2.0**55])
def test_unwrapping_does_not_depend_on_the_unit(scale: float) -> None:
    """Such lengths make xatlas stumble, huge ones crash."""
    mesh = sphere(2)
    scaled = unwrap(mesh.transformed(lambda points: points * scale), size=64)
    assert torch.equal(scaled.vertices, mesh.vertices * scale)
    assert torch.equal(scaled.corner_uvs, unwrap(mesh, size=64).corner_uvs)


@pytest.mark.parametrize("far", [1e6, 1e17])
def test_vertices_that_no_face_uses_do_not_change_the_charts(far: float) -> None:
    mesh = sphere(2)
    more = Mesh(torch.cat([mesh.vertices, torch.full((1, 3), far)]), mesh.faces)
    unwrapped = unwrap(more, size=64)
    assert torch.equal(unwrapped.vertices, more.vertices)
    assert torch.equal(unwrapped.corner_uvs, unwrap(mesh, size=64).corner_uvs)


def test_texel_map_places_texel_centers() -> None:
    mesh = quad()
    assert mesh.corner_uvs is not None
    face, barycentric = texel_map(mesh.corner_uvs, 4, 6)
    points = (mesh.vertices[mesh.faces[face]] * barycentric[..., None]).sum(2)  # (4, 6, 3)
    u = (torch.arange(6) + 0.5) / 6
    v = 1 - (torch.arange(4) + 0.5) / 4
    assert torch.allclose(points[..., 0], u.expand(4, 6), atol=1e-6)
    assert torch.allclose(points[..., 1], v[:, None].expand(4, 6), atol=1e-6)
    assert (face[0, 0], face[3, 5]) == (1, 0), "row 0 is at v = 1"


def test_texel_map_agrees_with_a_brute_force_search() -> None:
    uvs = torch.rand(12, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    uvs[4] = uvs[4, :1]  # a triangle without area
    face, barycentric = texel_map(uvs, 9, 7)
    for i in range(9):
        for j in range(7):
            point = torch.tensor([(j + 0.5) / 7, 1 - (i + 0.5) / 9], dtype=torch.float64)
            inside = []
            for k, (a, b, c) in enumerate(uvs):
                weights = torch.linalg.pinv(torch.stack([b - a, c - a], 1)) @ (point - a)
                on = torch.allclose(a + torch.stack([b - a, c - a], 1) @ weights, point, atol=1e-9)
                if on and weights.min() >= 0 and weights.sum() <= 1:
                    inside.append((k, torch.cat([1 - weights.sum()[None], weights])))
            assert int(face[i, j]) == (inside[0][0] if inside else -1)
            assert torch.allclose(barycentric[i, j], inside[0][1] if inside else torch.zeros(3).double(), atol=1e-9)


def test_baked_colors_come_back_at_the_vertices() -> None:
    mesh = bake(unwrap(sphere(3), size=256), lambda points, normals: (points + 1) / 2, size=256, chunk=1000)
    assert mesh.texture is not None
    error = (texture_colors(mesh) - (mesh.vertices + 1) / 2).abs()
    assert error.max() < 0.05, "a texel spans about 0.02"
    assert error.mean() < 0.01


def test_bake_hands_over_unit_outward_normals() -> None:
    seen = []

    def color(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        seen.append((points * normals).sum(-1) / points.norm(dim=-1))
        return points * 0 + 2.0

    mesh = bake(unwrap(sphere(3), size=64), color, size=64)
    assert torch.cat(seen).min() > 0.99
    assert mesh.texture is not None
    assert torch.equal(mesh.texture, torch.ones(64, 64, 3)), "colors are clamped and every texel is set"


def test_vertex_colors_into_a_texture() -> None:
    flat = quad()
    mesh = bake_vertex_colors(Mesh(flat.vertices, flat.faces, flat.corner_uvs, flat.vertices), size=8)
    assert mesh.texture is not None
    ramp = (torch.arange(8) + 0.5) / 8
    assert torch.allclose(mesh.texture[..., 0], ramp.expand(8, 8), atol=1e-6)
    assert torch.allclose(mesh.texture[..., 1], (1 - ramp)[:, None].expand(8, 8), atol=1e-6)


def test_gaps_take_the_nearest_color() -> None:
    texture = torch.zeros(3, 5, 3)
    texture[1, 0], texture[1, 4] = 1.0, 0.5
    covered = torch.zeros(3, 5, dtype=torch.bool)
    covered[1, 0] = covered[1, 4] = True
    filled = fill_outside(texture, covered)
    assert filled[0, 1, 0] == 1
    assert filled[2, 3, 0] == 0.5
    assert torch.equal(fill_outside(texture, covered & False), texture)


def test_baking_needs_charts() -> None:
    with pytest.raises(ValueError, match="unwrap"):
        bake(sphere(0), lambda points, normals: points)
    with pytest.raises(ValueError, match="colors"):
        bake_vertex_colors(quad())
