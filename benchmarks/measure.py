"""What every benchmark shares: medians of contestants in one run, the machine they ran on, and the results file."""

import datetime
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from nerfkit.runs import environment
from nerfkit.runs.files import write_text

RESULTS = Path(__file__).parent / "results"


def medians(
    contestants: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 20,
    warmup: int = 3,
    device: str | torch.device = "cpu",
) -> dict[str, dict[str, float]]:
    """Time each contestant ``repeats`` times, in turns, so that a busy spell of the machine meets all of them alike.

    Args:
        contestants: name -> function to time.
        repeats: timed calls of each.
        warmup: calls of each before the clock starts: compilation, caches.
        device: where they compute; a GPU is waited for before and after each call.

    Returns:
        name -> ``median_ms``, ``fastest_ms``, ``slowest_ms``.
    """

    def wait() -> None:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warmup + repeats):
        for name, function in contestants.items():
            wait()
            start = time.perf_counter()
            function()
            wait()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {
        name: {
            "median_ms": round(1e3 * statistics.median(times), 4),
            "fastest_ms": round(1e3 * min(times), 4),
            "slowest_ms": round(1e3 * max(times), 4),
        }
        for name, times in seconds.items()
    }


def machine() -> dict[str, Any]:
    """Versions, device and commit, the cores this process may use, how busy they are, and the date (UTC)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts: dict[str, Any] = environment.describe() | {"cores": cores}
    if hasattr(os, "getloadavg"):
        facts["load_average"] = round(os.getloadavg()[0], 2)
    return facts | {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


def save(name: str, results: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write ``results`` and the machine to ``folder/NAME.json``, whole or not at all, and return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    write_text(path, json.dumps({"machine": machine(), "results": results}, indent=2) + "\n")
    return path


def print_medians(title: str, times: Mapping[str, Mapping[str, float]]) -> None:
    """One line a contestant: its median, and how many times the first one's it is."""
    first = next(iter(times.values()))["median_ms"]
    print(title)
    for name, entry in times.items():
        print(f"  {name:<28} {entry['median_ms']:10.3f} ms {entry['median_ms'] / first:8.1f} x")
