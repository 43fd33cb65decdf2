"""The part of the pictures that a step draws: nothing that counts lies outside, and the loss is that of the whole."""

from dataclasses import replace

import pytest
import torch

from nerfkit.fit.refine_phases import Colored
from nerfkit.fit.refine_targets import DepthTargets, Targets
from nerfkit.fit.refine_window import MARGIN, Windows
from nerfkit.mesh.mesh import Mesh
from nerfkit.raster import homogeneous_points, render
from nerfkit.raster.visibility import VISIBILITIES, pick_visibility
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from tests.fit.test_refine import ball, options, scene as scene

LOCAL = [name for name in VISIBILITIES if pick_visibility(name).local]


def shifted(mesh: Mesh, x: float) -> Mesh:
    return replace(mesh, vertices=mesh.vertices + torch.tensor([x, 0.0, 0.0]))


def test_all_of_mesh_and_mask_is_inside(scene: Scene) -> None:
    views, mesh = scene.train[:3], shifted(ball((0.3, 0.2, 0.3)), 0.4)
    window = Windows(scene).around(mesh.vertices, views)
    height, width = scene.cameras.size
    assert window.height * window.width < height * width
    points = homogeneous_points(mesh.vertices, scene.cameras[views])
    for k, view in enumerate(views):
        covered = (scene.images[view][..., 3] > 0).nonzero()
        xy = points[k, :, :2] / points[k, :, 2:]
        low = torch.minimum(covered.amin(0), xy.flip(-1).amin(0).floor().long()) - MARGIN
        high = torch.maximum(covered.amax(0) + 1, xy.flip(-1).amax(0).ceil().long()) + MARGIN
        assert window.top[k] <= max(low[0], 0) and window.left[k] <= max(low[1], 0)
        assert window.top[k] + window.height >= min(high[0], height)
        assert window.left[k] + window.width >= min(high[1], width)
        assert 0 <= window.top[k] <= height - window.height and 0 <= window.left[k] <= width - window.width


@pytest.mark.parametrize("visibility", LOCAL)
@pytest.mark.parametrize("has_masks", [True, False])
def test_terms_and_gradients_are_those_of_the_whole_pictures(scene: Scene, visibility: str, has_masks: bool) -> None:
    scene = replace(scene, has_masks=has_masks)
    found = []
    for whole in (False, True):
        phase = Colored(shifted(ball((0.3, 0.2, 0.3)), 0.3), Targets(scene, options(), 0), options(), visibility)
        phase.windows = Windows(scene, whole)
        terms = phase.losses(scene.train[:2])
        found.append((terms, phase.vertices.grad, phase.colors.grad))
    (terms, *gradients), (expected, *true) = found
    assert set(terms) == set(expected)
    for name, term in terms.items():
        assert term.item() == pytest.approx(expected[name].item(), rel=2e-5)
    for gradient, other in zip(gradients, true, strict=True):
        assert gradient is not None and other is not None and other.any()
        assert (gradient - other).norm() < 1e-3 * other.norm()


def test_depth_is_looked_up_in_the_window(scene: Scene) -> None:
    mesh, view = shifted(ball((0.3, 0.2, 0.3)), 0.3), scene.train[0]
    cameras = scene.cameras[[view]]
    whole = render(mesh.vertices, mesh.faces, cameras, colors=mesh.colors)
    everywhere = torch.arange(cameras.height * cameras.width)
    wanted = DepthTargets(
        {view: everywhere}, {view: whole.fragments.depth.flatten() + 0.1 * torch.rand(len(everywhere))}
    )
    targets = Targets(scene, options(depth_weight=1.0), 0, wanted)
    window = Windows(scene).around(mesh.vertices, [view])
    assert (window.height, window.width) != cameras.size
    part = render(mesh.vertices, mesh.faces, window.cameras(cameras), colors=mesh.colors)
    expected = targets.wanted.terms(whole, targets.look([view]), 0.1)["depth"]
    found = targets.wanted.terms(part, targets.look([view], window), 0.1)["depth"]
    assert expected.top > 0 and found.bottom == expected.bottom
    assert found.top.item() == pytest.approx(expected.top.item(), rel=1e-4)


def test_a_mesh_at_the_camera_or_none_takes_the_whole_picture(scene: Scene) -> None:
    views = scene.train[:2]
    at = scene.cameras.positions[views[0]]
    for vertices in (torch.cat([at[None], torch.zeros(2, 3)]), torch.full((3, 3), torch.nan), torch.zeros(0, 3)):
        window = Windows(scene).around(vertices, views)
        assert (window.height, window.width, window.top, window.left) == (*scene.cameras.size, [0, 0], [0, 0])


def test_neither_mesh_nor_mask_in_the_picture_leaves_a_window(scene: Scene) -> None:
    view = scene.train[0]
    nothing = replace(
        scene, images=Photos.of(torch.zeros(len(scene.images), *scene.cameras.size, 4, dtype=torch.uint8))
    )
    beside = scene.cameras.positions[view] - scene.cameras.camera_to_world[view, :, 2]
    far = beside + 100 * scene.cameras.camera_to_world[view, :, 0]
    window = Windows(nothing).around(far[None], [view])
    assert window.height >= 1 and window.width >= 1 and window.height * window.width < 200
    assert window.cut([nothing.images[view]]).shape[1:3] == (window.height, window.width)
