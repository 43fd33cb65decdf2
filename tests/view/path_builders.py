"""Camera paths in other tools' forms, small, and the scene that they go about."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.scenes.scene import Scene, Similarity

UP = (0.0, 0.0, 1.0)
PLACES = np.array([[4.0, 0.0, 1.0], [3.0, 3.0, 1.5], [0.0, 4.0, 2.0], [-3.0, 2.0, 1.0]])
FOV = [40.0, 35.0, 30.0, 50.0]


def poses(places: np.ndarray = PLACES) -> np.ndarray:
    """Cameras (K,3,4) at places that look at (0.5, 0, 0), in the scene's own units."""
    target, up = torch.tensor([0.5, 0.0, 0.0]).double(), torch.tensor(UP).double()
    return look_at(torch.from_numpy(places), target, up).numpy()


def scene() -> Scene:
    """Photos at ``PLACES`` of a scene whose own units are twice as long and begin at x = 1."""
    at = torch.from_numpy(PLACES).float()
    cameras = Cameras(torch.from_numpy(poses()).float(), torch.tensor([[30.0, 30, 12, 8]] * 4), 16, 24)
    cameras.camera_to_world[:, :, 3] = at * 0.5 + torch.tensor([-0.25, 0.0, 0.0])
    photos: Any = torch.zeros(4, 16, 24, 4, dtype=torch.uint8)
    return Scene("s", photos, cameras, [0, 1, 2], [3], normalization=Similarity(0.5, (-0.25, 0.0, 0.0)), up=UP)


def square(pose: np.ndarray) -> np.ndarray:
    return np.concatenate([pose, [[0, 0, 0, 1]]])


def own() -> dict[str, Any]:
    """The project's own form, with all its keys."""
    frames: list[dict[str, Any]] = [
        {"time": 2.0 * k, "camera_to_world": pose.tolist(), "fov": fov}
        for k, (pose, fov) in enumerate(zip(poses(), FOV, strict=True))
    ]
    frames[1] = {"time": 2.0, "position": PLACES[1].tolist(), "look_at": [0.5, 0, 0], "fov": 35.0, "easing": "in_out"}
    return {"nerfkit_path": 1, "closed": False, "width": 48, "height": 24, "keyframes": frames}


def nerfstudio() -> dict[str, Any]:
    """A ``camera_path.json`` of four frames at 2 a second, in the scene's own units."""
    frames = [
        {"camera_to_world": square(pose).reshape(-1).tolist(), "fov": fov, "aspect": 2.0}
        for pose, fov in zip(poses(), FOV, strict=True)
    ]
    keyframes = [{"matrix": frame["camera_to_world"], "fov": frame["fov"], "aspect": 2.0} for frame in frames]
    head = {"camera_type": "perspective", "render_height": 24.0, "render_width": 48.0, "fps": 2.0, "seconds": 2.0}
    return {**head, "is_cycle": False, "smoothness_value": 0.0, "keyframes": keyframes, "camera_path": frames}


def ngp() -> dict[str, Any]:
    """A ``base_cam.json`` of the same cameras: OpenCV's axes, the world's in the order y, z, x, 0.33 p + 0.5."""
    from scipy.spatial.transform import Rotation

    frames = []
    for pose, fov in zip(poses(), FOV, strict=True):
        turned = (pose[:, :3] * [1, -1, -1])[[1, 2, 0]]
        quaternion = Rotation.from_matrix(turned).as_quat().tolist()
        place = (0.33 * pose[:, 3] + 0.5)[[1, 2, 0]].tolist()
        rest = {"slice": 0.0, "scale": 1.5, "aperture_size": 0.0, "glow_mode": 0, "glow_y_cutoff": 0.0}
        frames.append({"R": quaternion, "T": place, "fov": fov, **rest})
    return {"loop": False, "time": 0.0, "path": frames}


def gltf(animated: bool = True) -> tuple[dict[str, Any], bytes]:
    """A glTF's JSON and buffer: a camera in a node that turns z up to y up, as Blender's; or one a pose."""
    from scipy.spatial.transform import Rotation

    found = poses()
    turns = Rotation.from_matrix(found[:, :, :3]).as_quat().astype("<f4")
    places, times = found[:, :, 3].astype("<f4"), np.array([0.0, 0.5, 1.0, 2.0], "<f4")
    lens = {"type": "perspective", "perspective": {"yfov": 0.7, "aspectRatio": 2.0, "znear": 0.1}}
    half = float(np.sqrt(0.5))
    holder = {"name": "z up", "rotation": [-half, 0, 0, half], "children": [0]}
    document: dict[str, Any] = {"asset": {"version": "2.0"}, "cameras": [lens], "scene": 0, "scenes": [{"nodes": [1]}]}
    if not animated:
        nodes = [
            {"name": f"Camera.{k:03d}", "camera": 0, "rotation": turns[k].tolist(), "translation": places[k].tolist()}
            for k in (2, 0, 1, 3)
        ]
        holder["children"] = [0, 1, 2, 3]
        return document | {"nodes": [*nodes, holder], "scenes": [{"nodes": [4]}]}, b""
    data = times.tobytes() + turns.tobytes() + places.tobytes()
    views = [{"buffer": 0, "byteOffset": a, "byteLength": n} for a, n in ((0, 16), (16, 64), (80, 48))]
    kinds = ("SCALAR", "VEC4", "VEC3")
    accessors = [{"bufferView": k, "componentType": 5126, "count": 4, "type": kind} for k, kind in enumerate(kinds)]
    channels = [
        {"sampler": k, "target": {"node": 0, "path": path}} for k, path in enumerate(("rotation", "translation"))
    ]
    samplers = [{"input": 0, "output": 1 + k, "interpolation": "LINEAR"} for k in range(2)]
    return document | {
        "nodes": [{"name": "Camera", "camera": 0}, holder],
        "animations": [{"channels": channels, "samplers": samplers}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(data)}],
    }, data


def glb(document: dict[str, Any], data: bytes) -> bytes:
    """A GLB of the two chunks."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def write_all(folder: Path) -> list[Path]:
    """One path in every form; returns the files."""
    made = {
        name: json.dumps(make()).encode()
        for name, make in (("own", own), ("camera_path", nerfstudio), ("base_cam", ngp))
    }
    files = {f"{name}.json": text for name, text in made.items()} | {"c.glb": glb(*gltf())}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]
