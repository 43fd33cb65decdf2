"""A camera path from a file, and a rendered one as a file that can be edited and rendered again.

The project's own form, ``STEM_path.json``, in the scene's own units and axes::

    {"nerfkit_path": 1, "closed": false, "width": 1280, "height": 720, "seconds": 4.0,
     "keyframes": [{"time": 0, "position": [4, 0, 1], "look_at": [0, 0, 0.5], "fov": 40, "easing": "in_out"},
                   {"time": 4, "camera_to_world": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 6]], "fov": 30}]}

``time`` is in seconds; without times the keyframes are as far apart as one another. Where the path is ``closed``,
``seconds`` is when the first keyframe comes again. A pose is ``camera_to_world``, 3x4 or 4x4, OpenGL's axes, or
``position`` and ``look_at``, with the scene's up, or ``up``, upward. ``fov`` is vertical, in degrees; in its place
``focal`` may hold fx and fy in pixels of ``width`` x ``height``; without either the lens is the photos'. ``easing`` is
how the stretch behind the keyframe is gone through: linear, in, out or in_out.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import numpy as np
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.cameras.poses import rigid_transform
from nerfkit.errors import SceneError, UserError, did_you_mean, escaped, problem
from nerfkit.runs.files import write_text
from nerfkit.runs.pictures import reason
from nerfkit.runs.untrusted import JSON_BYTES, parse_json, read_file
from nerfkit.scenes.files import require, require_number
from nerfkit.scenes.scene import Similarity
from nerfkit.view.keyframes import EASINGS, Keyframes, focal_of
from nerfkit.view.path_formats import Content, array, fov_of, listed, read_nerfstudio, read_ngp, size_of
from nerfkit.view.path_gltf import read_gltf

OWN, VERSION = "nerfkit_path", 1
TOP = (OWN, "closed", "width", "height", "seconds", "keyframes")
POSES = ("camera_to_world", "position", "look_at", "up")
KEYS = ("time", *POSES, "fov", "focal", "easing")
FORMATS = "a .glb or .gltf file with cameras, or JSON: nerfkit's, nerfstudio's camera_path.json, instant-ngp's base_cam"
_REMEDY = "Correct the file."


def read_path(path: Path, up: Sequence[float] = (0.0, 1.0, 0.0)) -> Keyframes:
    """The keyframes of a camera path's file, whichever of the forms it has.

    Args:
        path: nerfkit's own form, nerfstudio's ``camera_path.json``, instant-ngp's ``base_cam.json``, .glb or .gltf.
        up: what points up in the scene, for keyframes that say only what they look at.

    Raises:
        SceneError: there is no such file, it is of no known form, or a value in it cannot be used.
    """
    try:
        if path.suffix.lower() in (".glb", ".gltf"):
            return read_gltf(path)
        content = parse_json(read_file(path, JSON_BYTES))
        where = str(path)
        if isinstance(content, dict) and OWN in content:
            return _own(content, where, up)
        if isinstance(content, dict) and "camera_path" in content:
            return read_nerfstudio(content, where)
        if isinstance(content, dict) and "path" in content:
            return read_ngp(content, where)
    except FileNotFoundError:
        raise problem(str(path), "there is no such file", FORMATS, "Check the path.") from None
    except UserError as error:
        raise error if str(error).startswith(escaped(str(path))) else SceneError(f"{path}: {error}") from error
    except Exception as error:  # the readers raise whatever a malformed file makes them stumble over
        what = reason(error) if not isinstance(error, MemoryError) else "there is no memory for what it asks for"
        raise problem(str(path), f"it cannot be read as a camera path ({what})", FORMATS, "Export it again.") from error
    keys = list(content) if isinstance(content, dict) else [type(content).__name__]
    hint = "These are photos' cameras: path=photos goes along them." if "frames" in keys else "Export it again."
    raise problem(str(path), f"no camera path that is known here ({', '.join(keys)[:80]})", FORMATS, hint)


def _own(content: Content, where: str, up: Sequence[float]) -> Keyframes:
    """The project's own form."""
    if content[OWN] != VERSION:
        raise problem(where, f"{OWN} is {brief(content[OWN])}", str(VERSION), "A newer nerfkit may read it.")
    _known(content, TOP, where)
    frames = listed(content, "keyframes", where)
    size = size_of(content, "height", "width", where)
    closed = content.get("closed", False)
    if not isinstance(closed, bool):
        raise problem(where, f"closed is {brief(closed)}", "true or false", _REMEDY)
    poses, focal = [], []
    for index, frame in enumerate(frames):
        here = f"{where}, keyframes[{index}]"
        _known(frame, KEYS, here)
        poses.append(_pose(frame, here, up))
        focal.append(_focal(frame, size, here))
    lensed = [found for found in focal if found is not None]
    if lensed and len(lensed) < len(focal):
        raise problem(where, f"{len(lensed)} of {len(focal)} keyframes have fov or focal", "all or none", _REMEDY)
    times, timed = _times(frames, where)
    end = float(times[-1])
    if closed and "seconds" in content:
        end = require_number(content, "seconds", where)
        if not times[-1] < end < 1e9 or not timed:
            raise problem(where, f"seconds is {end:g}", "more than the last keyframe's time", _REMEDY)
    elif closed:
        end += end / (len(times) - 1)
    return Keyframes(
        times,
        np.stack(poses),
        np.stack(lensed) if lensed else None,
        closed,
        end,
        timed,
        size,
        size[1] / size[0] if size else None,
        _easing(frames, closed, where),
    )


def _known(content: Content, keys: Sequence[str], where: str) -> None:
    unknown = next((key for key in content if key not in keys), None)
    if unknown is not None:
        raise SceneError(f"{where}: unknown key {unknown[:80]!r}{did_you_mean(unknown[:80], keys)}")


def _pose(frame: Content, where: str, up: Sequence[float]) -> np.ndarray:
    if "camera_to_world" in frame:
        rows = frame["camera_to_world"]
        matrix = array(rows, (16,) if np.size(rows) == 16 else (12,), f"{where}, camera_to_world")
        return rigid_transform(matrix.reshape(-1, 4), f"{where}, camera_to_world")
    position, target = (array(require(frame, key, where), (3,), f"{where}, {key}") for key in POSES[1:3])
    upward = array(frame.get("up", up), (3,), f"{where}, up")
    if not np.linalg.norm(position - target) > 0 or not np.linalg.norm(upward) > 0:
        raise problem(where, "it looks nowhere", "look_at away from position, and up not 0", _REMEDY)
    upward /= np.linalg.norm(upward)
    return look_at(torch.from_numpy(position[None]), torch.from_numpy(target), torch.from_numpy(upward))[0].numpy()


def _focal(frame: Content, size: tuple[int, int] | None, where: str) -> np.ndarray | None:
    """fx, fy as shares of the picture's height; None where the keyframe has no lens."""
    if frame.get("fov") is not None:
        return focal_of(np.array([fov_of(frame, "fov", where)]))[0]
    if frame.get("focal") is None:
        return None
    focal = array(frame["focal"], (2,), f"{where}, focal")
    if size is None or not (focal > 0).all():
        raise problem(where, f"focal is {brief(focal.tolist())}", "two above 0, with width and height", _REMEDY)
    return focal / size[0]


def _times(frames: list[Content], where: str) -> tuple[np.ndarray, bool]:
    """When the keyframes are, from 0, and whether they say so."""
    given = [frame["time"] for frame in frames if frame.get("time") is not None]
    if not given:
        return np.arange(float(len(frames))), False
    if len(given) < len(frames):
        raise problem(where, f"{len(given)} of {len(frames)} keyframes have a time", "all or none", _REMEDY)
    times = array(given, (len(frames),), f"{where}, time")
    late = (np.diff(times) <= 0).nonzero()[0]
    if len(late):
        here = f"{where}, keyframes[{late[0] + 1}]"
        raise problem(here, f"time is {times[late[0] + 1]:g} after {times[late[0]]:g}", "increasing times", _REMEDY)
    return times - times[0], True


def _easing(frames: list[Content], closed: bool, where: str) -> list[str]:
    """The stretches' easings; none where nothing is eased."""
    found = [frame.get("easing", EASINGS[0]) for frame in frames]
    for index, name in enumerate(found):
        if name not in EASINGS:
            raise problem(f"{where}, keyframes[{index}]", f"easing is {brief(name)}", " or ".join(EASINGS), _REMEDY)
    return (found if closed else found[:-1]) if set(found) != {EASINGS[0]} else []


def write_path(path: Path, cameras: Cameras, units: Similarity, fps: float, closed: bool) -> Path:
    """Writes cameras (N), in normalized units, as a path in the project's own form: a keyframe a frame.

    Args:
        units: from the scene's own units to normalized ones.
        closed: the first frame follows the last one.
    """
    height, width = cameras.size
    position = units.invert(cameras.positions.double())
    poses = torch.cat([cameras.camera_to_world[:, :, :3].double(), position[:, :, None]], -1)
    fov = np.rad2deg(2 * np.arctan(height / 2 / cameras.intrinsics[:, 1].double().numpy()))
    square = bool((cameras.intrinsics[:, 0] - cameras.intrinsics[:, 1]).abs().max() < 1e-6 * height)
    frames: list[dict[str, Any]] = []
    for k, (pose, lens) in enumerate(zip(poses.tolist(), cameras.intrinsics.tolist(), strict=True)):
        seen: dict[str, Any] = {"fov": float(fov[k])} if square else {"focal": lens[:2]}
        frames.append({"time": round(k / fps, 9), "camera_to_world": pose} | seen)
    head: dict[str, Any] = {OWN: VERSION, "closed": closed, "width": width, "height": height}
    head |= {"seconds": round(len(frames) / fps, 9)} if closed else {}
    lines = ",\n".join(json.dumps(frame) for frame in frames)
    write_text(path, f'{json.dumps(head)[:-1]}, "keyframes": [\n{lines}\n]}}\n')
    return path
