"""The README's figures, from ``benchmarks/results/*.json``: never typed.

Everything between ``<!-- results -->`` and ``<!-- /results -->`` in README.md is replaced. What was not run reads
"not run", what a run could not measure "not known". Results of code that was never committed are refused: nobody could
measure them again. ``--check`` writes nothing and says whether the figures are up to date.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- results -->", "<!-- /results -->"
NOT_RUN, NOT_KNOWN = "not run", "not known"
SCENES = {"clock": "own clock", "kaolin": "Kaolin's clock", "mic": "NeRF-synthetic mic"}


class UncommittedError(Exception):
    """A results file that does not name the code it was measured with."""


def load(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The saved file of one benchmark, or None where it was not run.

    Raises:
        UncommittedError: the code had changes that no commit holds.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    commit = found["machine"].get("commit", "")
    if commit.endswith("-dirty"):
        raise UncommittedError(
            f"{path.name}: measured with uncommitted changes ({commit}); commit them and measure again"
        )
    return found


def value(found: dict[str, Any] | None, keys: str, style: str, factor: float = 1.0) -> str:
    """The number under dotted ``keys`` of the results, formatted.

    Where its part of the results is there and it is not, "not known"; where that part is missing too, "not run".
    """
    *parts, last = keys.split(".")
    node: Any = found["results"] if found else None
    for key in parts:
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        return NOT_RUN
    return style.format(node[last] * factor) if last in node else NOT_KNOWN


def size(found: dict[str, Any] | None) -> str:
    """``, WIDTHxHEIGHT`` of a run's images, with nothing in its place where it was not run."""
    return ", {}x{}".format(*found["results"]["scene"]["size"]) if found else ""


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]]


def scene_table(folder: Path) -> list[str]:
    """Quality, time and memory of the recorded runs."""
    rows = []
    for name, label in SCENES.items():
        found = load(f"run_{name}", folder)
        stages = found["results"].get("stages", {}) if found else {}
        total = sum(stage["seconds"] for stage in stages.values())
        peak = max((stage.get("peak_memory_bytes", 0) for stage in stages.values()), default=0)
        rows.append(
            [
                label + size(found),
                value(found, "field.psnr", "{:.2f}"),
                value(found, "field.psnr_inside", "{:.2f}"),
                value(found, "field.seconds", "{:.0f} s"),
                value(found, "mesh.coarse.psnr", "{:.2f}"),
                value(found, "mesh.psnr", "{:.2f}"),
                value(found, "mesh.mask_iou", "{:.4f}"),
                value(found, "mesh.chamfer", "{:.2f} %", 100),
                f"{total:.0f} s" if stages else NOT_RUN,
                f"{peak / 1e9:.1f} GB" if peak else NOT_KNOWN if stages else NOT_RUN,
            ]
        )
    header = [
        "scene (held-out views)", "field PSNR", "inside the masks", "training", "coarse mesh PSNR", "refined mesh PSNR",
        "mask IoU", "chamfer", "all stages", "peak memory",
    ]  # fmt: skip
    return table(header, rows)


def speed_table(folder: Path) -> list[str]:
    """The training step and the recipes."""
    training, tutorial = load("training", folder), load("tutorial", folder)
    rows = [
        ["whole training step", value(training, "samples_per_second", "{:.2f} M samples/s", 1e-6)],
        ["the same in plain PyTorch", value(training, "plain_pytorch_samples_per_second", "{:.2f} M samples/s", 1e-6)],
        ["held-out PSNR, default recipe", value(tutorial, "default.psnr", "{:.2f} dB")],
        ["held-out PSNR, PyTorch3D's tutorial recipe, same time", value(tutorial, "nerf_tutorial.psnr", "{:.2f} dB")],
    ]
    cores = sorted({found["machine"]["cores"] for found in (training, tutorial) if found})
    return table([f"on {' and '.join(map(str, cores))} CPU cores" if cores else "on the CPU", "measured"], rows)


def gradient_table(folder: Path) -> list[str]:
    """The rasterizer's gradient against finite differences, under a line that says so."""
    found = load("raster_gradients", folder)
    along = f"{found['results']['settings']['directions']} " if found else ""
    title = f"Silhouette gradient along {along}deformations against supersampled finite differences (1 is exact):"
    rows = found["results"]["rows"] if found else []
    shown = [[f"{row['faces']:,}", f"{row['cosine']:.4f}", f"{row['slope']:.3f}"] for row in rows]
    return [title, "", *table(["faces", "cosine", "slope"], shown or [[NOT_RUN] * 3])]


def section(folder: Path = RESULTS) -> str:
    """All tables, with the machine they were measured on."""
    found = next((entry for name in SCENES if (entry := load(f"run_{name}", folder))), None)
    where = f"Measured on: {found['machine']['device']}; {found['machine']['date'][:10]}." if found else ""
    lines = [
        where, "", *scene_table(folder), "", *speed_table(folder), "", *gradient_table(folder), "",
        f"On a GPU: {'see benchmarks/results/gpu.json' if load('gpu', folder) else NOT_RUN}.",
    ]  # fmt: skip
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Rewrite README.md; exit 1 where figures are refused or, with ``--check``, where it is out of date."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args(argv)
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(START, 1)
    try:
        fresh = f"{head}{START}\n{section()}\n{END}{rest.split(END, 1)[1]}"
    except UncommittedError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.check:
        print("README.md is up to date" if fresh == text else "out of date: run python -m benchmarks readme")
        return int(fresh != text)
    README.write_text(fresh, encoding="utf-8")
    print("README.md written")
    return 0
