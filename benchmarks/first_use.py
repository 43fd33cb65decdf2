"""From phone photos without cameras to a field in a browser: how long a new user's commands take, once."""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks import measure
from benchmarks.results import NOT_RUN, RESULTS, load, table

TRAIN = ("preset=fast", "stages=[field]")


def main(argv: list[str]) -> int:
    """Measure and save ``results/first_use.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks first_use", description=__doc__)
    parser.add_argument("photos", type=Path, help="a folder of photos without cameras")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        words = [f"scene.root={asked.photos}", f"output={output}", *TRAIN]
        subprocess.run([sys.executable, "train.py", *words], check=True)
        trained = time.perf_counter() - start
        run = next(path.parent for path in Path(output).glob("*/*/metrics.json"))
        viewed = seconds_until_served(run)
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    results = {
        "photos": sum(path.is_file() for path in asked.photos.iterdir()),
        "options": list(TRAIN),
        "train_seconds": round(trained, 1),
        "view_seconds": round(viewed, 1),
        "psnr": metrics["field"]["psnr"],
    }
    print(f"trained in {trained:.0f} s, {results['psnr']:.2f} dB; served {viewed:.0f} s after `view` began")
    print(f"saved {measure.save('first_use', results)}")
    return 0


def seconds_until_served(run: Path) -> float:
    """From the start of ``python -m nerfkit view RUN`` until a browser would get its page."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.perf_counter()
    words = [sys.executable, "-m", "nerfkit", "view", str(run), "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            if "open" not in server.stdout.readline():
                raise RuntimeError("the viewer said no address")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=60) as page:
                page.read()
            return time.perf_counter() - start
        finally:
            server.terminate()


def section(folder: Path = RESULTS) -> list[str]:
    """What the commands took, for docs/tasks/phone_photos.md."""
    found = load("first_use", folder)
    head = ["command", "measured"]
    if found is None:
        return table(head, [["all", NOT_RUN]])
    made, machine = found["results"], found["machine"]
    words = " ".join(made["options"])
    rows = [
        [f"`train.py {words}`: cameras and a field of {made['photos']} photos", f"{made['train_seconds']:.0f} s"],
        ["held-out photos by that field, PSNR", f"{made['psnr']:.1f} dB"],
        ["`nerfkit view`, until the browser has its page", f"{made['view_seconds']:.0f} s"],
    ]
    return [
        *table(head, rows),
        "",
        f"Measured once on: {machine['device']}, load {machine['load_average']}; {machine['date'][:10]}.",
    ]
