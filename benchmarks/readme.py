"""The figures of README.md and of docs/, from ``benchmarks/results/*.json``: never typed.

Everything between ``<!-- results -->`` (elsewhere ``<!-- results: NAME -->``) and ``<!-- /results -->`` is replaced.
What was not run reads "not run", what a run could not measure "not known". Results of code that was never committed are
refused: nobody could measure them again. Charts know what they were drawn from. ``--check`` writes nothing and says
whether figures and charts are up to date.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import exports, first_use, readme_mesh, readme_performance, readme_reliability, scaling, viewer
from benchmarks.equal_time import time_table
from benchmarks.readme_gpu import gpu_section
from benchmarks.results import NOT_KNOWN, NOT_RUN, RESULTS, UncommittedError, filled_marks, load, table, value
from benchmarks.runs import PRESETS
from benchmarks.surfaces import surface_table
from nerfkit.runs import plot

ROOT = Path(__file__).parent.parent
README, PICTURES = ROOT / "README.md", ROOT / "docs" / "pictures"
MEASURED, EXPERIMENTS, PERFORMANCE, SCALING, RELIABILITY, VIEWER, EXPORTS = (
    ROOT / "docs" / f"{name}.md"
    for name in ("measured", "experiments", "performance", "scaling", "reliability", "viewer", "exports")
)
FIRST_USE = ROOT / "docs" / "tasks" / "phone_photos.md"
START, END = "<!-- results -->", "<!-- /results -->"
DEFAULTS = {
    "clock": "own clock",
    "kaolin": "Kaolin's clock",
    "mic": "NeRF-synthetic mic",
    "mic_400": "NeRF-synthetic mic",
}
SCENES = DEFAULTS | {
    f"{name}_{way}": f"{DEFAULTS[name]}, `preset={way}`" for way, names in PRESETS.items() for name in names
}


def size(found: dict[str, Any] | None) -> str:
    """``, WIDTHxHEIGHT`` of a run's images, with nothing in its place where it was not run."""
    return ", {}x{}".format(*found["results"]["scene"]["size"]) if found else ""


def all_stages(found: dict[str, Any] | None) -> str:
    """Seconds of all stages of a run together."""
    stages = found["results"].get("stages", {}) if found else {}
    return f"{sum(stage['seconds'] for stage in stages.values()):.0f} s" if stages else NOT_RUN


def short_table(folder: Path) -> list[str]:
    """One row a scene, for the first screen: how good the field and the mesh are, and how long that takes."""
    rows = []
    for name, label in SCENES.items():
        if (found := load(f"run_{name}", folder)) is not None:
            keys = ("field.psnr", "mesh.psnr", "mesh.psnr_specular")
            rows.append([label + size(found), *(value(found, key, "{:.1f} dB") for key in keys), all_stages(found)])
    return table(["held-out views", "field", "textured mesh", "mesh with highlights", "all stages"], rows)


def preset_table(folder: Path = RESULTS) -> list[str]:
    """The same for docs/experiments.md, with the machine."""
    return [measured_on(folder), "", *short_table(folder)]


def status(folder: Path) -> str:
    """What ran where, in one line."""
    gpu = load("gpu", folder)
    on_gpu = (
        "no run on a GPU yet; the kernels compile for sm_80, sm_90 and gfx942 and pass Triton's interpreter"
        if gpu is None
        else f"measured on {gpu['machine']['device']}"
    )
    return f"CPU: {'measured' if load('run_clock', folder) else NOT_RUN}. GPU: {on_gpu}."


def readme_section(folder: Path = RESULTS) -> str:
    """The README's: status, one row a scene, and where they were measured."""
    return "\n".join([f"**Status.** {status(folder)}", "", *short_table(folder), "", measured_on(folder)])


def measured_on(folder: Path) -> str:
    """The machine of the recorded runs; nothing where there are none."""
    runs = [entry for name in SCENES if (entry := load(f"run_{name}", folder))]
    machines = sorted({run["machine"]["device"] for run in runs})
    days = sorted({run["machine"]["date"][:10] for run in runs})
    return f"Measured on: {', '.join(machines)}; {', '.join(days)}." if machines else ""


def scene_table(folder: Path) -> list[str]:
    """Quality, time and memory of the recorded runs."""
    rows = []
    for name, label in SCENES.items():
        found = load(f"run_{name}", folder)
        stages = found["results"].get("stages", {}) if found else {}
        peak = max((stage.get("peak_memory_bytes", 0) for stage in stages.values()), default=0)
        rows.append(
            [
                label + size(found),
                value(found, "field.psnr", "{:.2f}"),
                value(found, "field.psnr_inside", "{:.2f}"),
                value(found, "field.seconds", "{:.0f} s"),
                value(found, "mesh.coarse.psnr", "{:.2f}"),
                value(found, "mesh.psnr", "{:.2f}"),
                value(found, "mesh.psnr_specular", "{:.2f}"),
                value(found, "mesh.mask_iou", "{:.4f}"),
                value(found, "mesh.chamfer", "{:.2f} %", 100),
                all_stages(found),
                f"{peak / 1e9:.1f} GB" if peak else NOT_KNOWN if stages else NOT_RUN,
            ]
        )
    header = [
        "scene (held-out views)", "field PSNR", "inside the masks", "training", "coarse mesh PSNR", "refined mesh PSNR",
        "with highlights",
        "mask IoU", "chamfer", "all stages", "peak memory",
    ]  # fmt: skip
    return table(header, rows)


PHOTOS = {
    "fox": "fox, 480",
    "fox_prepared": "fox, 480: cameras by `prepare`",
    "cup": "cup, 400",
    "cup_as_given": "cup, 400: as given",
    "cup_exposure": "cup, 400: exposure learned",
    "cup_cameras": "cup, 400: exposure and cameras learned",
    "mouse": "mouse, 400",
    "mouse_prepared": "mouse, 400: cameras by `prepare`",
    "mouse_as_given": "mouse, 400: as given",
    "mouse_exposure": "mouse, 400: exposure learned",
    "mouse_cameras": "mouse, 400: exposure and cameras learned",
}


def photo_table(folder: Path) -> list[str]:
    """Photos without masks: the field, and the object's mesh against the photos masked by the field."""
    rows = []
    for name, label in PHOTOS.items():
        found = load(f"photo_{name}", folder)
        keys = ("field.psnr", "field.psnr_aligned", "mesh.psnr", "mesh.psnr_specular")
        rows.append([label, value(found, "field.steps", "{:.0f}"), *(value(found, key, "{:.2f}") for key in keys)])
        rows[-1].append(all_stages(found))
    header = [
        "photos without masks, longer side", "steps", "field PSNR", "with each photo's exposure", "mesh PSNR",
        "with highlights", "all stages",
    ]  # fmt: skip
    return table(header, rows)


def perturbed_table(folder: Path) -> list[str]:
    """Cameras and exposure that are off, and what learning them brings back."""
    found = load("perturbed", folder)
    labels = {
        "right": "as they are",
        "off": "off by 1 degree, 1 % and 20 % of exposure",
        "learned": "off so, and both learned beside the field",
    }
    rows = [
        [label, *(value(found, f"{name}.{key}", "{:.2f}") for key in ("psnr", "psnr_inside"))]
        for name, label in labels.items()
    ]
    rows.append(["of the loss brought back", value(found, "brought_back", "{:.0f} %", 100), ""])
    return table(["NeRF-synthetic mic, 200x200: cameras and photos", "field PSNR", "inside the masks"], rows)


def speed_table(folder: Path) -> list[str]:
    """The training step and the recipes."""
    training, tutorial, field = (load(name, folder) for name in ("training", "tutorial", "field"))
    step = "default.16384"
    rows = [
        ["field forward and backward, matrix products alone", value(field, f"{step}.gflops", "{:.0f} GFLOP/s")],
        ["of what torch.mm reaches on large squares", value(field, f"{step}.share.torch_mm", "{:.0f} %", 100)],
        ["a step of PyTorch3D's tutorial (576,000 samples)", value(field, "tutorial.kernels.seconds", "{:.1f} s")],
        ["the same in plain PyTorch", value(field, "tutorial.plain_pytorch.seconds", "{:.1f} s")],
        ["the same as PyTorch3D writes it", value(field, "tutorial.as_pytorch3d.seconds", "{:.1f} s")],
        ["memory of that step", value(field, "tutorial.kernels.peak_bytes", "{:.2f} GB", 1e-9)],
        ["whole training step", value(training, "samples_per_second", "{:.2f} M samples/s", 1e-6)],
        ["the same in plain PyTorch", value(training, "plain_pytorch_samples_per_second", "{:.2f} M samples/s", 1e-6)],
        ["held-out PSNR, default recipe", value(tutorial, "default.psnr", "{:.2f} dB")],
        ["held-out PSNR, PyTorch3D's tutorial recipe, same time", value(tutorial, "nerf_tutorial.psnr", "{:.2f} dB")],
    ]
    cores = sorted({found["machine"]["cores"] for found in (training, tutorial, field) if found})
    return table([f"on {' and '.join(map(str, cores))} CPU cores" if cores else "on the CPU", "measured"], rows)


def section(folder: Path = RESULTS) -> str:
    """All tables, with the machine they were measured on."""
    lines = [
        measured_on(folder), "", *scene_table(folder), "", *photo_table(folder), "", *perturbed_table(folder), "",
        *time_table(folder), "", *surface_table(folder), "", *speed_table(folder), "",
        *readme_mesh.speed_table(folder), "", *readme_mesh.gradient_table(folder), "", *gpu_section(folder),
    ]  # fmt: skip
    return "\n".join(lines)


def filled(text: str, section: str) -> str:
    """``text`` with what stands between its marks replaced."""
    head, rest = text.split(START, 1)
    return f"{head}{START}\n{section}\n{END}{rest.split(END, 1)[1]}"


def pages() -> dict[Path, Callable[[str], str]]:
    """The pages that have figures, and what fills each."""
    return {
        README: lambda text: filled(text, readme_section()),
        MEASURED: lambda text: filled(text, section()),
        EXPERIMENTS: lambda text: readme_mesh.fill_experiments(text, others={"presets": preset_table()}),
        PERFORMANCE: readme_performance.fill,
        SCALING: lambda text: filled_marks(text, lambda _: scaling.section()),
        RELIABILITY: readme_reliability.fill,
        VIEWER: lambda text: filled_marks(text, lambda _: viewer.section()),
        EXPORTS: exports.fill,
        FIRST_USE: lambda text: filled_marks(text, lambda _: first_use.section()),
    }


def main(argv: list[str]) -> int:
    """Rewrite them; exit 1 where figures are refused or, with ``--check``, where it is out of date."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args(argv)
    filling = pages()
    old = {path: path.read_text(encoding="utf-8") for path in filling}
    try:
        fresh = {path: fill(old[path]) for path, fill in filling.items()}
        charts = {PICTURES / name: chart for name, chart in readme_performance.charts().items()}
    except UncommittedError as error:
        print(error, file=sys.stderr)
        return 1
    old_charts = [path for path, chart in charts.items() if not plot.shows(path, *chart, log_x=True)]
    stale = [path.name for path in (*(path for path in old if fresh[path] != old[path]), *old_charts)]
    if arguments.check:
        print(f"out of date: {', '.join(stale)}; run python -m benchmarks readme" if stale else "up to date")
        return int(bool(stale))
    for path, text in fresh.items():
        path.write_text(text, encoding="utf-8")
        print(f"{path.name} written")
    for path in old_charts:
        print(f"{plot.line_chart(path, *charts[path], log_x=True).name} drawn")
    return 0
