"""Memory and time of thousands of photos: loading, choosing pixels, training steps.

The photos are of a shaded ball, in transforms.json's format, 4 bytes a pixel once they are read. What counts is the
process's anonymous memory: pages of files can be dropped.
"""

import argparse
import json
import math
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import measure
from nerfkit.cameras import look_at
from nerfkit.fit.build import load_scene
from nerfkit.options import compose
from nerfkit.results import new_fit
from nerfkit.runs.folder import Run
from nerfkit.runs.progress import track
from nerfkit.runs.threads import set_threads
from nerfkit.scenes.images import in_threads

WIDE = 2.4  # focal length in widths
SMALL = 8  # photos are drawn at an eighth of their size and enlarged


def write_photos(folder: Path, count: int, width: int, height: int, masked: bool) -> None:
    """A ball of radius 1 from all around, JPEG; PNG with masks."""
    at = torch.arange(count) + 0.5
    level, turn = 1 - 2 * at / count, at * math.pi * (3 - math.sqrt(5))
    ring = (1 - level**2).sqrt()
    positions = 6 * torch.stack([ring * turn.cos(), ring * turn.sin(), level], -1)
    poses = look_at(positions, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])).double().numpy()
    w, h = width // SMALL, height // SMALL
    x, y = np.meshgrid((np.arange(w) + 0.5 - w / 2) / (WIDE * w), (np.arange(h) + 0.5 - h / 2) / (WIDE * w))
    local = np.stack([x, -y, -np.ones_like(x)], -1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)

    def write(view: int) -> dict[str, object]:
        pose = poses[view]
        rays, half_b = local @ pose[:, :3].T, -6 * -local[..., 2]
        root = half_b**2 - 35
        normal = pose[:, 3] + (-half_b - np.sqrt(np.maximum(root, 0)))[..., None] * rays
        hit = (root > 0)[..., None]
        rgba = np.concatenate([np.where(hit, 0.5 + 0.4 * normal, 0.5 + 0.3 * rays), hit], -1)
        picture = Image.fromarray(np.uint8(255 * rgba.clip(0, 1))[..., : 4 if masked else 3]).resize((width, height))
        name = f"{view:05d}.{'png' if masked else 'jpg'}"
        picture.save(folder / name, **({"compress_level": 1} if masked else {"quality": 85}))
        return {"file_path": name, "transform_matrix": [*pose.tolist(), [0, 0, 0, 1]]}

    frames = list(in_threads(write, count, "writing photos"))
    lens = {"fl_x": WIDE * width, "fl_y": WIDE * width, "cx": width / 2, "cy": height / 2, "w": width, "h": height}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))


def memory(kind: str) -> float:
    """GB of one kind of this process's memory, as Linux counts it: RssAnon, RssFile, RssShmem, VmHWM."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{kind}:")[1].split()[0]) * 1024 / 1e9


class Watch:
    """The most anonymous memory while it runs, looked at 50 times a second."""

    def __enter__(self) -> "Watch":
        self.most, self.done = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.start
        self.done.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.done.wait(0.02):
            self.most = max(self.most, memory("RssAnon"))

    def row(self) -> dict[str, float]:
        resident = memory("RssFile") + memory("RssShmem")
        return {"seconds": round(self.seconds, 1), "anonymous_gb": round(self.most, 2), "file_gb": round(resident, 2)}


def main(argv: list[str]) -> int:
    """Measure and save ``results/many_photos.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks many_photos", description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--size", type=int, nargs=2, default=(1200, 800), help="width and height")
    parser.add_argument("--masked", action="store_true", help="with alpha channels")
    parser.add_argument("--memory", type=float, default=2.0, help="scene.memory_gb")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--folder", help="where the photos are left, and found again")
    parser.add_argument("--name", default="many_photos", help="of the results")
    arguments = parser.parse_args(argv)
    (width, height), threads = arguments.size, set_threads(None)
    folder = Path(arguments.folder or tempfile.mkdtemp())
    if not (folder / "transforms.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_photos(folder, arguments.count, width, height, arguments.masked)
    words = ["scene=auto", f"scene.root={folder}", f"scene.resolution={max(width, height)}", "preset=cpu"]
    config = compose("train", [*words, f"scene.memory_gb={arguments.memory}", "trainer.max_steps=100000"])
    with tempfile.TemporaryDirectory() as runs:
        with Watch() as loading:
            scene = load_scene(config)
        print(*scene.notes, sep="\n")
        with Watch() as building:
            fit = new_fit(config, scene, Run(Path(runs)), torch.device("cpu"))
        with Watch() as choosing:
            pixels = fit.rays.pixels
        draws, steps = [], []
        with Watch() as training:
            for step in track(range(arguments.steps), arguments.steps, "training"):
                start = time.perf_counter()
                pixels.draw(1, step, 4096)
                draws.append(time.perf_counter() - start)
                start = time.perf_counter()
                fit.step()
                steps.append(time.perf_counter() - start)
    phases = {"loading": loading, "building": building, "choosing": choosing, "training": training}
    results = {
        "photos": len(scene.images),
        "photos_gb": round(scene.images.pixels.numel() / 1e9, 2),
        "memory_gb": arguments.memory,
        "masked": scene.has_masks,
        "threads": threads,
        **{name: watch.row() for name, watch in phases.items()},
        "peak_resident_gb": round(memory("VmHWM"), 2),
        "draw_ms": round(1e3 * statistics.median(draws[len(draws) // 2 :]), 3),
        "step_ms": round(1e3 * statistics.median(steps[len(steps) // 2 :]), 1),
    }
    if not arguments.folder:
        shutil.rmtree(folder)
    print(json.dumps(results, indent=1))
    print(f"saved {measure.save(arguments.name, results)}")
    return 0
