"""Coarser copies keep shape and colors; points of the surface lie on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from nerfkit.errors import SceneError
from nerfkit.mesh.bake import bake
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.files.ply_write import points_to_ply
from nerfkit.mesh.levels import coarser, surface_colors
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.mesh.topology import is_watertight
from nerfkit.mesh.unwrap import unwrap

BALL = icosphere(3, 1.0).without_appearance()  # 1280 faces


def painted(points: torch.Tensor) -> torch.Tensor:
    """Colors that change slowly over space."""
    return (points / points.norm(dim=-1, keepdim=True) + 1) / 2


@pytest.fixture(scope="module")
def textured() -> Mesh:
    return bake(unwrap(BALL, 128), lambda points, normals: painted(points), 128)


def test_a_texture_is_baked_anew(textured: Mesh) -> None:
    rough = torch.full((64, 64), 0.25)
    for faces, side in ((320, 64), (40, 64)):
        level, found = coarser(textured, faces, rough)
        assert len(level.faces) <= faces and is_watertight(level)
        assert level.texture is not None and level.texture.shape == (side, side, 3) and level.corner_uvs is not None
        centers = torch.full((len(level.faces), 3), 1 / 3)
        colors = surface_colors(level, level.texture, torch.arange(len(level.faces)), centers)
        points = level.vertices[level.faces].mean(1)
        assert (colors - painted(points)).abs().max() < 0.05
        assert found is not None and torch.allclose(found, torch.tensor(0.25), atol=1e-6)


def test_vertex_colors_and_none(textured: Mesh) -> None:
    level, rough = coarser(replace(BALL, colors=painted(BALL.vertices)), 300, None)
    assert rough is None and level.texture is None and level.colors is not None
    assert (level.colors - painted(level.vertices)).abs().max() < 0.03
    plain, _ = coarser(BALL, 300)
    assert plain.colors is None and plain.corner_uvs is None and len(plain.faces) <= 300


@pytest.mark.parametrize("kind", ["texture", "colors", "plain"])
@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (500000.25, 4649776.5, 100.0)])
def test_points_lie_on_the_surface(
    tmp_path: Path, textured: Mesh, kind: str, origin: tuple[float, float, float]
) -> None:
    mesh = {"texture": textured, "colors": replace(BALL, colors=painted(BALL.vertices)), "plain": BALL}[kind]
    path = tmp_path / "points.ply"
    path.write_bytes(points_to_ply(replace(mesh, origin=origin), 3000))
    assert path.read_bytes() == points_to_ply(replace(mesh, origin=origin), 3000)
    data = trimesh.load(path).metadata["_ply_raw"]["vertex"]["data"]
    points = np.stack([data[axis] for axis in "xyz"], -1) - origin
    normals = np.stack([data[f"n{axis}"] for axis in "xyz"], -1)
    assert points.shape == (3000, 3) and np.abs(np.linalg.norm(points, axis=1) - 1).max() < 0.02
    assert (points * normals).sum(1).min() > 0.97
    assert np.abs(points.mean(0)).max() < 0.02  # by area: evenly all around
    assert ("red" in data.dtype.names) == (kind != "plain")
    if kind != "plain":
        colors = np.stack([data[name] for name in ("red", "green", "blue")], -1) / 255
        assert np.abs(colors - painted(torch.from_numpy(points)).numpy()).max() < 0.05


def test_a_point_cloud_is_no_mesh(tmp_path: Path) -> None:
    (tmp_path / "points.ply").write_bytes(points_to_ply(BALL, 10))
    with pytest.raises(SceneError, match="no triangles"):
        load_mesh(tmp_path / "points.ply")
