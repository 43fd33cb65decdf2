"""How long rasterizing takes, and a whole differentiable render forward and backward.

Icospheres of 5,120, 20,480 and 81,920 faces fill half of a picture of 256, 512 and 1024 pixels a side. ``hard`` is the
z-buffer alone (faces, barycentrics, depth); ``forward`` is ``render`` with vertex colors and contour antialiasing;
``step`` adds the backward pass to vertices and colors. First, the size of PyTorch3D's mesh-fitting tutorial: 1,280
faces, 128 x 128. Last, the mesh refinement's load: 20,480 faces, 256 x 256, 4 views a step.
"""

from collections.abc import Callable

import torch
import trimesh

from benchmarks import measure
from benchmarks.raster_gradients import four_cameras
from nerfkit.raster import rasterize, render

# Subdivisions of the icosphere, picture size, views.
CASES = ((3, 128, 1), (4, 256, 1), (5, 512, 1), (6, 1024, 1), (5, 256, 4))


def main(argv: list[str]) -> int:
    """Measure, print and save as ``raster_speed``."""
    rows = []
    for subdivisions, size, views in CASES:
        contestants, faces = prepare(subdivisions, size, views)
        times = measure.medians(contestants)
        measure.print_medians(f"{faces} faces, {size} x {size}, {views} view{'s' * (views > 1)}", times)
        rows.append({"faces": faces, "size": size, "views": views, "times": times})
    measure.save("raster_speed", {"rows": rows})
    return 0


def prepare(subdivisions: int, size: int, views: int) -> tuple[dict[str, Callable[[], object]], int]:
    """The three contestants of one case, and its number of faces."""
    ball = trimesh.creation.icosphere(subdivisions)
    vertices = torch.tensor(ball.vertices, dtype=torch.float32, requires_grad=True)
    faces = torch.tensor(ball.faces)
    colors = torch.rand(vertices.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cameras = four_cameras(size)[:views]

    def hard() -> object:
        with torch.no_grad():
            return rasterize(vertices, faces, cameras)

    def forward() -> object:
        with torch.no_grad():
            return render(vertices, faces, cameras, colors=colors)

    def step() -> object:
        rgb, alpha, _ = render(vertices, faces, cameras, colors=colors)
        return torch.autograd.grad(rgb.square().mean() + alpha.square().mean(), (vertices, colors))

    return {"hard": hard, "forward": forward, "step": step}, len(faces)
