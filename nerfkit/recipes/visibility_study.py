"""The same fit with all six visibility gradients: which is best where.

A sphere becomes a bumpy ball with painted patches, known from ``views`` pictures around it. Two tasks:

    silhouette  the masks alone; loss: mean squared difference of the masks
    painted     masks and colors; vertices and vertex colors are learned; loss: of the colors too

each at every number of faces in ``subdivisions``. All fits share the steps (``LargeSteps``, whose length does not
depend on the gradient's scale), the pictures (8 x 8 samples a pixel) and the held-out cameras, where the error is
measured: mean |mask - true| as a share of the object, and for the painted task mean |rgb - true| inside.
"""

import math
import statistics
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.config import TrainOptions
from nerfkit.fit.large_steps import LargeSteps
from nerfkit.fit.loop import Callback, optimize
from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.laplacian import Topology
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.raster import render
from nerfkit.raster.visibility import VISIBILITIES, SoftRas, Visibility
from nerfkit.recipes import RecipeOptions, recipe, steps_option, subdivisions_option
from nerfkit.recipes.common import steps_of
from nerfkit.runs.folder import Run
from nerfkit.runs.plot import line_chart
from nerfkit.runs.table import table
from nerfkit.schema import option

SAMPLES = 8  # each way in a pixel, of the true pictures
HELD_OUT = 12


@dataclass
class VisibilityStudyOptions(RecipeOptions):
    """The same fit with all six visibility gradients. A table and charts."""

    name: str = "visibility_study"
    tasks: list[str] = option(
        ["silhouette", "painted"], "masks alone, or colors too", choices=("silhouette", "painted")
    )
    subdivisions: list[int] = subdivisions_option([3, 4])
    steps: int = steps_option(150)
    views: int = option(6, "pictures of the ball", least=1, most=10_000)
    size: int = option(128, "their side in pixels", least=8, most=4096)
    rate: float = option(0.03, "of the vertices' steps; the ball's radius is 1", above=0)
    color_rate: float = option(0.03, "of the colors' Adam", above=0)
    smoothness: float = option(5.0, "of LargeSteps at 1280 faces, in edges squared", least=0)
    final_rate: float = option(0.1, "share of the vertices' rate that is left at the end", above=0, most=1)


def contestants() -> dict[str, Visibility]:
    """Every gradient with its defaults, SoftRas also at a tenth of its softness."""
    return {**{name: kind() for name, kind in VISIBILITIES.items()}, "softras 1e-5": SoftRas(sigma=1e-5)}


class Photos(NamedTuple):
    """Cameras and their premultiplied RGBA pictures (N,H,W,4), for the fit and for measuring."""

    cameras: Cameras
    true: Tensor
    held_out: Cameras
    true_held_out: Tensor


@recipe(VisibilityStudyOptions, uses=("seed",))
def run(o: VisibilityStudyOptions, config: TrainOptions, record: Run, device: torch.device) -> None:
    """See ``nerfkit.recipes``. Figures: ``visibility_study.TASK.FACES.NAME``; charts in ``images/``."""
    cameras, held_out = around(o.views, o.size, 0.0), around(HELD_OUT, o.size, 0.5)
    truth, painted = bumpy_ball(5, int(config.seed))
    true, true_held_out = (
        torch.cat([photograph(truth, painted, c[view]) for view in range(len(c))]) for c in (cameras, held_out)
    )
    photos = Photos(cameras, true, held_out, true_held_out)
    found: dict[str, Any] = {}
    for task in o.tasks:
        found[task] = {}
        for subdivisions in o.subdivisions:
            rows, lines = {}, {}
            for name in contestants():
                rows[name], lines[name] = fit(o, config, record, device, task, subdivisions, name, photos)
            faces = 20 * 4**subdivisions
            found[task][str(faces)] = rows
            unit = "% of the object" if task == "silhouette" else "% of the range, inside"
            line_chart(
                record.folder / "images" / f"visibility_{task}_{faces}.png",
                f"{task}, {faces} faces",
                "steps",
                f"held-out error, {unit}",
                lines,
            )
            keys = list(next(iter(rows.values())))
            body = [(name, *(row[key] for key in keys)) for name, row in rows.items()]
            record.log(table((f"{task}, {faces} faces", *keys), body))
    record.update_metrics({"visibility_study": found})


def fit(
    o: VisibilityStudyOptions,
    config: TrainOptions,
    record: Run,
    device: torch.device,
    task: str,
    subdivisions: int,
    name: str,
    photos: Photos,
) -> tuple[dict[str, float], list[tuple[float, float]]]:
    """One fit: its final figures, and the held-out error in percent by step."""
    start = icosphere(subdivisions).without_appearance().to(device)
    vertices = start.vertices.clone().requires_grad_()
    colors = torch.full_like(start.vertices, 0.5, requires_grad=True)
    # lambda counts edges squared: the same patch of surface at every number of faces
    optimizer = LargeSteps(
        vertices, Topology.of(start.faces, len(vertices)).edges, o.smoothness * 4.0 ** (subdivisions - 3)
    )
    color_optimizer = torch.optim.Adam([colors], lr=o.color_rate)
    visibility, views, target = contestants()[name], photos.cameras.to(device), photos.true.to(device)

    seconds: list[float] = []

    def step(share: float) -> dict[str, float]:
        begin = time.perf_counter()
        rgb, alpha, _ = render(vertices, start.faces, views, colors=colors, visibility=visibility)
        terms = {"mask": (alpha - target[..., 3]).square().mean()}
        if task == "painted":
            terms["color"] = (rgb - target[..., :3]).square().mean()
        vertices.grad = colors.grad = None
        torch.stack(list(terms.values())).sum().backward()
        rate = o.final_rate**share
        optimizer.step(o.rate * rate)
        if task == "painted":
            color_optimizer.step()
        found = {key: term.item() for key, term in terms.items()}
        seconds.append(time.perf_counter() - begin)
        return found

    line: list[tuple[float, float]] = []
    errors: dict[str, float] = {}

    def look(done: int) -> None:
        with torch.no_grad():
            rgb, alpha, _ = render(vertices, start.faces, photos.held_out.to(device), colors=colors, supersampling=4)
        wanted = photos.true_held_out.to(device)
        area = wanted[..., 3].mean()
        errors["mask_error"] = (100 * (alpha - wanted[..., 3]).abs().mean() / area).item()
        if task == "painted":
            inside = (wanted[..., 3] > 0.99) & (alpha > 0.99)
            errors["color_error"] = (100 * (rgb - wanted[..., :3]).abs()[inside].mean()).item()
        line.append((float(done), errors["color_error" if task == "painted" else "mask_error"]))

    def mesh() -> Mesh:
        shown = colors.detach().clamp(0, 1).cpu() if task == "painted" else None
        return Mesh(vertices.detach().cpu(), start.faces.cpu(), colors=shown)

    record.audience.shows("mesh", mesh, photos.cameras)
    title = f"{task}_{20 * 4**subdivisions}_{name.replace(' ', '_')}"
    steps = steps_of(config)
    optimize(title, step, steps=steps, run=record, callbacks=[Callback(look, share=max(0.1, min(1.0, 5 / steps)))])
    figures = {key: round(value, 3) for key, value in errors.items()}
    return {
        **figures,
        "self_intersections": float(len(self_intersections(mesh()))),
        "ms_per_step": round(1000 * statistics.median(seconds), 2),
    }, line


def bumpy_ball(subdivisions: int, seed: int) -> tuple[Mesh, Tensor]:
    """A sphere with a smooth random relief of about 12 %, and the colors of its vertices: soft patches."""
    ball = icosphere(subdivisions).without_appearance()
    generator = torch.Generator().manual_seed(seed)
    relief = waves(ball.vertices, generator, 1)
    colors = torch.sigmoid(6 * waves(ball.vertices, generator, 3))
    return ball.transformed(lambda points: points * (1 + 0.12 * relief)), colors


def waves(points: Tensor, generator: torch.Generator, channels: int, count: int = 6) -> Tensor:
    """A random smooth function of the position: a sum of plane waves, (V,channels)."""
    frequency = 2 * torch.randn(3, count, generator=generator, dtype=points.dtype)
    phase = 2 * math.pi * torch.rand(count, generator=generator, dtype=points.dtype)
    weight = torch.randn(count, channels, generator=generator, dtype=points.dtype) / math.sqrt(count)
    return torch.sin(points @ frequency + phase) @ weight


def photograph(mesh: Mesh, colors: Tensor, camera: Cameras) -> Tensor:
    """Premultiplied RGBA (1,H,W,4) of a mesh with vertex colors, by SAMPLES x SAMPLES hard samples a pixel."""
    with torch.no_grad():
        drawn = render(mesh.vertices, mesh.faces, camera, colors=colors, visibility="edge_grad", supersampling=SAMPLES)
    return torch.cat([drawn.rgb, drawn.alpha[..., None]], -1)


def around(count: int, size: int, shift: float) -> Cameras:
    """Cameras on a spiral around the origin, 3.5 units away; ``shift`` between 0 and 1 lies between those of 0."""
    k = torch.arange(count) + 0.5
    height = 1 - 2 * k / count
    angle = (k + shift) * math.pi * (3 - math.sqrt(5)) + 4 * shift
    across = (1 - height.square()).sqrt()
    positions = 3.5 * torch.stack([across * angle.cos(), height, across * angle.sin()], -1)
    poses = look_at(positions, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    intrinsics = torch.tensor([1.1 * size, 1.1 * size, size / 2, size / 2]).expand(count, 4)
    return Cameras(poses, intrinsics.contiguous(), size, size)
