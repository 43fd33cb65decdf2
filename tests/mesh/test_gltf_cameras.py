"""Cameras beside a mesh in a GLB: an independent reader's projection of the mesh falls on the same pixels as ours."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from nerfkit.cameras import Cameras, look_at
from nerfkit.mesh.files.gltf_cameras import Shots
from nerfkit.mesh.files.io import load_mesh, save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.view.path_gltf import read_gltf

BALL = icosphere(1, 0.8).without_appearance()
PLACES = torch.tensor([[3.0, 1.0, 2.0], [-2.0, 2.5, 1.5], [0.5, -3.0, 1.0]])
LENSES = torch.tensor([[400.0, 400, 160, 120], [400.0, 400, 160, 120], [300.0, 330, 100, 130]])
SIZES = [(240, 320), (240, 320), (260, 200)]
NAMES = ["left", "right", "IMG 3"]
UPS = [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (0.6, 0.0, -0.8)]
MAP = (500000.25, 4649776.5, 100.0)


def cameras(up: tuple[float, float, float]) -> Cameras:
    poses = look_at(PLACES, torch.zeros(3), torch.tensor(up))
    return Cameras(poses, LENSES, [h for h, _ in SIZES], [w for _, w in SIZES])


def shots(up: tuple[float, float, float], origin: tuple[float, float, float], fps: float | None = None) -> Shots:
    shown = cameras(up)
    poses = shown.camera_to_world.double().numpy()
    poses[:, :, 3] += origin
    return Shots(NAMES if fps is None else ["path"], poses, shown.intrinsics.numpy(), SIZES, fps)


def document(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    found: dict[str, Any] = json.loads(content[20 : 20 + struct.unpack("<I", content[12:16])[0]])
    return found


def placed(node: dict[str, Any]) -> np.ndarray:
    """A node's matrix (4,4), by trimesh's quaternions, whose w comes first."""
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    matrix: np.ndarray = trimesh.transformations.quaternion_matrix([w, x, y, z])
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def seen(path: Path, name: str, points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (V,2) of world points (V,3) by glTF's words alone: nodes, yfov and aspectRatio."""
    found = document(path)
    (number,) = [k for k, one in enumerate(found["nodes"]) if one.get("name") == name]
    node = found["nodes"][number]
    view = found["cameras"][node["camera"]]["perspective"]
    world = placed(node)
    for above in (one for one in found["nodes"] if number in one.get("children", [])):
        world = placed(above) @ world
    own = np.linalg.inv(world)
    x, y, z = (points @ own[:3, :3].T + own[:3, 3]).T
    slope = math.tan(view["yfov"] / 2)
    across, upward = x / -z / (slope * view["aspectRatio"]), y / -z / slope  # in [-1, 1] within the picture
    height, width = shape
    return np.stack([(across + 1) / 2 * width, (1 - upward) / 2 * height], -1)


@pytest.mark.parametrize("up", UPS)
@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), MAP])
def test_pixels_by_gltf_alone_are_ours(
    tmp_path: Path, up: tuple[float, float, float], origin: tuple[float, float, float]
) -> None:
    mesh = Mesh(BALL.vertices, BALL.faces, origin=origin)
    (path,) = save_mesh(mesh, tmp_path / "ball", ["glb"], up=up, shots=[shots(up, origin)])
    scene = trimesh.load(path)
    matrix, geometry = scene.graph["ball"]
    points = scene.geometry[geometry].vertices @ matrix[:3, :3].T + matrix[:3, 3]
    order = np.abs(scene.geometry[geometry].vertices[:, None] - BALL.vertices.numpy()).sum(-1).argmin(1)
    expected = cameras(up).project(BALL.vertices[order])[0].numpy()
    for view, name in enumerate(NAMES):
        assert np.abs(seen(path, name, points, SIZES[view]) - expected[view]).max() < 0.01, name
    assert (load_mesh(path).positions - mesh.positions).abs().max() < 1e-6
    assert "notes" not in load_mesh(path).provenance


def test_equal_lenses_are_one_and_a_shifted_one_is_kept(tmp_path: Path) -> None:
    """glTF has no principal point: by what it is off the middle, the pixels are."""
    moved = shots(UPS[0], (0.0, 0.0, 0.0))
    lenses = np.array(moved.lenses)
    lenses[2, 2:] += (50.0, -10.0)
    (path,) = save_mesh(BALL, tmp_path / "ball", ["glb"], shots=[moved._replace(lenses=lenses)])
    found = document(path)
    assert [node["camera"] for node in found["nodes"] if "camera" in node] == [0, 0, 1]
    whole = found["cameras"][1]["extras"]["nerfkit"]
    assert whole == {"width": 200, "height": 260, "fl_x": 300, "fl_y": 330, "cx": 150, "cy": 120}
    shift = np.array([50.0, -10.0])
    expected = cameras(UPS[0]).project(BALL.vertices)[0][2].numpy() + shift
    pixels = seen(path, NAMES[2], BALL.vertices.double().numpy(), SIZES[2])
    assert np.abs(pixels + shift - expected).max() < 0.01
    (plain,) = save_mesh(BALL, tmp_path / "plain", ["glb"])
    assert "cameras" not in document(plain) and len(document(plain)["nodes"]) == 1


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), MAP])
def test_a_path_comes_back_as_one_camera_that_moves(tmp_path: Path, origin: tuple[float, float, float]) -> None:
    mesh, moving = Mesh(BALL.vertices, BALL.faces, origin=origin), shots(UPS[0], origin, fps=12.0)
    (path,) = save_mesh(mesh, tmp_path / "ball", ["glb"], shots=[shots(UPS[0], origin), moving])
    found = read_gltf(path)
    assert found.timed and found.y_up and np.allclose(found.times, np.arange(3) / 12)
    assert np.abs(found.poses - moving.poses).max() < 1e-6
    assert found.focal is not None and np.allclose(found.focal, 400 / 240)
    assert "notes" not in load_mesh(path).provenance
