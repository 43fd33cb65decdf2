"""Exported files by readers that are not ours: every value of ``export.units``, ``up``, ``faces``, ``points`` and
``cameras``. Formats, textures, materials and a GLB's cameras are read so in tests/mesh."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from nerfkit.config import ExportOptions
from nerfkit.export_stage import export
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.runs.folder import Run
from nerfkit.scenes import Scene, open_scene
from nerfkit.scenes.frame import AXES
from nerfkit.scenes.placement import UNITS
from nerfkit.scenes.scene import Similarity
from nerfkit.scenes.writers import view_names
from tests.scenes.builders import ring, write_kaolin

LENGTH = 0.5  # meters a unit of the scene
IN_A_METER = {None: 1, "m": 1, "cm": 100, "mm": 1000, "in": 1 / 0.0254}
ALONG = {"scene": (1, 1), "x": (0, 1), "y": (1, 1), "z": (2, 1), "-x": (0, -1), "-y": (1, -1), "-z": (2, -1)}
"""``export.up`` -> the axis that the scene's y becomes, and its sign."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = write_kaolin(tmp_path_factory.mktemp("data") / "sphere", ring(4, size=(12, 10)))
    return replace(open_scene("kaolin", folder), normalization=Similarity(0.5, (0.0, 1.0, 0.0)), meters=LENGTH)


def pear() -> Mesh:
    """In the scene's own units, 2 wide, from y = -1 to 4."""
    ball = icosphere(2).without_appearance()
    tall = ball.vertices.clone()
    tall[:, 1] = tall[:, 1].where(tall[:, 1] < 0, 4 * tall[:, 1])
    return replace(ball, vertices=tall)


def vertices(path: Path) -> np.ndarray:
    """The places of a file's vertices, by trimesh."""
    found: Any = trimesh.load(path, process=False)
    return np.asarray(found.to_geometry().vertices if isinstance(found, trimesh.Scene) else found.vertices)


def test_every_unit_and_axis_is_known() -> None:
    assert {*IN_A_METER} == {None, *UNITS} and {*ALONG} == {"scene", *AXES}


@pytest.mark.parametrize(("up", "unit"), zip(ALONG, [*IN_A_METER, "mm", None], strict=True))
def test_units_and_axes_are_as_asked_in_every_file(scene: Scene, tmp_path: Path, up: str, unit: str | None) -> None:
    wanted = ExportOptions(["glb", "obj", "ply", "stl"], units=unit, up=up, faces=[40], points=200)
    export(pear(), None, wanted, scene, Run(tmp_path))
    axis, sign = ALONG[up]
    for name in ("mesh.obj", "mesh.ply", "mesh.stl", "mesh_40.obj", "mesh_40.stl", "points.ply", "mesh.glb"):
        plain, exact = name == "mesh.glb", name.startswith("mesh.")
        found = vertices(tmp_path / "mesh" / name) / (LENGTH * (1 if plain else IN_A_METER[unit]))
        heights = found[:, 1] if plain else sign * found[:, axis]
        assert [heights.min(), heights.max()] == pytest.approx([-1, 4], abs=1e-4 if exact else 0.5), name
        across = np.delete(found, 1 if plain else axis, 1)
        assert np.abs(across).max() == pytest.approx(1, abs=1e-2 if exact else 0.3), name


def test_colmap_sees_the_mesh_where_the_photos_do(scene: Scene, tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed: the extra photos")
    export(pear(), None, ExportOptions(["obj"], units="cm", up="z", cameras=["colmap"]), scene, Run(tmp_path))
    (model,) = {path.parent for path in (tmp_path / "cameras" / "colmap").rglob("images.*") if path.is_file()}
    found = {Path(image.name).stem: image for image in pycolmap.Reconstruction(model).images.values()}
    points, own = vertices(tmp_path / "mesh" / "mesh.obj"), pear()
    expected = scene.cameras.project(own.transformed(scene.normalization.apply).vertices)[0].numpy()
    for view, name in enumerate(view_names(scene)):
        pixels = np.array([found[name].project_point(point) for point in points])
        assert np.abs(pixels - expected[view]).max() < 0.01, name
