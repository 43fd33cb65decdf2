"""Are the visibility gradients right? Derivatives of picture losses against supersampled finite differences.

**mask**: a bumpy ball of 320 to 20,480 faces is drawn at 128 x 128 in four views; the loss is the mean squared
difference from the mask of another shape. For 24 random smooth deformations u, six of each of four such pairs, the
analytic derivative <dL/dv, u> of each visibility gradient stands against the central difference of the same loss whose
masks are hard ones, 16 x 16 samples a pixel. Over the deformations,

    cosine = <a, d> / (|a| |d|)          slope = <a, d> / <d, d>          a: analytic, d: finite differences

both 1 for exact derivatives. The other shape has a relief of its own, so that the outlines lie some pixels apart.

**near**: the same with a third of the relief, so that they nearly agree, as at the end of a fit. Blurred and one-sided
gradients are biased there, by how much depends on the shapes: 24 deformations of each of eight pairs are taken, and
beside the figures over all of them stands the span of those of each pair.

**torus**, **balls**, **patches**: the same for the loss of the colors, 8 x 8 samples a pixel, for the gradients that
keep the shading sharp. The torus passes in front of itself, one of the two balls in front of the other, both with
smooth colors; the patches are a ball whose faces have one of 40 colors each, so that the color jumps along edges.

Run: ``python -m benchmarks raster_gradients``, or with names of rows (``mask torus``) and numbers of subdivisions
(``2 3``) a part of it, which is not saved. It fails where contour antialiasing is outside cosine >= 0.998 or
|slope - 1| <= 0.03 in any row. For the other methods the row ``near`` names what their projects' own code gave on one
pair of such shapes (``PEERS``) and marks what is further than 0.03 from the span of our pairs. That the kernels do what
the projects' own do, number by number, is for ``tests/kernels/test_soft_mask_peers.py`` and ``test_edge_peers.py``.
"""

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks import supersample
from nerfkit.cameras import Cameras, look_at
from nerfkit.raster import render
from nerfkit.raster.visibility import DIBR, NMR, Antialias, Contour, EdgeGrad, SoftRas, Visibility
from nerfkit.recipes.visibility_study import waves

SIZE, VIEWS = 128, 4
SHAPES = {"mask": 4, "near": 8, "torus": 4, "balls": 4, "patches": 4}
DIRECTIONS = {"mask": 6, "near": 24, "torus": 6, "balls": 6, "patches": 6}
"""Of each shape."""
SAMPLES = {"mask": 16, "near": 16, "torus": 8, "balls": 8, "patches": 8}
SUBDIVISIONS = {"mask": (2, 3, 4, 5), "near": (2, 3, 4, 5), "torus": (3, 4), "balls": (3, 4), "patches": (3, 4, 5)}
RELIEF, NEAR_RELIEF = 0.12, 0.04
STEP = 0.15
"""Root-mean-square displacement of the finite differences, in pixels."""
COSINE, SLOPE, PEER = 0.998, 0.03, 0.03

METHODS: dict[str, Visibility] = {
    "contour": Contour(),
    "antialias": Antialias(),
    "dibr": DIBR(sigmainv=7000.0),
    "softras 1e-4": SoftRas(sigma=1e-4),
    "softras 1e-5": SoftRas(sigma=1e-5),
    "nmr": NMR(),
    "edge_grad": EdgeGrad(),
}
SHARP = ("contour", "antialias", "edge_grad")
PEERS = {
    "antialias": ((0.989, 0.55), (0.86, 0.22), (0.86, 0.05), (0.79, 0.03)),
    "dibr": ((0.968, 0.82), (0.81, 0.83), (0.70, 0.61), (0.79, 0.64)),
    "softras 1e-4": ((0.992, 0.91), (0.90, 0.90), (0.81, 0.70), (0.84, 0.68)),
    "softras 1e-5": ((0.995, 1.03), (0.991, 0.90), (0.94, 0.84), (0.96, 1.14)),
    "edge_grad": ((0.991, 0.93), (0.991, 0.94), (0.991, 0.93), (0.991, 0.91)),
}
"""Cosine and slope of the projects' own code for the mask loss of one pair of shapes, at each number of faces."""


class Subject(NamedTuple):
    """A shape (V,3), its faces, the colors of their corners (None: white) and the shape that it is compared with."""

    vertices: Tensor
    faces: Tensor
    colors: Tensor | None
    other: Tensor


def main(argv: list[str]) -> int:
    """Measure, print, and save what was measured if nothing was left out; 1 if a limit is not kept."""
    from benchmarks import measure

    kinds = [word for word in argv if word in SUBDIVISIONS] or list(SUBDIVISIONS)
    chosen = [int(word) for word in argv if word.isdigit()]
    unknown = [word for word in argv if word not in SUBDIVISIONS and not word.isdigit()]
    if unknown:
        print(f"unknown row {unknown[0]!r}; expected some of {', '.join(SUBDIVISIONS)}, and subdivisions")
        return 2
    rows = []
    print(f"{'row':<8} {'faces':>7}  {'method':<13} {'cosine':>8} {'slope':>8}")
    for kind in kinds:
        for subdivisions in SUBDIVISIONS[kind]:
            if not chosen or subdivisions in chosen:
                rows += (found := compare(kind, subdivisions))
                for row in found:
                    print(describe(row), flush=True)
    failures = [row for row in rows if not row["passed"]]
    if not argv:
        settings = {"size": SIZE, "samples": SAMPLES, "views": VIEWS, "shapes": SHAPES, "step_pixels": STEP}
        settings["directions"] = {kind: SHAPES[kind] * DIRECTIONS[kind] for kind in SHAPES}
        limits = {"cosine_at_least": COSINE, "slope_within": SLOPE, "peers_within": PEER}
        own = [row for row in rows if row["row"] == "mask" and row["method"] == "contour"]
        results = {"settings": settings, "limits": limits, "passed": not failures, "rows": own, "table": rows}
        measure.save("raster_gradients", results)
    print("passed" if not failures else f"FAILED in {len(failures)} of {len(rows)} rows, marked *")
    return 1 if failures else 0


def describe(row: dict) -> str:
    """A line of the table."""
    line = f"{row['row']:<8} {row['faces']:7d}  {row['method']:<13} {row['cosine']:8.4f} {row['slope']:8.3f}"
    if "span" in row:
        line += "   shapes " + ", ".join(f"{low:.2f} to {high:.2f}" for low, high in row["span"])
    if "expected" in row:
        line += f"   elsewhere {row['expected'][0]:.3f} {row['expected'][1]:.2f}{'' if row['as_expected'] else ' ~'}"
    return line if row["passed"] else line + " *"


def compare(kind: str, subdivisions: int) -> list[dict]:
    """Cosine and slope of every method at one face count."""
    start = time.perf_counter()
    methods = {name: METHODS[name] for name in SHARP} if kind in COLORED else METHODS
    analytic: dict[str, list[float]] = {name: [] for name in methods}
    measured: list[float] = []
    for seed in range(SHAPES[kind]):
        generator = torch.Generator().manual_seed(seed)
        subject = SUBJECTS[kind](subdivisions, generator)
        differentiate(subject, SAMPLES[kind], DIRECTIONS[kind], generator, methods, analytic, measured)
    d = torch.tensor(measured)
    rows = []
    for name in methods:
        a = torch.tensor(analytic[name])
        cosine, slope = agreement(a, d)
        row = {"row": kind, "faces": len(subject.faces), "method": name, "cosine": cosine, "slope": slope}
        row["passed"] = name != "contour" or (cosine >= COSINE and abs(slope - 1) <= SLOPE)
        if kind == "near":
            pairs = zip(a.split(DIRECTIONS[kind]), d.split(DIRECTIONS[kind]), strict=True)
            each = [agreement(*pair) for pair in pairs]
            row["span"] = [[min(values), max(values)] for values in zip(*each, strict=True)]
            if name in PEERS:
                row["expected"] = PEERS[name][SUBDIVISIONS[kind].index(subdivisions)]
                bounds = zip(row["span"], row["expected"], strict=True)
                row["as_expected"] = all(low - PEER <= value <= high + PEER for (low, high), value in bounds)
        rows.append(row)
    rows[0]["seconds"] = round(time.perf_counter() - start, 1)
    return rows


def agreement(analytic: Tensor, measured: Tensor) -> tuple[float, float]:
    """Cosine and slope over some deformations."""
    product = analytic @ measured
    return (product / (analytic.norm() * measured.norm())).item(), (product / (measured @ measured)).item()


def differentiate(
    subject: Subject,
    samples: int,
    directions: int,
    generator: torch.Generator,
    methods: dict[str, Visibility],
    analytic: dict[str, list[float]],
    measured: list[float],
) -> None:
    """Appends the derivatives of one subject's loss along ``directions`` random deformations."""
    vertices, faces, colors, other = subject
    cameras = four_cameras(SIZE)

    def pictures(shape: Tensor) -> Tensor:
        if colors is None:
            return supersample.masks(shape, faces, cameras, samples)
        return supersample.colors(shape, faces, colors, cameras, samples)

    target = pictures(other)
    gradients = {name: gradient(subject, cameras, target, method) for name, method in methods.items()}
    distance = cameras.positions.norm(dim=-1).mean().item()
    step = STEP * distance / cameras.intrinsics[0, 0].item()  # in the world, at the origin
    for _ in range(directions):
        direction = waves(vertices, generator, 3)  # (V, 3)
        direction /= direction.square().sum(1).mean().sqrt()
        ahead, behind = ((pictures(vertices + sign * step * direction) - target).square().mean() for sign in (1, -1))
        measured.append((ahead - behind).item() / (2 * step))
        for name, found in gradients.items():
            analytic[name].append((found * direction).sum().item())


def gradient(subject: Subject, cameras: Cameras, target: Tensor, visibility: Visibility) -> Tensor:
    """dL/dv (V,3) float64."""
    vertices = subject.vertices.float().requires_grad_()
    colors = None if subject.colors is None else subject.colors.float()
    rgb, alpha, _ = render(vertices, subject.faces, cameras, corner_colors=colors, visibility=visibility)
    loss = ((alpha if colors is None else rgb).double() - target).square().mean()
    return torch.autograd.grad(loss, vertices)[0].double()


def four_cameras(size: int) -> Cameras:
    """Cameras around the origin, the unit ball filling a little over half of the picture."""
    angle = torch.arange(VIEWS) * (2 * math.pi / VIEWS) + 0.3
    height = torch.tensor([0.4, -0.3, 0.7, -0.6])
    positions = 3.5 * torch.nn.functional.normalize(torch.stack([angle.cos(), height, angle.sin()], -1), dim=-1)
    poses = look_at(positions, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    intrinsics = torch.tensor([1.1 * size, 1.1 * size, size / 2, size / 2]).expand(VIEWS, -1)
    return Cameras(poses, intrinsics, size, size)


def bumpy(points: Tensor, generator: torch.Generator, relief: float = RELIEF) -> Tensor:
    """The points with a smooth random relief."""
    return points * (1 + relief * waves(points, generator, 1))


def unit_ball(subdivisions: int) -> tuple[Tensor, Tensor]:
    """An icosphere's vertices (V,3) float64 and faces (F,3)."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions)
    return torch.tensor(ball.vertices), torch.tensor(ball.faces)


def mask_subject(subdivisions: int, generator: torch.Generator, relief: float = RELIEF) -> Subject:
    """A white bumpy ball."""
    sphere, faces = unit_ball(subdivisions)
    return Subject(bumpy(sphere, generator, relief), faces, None, bumpy(sphere, generator, relief))


def near_subject(subdivisions: int, generator: torch.Generator) -> Subject:
    """A white ball whose outlines nearly agree with the other one's."""
    return mask_subject(subdivisions, generator, NEAR_RELIEF)


def patches_subject(subdivisions: int, generator: torch.Generator) -> Subject:
    """A bumpy ball in patches of one color each: every face has the color of the nearest of 40 random points."""
    sphere, faces = unit_ball(subdivisions)
    shape, other = bumpy(sphere, generator), bumpy(sphere, generator)
    seeds = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator, dtype=torch.float64), dim=1)
    patch = (sphere[faces].mean(1) @ seeds.T).argmax(1)  # (F,)
    colors = torch.rand(40, 3, generator=generator, dtype=torch.float64)[patch]
    return Subject(shape, faces, colors[:, None].expand(-1, 3, -1), other)


def smooth_subject(base: Tensor, faces: Tensor, generator: torch.Generator) -> Subject:
    """``base`` with a relief and smooth colors."""
    shape, other = bumpy(base, generator), bumpy(base, generator)
    return Subject(shape, faces, (0.5 + 0.35 * waves(base, generator, 3)).clamp(0, 1)[faces], other)


def balls_subject(subdivisions: int, generator: torch.Generator) -> Subject:
    """Two colored bumpy balls, one in front of the other in most views."""
    sphere, faces = unit_ball(subdivisions)
    offset = torch.tensor([0.35, 0.1, 0.2])
    both = torch.cat([0.5 * sphere + offset, 0.5 * sphere - offset])
    return smooth_subject(both, torch.cat([faces, faces + len(sphere)]), generator)


def torus(around: int, across: int) -> tuple[Tensor, Tensor]:
    """A torus of 2 x around x across faces: vertices (V,3) float64 and faces (F,3)."""
    i, j = torch.meshgrid(torch.arange(around), torch.arange(across), indexing="ij")
    a, b = (2 * math.pi * k.double() / n for k, n in ((i, around), (j, across)))
    out = 0.75 + 0.32 * b.cos()
    vertices = torch.stack([out * a.cos(), 0.32 * b.sin(), out * a.sin()], -1).view(-1, 3)
    corners = [
        ((i + di) % around * across + (j + dj) % across).reshape(-1) for di, dj in ((0, 0), (1, 0), (1, 1), (0, 1))
    ]
    return vertices, torch.cat([torch.stack([corners[k] for k in kinds], 1) for kinds in ((0, 1, 2), (0, 2, 3))])


def torus_subject(subdivisions: int, generator: torch.Generator) -> Subject:
    """A colored bumpy torus of 20 x 4^s faces, which hides parts of itself in every view."""
    return smooth_subject(*torus(5 * 2**subdivisions, 2 ** (subdivisions + 1)), generator)


SUBJECTS = {
    "mask": mask_subject,
    "near": near_subject,
    "torus": torus_subject,
    "balls": balls_subject,
    "patches": patches_subject,
}
COLORED = ("torus", "balls", "patches")
