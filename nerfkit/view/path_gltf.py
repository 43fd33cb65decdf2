"""The cameras of a glTF 2.0 file as a path: one that is animated, or several that stand.

Where a camera, or a node that holds it, is moved by an animation, its way is that of the first such camera in the first
such animation, at all moments for which the animation states something. Else all cameras are passed in the order of
their names (Camera, Camera.001, ...). A camera looks along -z with y up; the world's y is up, as in an exported mesh,
whose axes and units a camera beside it is in. https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.cameras.poses import rigid_transform, same_half
from nerfkit.errors import SceneError, problem
from nerfkit.mesh.files.gltf_file import GlbFile, node_matrix
from nerfkit.scenes.files import require_number
from nerfkit.view.keyframes import Keyframes, focal_of
from nerfkit.view.path_formats import WIDEST

DEEPEST = 64  # nodes inside one another above a camera
MOST = 100_000  # moments of an animation
PARTS = ("translation", "rotation", "scale")

Channels = dict[tuple[int, str], tuple[np.ndarray, np.ndarray, str]]
"""Node and property -> times (K,), values (K,D) and interpolation."""


def read_gltf(path: Path) -> Keyframes:
    """The path of a .glb or .gltf file's cameras.

    Raises:
        SceneError: there is none, or one alone that stands still; it is no perspective camera; as ``GlbFile``.
    """
    file = GlbFile(path)
    document = file.document
    nodes: list[dict[str, Any]] = document.get("nodes", [])
    above = {child: parent for parent, node in enumerate(nodes) for child in node.get("children", [])}
    chains = [_chain(number, above, path) for number, node in enumerate(nodes) if "camera" in node]
    if not chains:
        raise problem(str(path), "it has no camera", "a camera", "Blender: include cameras in the export.")
    for animation in document.get("animations", []):
        channels = _channels(file, animation)
        for chain in chains:
            moved = [times for (node, _), (times, _, _) in channels.items() if node in chain]
            if moved:
                return _animated(path, document, chain, channels, np.unique(np.concatenate(moved)))
    names = [str(nodes[chain[0]].get("name", "")) for chain in chains]
    order = sorted(range(len(chains)), key=lambda k: _natural(names[k]))
    if len(chains) < 2:
        raise problem(str(path), "one camera that stands still", "an animated camera, or several", "Add keyframes.")
    poses = np.stack([_pose(_placed(nodes, chains[k]), f"{path}, camera {names[k][:80]!r}") for k in order])
    lenses = [_lens(document, nodes[chains[k][0]]["camera"], path) for k in order]
    fov = np.array([fov for fov, _ in lenses])
    times = np.arange(float(len(poses)))
    return Keyframes(times, poses, focal_of(fov), False, times[-1], aspect=lenses[0][1], y_up=True)


def _animated(
    path: Path, document: dict[str, Any], chain: list[int], channels: Channels, times: np.ndarray
) -> Keyframes:
    """The way of a camera that an animation moves."""
    name = str(document["nodes"][chain[0]].get("name", ""))
    where = f"{path}, camera {name[:80]!r}"
    if len(times) < 2 or len(times) > MOST:
        raise problem(where, f"{len(times)} keyframes", f"from 2 to {MOST}", "Change the animation; export again.")
    world = np.broadcast_to(np.eye(4), (len(times), 4, 4))
    for number in chain:
        node, local = document["nodes"][number], None
        parts = {key: _at(channels[number, key], times) for key in PARTS if (number, key) in channels}
        if parts:
            local = np.stack([node_matrix({**node, **{k: v[i] for k, v in parts.items()}}) for i in range(len(times))])
        world = (node_matrix(node) if local is None else local) @ world
    poses = np.stack([_pose(matrix, where) for matrix in world])
    fov, aspect = _lens(document, document["nodes"][chain[0]]["camera"], path)
    focal = focal_of(np.full(len(times), fov))
    return Keyframes(times - times[0], poses, focal, False, float(times[-1] - times[0]), True, aspect=aspect, y_up=True)


def _channels(file: GlbFile, animation: dict[str, Any]) -> Channels:
    """What an animation moves."""
    found: Channels = {}
    for channel in animation["channels"]:
        target, sampler = channel["target"], animation["samplers"][channel["sampler"]]
        if "node" not in target or target["path"] not in PARTS:
            continue
        times = file.numbers(sampler["input"])[:, 0].astype(np.float64)
        values, how = file.numbers(sampler["output"]).astype(np.float64), sampler.get("interpolation", "LINEAR")
        values = values[1::3] if how == "CUBICSPLINE" else values  # each between its two tangents
        if len(times) != len(values) or not np.isfinite(values).all() or not (np.diff(times) > 0).all():
            raise SceneError(f"{file.path}: an animation's times or values cannot be used; export it again")
        if len(times) and not np.abs(times).max() < 1e9:
            raise SceneError(f"{file.path}: an animation's times are NaN or absurd; export it again")
        if len(times):
            found[target["node"], target["path"]] = times, values, how
    return found


def _at(channel: tuple[np.ndarray, np.ndarray, str], times: np.ndarray) -> np.ndarray:
    """A property's values (T,D) at other times; quaternions between two are on the straight line, and made unit."""
    own, values, how = channel
    if how == "STEP":
        return values[np.clip(np.searchsorted(own, times, side="right") - 1, 0, len(own) - 1)]
    turns = values.shape[1] == 4
    rows = same_half(values) if turns else values
    found = np.stack([np.interp(times, own, column) for column in rows.T], axis=1)
    return found / np.linalg.norm(found, axis=1, keepdims=True) if turns else found


def _chain(number: int, above: dict[int, int], path: Path) -> list[int]:
    """A node and those that hold it, from the inside out."""
    chain = [number]
    while chain[-1] in above:
        chain.append(above[chain[-1]])
        if len(chain) > DEEPEST:
            raise SceneError(f"{path}: node {number} is inside more than {DEEPEST} others; export it again")
    return chain


def _placed(nodes: list[dict[str, Any]], chain: list[int]) -> np.ndarray:
    """The matrix (4,4) of a chain of nodes to the world."""
    world = np.eye(4)
    for number in chain:
        world = node_matrix(nodes[number]) @ world
    return world


def _pose(matrix: np.ndarray, where: str) -> np.ndarray:
    """A camera's pose (3,4); that it, or a node that holds it, is scaled does not matter."""
    size = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (size > 1e-12).all():
        raise problem(where, "its axes are NaN or 0", "a camera of some size", "Apply its scale; export again.")
    return rigid_transform(np.concatenate([matrix[:3, :3] / size, matrix[:3, 3:]], axis=1), where)


def _lens(document: dict[str, Any], number: int, path: Path) -> tuple[float, float | None]:
    """A camera's vertical field of view in degrees, and its aspect where it states one."""
    where, camera = f"{path}, camera {number}", document["cameras"][number]
    if camera.get("type") != "perspective":
        raise problem(
            where, f"it is {str(camera.get('type'))[:80]}", "a perspective camera", "Change it; export again."
        )
    fov = np.degrees(require_number(camera, "perspective.yfov", where))
    if not 0.01 <= fov <= WIDEST:
        raise problem(where, f"yfov is {fov:g} degrees", f"0.01 to {WIDEST:g}", "Change its lens; export again.")
    aspect = (
        require_number(camera, "perspective.aspectRatio", where) if "aspectRatio" in camera["perspective"] else None
    )
    return float(fov), aspect


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts names with their numbers by size."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d{1,18})", name)]
