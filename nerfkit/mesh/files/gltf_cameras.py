"""Cameras beside a mesh in a GLB file, those of photos, which stand, and those of a path, which moves one.

A glTF camera looks along -z with y up, as here. It has a vertical field of view and its picture's aspect

    yfov = 2 atan(H / (2 fy)),        aspect = (W / fx) / (H / fy),

and its axis meets the middle of the picture. A principal point (cx, cy) elsewhere cannot be said: the picture is then
shifted by (cx - W/2, cy - H/2) pixels, and the camera's ``extras.nerfkit`` hold the whole lens.
https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from nerfkit.cameras.poses import same_half
from nerfkit.mesh.files.gltf_buffer import Buffer
from nerfkit.mesh.mesh import Mesh

NEAREST = 1e-4  # what a camera shows begins there, as a share of how far it has to see


class Shots(NamedTuple):
    """N cameras in a mesh's own axes and units.

    Attributes:
        names: N of them, or the one of a camera that moves.
        poses: (N,3,4) float64, camera to world, OpenGL's axes.
        lenses: (N,4), fx, fy, cx, cy in pixels.
        sizes: N pairs, height and width in pixels.
        fps: poses a second of one camera that moves, whose lens is the first one; None: all stand.
    """

    names: Sequence[str]
    poses: np.ndarray
    lenses: np.ndarray
    sizes: Sequence[tuple[int, int]]
    fps: float | None = None


def add_shots(document: dict[str, Any], buffer: Buffer, shots: Sequence[Shots], mesh: Mesh) -> None:
    """Adds cameras to the first scene of a glTF document; equal lenses of photos are one camera of the file."""
    nodes, cameras = document["nodes"], []
    root = document["scenes"][0]["nodes"]
    for some in shots:
        reach = _reach(some.poses[:, :, 3], mesh)
        lenses = [_lens(*pair, reach) for pair in zip(some.lenses.tolist(), some.sizes, strict=True)]
        turns = same_half(Rotation.from_matrix(some.poses[:, :, :3]).as_quat())  # (N, 4), x, y, z, w
        places = some.poses[:, :, 3]
        if some.fps is not None:
            cameras.append(lenses[0] | {"name": some.names[0]})
            node = {"name": some.names[0], "camera": len(cameras) - 1, "rotation": turns[0].tolist()}
            places = places - mesh.origin  # an animation is float32, and so its node is inside one at the origin
            nodes.append(node | {"translation": places[0].tolist()})
            if any(mesh.origin):
                nodes.append({"name": "origin", "translation": list(mesh.origin), "children": [len(nodes) - 1]})
            root.append(len(nodes) - 1)
            moved = len(nodes) - 1 - any(mesh.origin)
            document.setdefault("animations", []).append(_animation(buffer, some, moved, turns, places))
            continue
        known: dict[str, int] = {}
        for name, lens, turn, place in zip(some.names, lenses, turns.tolist(), places.tolist(), strict=True):
            number = known.setdefault(repr(lens), len(cameras))
            if number == len(cameras):
                cameras.append(lens | {"name": name})
            nodes.append({"name": name, "camera": number, "translation": place, "rotation": turn})
            root.append(len(nodes) - 1)
    if cameras:
        document["cameras"] = cameras


def _lens(lens: Sequence[float], size: tuple[int, int], reach: float) -> dict[str, Any]:
    (fx, fy, cx, cy), (height, width) = lens, size
    view = {"yfov": 2 * math.atan(height / (2 * fy)), "aspectRatio": (width / fx) / (height / fy)}
    whole = {"width": width, "height": height, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
    return {
        "type": "perspective",
        "perspective": view | {"znear": NEAREST * reach, "zfar": reach},
        "extras": {"nerfkit": whole},
    }


def _reach(positions: np.ndarray, mesh: Mesh) -> float:
    """Twice the largest distance from a camera (N,3) to a corner of the mesh's bounds; 1 where all are one point."""
    points = mesh.positions[mesh.faces].reshape(-1, 3).numpy(force=True)
    far = np.maximum(np.abs(positions - points.min(0)), np.abs(positions - points.max(0)))  # (N, 3)
    return 2 * float(np.linalg.norm(far, axis=1).max()) or 1.0


def _animation(buffer: Buffer, shots: Shots, node: int, turns: np.ndarray, places: np.ndarray) -> dict[str, Any]:
    """Of one camera's node, which is at one pose after the other."""
    times = (np.arange(len(places)) / (shots.fps or 1)).astype(np.float32)
    moments = buffer.add(times, "SCALAR", bounds=True, drawn=False)
    tables = {"translation": (places, "VEC3"), "rotation": (turns, "VEC4")}
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []
    for path, (table, kind) in tables.items():
        values = buffer.add(np.ascontiguousarray(table, np.float32), kind, drawn=False)
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": moments, "output": values, "interpolation": "LINEAR"})
    return {"name": shots.names[0], "samplers": samplers, "channels": channels}
