"""Samples a second through the whole training step of the default CPU field: rays, march, field, composite, loss, Adam.

Two contestants go on with the same fit in turns: the project's CPU kernels, and its plain PyTorch references (what the
same step costs without them). The occupancy grid has settled before the clock starts.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import measure
from nerfkit.fit.build import load_scene
from nerfkit.fit.field import FieldFit
from nerfkit.kernels import use
from nerfkit.options import compose
from nerfkit.results import new_fit
from nerfkit.runs.folder import Run
from nerfkit.runs.threads import set_threads


def rate(fit: FieldFit, seconds: float) -> float:
    """Samples a second over as many steps as fit into ``seconds``."""
    start, samples = time.perf_counter(), fit.progress.samples
    while time.perf_counter() - start < seconds:
        fit.step()
    return (fit.progress.samples - samples) / (time.perf_counter() - start)


def main(argv: list[str]) -> int:
    """Measure and save ``results/training.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks training", description=__doc__)
    parser.add_argument("--warmup", type=int, default=600, help="steps before the clock starts")
    parser.add_argument("--turns", type=int, default=5, help="timed spells of each contestant")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a spell")
    arguments = parser.parse_args(argv)
    config = compose("train", ["scene=clock", "preset=cpu", "trainer.max_steps=100000"])
    threads = set_threads(None)
    scene = load_scene(config)
    with tempfile.TemporaryDirectory() as folder:
        fit = new_fit(config, scene, Run(Path(folder)), torch.device("cpu"))
        for _ in range(arguments.warmup):
            fit.step()
        ours, plain = [], []
        for _ in range(arguments.turns):
            ours.append(rate(fit, arguments.seconds))
            with use("reference"):
                plain.append(rate(fit, arguments.seconds))
    results = {
        "samples_per_second": round(statistics.median(ours)),
        "samples_per_second_slowest": round(min(ours)),
        "plain_pytorch_samples_per_second": round(statistics.median(plain)),
        "field": {"width": config.field.width, "depth": config.field.depth, "octaves": config.field.octaves},
        "threads": threads,
        "samples_per_step": config.trainer.samples,
    }
    times = results["samples_per_second"] / results["plain_pytorch_samples_per_second"]
    print(f"whole training step: {results['samples_per_second'] / 1e6:.2f} M samples/s, {times:.1f} x plain PyTorch")
    print(f"saved {measure.save('training', results)}")
    return 0
