"""``python -m nerfkit doctor --compile [KEY=VALUE ...]``: the CPU kernels of a run, compiled ahead of it.

Numba compiles in one thread and keeps what it has compiled on disk. Each of two processes takes one half of the run
that ``train.py`` with these words would be, with a few small pictures, so that kernels are called with the types of a
real one.
"""

import contextlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nerfkit.cameras import Cameras
from nerfkit.fit.evaluate import evaluate_field
from nerfkit.fit.refine import refine_mesh
from nerfkit.fit.refine_measure import evaluate_mesh
from nerfkit.fit.specular_fit import fit_specular
from nerfkit.kernels.jit import compile_seconds
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.measures import surface_distance
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.options import compose
from nerfkit.results import new_fit
from nerfkit.runs.folder import Run
from nerfkit.scenes import open_scene
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.studio.clock import make_clock
from nerfkit.studio.views import cameras_around

SIZE, VIEWS = 32, 10  # of the pictures
SMALL = (
    *("device=cpu", "scene=clock", "scene.root=null"),  # whatever photos the words name
    *("trainer.max_steps=2", "trainer.max_seconds=null", "refine.steps=3"),
)


def _small(words: Sequence[str]) -> list[str]:
    """The user's words, of a run of some steps of another scene, which is chosen once."""
    return [*(word for word in words if not word.startswith("scene=")), *SMALL]


def _ball() -> Mesh:
    """A ball of radius 1/2, every part in another color."""
    plain = icosphere(2, 0.5).without_appearance()
    return replace(plain, colors=plain.vertices + 0.5)


def compile_field(folder: Path, words: Sequence[str] = ()) -> None:
    """What the field stage needs under the user's words: two steps, and a picture of a view."""
    ball = _ball()
    around = cameras_around(ball.vertices.double().numpy(), VIEWS, SIZE, 40.0, 0)
    cameras = Cameras(around.camera_to_world.float(), around.intrinsics.float(), SIZE, SIZE)
    i, j = torch.meshgrid(*[torch.arange(SIZE) - SIZE / 2 + 0.5] * 2, indexing="ij")
    disk = 255 * (i**2 + j**2 < (0.4 * SIZE) ** 2)[..., None].expand(VIEWS, SIZE, SIZE, 4).to(torch.uint8)
    scene = Scene("ball", Photos.of(disk), cameras, list(range(1, VIEWS)), [0])
    config = compose("train", _small(words))
    fit = new_fit(config, scene, Run(folder), torch.device("cpu"))
    fit.train()
    evaluate_field(fit.average, scene)
    fit.average.density(ball.vertices)


def compile_mesh(folder: Path, words: Sequence[str] = ()) -> None:
    """What making the clock, reading its photos and the mesh stage need."""
    photos = make_clock(folder / "clock", SIZE, VIEWS, progress=False)
    scene, config = open_scene("kaolin", photos, holdout=5), compose("train", _small(words))
    refined = refine_mesh(_ball(), scene, replace(config.refine, geometry=0.5))
    fit_specular(refined, scene, replace(config.refine, specular_steps=1))
    evaluate_mesh(refined, scene, scene.test)
    assert scene.truth is not None
    surface_distance(refined, load_mesh(scene.truth), 100)


JOBS: dict[str, Callable[[Path, Sequence[str]], None]] = {"field": compile_field, "mesh": compile_mesh}


def precompile(words: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Runs the jobs at the same time; returns what they have to say, and which of them failed.

    Raises:
        ConfigError: ``words`` that ``train.py`` would refuse.
    """
    compose("train", _small(words))
    command = [sys.executable, "-m", "nerfkit.precompile"]
    running = [subprocess.Popen([*command, name, *words], stdout=subprocess.PIPE, text=True) for name in JOBS]
    said = [process.communicate()[0].strip() for process in running]
    failed = [name for name, process in zip(JOBS, running, strict=True) if process.returncode]
    return [line for line in said if line], failed


def main(name: str, *words: str) -> None:
    """One job, by its name; prints how long it compiled."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        JOBS[name](Path(folder), words)
    print(f"{name}: {compile_seconds():.0f} s of compiling")


if __name__ == "__main__":
    main(*sys.argv[1:])
