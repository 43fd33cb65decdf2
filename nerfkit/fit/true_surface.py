"""The true depth and normals of a scene's views, where they are known: drawn of the true mesh, or read from files.

NeRF-synthetic has ``NAME_depth_0000.png`` beside each test view ``NAME.png``: RGBA of four equal channels, v = 0 where
nothing is, else

    t = 8 (1 - v / 255)

the distance along the ray in the scene's units, in steps of 0.03. Found by taking the points of views of *mic* into
others, where they meet the depth by 0.011 in the median and miss the mask with 0.8 % of them; by 0.021 and 8 % with t
along the camera's axis, and by more with other lines, their two numbers varied by 0.1. ``NAME_normal_0000.png`` cannot
be read back: of the normal in the world's axes it has what is positive, through a tone curve that ends at 213, and 0
for the rest.
"""

from collections.abc import Callable, Sequence
from glob import escape
from pathlib import PurePosixPath

import torch

from nerfkit.fit.surface_error import Surface, axis_of, of_mesh
from nerfkit.mesh.files.io import load_mesh
from nerfkit.scenes.files import Source
from nerfkit.scenes.images import decode
from nerfkit.scenes.scene import Scene

FARTHEST = 8.0
UNKNOWN = "neither a true mesh nor files of depth are known"


def true_surfaces(scene: Scene, views: Sequence[int]) -> tuple[Callable[[int], Surface] | None, str]:
    """What each of the views should show, or None; and why it, or its normals alone, are not known.

    Raises:
        SceneError: a file cannot be read.
    """
    if scene.truth is not None:
        mesh = load_mesh(scene.truth).transformed(scene.normalization.apply)
        return lambda view: of_mesh(mesh, scene.cameras, view), ""
    files = _depth_files(scene, views)
    if not files:
        return None, UNKNOWN
    _, reason = _depth(scene, *next(iter(files.items())))
    if reason:
        return None, reason
    nothing = torch.zeros(())

    def read(view: int) -> Surface:
        height, width = scene.images.sizes[view]
        depth = _depth(scene, view, files[view])[0] if view in files else nothing.expand(height, width)
        return Surface(depth, nothing.expand(height, width, 3))

    return read, "the files of normals hold their positive parts alone"


def _depth_files(scene: Scene, views: Sequence[int]) -> dict[int, str]:
    """The names of NeRF-synthetic's files of depth, by view."""
    if scene.provenance.get("format") != "blender":
        return {}
    names = [PurePosixPath(scene.provenance["views"][view]) for view in views]
    with Source(scene.provenance["path"]) as source:
        found = [source.find(f"{escape(str(name.with_suffix('')))}_depth_*.png") for name in names]
    return {view: here[0] for view, here in zip(views, found, strict=True) if here}


def _depth(scene: Scene, view: int, name: str) -> tuple[torch.Tensor, str]:
    """Depth (H,W) along the camera's axis in normalized units, or why a file does not say it."""
    with Source(scene.provenance["path"]) as source:
        value = torch.from_numpy(decode(source.read(name), source.where(name)))  # (H, W, 4) uint8
    size = scene.images.sizes[view]
    if value.shape[:2] != size:
        return torch.zeros(size), "files of depth are {1}x{0}, pictures {3}x{2}".format(*value.shape[:2], *size)
    if not (value == value[..., :1]).all():
        return torch.zeros(size), "files of depth are not NeRF-synthetic's: their four channels differ"
    distance = FARTHEST * scene.normalization.scale * (1 - value[..., 0].float() / 255)
    return torch.where(value[..., 0] > 0, distance * axis_of(scene.cameras, view), 0.0), ""
