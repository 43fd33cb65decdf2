"""Fields trained for the same time, and gradients of a silhouette: this project's and other ways, in one run.

Fields: the clock at 128 x 128 pixels; the project's three fields, the harmonic one in plain PyTorch (all else being
equal) and through ``torch.compile``, and the recipe of PyTorch3D's NeRF tutorial, computed by this project's kernels.
They train in turns of a second or a step, so that a busy spell of the machine meets all of them alike. ``WARM`` steps
of each, in which compilers work, come before the clock starts. PSNR is of held-out views, looks do not count.

Silhouettes: ``peers_silhouette``. Compositing: ``composite``, beside NerfAcc's. Peers are imported where they are
installed, or lie in the folder NERFKIT_PEERS; what is not there says so. Mitsuba wants LLVM, which DRJIT_LIBLLVM_PATH
names where it does not find it; 15 breaks off on processors with AVX-512, 19 does not.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import composite, measure, peers_silhouette
from benchmarks.gpu_limits import attempt
from benchmarks.gpu_peers import PEERS
from benchmarks.gpu_training import held_out
from nerfkit.fit.build import load_scene
from nerfkit.fit.field import FieldFit
from nerfkit.options import compose
from nerfkit.results import new_fit
from nerfkit.runs.folder import Run
from nerfkit.runs.threads import set_threads

SIDE = 128
COMPILE = "compile"
FIELDS: Mapping[str, list[str]] = {
    "harmonic": ["field.precision=fp32"],
    "harmonic_bf16": ["field.precision=bf16"],
    "hash_grid": ["field=hash_grid"],
    "planes": ["field=planes"],
    "pytorch": ["field.fused=false", "field.precision=fp32"],
    COMPILE: ["field.fused=false", "field.precision=fp32"],
    "nerf_tutorial": ["experiment=nerf_tutorial"],
}
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the time, at which held-out views are looked at
VIEWS = 4  # held-out views of a look
WARM = 2  # steps
WARM_SECONDS = 150.0  # that they may take
SPELL = 1.0  # seconds of a turn, and no less than a step


class Contestant:
    """A fit, the seconds of its steps, and what held-out views looked like at moments."""

    def __init__(self, name: str, seconds: float, folder: Path) -> None:
        limits = [f"trainer.max_seconds={seconds}", "trainer.max_steps=null", f"scene.resolution={SIDE}"]
        config = compose("train", ["scene=clock", "preset=cpu", *FIELDS[name], *limits])
        self.seconds, self.curve = seconds, list[tuple[float, float]]()
        self.fit = new_fit(config, load_scene(config), Run(folder / name), torch.device("cpu"))
        if name == COMPILE:
            field = self.fit.model.field
            field.forward = torch.compile(field.forward, dynamic=True)  # type: ignore[method-assign]
        start = time.perf_counter()
        for _ in range(WARM):
            self.fit.step()
        self.warm_seconds, self.warm_samples = time.perf_counter() - start, self.fit.progress.samples

    @property
    def running(self) -> bool:
        """Whether its time is not used up."""
        return self.fit.progress.seconds < self.seconds

    def turn(self) -> None:
        """Steps for a spell, then a look if one is due."""
        progress = self.fit.progress
        end = min(progress.seconds + SPELL, self.seconds)
        due = sum(share * self.seconds <= progress.seconds for share in SHARES)
        while progress.seconds < end:
            start = time.perf_counter()
            self.fit.step()
            progress.seconds += time.perf_counter() - start
        if sum(share * self.seconds <= progress.seconds for share in SHARES) > due:
            self.curve.append((round(progress.seconds, 2), round(quality(self.fit), 2)))

    def result(self) -> dict[str, Any]:
        """Its curve (seconds, PSNR), and how much it did."""
        progress = self.fit.progress
        return {
            "psnr": self.curve[-1][1],
            "curve": self.curve,
            "steps": progress.step - WARM,
            "samples_per_second": round((progress.samples - self.warm_samples) / progress.seconds),
            "warm_seconds": round(self.warm_seconds, 2),
        }


def quality(fit: FieldFit) -> float:
    """Mean PSNR of ``VIEWS`` held-out views, in dB."""
    views = fit.scene.test[:: max(1, len(fit.scene.test) // VIEWS)][:VIEWS]
    return sum(held_out(fit, view) for view in views) / len(views)


def fields(seconds: float) -> dict[str, Any]:
    """Of each field its result; or why it was not run."""
    found: dict[str, Any] = {}
    contestants: dict[str, Contestant] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FIELDS:
            whose = "others" if name == COMPILE else "ours"
            made, found[name] = attempt(lambda name=name: Contestant(name, seconds, Path(folder)), WARM_SECONDS, whose)  # type: ignore[misc, arg-type]
            if made is not None:
                contestants[name] = made
        while any(contestant.running for contestant in contestants.values()):
            for contestant in contestants.values():
                if contestant.running:
                    contestant.turn()
        for name, contestant in contestants.items():
            found[name] = contestant.result()
            if contestant.fit.run is not None:
                contestant.fit.run.close()
    return found


def compositing() -> dict[str, Any]:
    """Times of the contestants of ``composite`` and of its peers; or why one was not run."""
    inputs = composite.packed_inputs(composite.training_rays())
    calls, found = dict(composite.contestants(inputs)), dict[str, Any]()

    def tried(build: Callable[[composite.Inputs], Callable[[], Any]]) -> Callable[[], Any]:
        call = build(inputs)
        call()
        return call

    for name, build in PEERS.items():
        call, found[name] = attempt(lambda build=build: tried(build), WARM_SECONDS, "others")  # type: ignore[misc]
        if call is not None:
            calls[name] = call
    return found | measure.medians(calls, repeats=10)


def main(argv: list[str]) -> int:
    """Measure and save ``results/peers.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="training time of each field")
    arguments = parser.parse_args(argv)
    threads = set_threads(None)
    results: dict[str, Any] = {"threads": threads, "seconds": arguments.seconds, "shares": SHARES, "side": SIDE}
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "fields": lambda: fields(arguments.seconds),
        "compositing": compositing,
        "silhouettes": lambda: peers_silhouette.results(peers_silhouette.new_task()),
    }
    # A peer's compiler that breaks off takes this process along: what is known is kept.
    for part, measured in parts.items():
        results[part] = measured()
        for name, entry in results[part].items():
            print(f"{part:<12} {name:<14} {entry}", flush=True)
        print(f"saved {measure.save('peers', results)}", flush=True)
    return 0
