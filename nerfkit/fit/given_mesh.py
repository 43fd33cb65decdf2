"""A mesh that somebody has already, in the place of one that a field makes."""

from dataclasses import replace
from pathlib import Path

import torch

from nerfkit.errors import SceneError
from nerfkit.mesh.files.io import load_mesh, texture_colors
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.repair import repair
from nerfkit.scenes.scene import Scene

LEAST = 0.01  # of the vertices in some photo, or the mesh is somewhere else


def given_mesh(path: Path, scene: Scene) -> Mesh:
    """The mesh of a file in the scene's own units: its vertices and faces as they are, bit by bit.

    Its colors become those of the vertices, which the texture starts from; its UVs are left behind, as the stages that
    make a texture make an unwrap of their own.

    Raises:
        SceneError: the file is no mesh, it has no faces, or the training photos do not show it.
    """
    mesh = load_mesh(path)
    colors = mesh.colors if mesh.texture is None else texture_colors(mesh)
    mesh = replace(mesh.without_appearance(), colors=colors)
    usable = repair(mesh.transformed(scene.normalization.apply))[0]
    if not len(usable.faces):
        raise SceneError(f"mesh={path}: it has no faces that enclose anything; expected the surface of the object")
    share = seen_share(usable, scene)
    if share < LEAST:
        raise SceneError(
            f"mesh={path}: {share:.0%} of its vertices are in a photo; expected a mesh in the units and axes of the "
            "scene's cameras. Move it there, or look whether scene.root is the right one"
        )
    return mesh


def seen_share(mesh: Mesh, scene: Scene) -> float:
    """The share of the vertices that lie in front of some training camera and within its picture; what hides them does
    not count."""
    seen = torch.zeros(len(mesh.vertices), dtype=torch.bool)
    for view in scene.train:
        height, width = scene.cameras.sizes[view]
        pixels, depth = scene.cameras[view].project(mesh.vertices)
        inside = (pixels[0] >= 0).all(-1) & (pixels[0, :, 0] <= width) & (pixels[0, :, 1] <= height)
        seen |= inside & (depth[0] > 0)
    return seen.float().mean().item()
