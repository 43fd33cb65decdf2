"""What the viewer costs: seconds until the first picture after a move, and training while nobody and somebody looks.

``pictures``: a browser turns the camera about a run's field and its mesh; from the first message of a move to the JPEG
that goes out. ``training``: the same command with ``viewer=off`` and ``on``, with one thread and in turns; time is the
processor's, of that process alone. The browser draws WebGL on the same processors: a user's has its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Hashable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.results import NOT_RUN, RESULTS, load, table
from nerfkit.runs.folder import Run

SIZE = 1000, 600  # of the browser's window
MOVES, PAUSE = 30, 0.5  # of the camera; seconds between two, in which pictures grow
STEPS, PAIRS = 600, 3


def first_pictures(folder: Path) -> dict[str, Any]:
    """Seconds of first pictures of a run's field and mesh, from the camera's message on, and their sizes."""
    import torch

    from nerfkit.viewer.run import open_run
    from nerfkit.viewer.serving import free_port, serve, stop, viser_module
    from nerfkit.viewer.viewer import Viewer
    from nerfkit.viewer.worker import Interrupted
    from tests.viewer.browser import browser

    class Timed(Viewer):
        asked: float | None = None

        def _moved(self, client: Any) -> None:
            self.asked = time.perf_counter() if self.asked is None else self.asked
            super()._moved(client)

        def work(self, who: Hashable, level: int | None, interrupted: Interrupted) -> int | None:
            asked, self.asked = (self.asked, None) if level is None else (None, self.asked)
            following = super().work(who, level, interrupted)
            if asked is not None:
                seconds.append(time.perf_counter() - asked)
            return following

    port, device = free_port(), torch.device("cpu")
    shown = open_run(folder, device)
    server = serve(viser_module("benchmark"), port, "port ", "benchmark")
    viewer = Timed(server, shown, lambda: shown, 1024)
    threading.Thread(target=viewer.run, daemon=True).start()
    seconds: list[float] = []
    found: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as profile,
        browser(f"http://127.0.0.1:{port}", Path(profile) / "profile", SIZE) as page,
    ):
        page.until(lambda: " ms" in page.text())
        for source in ("field", "mesh"):
            if source == "mesh":
                page.choose("field", "mesh")
            time.sleep(3)
            seconds.clear()
            for move in range(MOVES):
                x, y = 200 + 17 * (move % 10), 400
                page.mouse("mousePressed", x, y)
                page.mouse("mouseMoved", x + 30, y)
                page.mouse("mouseReleased", x + 30, y)
                time.sleep(PAUSE)
            ms = sorted(1000 * one for one in seconds)
            found[source] = {
                "pictures": len(ms),
                "median_ms": round(statistics.median(ms), 1),
                "of_ten_nine_ms": round(ms[int(0.9 * len(ms))], 1),
                "slowest_ms": round(ms[-1], 1),
                "within_100_ms": round(sum(one <= 100 for one in ms) / len(ms), 3),
            }
            print(source, found[source])
    viewer.worker.close()
    stop(server)
    return found


def training() -> dict[str, Any]:
    """Seconds of the processor that a training takes, by who looks, and whether its bits are the same."""
    ways: dict[str, list[float]] = {"off": [], "on": [], "watched": []}
    states = set()
    for pair in range(PAIRS):
        for way, seconds in ways.items():
            if way == "watched" and pair:
                continue
            used, state = _trained(way)
            seconds.append(used)
            states.add(state)
            print(way, round(used, 2), state)
    medians = {way: statistics.median(seconds) for way, seconds in ways.items()}
    return {
        "steps": STEPS,
        "processor_seconds": {way: [round(one, 2) for one in seconds] for way, seconds in ways.items()},
        "slower": {way: round(medians[way] / medians["off"] - 1, 4) for way in ("on", "watched")},
        "same_bits": len(states) == 1,
    }


def _trained(way: str) -> tuple[float, str]:
    """Processor seconds and the fingerprint of one training."""
    from nerfkit.viewer.serving import free_port
    from tests.viewer.browser import browser

    with tempfile.TemporaryDirectory() as output, ExitStack() as around:
        port = free_port()
        words = ["scene=clock", "preset=fast", f"trainer.max_steps={STEPS}", "stages=[field]", "threads=1"]
        words += [f"output={output}", f"viewer={'off' if way == 'off' else 'on'}", f"viewer_port={port}"]
        program = subprocess.Popen([sys.executable, "train.py", *words], stdout=subprocess.PIPE, text=True)
        assert program.stdout is not None
        if way == "watched":
            while f"localhost:{port} " not in program.stdout.readline():
                pass
            around.enter_context(browser(f"http://127.0.0.1:{port}", Path(output) / "profile", SIZE))
        program.stdout.read()
        _, status, usage = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
        assert program.returncode == 0
        (made,) = Path(output).glob("clock/*/metrics.json")
        state = Run.open(made.parent).metrics()["fingerprints"]["field"]["state"]
        return usage.ru_utime + usage.ru_stime, state


def section(folder: Path = RESULTS) -> list[str]:
    """The table of docs/viewer.md."""
    head, found = ["the viewer", "measured"], load("viewer", folder)
    if found is None:
        return table(head, [["first picture after a move", NOT_RUN]])
    made, rows = found["results"], []
    for source, row in made.get("pictures", {}).items():
        said = f"{row['median_ms']:.0f} ms; nine of ten within {row['of_ten_nine_ms']:.0f} ms, the slowest of "
        said += f"{row['pictures']} after {row['slowest_ms']:.0f} ms"
        rows.append([f"first picture of the {source} after a move, median", said])
    if cost := made.get("training"):
        rows.append(["training with `viewer=on`, nobody looks: more processor time", f"{cost['slower']['on']:.1%}"])
        rows.append(["the same, a browser looks and stands still", f"{cost['slower']['watched']:.1%}"])
        rows.append(["the same bits in all of them", "yes" if cost["same_bits"] else "no"])
    return table(head, rows)


def main(argv: list[str]) -> int:
    """Measures a part, or both, and keeps it in ``viewer.json`` beside the other part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks viewer", description=__doc__)
    parser.add_argument("run", help="a run folder with a field and a mesh")
    parser.add_argument("--part", choices=("pictures", "training"), action="append")
    asked = parser.parse_args(argv)
    before = load("viewer")
    results: dict[str, Any] = dict(before["results"]) if before else {}
    for part in asked.part or ("pictures", "training"):
        results[part] = first_pictures(Path(asked.run)) if part == "pictures" else training()
    print(f"wrote {measure.save('viewer', results).name}")
    return 0
