import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfkit.cameras import Cameras
from nerfkit.errors import ConfigError, SceneError
from nerfkit.view.keyframes import EASINGS, Keyframes
from nerfkit.view.options import VideoOptions
from nerfkit.view.path_files import read_path, write_path
from nerfkit.view.paths import PATHS
from nerfkit.view.route import Route, camera_path, settle_path
from tests.view.path_builders import FOV, PLACES, UP, glb, gltf, nerfstudio, ngp, own, poses, scene, square

NOTHING = torch.zeros(0, 3)


def saved(folder: Path, content: Any, name: str = "p.json") -> Path:
    (folder / name).write_text(json.dumps(content))
    return folder / name


def cameras(path: Path, **options: Any) -> Cameras:
    return camera_path(VideoOptions(path="file", file=str(path), **{"frames": 4} | options), scene(), NOTHING)


def at(found: Cameras) -> np.ndarray:
    """Poses in the scene's own units."""
    pose = found.camera_to_world.double()
    return np.concatenate([pose[:, :, :3], scene().normalization.invert(pose[:, :, 3])[:, :, None]], 2)


@pytest.mark.parametrize("make", [own, nerfstudio], ids=["own", "nerfstudio"])
def test_frames_at_the_keyframes_are_these(make: Any, tmp_path: Path) -> None:
    found = cameras(saved(tmp_path, make()))
    assert at(found) == pytest.approx(poses(), abs=1e-5)
    assert (found.height, found.width) == (24, 48)
    focal = 12 / np.tan(np.radians(FOV) / 2)
    assert found.intrinsics.numpy() == pytest.approx(np.stack([focal, focal, [24.0] * 4, [12.0] * 4], 1), abs=1e-3)


@pytest.mark.parametrize("applied", [{}, {"applied_transform": [[0, 1, 0, 5], [1, 0, 0, 0], [0, 0, -1, 2]]}])
def test_what_nerfstudio_has_turned_and_scaled_is_undone(applied: dict[str, Any], tmp_path: Path) -> None:
    own_to_training = np.array([[0.0, 1, 0, 3], [-1, 0, 0, 1], [0, 0, 1, -2], [0, 0, 0, 1]])
    before = square(np.array(applied["applied_transform"], float)) if applied else np.eye(4)
    stated = {"transform": (own_to_training @ before)[:3].tolist(), "scale": 0.25}
    content = nerfstudio() | {"dataparser_transforms": stated} | applied
    for frame, pose in zip(content["camera_path"], poses(), strict=True):
        moved = own_to_training @ square(pose)
        moved[:3, 3] *= 0.25
        frame["camera_to_world"] = moved.tolist()  # nested rows, as some tools write them
    assert at(cameras(saved(tmp_path, content))) == pytest.approx(poses(), abs=1e-5)


def test_the_way_of_instant_ngp_is_a_b_spline(tmp_path: Path) -> None:
    still = ngp()
    still["path"] = [still["path"][1]] * 3
    found = cameras(saved(tmp_path, still))
    assert at(found) == pytest.approx(np.stack([poses()[1]] * 4), abs=1e-5)
    assert found.size == (16, 24)  # the file has no size: as the photos
    assert found.intrinsics[0, 0].item() == pytest.approx(8 / np.tan(np.radians(35) / 2), abs=1e-4)
    moving = at(cameras(saved(tmp_path, ngp())))[:, :, 3]
    assert moving[1] == pytest.approx((PLACES[0] + 4 * PLACES[1] + PLACES[2]) / 6, abs=1e-5)
    assert moving[0] == pytest.approx((5 * PLACES[0] + PLACES[1]) / 6, abs=1e-5)
    looped = saved(tmp_path, ngp() | {"loop": True})
    assert at(cameras(looped))[0, :, 3] == pytest.approx((PLACES[3] + 4 * PLACES[0] + PLACES[1]) / 6, abs=1e-5)
    assert Route(VideoOptions(path="file", file=str(looped)), scene()).closes
    other = ngp() | {"scale": 0.66, "offset": [0.5, 0.5, 0.5]}
    assert at(cameras(saved(tmp_path, other)))[:, :, 3] == pytest.approx(moving / 2, abs=1e-5)


def test_times_of_instant_ngp(tmp_path: Path) -> None:
    content = ngp()
    for frame, end in zip(content["path"], (1.0, 4.0, 5.0, 9.0), strict=True):
        frame["timestamp"] = end  # of the stretch behind it
    found = read_path(saved(tmp_path, content))
    assert (found.times.tolist(), found.end, found.timed) == ([0, 1, 4, 5], 5, True)
    looped = read_path(saved(tmp_path, content | {"loop": True}))
    assert (looped.times.tolist(), looped.end) == ([0, 1, 4, 5], 9)


@pytest.mark.parametrize("animated", [True, False])
@pytest.mark.parametrize("suffix", ["glb", "gltf"])
def test_cameras_of_gltf_are_in_the_exported_mesh_s_axes(animated: bool, suffix: str, tmp_path: Path) -> None:
    document, data = gltf(animated)
    path = tmp_path / f"c.{suffix}"
    if suffix == "gltf" and data:
        document["buffers"][0]["uri"] = "data:;base64," + base64.b64encode(data).decode()
    path.write_bytes(glb(document, data) if suffix == "glb" else json.dumps(document).encode())
    found = read_path(path)
    assert found.timed == animated
    assert found.times.tolist() == ([0, 0.5, 1, 2] if animated else [0, 1, 2, 3])
    drawn = replace(scene(), meters=10.0)
    options = VideoOptions(path="file", file=str(path), frames=5 if animated else 4, width=10, height=10)
    for place, factor in ((scene(), 1.0), (drawn, 0.1)):  # exports of a scene with a length are in meters
        path_cameras = camera_path(options, place, NOTHING)
        own_place = place.normalization.invert(path_cameras.positions.double()).numpy()
        keep = [0, 1, 2, 4] if animated else [0, 1, 2, 3]
        assert own_place[keep] == pytest.approx(PLACES * factor, abs=1e-5)
        assert path_cameras.camera_to_world[keep, :, :3].numpy() == pytest.approx(poses()[:, :, :3], abs=1e-5)
    # What the file's picture, 2 x 1, shows is in a square one.
    assert path_cameras.intrinsics[0, 0].item() == pytest.approx(5 * 0.5 / np.tan(0.35), abs=1e-4)


def test_frames_as_long_as_the_file_says(tmp_path: Path) -> None:
    path = saved(tmp_path, nerfstudio())  # four frames at 2 a second
    assert at(cameras(path, frames=None, fps=2.0)) == pytest.approx(poses(), abs=1e-5)
    assert len(cameras(path, frames=None, fps=30.0)) == 46
    cyclic = saved(tmp_path, nerfstudio() | {"is_cycle": True}, "c.json")
    assert at(cameras(cyclic, frames=None, fps=2.0)) == pytest.approx(poses(), abs=1e-5)
    assert len(cameras(cyclic, frames=None, fps=30.0)) == 60
    untimed = saved(tmp_path, ngp(), "n.json")
    with pytest.raises(SceneError, match="it does not say how long its path lasts; expected a number for frames"):
        settle_path(VideoOptions(path="file", file=str(untimed), frames=None))
    with pytest.raises(SceneError, match=r"its path lasts 1500001 frames at fps=1e\+06; give frames, a number"):
        cameras(path, frames=None, fps=1e6)


def keyframes(easing: str, closed: bool = False) -> Keyframes:
    line = np.zeros((3, 3, 4))
    line[:, :, :3] = np.eye(3)
    line[:, 0, 3] = [0.0, 1.0, 2.0]
    return Keyframes(np.array([0.0, 1, 2]), line, None, closed, 3.0 if closed else 2.0, easing=[easing] * (2 + closed))


def test_easings() -> None:
    u = np.array([0.0, 0.25, 0.5, 0.75])
    curves = {"linear": u, "in": u * u, "out": u * (2 - u), "in_out": u * u * (3 - 2 * u)}
    assert set(curves) == set(EASINGS)
    for easing, curve in curves.items():
        x = keyframes(easing).frames(9)[0][:, 0, 3]
        assert x == pytest.approx(np.concatenate([curve, 1 + curve, [2]]), abs=1e-9)


def test_a_closed_path_ends_one_step_before_it_begins() -> None:
    x = keyframes("linear", closed=True).frames(6)[0][:, 0, 3]
    assert x[[0, 2, 4]] == pytest.approx([0, 1, 2], abs=1e-9)
    assert 0 < x[5] < 2


def test_uneven_times_do_not_make_the_way_swing_out() -> None:
    path = Keyframes(np.array([0.0, 0.01, 1, 1.01]), poses(), None, False, 1.01)
    places = path.frames(300)[0][:, :, 3]
    even = Keyframes(np.arange(4.0), poses(), None, False, 3.0).frames(3000)[0][:, :, 3]
    assert np.linalg.norm(places[:, None] - even[None], axis=2).min(1).max() < 5e-3  # the same line, at another pace


@pytest.mark.parametrize("name", PATHS)
def test_a_rendered_path_is_written_and_read_again(name: str, tmp_path: Path) -> None:
    options = VideoOptions(path=name, frames=7, width=31, height=20)
    photographed = scene()
    photographed.cameras.intrinsics[:, 1] = 29.0  # no square pixels
    made = camera_path(options, photographed, NOTHING)
    path = write_path(tmp_path / "p.json", made, photographed.normalization, 5.0, Route(options, photographed).closes)
    again = camera_path(VideoOptions(path="file", file=str(path), frames=None, fps=5.0), photographed, NOTHING)
    assert again.size == made.size
    assert torch.allclose(again.camera_to_world, made.camera_to_world, atol=1e-5)
    assert torch.allclose(again.intrinsics, made.intrinsics, atol=1e-3)
    assert Route(VideoOptions(path="file", file=str(path)), photographed).closes == (name != "photos")


def test_what_is_doubtful_is_said(tmp_path: Path) -> None:
    """And the file is read no more than once: it is gone when its doubts are asked for."""
    path, points = saved(tmp_path, nerfstudio()), torch.zeros(3, 3)
    options = VideoOptions(path="file", file=str(path), frames=4, fps=30.0)
    slow, fast = Route(replace(options, fps=2.0), scene()), Route(options, scene())
    path.unlink()
    seen = fast.cameras(points)
    assert fast.doubts(seen, points) == [f"{path}: its path lasts 1.5 s, 46 frames at fps=30: frames=null"]
    away = slow.doubts(seen, points + torch.tensor([0.0, 0, 90]))
    assert away == [f"{path}: the object is in no frame; is the path in the scene's own units? docs/paths.md"]
    jumping = Route(VideoOptions(path="photos"), replace(scene(), train=[0, 2, 1, 3, 0, 2]))
    assert jumping.doubts(seen, points)[0].startswith("path=photos jumps about")


def changed(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """``content`` with another value at a dotted key; ... takes it away."""
    parent: Any = content
    *above, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    for part in above:
        parent = parent[part]
    if value is ...:
        del parent[last]
    else:
        parent[last] = value
    return content


NAN = float("nan")
BAD = [
    (own, "nerfkit_path", 2, r"p.json: nerfkit_path is 2; expected 1. A newer nerfkit may read it"),
    (own, "keyframes.0.fo", 3, r"keyframes\[0\]: unknown key 'fo'; did you mean fov\?"),
    (own, "keyframes.1.time", 0.0, r"keyframes\[1\]: time is 0 after 0; expected increasing times"),
    (own, "keyframes.1.time", NAN, "time: it contains NaN, infinity or absurd numbers"),
    (own, "keyframes.1.time", ..., "3 of 4 keyframes have a time; expected all or none"),
    (own, "keyframes.2.fov", ..., "3 of 4 keyframes have fov or focal; expected all or none"),
    (own, "keyframes.2.camera_to_world.0.3", NAN, r"keyframes\[2\], camera_to_world: it contains NaN"),
    (own, "keyframes.1.look_at", PLACES[1].tolist(), r"keyframes\[1\]: it looks nowhere"),
    (own, "keyframes.1.look_at", ..., r"keyframes\[1\]: the key 'look_at' is missing"),
    (
        own,
        "keyframes.1.easing",
        "bounce",
        r"keyframes\[1\]: easing is 'bounce'; expected linear or in or out or in_out",
    ),
    (own, "keyframes.0.fov", 180, r"keyframes\[0\]: fov is 180; expected degrees from 0.01 to 179"),
    (own, "keyframes", [{}], "keyframes has 1 keyframes; expected two at least"),
    (own, "width", 1e9, "height, width are .*; expected whole numbers of at most 16384"),
    (own, "closed", 1, "closed is 1; expected true or false"),
    (
        nerfstudio,
        "camera_path",
        ...,
        r"no camera path that is known here \(camera_type, .*expected a .glb or .gltf file",
    ),
    (nerfstudio, "camera_path", [{"fov": 1}], "camera_path has 1 keyframes; expected two at least"),
    (nerfstudio, "camera_type", "fisheye", "camera_type is fisheye; expected perspective"),
    (nerfstudio, "fps", 0, "fps is 0; expected a positive number"),
    (nerfstudio, "fps", 1e299, r"keyframes are 1e-299 s apart at least .*expected 1e-06 s or more"),
    (nerfstudio, "fps", 1e-200, r"end at 3e\+200 s; expected .* at most 1e\+09 s"),
    (own, "keyframes.1.time", 1e-300, r"keyframes are 1e-300 s apart at least"),
    (nerfstudio, "render_width", ..., "the key 'render_width' is missing"),
    (nerfstudio, "camera_path.1.camera_to_world.3", NAN, r"camera_path\[1\], camera_to_world: it contains NaN"),
    (nerfstudio, "camera_path.1.camera_to_world.0", 7.0, r"camera_path\[1\], camera_to_world: .* not orthonormal"),
    (nerfstudio, "camera_path.1.fov", ..., r"camera_path\[1\]: the key 'fov' is missing"),
    (nerfstudio, "dataparser_transforms", 3, "dataparser_transforms: it is 3; expected an object with transform"),
    (ngp, "path.0.R", [0, 0, 0, 0], r"path\[0\]: R is 0; expected a quaternion"),
    (ngp, "path.1.T", [0, NAN, 0], r"path\[1\], T: it contains NaN"),
    (ngp, "path.1.T", [0, 1e11, 0], "its cameras are more than 5000 times as far away as the object is large"),
    (ngp, "path.1", 5, "path is no list of objects"),
    (ngp, "path.1.fov", -3, r"path\[1\]: fov is -3; expected a positive number"),
]


@pytest.mark.parametrize(("make", "key", "value", "message"), BAD, ids=[f"{m.__name__} {k}" for m, k, *_ in BAD])
def test_bad_files_are_explained(make: Any, key: str, value: Any, message: str, tmp_path: Path) -> None:
    path = saved(tmp_path, changed(make(), key, value))
    with pytest.raises(SceneError, match=message) as caught:
        cameras(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": []}, "it has no camera; expected a camera"),
        ({"animations": []}, "one camera that stands still; expected an animated camera, or several"),
        ({"cameras": [{"type": "orthographic"}]}, "camera 0: it is orthographic; expected a perspective camera"),
        ({"cameras": [{"type": "perspective", "perspective": {"yfov": 4}}]}, "yfov is 229.183 degrees"),
        ({"cameras": []}, r"it cannot be read as a camera path \(list index out of range\)"),
        ({"extensionsRequired": ["KHR_draco_mesh_compression"]}, "it needs KHR_draco_mesh_compression"),
    ],
)
def test_bad_cameras_of_gltf_are_explained(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    document, data = gltf()
    (tmp_path / "c.glb").write_bytes(glb(document | changes, data))
    with pytest.raises(SceneError, match=message):
        read_path(tmp_path / "c.glb")


def test_nodes_inside_themselves_and_two_versions(tmp_path: Path) -> None:
    document, data = gltf()
    document["nodes"][0]["children"] = [1]
    (tmp_path / "c.glb").write_bytes(glb(document, data))
    with pytest.raises(SceneError, match="node 0 is inside more than 64 others"):
        read_path(tmp_path / "c.glb")
    (tmp_path / "c.glb").write_bytes(glb(document, data).replace(b"\2\0\0\0", b"\1\0\0\0", 1))
    with pytest.raises(SceneError, match="it is glTF 1, expected 2"):
        read_path(tmp_path / "c.glb")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it cannot be read as a camera path"),
        (b"[1]", r"no camera path that is known here \(list\)"),
        (b'{"frames": []}', r"\(frames\).* These are photos' cameras: path=photos goes along them."),
        (None, "there is no such file"),
    ],
)
def test_files_that_are_no_paths(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(SceneError, match=message):
        settle_path(VideoOptions(path="file", file=str(tmp_path / "p.json")))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": "file"}, "video.file=null: expected the name of a file, for path=file"),
        ({"file": "x.json"}, "video.file=x.json: expected null, or path=file"),
        ({"frames": None}, "video.frames=null: expected a whole number of at least 1, or path=file"),
    ],
)
def test_what_cannot_be_asked_for(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VideoOptions(**values)


def test_the_file_of_a_path_is_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, own())
    monkeypatch.chdir(tmp_path)
    options = VideoOptions(path="file", file="p.json")
    settle_path(options)
    assert options.file == str(tmp_path / "p.json")


def test_what_points_up_in_the_scene_is_up_for_a_look(tmp_path: Path) -> None:
    frames = [{"position": place.tolist(), "look_at": [0.5, 0, 0]} for place in PLACES]
    path = saved(tmp_path, {"nerfkit_path": 1, "keyframes": frames})
    assert read_path(path, UP).poses == pytest.approx(poses(), abs=1e-9)
    assert cameras(path).intrinsics[0].tolist() == [30, 30, 12, 8]  # no lens: the photos'
