"""The documentation's pictures, from a run folder.

Of the clock a held-out view as photo, field, refined mesh and normals, and a turntable; with ``--six NAME`` the mesh
of any run from six sides, NAME.png.
"""

import argparse
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from omegaconf import OmegaConf

from nerfkit.cameras import Cameras
from nerfkit.export_record import exported_place
from nerfkit.fit.build import load_scene
from nerfkit.mesh.files.io import load_mesh
from nerfkit.raster.shade import MeshSource
from nerfkit.resume import load
from nerfkit.runs.folder import Run, find
from nerfkit.scenes.record import recorded
from nerfkit.view.colors import picture
from nerfkit.view.paths import orbit
from nerfkit.view.video import write_video

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
FRAMES, SIZE = 36, 200
SIX = ((20.0, 4), (75.0, 1), (-20.0, 1))  # elevations in degrees, and how many views of each


def main(argv: list[str]) -> int:
    """Write ``docs/pictures/clock.png`` and ``turntable.gif``, or ``NAME.png``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pictures", description=__doc__)
    parser.add_argument("run", help="a run folder, such as outputs/clock/latest")
    parser.add_argument("--view", type=int, default=30, help="which held-out view")
    parser.add_argument("--six", metavar="NAME", help="the mesh from six sides instead")
    arguments = parser.parse_args(argv)
    folder = find(arguments.run)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if arguments.six:
        print(f"wrote {six_sides(folder, FOLDER / f'{arguments.six}.png')}")
        return 0
    config = load(folder)
    scene = load_scene(config)
    mesh = load_mesh(folder / "mesh" / "mesh.glb").transformed(scene.normalization.apply)
    source = MeshSource(mesh, (1.0, 1.0, 1.0))

    strips = [iio.imread(folder / "images" / f"{kind}_{arguments.view:03d}.png") for kind in ("field", "mesh")]
    width = strips[0].shape[1] // 3  # predicted, true, error
    normals = rendered(source, scene.cameras, arguments.view, "normal")
    views = [strips[0][:, width : 2 * width], strips[0][:, :width], strips[1][:, :width], normals]
    iio.imwrite(FOLDER / "clock.png", np.concatenate(views, 1))

    path = orbit(scene.cameras, FRAMES, elevation=15.0, up=scene.up).resized(SIZE, SIZE)
    write_video([rendered(source, path, frame, "rgb") for frame in range(FRAMES)], FOLDER / "turntable.gif", 12.0)
    print(f"wrote {FOLDER / 'clock.png'} and {FOLDER / 'turntable.gif'} from {OmegaConf.select(config, 'scene.name')}")
    return 0


def six_sides(folder: Path, path: Path) -> Path:
    """A run's mesh from four sides, from above and from below; under each view the normals."""
    scene = recorded(folder)
    assert scene is not None
    place = exported_place("glb", Run.open(folder), scene)
    source = MeshSource(load_mesh(folder / "mesh" / "mesh.glb").transformed(place.apply), (1.0, 1.0, 1.0))
    first = scene.cameras.most_alike()[:1]
    focal = float(first.intrinsics[0, 0]) * SIZE / first.width
    lens = Cameras(first.camera_to_world, torch.tensor([[focal, focal, SIZE / 2, SIZE / 2]]), SIZE, SIZE)
    columns = []
    for elevation, count in SIX:
        cameras = orbit(lens, count, elevation, up=scene.up, points=source.points())
        for view in range(count):
            seen, normals, solid = (rendered(source, cameras, view, channel) for channel in ("rgb", "normal", "alpha"))
            columns.append(np.concatenate([seen, normals + (255 - solid)]))
    iio.imwrite(path, np.concatenate(columns, 1))
    return path


def rendered(source: MeshSource, cameras: Cameras, view: int, channel: str) -> np.ndarray:
    """One channel of the mesh at twice the size, averaged down: (H,W,3) uint8."""
    fine = cameras[view].resized(2 * cameras.height, 2 * cameras.width)
    arrays = {name: tensor.detach().numpy() for name, tensor in source.render(fine, 0).items()}
    large = picture(channel, arrays, 0.0, 1.0).astype(np.float32)
    return np.rint(large.reshape(cameras.height, 2, cameras.width, 2, 3).mean((1, 3))).astype(np.uint8)
