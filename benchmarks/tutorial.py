"""PyTorch3D's NeRF tutorial recipe against the default recipe: the same scene, the same time, held-out PSNR."""

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks import measure
from nerfkit.fit.build import load_scene
from nerfkit.fit.evaluate import evaluate_field
from nerfkit.options import compose
from nerfkit.results import new_fit
from nerfkit.runs.folder import Run
from nerfkit.runs.threads import set_threads


def main(argv: list[str]) -> int:
    """Train both for the same time and save ``results/tutorial.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tutorial", description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0, help="training time of each")
    parser.add_argument("--scene", nargs="*", default=["scene=clock"], help="scene=... scene.root=...")
    arguments = parser.parse_args(argv)
    set_threads(None)
    results = {}
    for name, words in {"default": [], "nerf_tutorial": ["experiment=nerf_tutorial"]}.items():
        limits = [f"trainer.max_seconds={arguments.seconds}", "trainer.max_steps=null"]
        limits.append("trainer.preview_every=2.0")  # no pictures on the way: the tutorial's take longer than its steps
        config = compose("train", [*arguments.scene, "preset=cpu", *words, *limits])
        scene = load_scene(config)
        with tempfile.TemporaryDirectory() as folder:
            fit = new_fit(config, scene, Run(Path(folder)), torch.device("cpu"))
            fit.train()
            if fit.run is not None:
                fit.run.close()
        found, progress = evaluate_field(fit.average, scene), fit.progress
        results[name] = {
            "psnr": found["psnr"],
            **({"psnr_inside": found["psnr_inside"]} if "psnr_inside" in found else {}),
            "seconds": round(progress.seconds, 1),
            "steps": progress.step,
            "seconds_per_step": round(progress.seconds / progress.step, 4),
            "samples_per_second": round(progress.samples / progress.seconds),
        }
        print(f"{name:<14} PSNR {found['psnr']:.2f} dB after {progress.step} steps, {progress.seconds:.0f} s")
    shown = [word for word in arguments.scene if not word.startswith("scene.root=")]  # a path says nothing elsewhere
    print(f"saved {measure.save('tutorial', {'scene': shown, **results})}")
    return 0
