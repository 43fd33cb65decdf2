"""Where a mesh is cut off: cropped to a box, closed there or open."""

from dataclasses import replace

import pytest
import torch

from nerfkit.cameras import Cameras
from nerfkit.errors import ConfigError, SceneError
from nerfkit.fields.contracted import ContractedField
from nerfkit.fit.extract import ExtractOptions, coarse_mesh, finished, walls
from nerfkit.fit.walls import crop_of, cut_off, walls_of
from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.topology import topology_report
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene, Similarity
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.samplers import OccupancyOptions
from tests.fit.test_subject import PLANE, UP, Still
from tests.volume.test_nested import SIDE, Room, ring

UNITS = Similarity(0.5, (0.0, 0.0, 1.0))  # the scene's own units are half as large, from a place beside
BOX = ((-2.0, -0.6, -3.5), (2.0, 2.0, -1.6))  # in normalized units y from -0.3, z to 0.2, and all of the ball else


def scene_of(cameras: Cameras, unbounded: bool = False) -> Scene:
    photos = Photos.of(torch.full((len(cameras), SIDE, SIDE, 4), 200, dtype=torch.uint8))
    return Scene(
        "ball", photos, cameras, [1, 2, 3, 5, 6, 7], [0, 4], has_masks=not unbounded, unbounded=unbounded,
        normalization=UNITS,
    )  # fmt: skip


@pytest.mark.parametrize("unbounded", [False, True])
@pytest.mark.parametrize("of_scene", [False, True])
def test_a_box_crops_the_mesh(unbounded: bool, of_scene: bool) -> None:
    scene = scene_of(ring(), unbounded)
    sampler = OccupancyOptions(resolution=32, step_size=0.03, hull=False).build(scene)
    model = RadianceModel(ContractedField(Room()) if unbounded else Room(), sampler)
    options = ExtractOptions(resolution=64, faces=4000)
    asked = options if of_scene else replace(options, box=[list(corner) for corner in BOX])
    if of_scene:
        scene = replace(scene, box=BOX)
    closed = coarse_mesh(model, scene, asked)
    opened = finished(closed, scene, replace(asked, closed=False))
    assert finished(closed, scene, replace(asked, closed=True)) is closed
    cell = asked.cell
    for mesh in (closed, opened):
        low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
        torch.testing.assert_close(low, torch.tensor([-0.5, -0.3, -0.5]), atol=cell, rtol=0)
        torch.testing.assert_close(high, torch.tensor([0.5, 0.5, 0.2]), atol=cell, rtol=0)
        assert cut_off(mesh, walls(scene, asked), cell)
    assert topology_report(closed).watertight
    report = topology_report(opened)
    assert report.boundary_edges and not report.non_manifold_edges and not report.non_manifold_vertices
    # What is left is the ball's own surface; the two cuts are gone.
    assert (opened.vertices.norm(dim=-1) > 0.5 - 2 * cell).all()
    assert (closed.vertices.norm(dim=-1) < 0.5 - 2 * cell).any()
    assert (finished(closed, scene, asked) is closed) != unbounded  # closed where photos have masks
    whole = coarse_mesh(model, replace(scene, box=None), options)
    assert not cut_off(whole, walls(replace(scene, box=None), options), cell)
    assert topology_report(whole).watertight


def test_what_stands_on_a_table_has_no_floor_unless_asked() -> None:
    """Above the plane that carries it nothing changes."""
    scene = replace(scene_of(ring(), unbounded=True), ground=PLANE, up=tuple(UP.tolist()), normalization=Similarity())
    model = RadianceModel(ContractedField(Still()), OccupancyOptions(resolution=64, step_size=0.02).build(scene))
    options = ExtractOptions(resolution=96, faces=8000)
    closed = coarse_mesh(model, scene, options)
    opened = finished(closed, scene, options)

    def down(mesh: Mesh) -> float:
        """Share of the area that looks at the table from close to it."""
        a, b, c = mesh.vertices[mesh.faces].unbind(1)
        area = torch.linalg.cross(b - a, c - a)
        low = ((a + b + c) / 3 @ UP) < PLANE[3] + 0.05
        return float(((area @ UP).clamp(max=0).abs() * low).sum() / area.norm(dim=-1).sum())

    assert topology_report(closed).watertight
    assert down(closed) > 0.15
    assert down(opened) < 0.02
    table = EdgeTable.of(opened.faces, len(opened.vertices))
    assert table.boundary.any() and (table.boundary | table.regular).all()


def test_boxes_that_miss_the_region_are_refused() -> None:
    scene = scene_of(ring())
    assert crop_of(scene, None) is None
    assert crop_of(scene, BOX) == ((-1.0, -0.3, -0.75), (1.0, 1.0, pytest.approx(0.2)))
    with pytest.raises(ConfigError, match=r"extract\.box=\[\[9\.0.*outside of the region.*\[\[-2\.0,-2\.0,-4\.0\],"):
        crop_of(scene, ((9.0, 0.0, 0.0), (10.0, 1.0, 1.0)))
    with pytest.raises(ConfigError, match=r"extract\.box=7: expected two opposite corners"):
        ExtractOptions(box=7).check()
    assert len(walls_of(None, None)) == 6 and len(walls_of(BOX, PLANE)) == 7


def test_a_box_inside_of_something_is_named() -> None:
    scene = scene_of(ring(), unbounded=True)
    model = RadianceModel(ContractedField(Room()), OccupancyOptions(resolution=32, step_size=0.03).build(scene))
    options = ExtractOptions(resolution=64, box=[[-0.4, -0.4, -2.4], [0.4, 0.4, -1.6]])
    with pytest.raises(SceneError, match=r"inside of something.*extract\.closed=true"):
        coarse_mesh(model, scene, options)
