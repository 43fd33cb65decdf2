"""Which kernels a GPU runs in a call, and how long it has nothing to do."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import measure
from benchmarks.gpu_limits import Budget, wait

ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")  # what counts as work in a trace; the ranges of annotations do not


class Profile(NamedTuple):
    """A call: milliseconds in which the GPU was ``busy``, and of each kernel by name, the longest first."""

    busy_ms: float
    kernels: dict[str, float]


def profiled(function: Callable[[], object], calls: int, device: str | torch.device) -> Profile | None:
    """The mean of so many calls; None where the profiler sees no GPU."""
    activities = torch.profiler.ProfilerActivity
    if torch.device(device).type != "cuda":
        return None
    wait(device)
    with torch.profiler.profile(activities=[activities.CPU, activities.CUDA]) as profiler:
        for _ in range(calls):
            function()
        wait(device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return of_trace(json.loads(path.read_text(encoding="utf-8", errors="replace"))["traceEvents"], calls)


def medians(
    calls: Mapping[str, Callable[[], object]], seconds: float, device: str | torch.device
) -> dict[str, tuple[dict[str, float], Profile | None]]:
    """Medians (see ``measure.medians``) and profiles of calls that have been made once, in turns, for some seconds."""
    profiles = {name: profiled(call, 3, device) for name, call in calls.items()}
    start = Budget(0.0)
    for call in calls.values():
        call()
        wait(device)
    repeats = max(3, min(50, int(seconds / max(start.used(), 1e-6))))
    found = measure.medians(calls, repeats=repeats, warmup=1, device=device)
    return {name: (found[name], profiles[name]) for name in calls}


def longest(profile: Profile) -> dict[str, float]:
    """The twelve kernels that take longest, in milliseconds."""
    return dict(list(profile.kernels.items())[:12])


def of_trace(events: Iterable[Mapping[str, Any]], calls: int) -> Profile | None:
    """The profile from a trace's events, ``ts`` and ``dur`` in microseconds; None where the GPU did nothing.

    Work on two streams at once counts once.
    """
    work = [event for event in events if event.get("cat") in ON_GPU and "dur" in event]
    if not work:
        return None
    kernels: dict[str, float] = defaultdict(float)
    for event in work:
        kernels[str(event["name"])[:80]] += event["dur"] / 1e3 / calls
    busy, until = 0.0, float("-inf")
    for start, end in sorted((float(event["ts"]), float(event["ts"]) + float(event["dur"])) for event in work):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    falling = sorted(kernels.items(), key=lambda item: -item[1])
    return Profile(busy / 1e3 / calls, {name: round(ms, 4) for name, ms in falling})
