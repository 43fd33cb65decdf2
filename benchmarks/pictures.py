"""The README's pictures, from a run folder: a held-out view as photo, field, refined mesh and normals; a turntable."""

import argparse
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from omegaconf import OmegaConf

from nerfkit.cameras import Cameras
from nerfkit.fit.build import load_scene
from nerfkit.mesh.files.io import load_mesh
from nerfkit.raster.shade import MeshSource
from nerfkit.resume import load
from nerfkit.runs.folder import find
from nerfkit.view.colors import picture
from nerfkit.view.paths import orbit
from nerfkit.view.video import write_video

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
FRAMES, SIZE = 36, 200


def main(argv: list[str]) -> int:
    """Write ``docs/pictures/clock.png`` and ``turntable.gif``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pictures", description=__doc__)
    parser.add_argument("run", help="a run folder, such as outputs/clock/latest")
    parser.add_argument("--view", type=int, default=30, help="which held-out view")
    arguments = parser.parse_args(argv)
    folder = find(arguments.run)
    config = load(folder)
    scene = load_scene(config)
    mesh = load_mesh(folder / "mesh" / "mesh.glb").transformed(scene.normalization.apply)
    source = MeshSource(mesh, (1.0, 1.0, 1.0))
    FOLDER.mkdir(parents=True, exist_ok=True)

    strips = [iio.imread(folder / "images" / f"{kind}_{arguments.view:03d}.png") for kind in ("field", "mesh")]
    width = strips[0].shape[1] // 3  # predicted, true, error
    normals = rendered(source, scene.cameras, arguments.view, "normal")
    views = [strips[0][:, width : 2 * width], strips[0][:, :width], strips[1][:, :width], normals]
    iio.imwrite(FOLDER / "clock.png", np.concatenate(views, 1))

    path = orbit(scene.cameras, FRAMES, elevation=15.0, up=scene.up).resized(SIZE, SIZE)
    write_video([rendered(source, path, frame, "rgb") for frame in range(FRAMES)], FOLDER / "turntable.gif", 12.0)
    print(f"wrote {FOLDER / 'clock.png'} and {FOLDER / 'turntable.gif'} from {OmegaConf.select(config, 'scene.name')}")
    return 0


def rendered(source: MeshSource, cameras: Cameras, view: int, channel: str) -> np.ndarray:
    """One channel of the mesh at twice the size, averaged down: (H,W,3) uint8."""
    fine = cameras[view].resized(2 * cameras.height, 2 * cameras.width)
    arrays = {name: tensor.detach().numpy() for name, tensor in source.render(fine, 0).items()}
    large = picture(channel, arrays, 0.0, 1.0).astype(np.float32)
    return np.rint(large.reshape(cameras.height, 2, cameras.width, 2, 3).mean((1, 3))).astype(np.uint8)
