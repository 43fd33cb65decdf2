"""Is the silhouette's gradient right? Directional derivatives of a mask loss against supersampled finite differences.

A bumpy ball of 320 to 20,480 faces is drawn at 128 x 128 in four views; the loss is the mean squared difference from
the mask of another shape. For 24 random smooth deformations u the analytic derivative <dL/dv, u> of the default
rasterizer stands against the central difference of the same loss whose masks are hard ones, 16 x 16 samples a pixel.
Over the deformations,

    cosine = <a, d> / (|a| |d|)          slope = <a, d> / <d, d>          a: analytic, d: finite differences

both 1 for exact derivatives. Run: ``python -m benchmarks raster_gradients``. It fails outside cosine >= 0.995 or
|slope - 1| <= 0.05 at any face count.
"""

import math

import numpy as np
import torch
import trimesh
from numba import prange
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.kernels.jit import jit
from nerfkit.raster import render

SIZE, SAMPLES, VIEWS, DIRECTIONS = 128, 16, 4, 24
STEP = 0.15
"""Root-mean-square displacement of the finite differences, in pixels."""
COSINE, SLOPE = 0.995, 0.05
SUBDIVISIONS = (2, 3, 4, 5)


def main(argv: list[str]) -> int:
    """Measure every face count, save the figures, print a table; 1 if a limit is not kept."""
    from benchmarks import measure

    rows = [compare(subdivisions) for subdivisions in SUBDIVISIONS]
    print(f"{'faces':>8} {'cosine':>8} {'slope':>8}")
    for row in rows:
        print(f"{row['faces']:8d} {row['cosine']:8.4f} {row['slope']:8.3f}")
    passed = all(row["cosine"] >= COSINE and abs(row["slope"] - 1) <= SLOPE for row in rows)
    settings = {"size": SIZE, "samples": SAMPLES**2, "views": VIEWS, "directions": DIRECTIONS, "step_pixels": STEP}
    limits = {"cosine_at_least": COSINE, "slope_within": SLOPE}
    measure.save("raster_gradients", {"settings": settings, "limits": limits, "passed": passed, "rows": rows})
    print("passed" if passed else f"FAILED: expected cosine >= {COSINE} and slope within {SLOPE} of 1")
    return 0 if passed else 1


def compare(subdivisions: int, seed: int = 0) -> dict[str, float | int]:
    """Cosine and slope at one face count."""
    generator = torch.Generator().manual_seed(seed)
    ball = trimesh.creation.icosphere(subdivisions)
    sphere, faces = torch.tensor(ball.vertices), torch.tensor(ball.faces)  # (V, 3) float64, (F, 3)
    cameras = four_cameras(SIZE)
    shape = bumpy(sphere, generator)
    target = supersampled_masks(bumpy(sphere, generator), faces, cameras)  # (N, H, W)

    vertices = shape.float().requires_grad_()
    alpha = render(vertices, faces, cameras).alpha
    (gradient,) = torch.autograd.grad((alpha.double() - target).square().mean(), vertices)

    distance = cameras.positions.norm(dim=-1).mean().item()
    pixel = distance / cameras.intrinsics[0, 0].item()  # world length of a pixel at the ball's centre
    analytic, measured = [], []
    for _ in range(DIRECTIONS):
        direction = waves(sphere, generator, 3)  # (V, 3)
        direction /= direction.square().sum(1).mean().sqrt()
        losses = [
            (supersampled_masks(shape + sign * STEP * pixel * direction, faces, cameras) - target).square().mean()
            for sign in (1, -1)
        ]
        measured.append((losses[0] - losses[1]).item() / (2 * STEP * pixel))
        analytic.append((gradient.double() * direction).sum().item())
    a, d = torch.tensor(analytic), torch.tensor(measured)
    return {"faces": len(faces), "cosine": (a @ d / (a.norm() * d.norm())).item(), "slope": (a @ d / (d @ d)).item()}


def four_cameras(size: int) -> Cameras:
    """Cameras around the origin, the unit ball filling a little over half of the picture."""
    angle = torch.arange(VIEWS) * (2 * math.pi / VIEWS) + 0.3
    height = torch.tensor([0.4, -0.3, 0.7, -0.6])
    positions = 3.5 * torch.nn.functional.normalize(torch.stack([angle.cos(), height, angle.sin()], -1), dim=-1)
    poses = look_at(positions, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    intrinsics = torch.tensor([1.1 * size, 1.1 * size, size / 2, size / 2]).expand(VIEWS, -1)
    return Cameras(poses, intrinsics, size, size)


def waves(points: Tensor, generator: torch.Generator, channels: int, count: int = 6) -> Tensor:
    """A random smooth function of the position: a sum of plane waves, (V,channels)."""
    frequency = 2 * torch.randn(3, count, generator=generator, dtype=points.dtype)
    phase = 2 * math.pi * torch.rand(count, generator=generator, dtype=points.dtype)
    weight = torch.randn(count, channels, generator=generator, dtype=points.dtype) / math.sqrt(count)
    return torch.sin(points @ frequency + phase) @ weight


def bumpy(sphere: Tensor, generator: torch.Generator) -> Tensor:
    """The unit sphere with a smooth random relief."""
    return sphere * (1 + 0.12 * waves(sphere, generator, 1))


def supersampled_masks(vertices: Tensor, faces: Tensor, cameras: Cameras) -> Tensor:
    """Share of each pixel's SAMPLES x SAMPLES sample points that the mesh covers, (N,H,W) float64."""
    size = SIZE * SAMPLES
    cameras = cameras.resized(size, size)
    exact = Cameras(cameras.camera_to_world.double(), cameras.intrinsics.double(), size, size)
    corners = exact.project(vertices)[0][:, faces]  # (N, F, 3, 2)
    counts = np.empty((len(cameras), SIZE, SIZE), np.int64)
    for view, count in zip(corners.numpy(), counts, strict=True):
        count_samples(view, count, SAMPLES)
    return torch.from_numpy(counts) / SAMPLES**2


@jit
def count_samples(corners, counts, samples):  # type: ignore[no-untyped-def]
    """Scanline coverage that shares nothing with the rasterizer: spans between a triangle's sides, ORed row by row."""
    height, width = counts.shape
    for row in prange(height):
        mask = np.zeros((samples, width * samples), np.uint8)
        for f in range(corners.shape[0]):
            ys = corners[f, :, 1]
            first = max(math.ceil(ys.min() - 0.5), row * samples)
            last = min(math.floor(ys.max() - 0.5), (row + 1) * samples - 1)
            for line in range(first, last + 1):
                left, right = np.inf, -np.inf
                for k in range(3):
                    (x0, y0), (x1, y1) = corners[f, k], corners[f, (k + 1) % 3]
                    if min(y0, y1) <= line + 0.5 <= max(y0, y1) and y0 != y1:
                        x = x0 + (line + 0.5 - y0) / (y1 - y0) * (x1 - x0)
                        left, right = min(left, x), max(right, x)
                if left <= right:
                    start, stop = max(math.ceil(left - 0.5), 0), min(math.floor(right - 0.5), mask.shape[1] - 1)
                    mask[line - row * samples, start : stop + 1] = 1
        for column in range(width):
            counts[row, column] = mask[:, column * samples : (column + 1) * samples].sum()
