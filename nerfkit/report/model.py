"""What ``viewer.js`` shows of a run: its mesh with highlights and the cameras of its photos, as JSON's values."""

import base64
import io
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from nerfkit.errors import UserError
from nerfkit.fit.specular import Specular
from nerfkit.mesh.clean import decimate
from nerfkit.mesh.files.gltf import split_corners, unit_normals
from nerfkit.mesh.mesh import Mesh
from nerfkit.results import coarse_file, finished_file, load_coarse, load_finished
from nerfkit.runs.files import to_bytes
from nerfkit.runs.folder import Run
from nerfkit.scenes.scene import Scene

FACES = 30_000  # of a mesh without a texture: more are decimated
TEXELS, CAMERAS = 1024, 200  # of the texture's longer side; of the photos that are shown
JPEG = 92  # quality; colors as finely as brightness, or the error shows blocks


def packed(record: Run, scene: Scene, seen: Collection[int] = ()) -> dict[str, Any] | None:
    """The run's mesh, finished or else coarse, in normalized units; None where it has none that can be read.

    ``position``, ``normal``, ``uv`` and ``color`` are float32 and ``faces`` uint32, in base64; ``texture`` and
    ``strength`` are pictures, as ``data:`` URLs; ``lobes`` are the highlights', ``cameras`` as ``_camera`` has them.

    Args:
        record: the run.
        scene: its scene.
        seen: views whose cameras are among those that are shown, however many there are.
    """
    try:
        path = finished_file(record)
        if path is not None:
            mesh, specular = load_finished(path, record, scene)
        else:
            path, mesh, specular = coarse_file(record), load_coarse(record, scene), None
    except UserError:
        return None
    if not len(mesh.faces):
        return None
    if mesh.texture is None and len(mesh.faces) > FACES:
        mesh = decimate(mesh, FACES)
    if specular is not None:
        mesh = replace(mesh, texture=specular.diffuse)
    middle, radius = _extent(mesh)
    shown = scene.train + scene.test
    some = {shown[i] for i in np.linspace(0, len(shown) - 1, min(len(shown), CAMERAS)).round().astype(int)}
    return {
        **_arrays(mesh),
        **({} if specular is None else _highlights(specular)),
        "file": path.name,
        "count": len(mesh.faces),
        "center": middle,
        "radius": radius,
        "up": [float(x) for x in scene.up],
        "background": [float(x) for x in scene.background],
        "cameras": [_camera(scene, view) for view in sorted(some | set(seen).intersection(shown))],
    }


def data_url(pixels: np.ndarray, format: str = "JPEG") -> str:
    """A picture (H,W) or (H,W,3) uint8 as a ``data:`` URL."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format, quality=JPEG, subsampling=0)
    return f"data:image/{format.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"


def reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    """A picture whose longer side is no longer than ``side``."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _arrays(mesh: Mesh) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if mesh.texture is not None:
        origin, uv, faces = split_corners(mesh)
        found = {"uv": _coded(uv), "texture": data_url(reduced(to_bytes(mesh.texture), TEXELS))}
    else:
        origin, faces = np.arange(len(mesh.vertices)), mesh.faces.numpy()
        gray = torch.full_like(mesh.vertices, 0.7)
        found["color"] = _coded((gray if mesh.colors is None else mesh.colors).numpy())
    positions = {"position": mesh.vertices.numpy()[origin], "normal": unit_normals(mesh)[origin]}
    return found | {key: _coded(rows) for key, rows in positions.items()} | {"faces": _coded(faces, np.uint32)}


def _highlights(specular: Specular) -> dict[str, Any]:
    strongest = max(float(specular.strength.max()), 1e-6)
    lobes = {key: getattr(specular, key).tolist() for key in ("direction", "sharpness", "color")}
    strength = reduced(to_bytes(specular.strength / strongest), TEXELS)
    return {"strength": data_url(strength, "PNG"), "lobes": lobes | {"strongest": strongest}}


def _camera(scene: Scene, view: int) -> dict[str, Any]:
    """``pose`` is the 3 x 4 camera-to-world matrix by rows; lengths of the lens in pixels."""
    height, width = scene.cameras.sizes[view]
    lens = dict(zip(("fx", "fy", "cx", "cy"), scene.cameras.intrinsics[view].tolist(), strict=True))
    pose = [round(value, 6) for value in scene.cameras.camera_to_world[view].flatten().tolist()]
    return {"view": view, "held_out": view in scene.test, "pose": pose, "height": height, "width": width, **lens}


def _extent(mesh: Mesh) -> tuple[list[float], float]:
    """Middle and radius of a ball around the mesh's box."""
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    return ((low + high) / 2).tolist(), max(float((high - low).norm()) / 2, 1e-6)


def _coded(rows: np.ndarray, dtype: type = np.float32) -> str:
    return base64.b64encode(np.ascontiguousarray(rows, dtype).tobytes()).decode()
