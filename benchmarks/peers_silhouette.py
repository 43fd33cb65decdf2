"""Gradients of a silhouette, ours and other projects': how long a step takes, and how right it is.

A bumpy ball of 20,480 faces fills half of a picture of 512 x 512 pixels; the loss is the mean squared difference from
the mask of another shape. A step is the picture, the loss and its gradient to the vertices, which are new to it. The
gradients stand against central differences of masks of ``SAMPLES``^2 samples a pixel, as in ``raster_gradients``:
cosine and slope, both 1 for exact ones.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import measure, supersample
from benchmarks.gpu_limits import NotRunError, attempt
from benchmarks.gpu_peers import imported
from benchmarks.raster_gradients import METHODS, RELIEF, STEP, Subject, agreement, four_cameras, gradient, mask_subject
from nerfkit.cameras import Cameras
from nerfkit.mesh.files.io import save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.recipes.visibility_study import waves

SIZE, SUBDIVISIONS = 512, 5
SAMPLES, DEFORMATIONS = 4, 12
MITSUBA_SAMPLES = (4, 16, 64)  # a pixel, of the picture and of its gradient each
FIRST_CALL = 120.0  # seconds, compilation included
REPEATS = 7


class Task(NamedTuple):
    """The shape, the camera and the mask (1,H,W) float64 that it is compared with."""

    subject: Subject
    cameras: Cameras
    target: Tensor


Gradient = Callable[[Task], Callable[[], Tensor]]
"""A task to a function that returns dL/dv (V,3) float64."""


def new_task(size: int = SIZE, subdivisions: int = SUBDIVISIONS) -> Task:
    """Seeded."""
    subject, cameras = mask_subject(subdivisions, torch.Generator().manual_seed(0), RELIEF), four_cameras(size)[:1]
    return Task(subject, cameras, supersample.masks(subject.other, subject.faces, cameras, SAMPLES))


def differences(task: Task) -> tuple[list[Tensor], Tensor]:
    """Random smooth deformations (V,3), and the loss's central differences along them."""
    (vertices, faces, _, _), cameras, target = task
    generator = torch.Generator().manual_seed(1)
    distance = cameras.positions.norm(dim=-1).mean().item()
    step = STEP * distance / cameras.intrinsics[0, 0].item()
    directions, found = [], []
    for _ in range(DEFORMATIONS):
        direction = waves(vertices, generator, 3)
        direction /= direction.square().sum(1).mean().sqrt()
        shapes = (vertices + sign * step * direction for sign in (1, -1))
        ahead, behind = ((supersample.masks(s, faces, cameras, SAMPLES) - target).square().mean() for s in shapes)
        directions.append(direction)
        found.append((ahead - behind).item() / (2 * step))
    return directions, torch.tensor(found)


def mitsuba(samples: int) -> Gradient:
    """Mitsuba 3's projective sampling of a glowing mesh's outline, on a CPU by LLVM; the tree of faces is built anew.

    Raises:
        NotRunError: it cannot be imported, or finds no LLVM.
    """

    def made(task: Task) -> Callable[[], Tensor]:
        mi: Any = imported("mitsuba")
        dr: Any = imported("drjit")
        try:
            mi.set_variant("llvm_ad_mono")
            dr.eval(mi.Float(0))
        except Exception as error:
            raise NotRunError(f"no LLVM: {str(error).strip().splitlines()[0]}") from None
        (vertices, faces, _, _), cameras, target = task
        pose, lens = cameras.camera_to_world[0], cameras.intrinsics[0]
        with tempfile.TemporaryDirectory() as folder:
            path = save_mesh(Mesh(vertices.float(), faces), Path(folder) / "mesh", ("ply",))[0]
            glow = {"type": "area", "radiance": {"type": "rgb", "value": 1.0}}
            scene = mi.load_dict(
                {
                    "type": "scene",
                    "integrator": {"type": "direct_projective", "sppi": 0},
                    "mesh": {"type": "ply", "filename": str(path), "emitter": glow, "face_normals": True},
                    "sensor": {
                        "type": "perspective",
                        "fov": math.degrees(2 * math.atan(cameras.width / 2 / lens[0].item())),
                        "to_world": mi.ScalarTransform4f().look_at(
                            pose[:, 3].tolist(), (pose[:, 3] - pose[:, 2]).tolist(), pose[:, 1].tolist()
                        ),
                        "film": {
                            "type": "hdrfilm", "width": cameras.width, "height": cameras.height,
                            "pixel_format": "luminance", "rfilter": {"type": "box"},
                        },
                    },
                }
            )  # fmt: skip
        parameters = mi.traverse(scene)
        key = next(name for name in parameters.keys() if name.endswith("vertex_positions"))  # noqa: SIM118, no mapping
        flat = np.ascontiguousarray(vertices.float().numpy()).ravel()
        wanted = mi.TensorXf(target[0].float().numpy()[..., None])
        seed = iter(range(1 << 30))

        def step() -> Tensor:
            moved = mi.Float(flat)
            dr.enable_grad(moved)
            parameters[key] = moved
            parameters.update()
            image = mi.render(scene, parameters, spp=samples, spp_grad=samples, seed=next(seed))
            dr.backward(dr.mean(dr.square(image - wanted), axis=None))
            return torch.from_numpy(np.array(dr.grad(moved))).double().view(-1, 3)

        return step

    return made


def on_a_gpu(name: str) -> Gradient:
    """A peer that has kernels for GPUs alone, which this benchmark of CPUs cannot run."""

    def made(task: Task) -> Callable[[], Tensor]:
        imported(name)
        raise NotRunError("for GPUs alone")

    return made


CONTESTANTS: Mapping[str, Gradient] = {
    **{
        name: lambda task, method=method: lambda: gradient(task.subject, task.cameras, task.target, method)  # type: ignore[misc]
        for name, method in METHODS.items()
    },
    **{f"mitsuba {samples}": mitsuba(samples) for samples in MITSUBA_SAMPLES},
    "nvdiffrast": on_a_gpu("nvdiffrast.torch"),
    "drtk": on_a_gpu("drtk"),
}


def results(task: Task, contestants: Mapping[str, Gradient] = CONTESTANTS) -> dict[str, Any]:
    """Of each contestant its times, in turns with the others', cosine and slope; or why it was not run."""
    found: dict[str, Any] = {}
    calls: dict[str, Callable[[], Tensor]] = {}
    directions, expected = differences(task)
    for name, build in contestants.items():
        call, reason = attempt(lambda build=build: build(task), FIRST_CALL, "others")  # type: ignore[misc]
        gradient, broken = attempt(call, FIRST_CALL, "others") if call is not None else (None, reason)
        found[name] = broken
        if call is not None and gradient is not None:
            calls[name] = call
            cosine, slope = agreement(torch.tensor([(gradient * u).sum().item() for u in directions]), expected)
            found[name] = {"cosine": round(cosine, 4), "slope": round(slope, 4)}
    for name, times in measure.medians(calls, repeats=REPEATS, warmup=1).items():
        found[name] |= times
    return found
