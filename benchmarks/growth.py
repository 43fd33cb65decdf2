"""How time and memory grow with what there is to do: rays, samples, widths, levels, grids, faces, textures, photos.

Each series is a process of its own, of one thread, that goes through its sizes in order. Time is the processor's, that
of the fastest call, so that other programs on the machine count little. Memory is the most that the process had while a
size was made and called above what it had before. What is fitted is the slope of both
over the upper half of the sizes, log against log; where it is steeper than the work's by more than ``SLACK``, the
series grows faster than the work. ``docs/performance.md`` shows them.
"""

import argparse
import ctypes
import gc
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import measure
from benchmarks.field import resident
from benchmarks.many_photos import Watch, memory
from nerfkit.runs import environment
from nerfkit.runs.threads import set_threads

SLACK = 0.15  # of an exponent: what caches and the system's pages do
SECONDS = 0.3  # of timed calls of each size, and no fewer than ``CALLS`` where one is shorter than ``LONG``
CALLS, LONG = 3, 2.0
RESOLVED = 4e6  # bytes: less is not told from what an allocator keeps


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent of ``values`` over the upper half of ``sizes``: least squares of logarithm on logarithm."""
    half = len(sizes) // 2
    x, y = ([math.log(v) for v in some[half:]] for some in (sizes, values))
    return statistics.linear_regression(x, y).slope


def fitted(series: dict[str, Any], rows: list[dict[str, float]]) -> dict[str, Any]:
    """The exponents of a series' rows beside those of its work.

    ``memory`` is absent where the smaller sizes of the upper half take less than ``RESOLVED``.
    """
    sizes = [row["size"] for row in rows]
    exponents = {"time": slope(sizes, [row["seconds"] for row in rows])}
    taken = [row["bytes"] for row in rows]
    if min(taken[len(taken) // 2 :]) >= RESOLVED:
        exponents["memory"] = slope(sizes, taken)
    faster = [name for name, found in exponents.items() if found > series[name] + SLACK]
    return {"exponents": {name: round(found, 3) for name, found in exponents.items()}, "faster_than_the_work": faster}


def give_back() -> None:
    """Hands to the system what is free, so that the next size starts from what is in use."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def timed(call: Callable[[], object], once: bool) -> list[float]:
    """The processor's seconds of each call; one call where it is long or ``once`` is enough."""
    times: list[float] = []
    while not times or (not once and times[0] < LONG and (sum(times) < SECONDS or len(times) < CALLS)):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return times


def one_size(series: Any, size: int) -> dict[str, float]:
    """Seconds of a call and bytes that a size takes, in this process."""
    give_back()
    environment.reset_peak_memory()
    if series.mapped:
        before = memory("RssAnon")
        with Watch() as watch:
            times = timed(series.make(size), series.once)
        taken = 1e9 * (watch.most - before)
    else:
        held = resident()
        times = timed(series.make(size), series.once)
        taken = environment.peak_memory()["peak_memory_bytes"] - held
    seconds = float(f"{min(times):.4g}")
    return {"size": size, "seconds": seconds, "calls": len(times), "bytes": round(max(taken, 0))}


def together(name: str) -> list[str]:
    """A series and those that go on with what it leaves."""
    from benchmarks.growth_series import SERIES

    return [name, *(other for other, series in SERIES.items() if series.after == name)]


def child(name: str) -> None:
    """Prints the rows of a series and of those together with it; the first size comes twice, as it compiles."""
    from benchmarks.growth_series import SERIES

    set_threads(1)
    series = {one: SERIES[one] for one in together(name)}
    rows: dict[str, list[dict[str, float]]] = {one: [] for one in series}
    for one in series.values():
        one.make(one.sizes[0])()
    for number in range(len(SERIES[name].sizes)):
        for one, found in rows.items():
            found.append(one_size(series[one], series[one].sizes[number]))
    print(json.dumps(rows))


def earlier() -> dict[str, Any]:
    """The saved series, if they are of this very commit, on this machine."""
    path = measure.RESULTS / "growth.json"
    if not path.exists():
        return {}
    saved, here = json.loads(path.read_text(encoding="utf-8")), measure.machine()
    same = all(saved["machine"].get(key) == here.get(key) for key in ("commit", "device"))
    return saved["results"]["series"] if same else {}


def main(argv: list[str]) -> int:
    """Measure the named series, all by default, and save ``results/growth.json`` with those already there."""
    from benchmarks.growth_series import SERIES

    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SERIES", help=f"of {', '.join(SERIES)}")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(SERIES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected of {', '.join(SERIES)}")
    if arguments.child:
        child(*arguments.names)
        return 0
    set_threads(1)
    found = earlier()
    for name in dict.fromkeys(SERIES[name].after or name for name in arguments.names or SERIES):
        start = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks", "growth", name, "--child"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        took = round(time.perf_counter() - start, 1)
        for one, rows in json.loads(output.splitlines()[-1]).items():
            series = SERIES[one]
            work = {"time": series.time, "memory": series.memory}
            about = {"chart": series.chart, "about": series.about, "axis": series.axis, "work": work}
            found[one] = {**about, "rows": rows, **fitted(work, rows), "took": took}
            print(describe(one, found[one]), flush=True)
        in_order = {known: found[known] for known in SERIES if known in found}
        measure.save("growth", {"threads": 1, "slack": SLACK, "series": in_order})
    return 0


def describe(name: str, series: dict[str, Any]) -> str:
    """A line: the exponents found and expected, and the time that the series took."""
    pairs = [f"{kind} n^{found:.2f} ({series['work'][kind]:g})" for kind, found in series["exponents"].items()]
    slower = f"  FASTER THAN THE WORK: {', '.join(series['faster_than_the_work'])}" * bool(
        series["faster_than_the_work"]
    )
    return f"{name:<14} {', '.join(pairs):<44} {series['took']:6.1f} s{slower}"
