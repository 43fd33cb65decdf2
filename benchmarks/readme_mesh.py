"""The mesh half's tables for the README, and the results of the named experiments for docs/experiments.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import NOT_KNOWN, NOT_RUN, RESULTS, filled_marks, load, table, value

METHODS = {
    "contour": "contour (nerfkit)",
    "antialias": "nvdiffrast's rule",
    "dibr": "DIB-R",
    "softras 1e-4": "SoftRas 1e-4",
    "softras 1e-5": "SoftRas 1e-5",
    "nmr": "Neural 3D Mesh Renderer",
    "edge_grad": "DRTK's edge_grad",
}
ROWS = {
    "mask": "silhouette",
    "near": "silhouette, nearly in place",
    "torus": "colors, torus in front of itself",
    "balls": "colors, a ball in front of another",
    "patches": "colors, faces of 40 colors",
}


def gradient_table(folder: Path) -> list[str]:
    """Every visibility gradient against finite differences: cosine / slope, a column for each number of faces."""
    found = load("raster_gradients", folder)
    entries = found["results"].get("table", []) if found else []
    title = "Visibility gradients along random deformations against supersampled finite differences"
    lines = [f"{title}, cosine / slope (1 / 1 is exact):", ""]
    faces = sorted({row["faces"] for row in entries})
    rows = []
    for kind, what in ROWS.items():
        for method, name in METHODS.items():
            own = {r["faces"]: r for r in entries if r["row"] == kind and r["method"] == method}
            if own or kind == "mask":
                cells = [f"{own[n]['cosine']:.3f} / {own[n]['slope']:.2f}" if n in own else "" for n in faces]
                rows.append([what, name, *(cells or [NOT_RUN])])
    return lines + table(["loss", "gradient", *([f"{n:,} faces" for n in faces] or ["measured"])], rows)


def speed_table(folder: Path) -> list[str]:
    """The rasterizer's times on the CPU."""
    found = load("raster_speed", folder)
    rows = []
    for row in found["results"]["rows"] if found else []:
        times = row["times"]
        what = f"{row['faces']:,} faces, {row['size']}x{row['size']}" + (f", {row['views']} views" * (row["views"] > 1))
        rows.append([what, *(f"{times[k]['median_ms']:.1f} ms" for k in ("hard", "forward", "step"))])
    header = ["rasterizer on the CPU", "z-buffer", "antialiased picture", "forward and backward"]
    return table(header, rows or [[NOT_RUN] * 4])


GPU_SIZES = {
    "5k_512_1": "5,000 faces, 512x512",
    "80k_1024_1": "80,000 faces, 1024x1024",
    "80k_512_16": "80,000 faces, 512x512, 16 views",
    "1000k_2048_1": "1 million faces, 2048x2048",
    "10000k_4096_1": "10 million faces, 4096x4096",
}


def gpu_table(found: dict[str, Any] | None) -> list[str]:
    """The rasterizer on a GPU, by size; then a step with every visibility gradient."""
    rows = []
    for size, label in GPU_SIZES.items():
        at = f"meshes.sizes.{size}"
        times = [value(found, f"{at}.{name}.median_ms", "{:.2f} ms") for name in ("hard", "forward", "step")]
        memory = value(found, f"{at}.step.peak_bytes", "{:.2f} GB", 1e-9)
        on_cpu = value(found, f"meshes.cpu.{size}.median_ms", "{:.1f} ms")
        rows.append([label, *times, value(found, f"{at}.step.idle_share", "{:.0f} %", 100), memory, on_cpu])
    header = [
        "rasterizer on a GPU", "z-buffer", "antialiased picture", "forward and backward", "GPU idle", "memory",
        "on that machine's CPU",
    ]  # fmt: skip
    methods = []
    for method, name in METHODS.items():
        at = f"meshes.visibility.{method}"
        memory = value(found, f"{at}.peak_bytes", "{:.2f} GB", 1e-9)
        methods.append([name, value(found, f"{at}.median_ms", "{:.2f} ms"), memory])
    head = ["80,000 faces, 1024x1024, forward and backward", "on a GPU", "memory"]
    return [*table(header, rows), "", *table(head, methods)]


def _per_method(found: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for task, sizes in found["results"]["metrics"]["visibility_study"].items():
        for faces, methods in sizes.items():
            keys = list(next(iter(methods.values())))
            body = [[name, *(f"{row[key]:g}" for key in keys)] for name, row in methods.items()]
            lines += ["", *table([f"{task}, {int(faces):,} faces", *(key.replace("_", " ") for key in keys)], body)]
    return lines


def _per_variant(found: dict[str, Any]) -> list[str]:
    variants = found["results"]["metrics"]["silhouette_fit"]
    keys = list(next(iter(variants.values())))
    body = [[name, *(f"{row[key]:g}" for key in keys)] for name, row in variants.items()]
    return ["", *table(["terms", *(key.replace("_", " ") for key in keys)], body)]


def overtaking(ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> str:
    """The first looked-at step at which ``ours`` has the mask IoU that ``theirs`` ends with, and the steps of that."""
    if not ours or not theirs:
        return NOT_RUN
    goal = theirs["results"]["metrics"]["dibr_sphere"]
    looks = ours["results"]["metrics"]["dibr_sphere"]["history"]
    step = next((look["step"] for look in looks if look["mask_iou"] >= goal["mask_iou"]), None)
    return "never" if step is None else f"{step} of {goal['steps']}"


def _overtakings(folder: Path) -> list[str]:
    rows = []
    for name, label in (("dibr_sphere", "own clock"), ("dibr_sphere_kaolin", "Kaolin's clock")):
        rows.append([label, overtaking(load(f"recipe_{name}", folder), load(f"recipe_{name}_dibr", folder))])
    return ["", *table(["contour reaches the mask IoU at which dibr ends", "after steps"], rows)]


OWN_TABLES = {"visibility_study": _per_method, "silhouette_fit": _per_variant}

# Experiment -> its runs (name of the results, what to call it) and the figures to show: heading, key, format, factor.
Figure = tuple[str, str, str, float]
IMAGES: list[Figure] = [
    ("mask IoU", "{0}.mask_iou", "{:.4f}", 1),
    ("image L1", "{0}.image_l1", "{:.4f}", 1),
    ("PSNR", "{0}.psnr", "{:.2f} dB", 1),
]
SURFACE: list[Figure] = [
    ("chamfer, of the diagonal", "{0}.chamfer", "{:.3f} %", 100),
    ("F-score at 1 %", "{0}.f_score", "{:.4f}", 1),
]
REFINED: list[Figure] = [
    ("PSNR of the mesh, held out", "mesh.psnr", "{:.2f} dB", 1),
    ("mask IoU", "mesh.mask_iou", "{:.4f}", 1),
    ("chamfer, of the diagonal", "mesh.chamfer", "{:.3f} %", 100),
    ("F-score at 1 %", "mesh.f_score_1", "{:.4f}", 1),
    ("genus", "mesh.genus", "{:.0f}", 1),
    ("self-intersections, coarse", "mesh.coarse.self_intersections", "{:.0f}", 1),
    ("refined", "mesh.self_intersections", "{:.0f}", 1),
]
SILHOUETTE: Figure = ("sum of squared differences", "{0}.silhouette_error", "{:.1f}", 1)
STEPS: Figure = ("steps", "{0}.steps", "{:.0f}", 1)
EXPERIMENTS: dict[str, tuple[dict[str, str], list[Figure]]] = {
    "dibr_sphere": (
        {
            "dibr_sphere": "own clock, contour",
            "dibr_sphere_dibr": "own clock, dibr",
            "dibr_sphere_kaolin": "Kaolin's clock, contour",
            "dibr_sphere_kaolin_dibr": "Kaolin's clock, dibr",
        },
        [*IMAGES, STEPS],
    ),
    "mesh_deform": ({"mesh_deform": "own clock", "mesh_deform_spot": "Spot"}, [*SURFACE, STEPS]),
    "mesh_texture": ({"mesh_texture": "own clock"}, [*IMAGES, STEPS]),
    "nmr_draw": ({"nmr_draw": "own clock"}, [("frames", "{0}.frames", "{:.0f}", 1)]),
    "nmr_vertices": ({"nmr_vertices": "teapot to the square"}, [SILHOUETTE, STEPS]),
    "nmr_textures": ({"nmr_textures": "teapot"}, [("mean error of a channel", "{0}.image_l1", "{:.4f}", 1), STEPS]),
    "nmr_camera": (
        {"nmr_camera": "teapot"},
        [SILHOUETTE, ("distance from the true place, units", "{0}.position_error", "{:.4f}", 1), STEPS],
    ),
    "silhouette_fit": ({"silhouette_fit": "own clock"}, []),
    "visibility_study": ({"visibility_study": "bumpy ball"}, []),
    "refine": ({"refine_spot": "Spot", "refine_bob": "Bob"}, REFINED),
}


SECTIONS = {"nmr": ("nmr_draw", "nmr_vertices", "nmr_textures", "nmr_camera")}
"""Marks that stand for several experiments."""


def experiment(name: str, folder: Path = RESULTS) -> list[str]:
    """The results under one mark: a table of each experiment's runs, and what its own figures need."""
    machine, lines = None, []
    for one in SECTIONS.get(name, (name,)):
        runs, figures = EXPERIMENTS[one]
        rows, more = [], []
        for result, label in runs.items():
            found = load(f"recipe_{result}", folder)
            inner = {"results": found["results"]["metrics"]} if found else None
            cells = [value(inner, key.format(one), style, factor) for _, key, style, factor in figures]
            seconds = [f"{found['results'][k]:.0f} s" if found else NOT_RUN for k in ("seconds", "smoke_seconds")]
            rows.append([label, *cells, *seconds])
            if found:
                machine = found["machine"]
                more = OWN_TABLES[one](found) if one in OWN_TABLES else []
        head = [one, *(heading for heading, *_ in figures), "time", "with preset=smoke"]
        if one == "dibr_sphere":
            more = _overtakings(folder)
        lines += ["", *table(head, rows), *more]
    where = f"Measured on: {machine['device']}; {machine['date'][:10]}." if machine else f"Measured: {NOT_RUN}."
    return [where, *lines]


def fill_experiments(text: str, folder: Path = RESULTS, others: Mapping[str, list[str]] | None = None) -> str:
    """docs/experiments.md with what stands between ``<!-- results: NAME -->`` and ``<!-- /results -->`` made anew.

    Args:
        others: lines for marks that name no experiment.

    Raises:
        KeyError: a mark names neither.
    """
    return filled_marks(text, lambda name: (others or {}).get(name) or experiment(name, folder))


__all__ = ["NOT_KNOWN", "experiment", "fill_experiments", "gpu_table", "gradient_table", "speed_table"]
