"""How much of the surroundings a point of a mesh sees: baked soft shadows, from depth maps seen from far away."""

import numpy as np
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.studio.renderer import nearest_faces, project

MAP_SIZE = 384


def sphere_directions(n: int) -> np.ndarray:
    """``n`` unit vectors (n,3) spread evenly over the sphere (a Fibonacci lattice), the same ones every time."""
    i = np.arange(n) + 0.5
    y = 1 - 2 * i / n
    angle = np.pi * (1 + 5**0.5) * i
    return np.stack([np.sqrt(1 - y * y) * np.cos(angle), y, np.sqrt(1 - y * y) * np.sin(angle)], -1)


def cone_directions(axis: np.ndarray, degrees: float, n: int) -> np.ndarray:
    """``n`` unit vectors (n,3) spread evenly over a round lamp of angular radius ``degrees`` around ``axis``."""
    axis = axis / np.linalg.norm(axis)
    side = np.cross(axis, [0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    i = np.arange(n) + 0.5
    radius, angle = np.tan(np.radians(degrees)) * np.sqrt(i / n), np.pi * (1 + 5**0.5) * i
    spread = radius[:, None] * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(axis, side))
    return (axis + spread) / np.linalg.norm(axis + spread, axis=-1, keepdims=True)


def visibility(
    vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, directions: np.ndarray, offset: float
) -> np.ndarray:
    """Cosine-weighted share of ``directions`` (D,3) that each vertex sees, (V,) float32 in [0,1].

    share_v = sum_d visible(v, d) max(n_v . d, 0) / sum_d max(n_v . d, 0), and 0 where every direction is below the
    surface. ``offset``: how far points are lifted along their normals, in scene units; it must exceed a depth map's
    texel.
    """
    center = (vertices.min(0) + vertices.max(0)) / 2
    radius = float(np.linalg.norm(vertices - center, axis=-1).max()) * 1.02
    distance = 200 * radius  # as good as parallel, and depths keep seven digits
    positions = torch.from_numpy(center + distance * directions).float()
    poses = look_at(positions, torch.from_numpy(center).float(), torch.tensor([0.0, 1.0, 0.0]))
    focal = MAP_SIZE / 2 * distance / radius
    cameras = Cameras(
        poses, torch.tensor([[focal, focal, MAP_SIZE / 2, MAP_SIZE / 2]]).repeat(len(directions), 1), MAP_SIZE, MAP_SIZE
    )
    lifted = vertices + offset * normals
    seen, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    for view, direction in enumerate(directions):
        inverse_depth = nearest_faces(project(vertices, cameras, view, 1), faces, MAP_SIZE, MAP_SIZE)[1]
        x, y, depth = project(lifted, cameras, view, 1).T
        column = np.clip(x / depth, 0, MAP_SIZE - 1).astype(int)
        row = np.clip(y / depth, 0, MAP_SIZE - 1).astype(int)
        visible = inverse_depth[row, column] * (depth - 0.5 * offset) <= 1
        weight = np.maximum(normals @ direction, 0)
        seen += visible * weight
        total += weight
    return (seen / np.maximum(total, 1e-12)).astype(np.float32)


def smoothed(values: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Values (V,) averaged with their neighbors along edges, ``rounds`` times, so that shadows end without steps."""
    sources, targets = faces[:, [0, 1, 2, 1, 2, 0]].ravel(), faces[:, [1, 2, 0, 0, 1, 2]].ravel()
    degree = np.bincount(targets, minlength=len(values))
    for _ in range(rounds):
        neighbors = np.bincount(targets, values[sources], len(values)) / np.maximum(degree, 1)
        values = np.where(degree > 0, (values + neighbors) / 2, values)
    return values.astype(np.float32)
