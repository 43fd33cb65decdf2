"""docs/performance.md: how time and memory grow, with charts, and what other ways take in the same time."""

from pathlib import Path
from typing import Any

from benchmarks.results import NOT_RUN, RESULTS, filled_marks, load, table
from nerfkit.runs.plot import Lines

TITLES = {
    "fields": "fields, forward and backward",
    "pictures": "pictures, textures, surfaces",
    "meshes": "meshes",
    "photos": "photos of 64x64 pixels",
}
"""The charts that ``growth_series`` names."""
QUANTITIES = {"time": ("seconds", "seconds", 1.0), "memory": ("bytes", "MB", 1e-6)}
"""Quantity -> its key in a row, the unit of the chart, the factor to it."""
NOT_TOLD = "too little to tell"
Chart = tuple[str, str, str, Lines]


def series_of(folder: Path) -> dict[str, Any]:
    """The series of ``growth``, in their order; none where it was not run."""
    found = load("growth", folder)
    return found["results"]["series"] if found else {}


def charts(folder: Path = RESULTS) -> dict[str, Chart]:
    """File name -> what its chart shows: title, labels of the axes, lines; sizes count from each series' smallest."""
    found: dict[str, Chart] = {}
    for chart, title in TITLES.items():
        for quantity, (key, unit, factor) in QUANTITIES.items():
            lines = {
                name: [
                    (row["size"] / series["rows"][0]["size"], row[key] * factor) for row in series["rows"] if row[key]
                ]
                for name, series in series_of(folder).items()
                if series["chart"] == chart
            }
            if shown := {name: points for name, points in lines.items() if points}:
                labels = "size, in multiples of the smallest", f"{quantity}, {unit}"
                found[f"growth_{chart}_{quantity}.png"] = (title, *labels, shown)
    return found


def growth_table(chart: str, folder: Path) -> list[str]:
    """A row a series: its sizes, time and memory of the largest, and exponents, the work's and those found."""
    rows = []
    for name, series in series_of(folder).items():
        if series["chart"] != chart:
            continue
        first, last = series["rows"][0], series["rows"][-1]
        cells = [f"`{name}`: {series['about']}", f"{first['size']:,} to {last['size']:,} {series['axis']}"]
        for quantity, amount in (("time", shown_seconds(last)), ("memory", f"{last['bytes'] / 1e6:,.0f} MB")):
            found = series["exponents"].get(quantity)
            exponent = NOT_TOLD if found is None else f"{found:.2f}"
            mark = " (faster)" * (quantity in series["faster_than_the_work"])
            cells += [amount, f"{series['work'][quantity]:g}", exponent + mark]
        rows.append(cells)
    header = ["what", "sizes", "time", "of the work", "found", "memory", "of the work", "found"]
    return table(header, rows or [[NOT_RUN] * len(header)])


def shown_seconds(row: dict[str, float]) -> str:
    """Milliseconds below a second."""
    seconds = row["seconds"]
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


FIELDS = {
    "harmonic": "nerfkit, `field=harmonic`, float32",
    "harmonic_bf16": "nerfkit, `field=harmonic`, bfloat16",
    "hash_grid": "nerfkit, `field=hash_grid`",
    "planes": "nerfkit, `field=planes`",
    "pytorch": "the harmonic field in plain PyTorch",
    "compile": "the same through `torch.compile`",
    "nerf_tutorial": "the recipe of PyTorch3D's tutorial, by nerfkit's kernels",
}


def field_table(folder: Path) -> list[str]:
    """Held-out PSNR of every field at moments of its training."""
    found = load("peers", folder)
    results = found["results"] if found else {"fields": {}, "seconds": 0, "shares": []}
    moments = [share * results["seconds"] for share in results["shares"]]
    rows = []
    for name, label in FIELDS.items():
        entry = results["fields"].get(name)
        if not entry or "curve" not in entry:
            rows.append([label, *[""] * len(moments), why_not(entry), ""])
            continue
        seen = {index_of(second, moments): psnr for second, psnr in entry["curve"]}
        psnrs = [f"{seen[number]:.2f}" if number in seen else "" for number in range(len(moments))]
        rows.append([label, *psnrs, f"{entry['steps']:,}", f"{entry['samples_per_second'] / 1e6:.2f} M"])
    header = ["held-out PSNR after", *(f"{moment:g} s" for moment in moments), "steps", "samples a second"]
    return table(header, rows)


def index_of(second: float, moments: list[float]) -> int:
    """The last of the moments that had passed."""
    return sum(moment <= second + 0.005 for moment in moments) - 1


def why_not(entry: dict[str, Any] | None) -> str:
    """Not run, and why, where the results say so."""
    reasons = [str(entry[key]) for key in ("not_run", "failed") if key in entry] if entry else []
    return ": ".join([NOT_RUN, *reasons])


SILHOUETTES = {
    "contour": "nerfkit, contour",
    "antialias": "nvdiffrast's rule, by nerfkit",
    "dibr": "DIB-R, by nerfkit",
    "softras 1e-4": "SoftRas 1e-4, by nerfkit",
    "softras 1e-5": "SoftRas 1e-5, by nerfkit",
    "nmr": "Neural 3D Mesh Renderer, by nerfkit",
    "edge_grad": "DRTK's edge_grad, by nerfkit",
    "mitsuba 4": "Mitsuba 3, 4 samples a pixel",
    "mitsuba 16": "Mitsuba 3, 16 samples a pixel",
    "mitsuba 64": "Mitsuba 3, 64 samples a pixel",
    "nvdiffrast": "nvdiffrast itself",
    "drtk": "DRTK itself",
}


def silhouette_table(folder: Path) -> list[str]:
    """The time of a step, and how right its gradient is."""
    found = load("peers", folder)
    entries = found["results"].get("silhouettes", {}) if found else {}
    ours = entries.get("contour", {}).get("median_ms")
    rows = []
    for name, label in SILHOUETTES.items():
        entry = entries.get(name)
        if not entry or "median_ms" not in entry:
            rows.append([label, why_not(entry), "", "", ""])
            continue
        times = f"{entry['median_ms'] / ours:.1f} x" if ours else ""
        rows.append([label, f"{entry['median_ms']:.1f} ms", times, f"{entry['cosine']:.3f}", f"{entry['slope']:.2f}"])
    return table(["silhouette's gradient, 20,480 faces, 512x512", "a step", "of contour's", "cosine", "slope"], rows)


COMPOSITING = {"kernel": "nerfkit", "packed": "plain PyTorch, sums over packed samples", "nerfacc": "NerfAcc"}


def compositing_table(folder: Path) -> list[str]:
    """Rays composited by the kernel and by others."""
    found = load("peers", folder)
    entries = found["results"].get("compositing", {}) if found else {}
    rows = []
    for name, label in COMPOSITING.items():
        entry = entries.get(name)
        rows.append([label, f"{entry['median_ms']:.1f} ms" if entry and "median_ms" in entry else why_not(entry)])
    return table(["15,000 rays composited, forward and backward", "a step"], rows)


def where(name: str, folder: Path) -> str:
    """The machine and the day of a results file."""
    found = load(name, folder)
    if not found:
        return f"Measured: {NOT_RUN}."
    machine, threads = found["machine"], found["results"]["threads"]
    used = f"{threads} {'thread' if threads == 1 else 'threads'}"
    return f"Measured on: {machine['device'].rpartition(',')[0]}, {used}; {machine['date'][:10]}."


BIG = {
    "mesh": "a frame of {side}x{side} pixels of the mesh",
    "field": "a frame of {side}x{side} pixels of the field",
    "extract": "the coarse mesh from a lattice of {resolution}^3 points",
}


def big_table(folder: Path) -> list[str]:
    """Peak memory and seconds of large pictures and fine meshes."""
    found = load("big", folder)
    results = found["results"] if found else {"rows": {}, "side": "N", "resolution": "N"}
    rows = []
    for name, label in BIG.items():
        row = results["rows"].get(name)
        cells = [f"{row['peak_gb']:.1f} GB", f"{row['seconds']:.0f} s"] if row else [NOT_RUN, ""]
        rows.append([label.format(**results), *cells])
    return table(["the whole command", "peak memory", "time"], rows)


def section(name: str, folder: Path) -> list[str]:
    """What stands between the marks ``growth``, ``big`` and ``peers``.

    Raises:
        KeyError: another name.
    """
    lines = [where(name, folder)]
    if name == "big":
        return [*lines, "", *big_table(folder)]
    if name == "peers":
        parts = field_table(folder), silhouette_table(folder), compositing_table(folder)
        return [*lines, *(line for part in parts for line in ("", *part))]
    if name != "growth":
        raise KeyError(name)
    there = charts(folder)
    for chart, title in TITLES.items():
        lines += ["", *growth_table(chart, folder)]
        names = [f"growth_{chart}_{quantity}.png" for quantity in QUANTITIES]
        lines += ["", *(f"![{title}](pictures/{name})" for name in names if name in there)]
    return lines


def fill(text: str, folder: Path = RESULTS) -> str:
    """docs/performance.md with what stands between its marks made anew."""
    return filled_marks(text, lambda name: section(name, folder))
