"""Photos over pictures, where they were taken."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nerfkit.mesh.shapes import icosphere
from nerfkit.raster.shade import MeshSource
from nerfkit.runs.files import to_bytes
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.viewer.draw import GAIN, Drawn, Framed, Look, camera_of, draw
from nerfkit.viewer.photo import NEAR, Album
from nerfkit.viewer.things import SIZE, Frusta, pose_of
from tests.viewer.fakes import Controls

VIEW = 2


@pytest.fixture(scope="module")
def photographed(scene: Scene) -> Scene:
    """Photos of a ball that is not in their middle, in its normals' colors, a stripe of which is unknown."""
    ball = icosphere(2, 0.7).transformed(lambda points: points + 0.2)
    source = MeshSource(replace(ball, colors=ball.vertices * 0.5 + 0.5), None)
    pictures, unknown = [], torch.zeros(40, 48, dtype=torch.bool)
    unknown[:, 40:] = True
    for view in range(len(scene.cameras)):
        found = source.render(scene.cameras, view)
        pictures.append(torch.from_numpy(to_bytes(torch.cat([found["rgb"], found["alpha"][..., None]], -1))))
    return replace(scene, images=Photos.of(pictures, [unknown] * len(pictures)), background=(0.1, 0.2, 0.3))


def eye_at(scene: Scene, size: tuple[int, int]) -> Any:
    wxyz, position, fov = pose_of(scene, VIEW)
    return SimpleNamespace(wxyz=wxyz, position=position, fov=fov, image_height=size[0], image_width=size[1])


def framed(scene: Scene, size: tuple[int, int]) -> Framed:
    found = Album(scene).framed(VIEW, scene.cameras, eye_at(scene, size), size)
    assert found is not None
    return found


@pytest.mark.parametrize("size", [(40, 48), (80, 200), (60, 20), (11, 33), (20, 1)])
def test_a_photo_lies_where_the_client_sees_its_things(photographed: Scene, size: tuple[int, int]) -> None:
    found = framed(photographed, size)
    assert found.colors.shape == (*size, 3) and found.inside.shape == size
    points = icosphere(1, 0.8).vertices
    seen = camera_of(eye_at(photographed, size), 1000).project(points)[0]
    assert (found.camera.project(points)[0] - seen).abs().max() < 1.0  # rows and columns are whole
    scale = size[0] / 40
    width = min(round(48 * scale), size[1])
    assert found.inside.any(0).sum() <= width
    known = min(round(40 * scale), size[1] / 2 + 16 * scale)  # of 48 columns, the window's middle being the 24th's
    shown = found.inside.any(0).nonzero()[0]
    assert abs(shown.max() + 1 - (size[1] / 2 + min(16 * scale, size[1] / 2))) <= 1 and len(shown) <= known + 1


def pictured(scene: Scene, look: Look, photo: Framed) -> Drawn:
    ball = icosphere(2, 0.7).transformed(lambda points: points + 0.2)
    sources = {"mesh": MeshSource(replace(ball, colors=ball.vertices * 0.5 + 0.5), scene.background)}
    found = draw(sources, photo.camera, look, (1.0, 4.0), math.inf, lambda: False, photo)
    assert found is not None
    return found


def test_the_error_of_what_was_photographed_is_none(photographed: Scene) -> None:
    photo = framed(photographed, (40, 48))
    look = Look("mesh", "error", photo=0.0)
    assert pictured(photographed, look, photo).pixels.max() <= 2 * GAIN  # of 255: of rounding
    darker = photo._replace(colors=photo.colors * 0.5)
    error = pictured(photographed, look, darker).pixels
    assert not error[~photo.inside].any() and not photo.inside[:, 40:].any()
    wanted = np.clip(GAIN * 0.5 * photo.colors, 0, 1) * 255
    assert np.abs(error - wanted)[photo.inside].max() <= 2 * GAIN


def test_a_photo_covers_the_left_of_the_picture(photographed: Scene) -> None:
    photo = framed(photographed, (40, 48))
    plain = pictured(photographed, Look("mesh", "alpha", photo=0.0), photo).pixels
    half = pictured(photographed, Look("mesh", "alpha", photo=0.5), photo).pixels
    assert np.array_equal(half[:, 24:], plain[:, 24:])
    assert np.array_equal(half[:, :24], to_bytes(photographed.image(VIEW))[:, :24])
    whole = pictured(photographed, Look("mesh", "alpha", photo=1.0), photo).pixels
    assert np.array_equal(whole[:, 40:], plain[:, 40:])  # where the photo is unknown


def test_who_stands_at_a_photo(photographed: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("nerfkit.viewer.photo.time", SimpleNamespace(monotonic=lambda: now[0]))
    album, eye = Album(photographed), eye_at(photographed, (40, 48))
    assert album.at("a", eye, photographed) is None
    album.put("a", VIEW)
    before = SimpleNamespace(wxyz=eye.wxyz, position=eye.position + 1)  # a message that was on its way
    assert album.at("a", before, photographed) is None
    eye.wxyz = -eye.wxyz  # the same rotation
    now[0] = 5.0
    assert album.at("a", eye, photographed) == VIEW
    eye.position = eye.position + 2 * NEAR
    assert album.at("a", eye, photographed) is None
    eye.position = eye.position - 2 * NEAR
    assert album.at("a", eye, photographed) is None  # it has left


def test_no_photo(photographed: Scene) -> None:
    eye = eye_at(photographed, (40, 48))
    assert Album(None).framed(VIEW, photographed.cameras, eye, (40, 48)) is None
    other = photographed.cameras.resized(20, 24)
    assert Album(photographed).framed(VIEW, other, eye, (40, 48)) is None


def test_frusta_make_way(scene: Scene) -> None:
    controls = Controls()
    nodes = [SimpleNamespace(visible=True, on_click=lambda call: None) for _ in range(6)]
    controls.server.scene.add_camera_frustum.side_effect = nodes
    frusta = Frusta(controls.server, scene, lambda view: None, lambda client, view: None)
    _, position, fov = pose_of(scene, VIEW)
    frusta.make_way(position, fov)
    assert [node.visible for node in nodes] == [view != VIEW for view in range(6)]
    frusta.make_way(position * (1 + 8 * SIZE / fov / np.linalg.norm(position)), fov)
    assert all(node.visible for node in nodes)
