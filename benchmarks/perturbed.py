"""Cameras and exposure that are off, and what learning them brings back: NeRF-synthetic mic at 200 pixels.

Every training camera is moved by 1 % of its distance and turned by 1 degree, both in random directions, and its photo's
colors are multiplied by .8 to 1.2. What is held out stays as it is. Data sets are written as ``transforms.json`` and
trained as a user would; steps are the budget, so results do not depend on the machine.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks import measure
from benchmarks.runs import NOT_THERE, ROOT, metrics_in, python, with_data
from nerfkit.cameras.delta import se3_exp
from nerfkit.scenes import open_scene
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.scenes.writers import write_transforms

SHIFT, TURN, GAIN = 0.01, torch.pi / 180, 0.2  # of the distance to the object, radians, of a color
STEPS = 2000
LEARNED = ["trainer.poses=on", "trainer.exposure=on"]
RUNS: dict[str, tuple[bool, list[str]]] = {"right": (False, []), "off": (True, []), "learned": (True, LEARNED)}


def perturbed(scene: Scene, seed: int = 0) -> Scene:
    """The scene with training cameras and photos that are off."""
    generator = torch.Generator().manual_seed(seed)

    def directions() -> Tensor:
        return normalize(torch.randn(len(scene.images), 3, generator=generator), dim=-1)

    pose = scene.cameras.camera_to_world  # (N, 3, 4)
    distance = pose[..., 3].norm(dim=-1, keepdim=True)
    twist = torch.cat([SHIFT * distance * directions(), TURN * directions()], 1)
    gain = 1 + GAIN * (2 * torch.rand(len(scene.images), generator=generator) - 1)
    twist[scene.test], gain[scene.test] = 0, 1
    moved = pose[..., :3] @ se3_exp(twist)
    moved[..., 3] += pose[..., 3]
    photos = []
    for photo, factor in zip(scene.images, gain, strict=True):
        most = photo[..., 3:].float()  # colors are premultiplied
        color = torch.minimum((photo[..., :3] * factor).round(), most)
        photos.append(torch.cat([color, most], -1).to(torch.uint8))
    return replace(scene, cameras=scene.cameras.changed(moved), images=Photos.of(photos))


def run(scene: Scene, words: list[str]) -> dict[str, Any]:
    """Metrics of the field of a scene that was written and read."""
    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder, "data"), Path(folder, "output")
        data.mkdir()
        write_transforms(scene, data)
        budget = [f"trainer.max_steps={STEPS}", "stages=[field]"]
        where = [f"scene.root={data}", "scene.background=white", f"output={output}"]
        python(str(ROOT / "train.py"), *where, *budget, *words)
        return metrics_in(output)["field"]


def main(argv: list[str]) -> int:
    """Measure and save ``results/perturbed.json``."""
    argparse.ArgumentParser(prog="python -m benchmarks perturbed", description=__doc__).parse_args(argv)
    try:
        (root,) = with_data(["{data}/nerf_mic"])
    except FileNotFoundError as missing:
        print(f"perturbed: not run: {missing} {NOT_THERE}")
        return 0
    scene = open_scene("blender", root, resolution=200)
    found: dict[str, Any] = {}
    for name, (off, words) in RUNS.items():
        found[name] = run(perturbed(scene) if off else scene, words)
    right, off, learned = (found[name]["psnr"] for name in RUNS)
    found["brought_back"] = round((learned - off) / (right - off), 3)
    print(f"right {right:.2f} dB, off {off:.2f} dB, learned {learned:.2f} dB: {found['brought_back']:.0%} of the loss")
    print(f"saved {measure.save('perturbed', found)}")
    return 0
