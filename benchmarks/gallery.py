"""docs/gallery.md and its pictures, by short runs of scenes that the project makes itself."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
from PIL import Image

from benchmarks.pictures import FOLDER, six_sides
from nerfkit.runs.files import write_text

PAGE = FOLDER.parent / "gallery.md"
PICTURES = FOLDER / "gallery"
WIDTH, BYTES = 1024, 150_000
"""Of a picture, at the most."""


class Exhibit(NamedTuple):
    """A run, and what of it is shown.

    Attributes:
        words: of ``train.py``.
        picture: below the run's folder; ``six`` for its mesh from six sides.
        caption: one sentence on what is seen, from left to right.
    """

    words: str
    picture: str
    caption: str


FAST = "scene=clock preset=fast stages=[field,extract,refine,export]"
EXHIBITS = {
    "field": Exhibit(FAST, "images/field_030.png", "A view that training never saw: field, photo, difference."),
    "mesh": Exhibit(FAST, "images/mesh_030.png", "The same view of the refined mesh, with its highlights."),
    "sides": Exhibit(FAST, "six", "That mesh from four sides, from above and from below; under each its normals."),
    "nmr_vertices": Exhibit(
        "experiment=nmr_vertices",
        "images/nmr_vertices.png",
        "The clock's model pressed into a square silhouette: found, wanted.",
    ),
    "nmr_textures": Exhibit(
        "experiment=nmr_textures",
        "images/nmr_textures.png",
        "A texture that shows six stripes from every side: three sides, the picture.",
    ),
}


def main(argv: list[str]) -> int:
    """Make the runs that are not there, then write the page and its pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gallery", description=__doc__)
    parser.add_argument("--runs", type=Path, help="a folder that keeps the runs; those in it are not made again")
    asked = parser.parse_args(argv)
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        for name, exhibit in EXHIBITS.items():
            run = run_of(exhibit.words, asked.runs or Path(made))
            target = PICTURES / f"{name}.png"
            source = six_sides(run, target) if exhibit.picture == "six" else run / exhibit.picture
            shrink(source, target)
            print(f"{target.name}: {target.stat().st_size // 1000} kB")
    write_text(PAGE, page())
    return 0


def run_of(words: str, folder: Path) -> Path:
    """The folder of the run with these words, made where it is not there."""
    output = folder / words.replace("=", "_").replace(" ", "-")
    if not list(output.glob("*/*/metrics.json")):
        subprocess.run([sys.executable, "train.py", *words.split(), f"output={output}"], check=True)
    return max(output.glob("*/*/metrics.json")).parent


def shrink(source: Path, target: Path) -> None:
    """Writes a picture no wider than ``WIDTH`` and no larger than ``BYTES``: smaller, then of fewer colors."""
    picture = Image.fromarray(iio.imread(source)[..., :3])
    picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    picture.save(target, optimize=True)
    if target.stat().st_size > BYTES:
        picture.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    while target.stat().st_size > BYTES:
        picture.thumbnail((picture.width * 3 // 4, picture.height), Image.Resampling.LANCZOS)
        picture.save(target, optimize=True)


def page() -> str:
    """The whole of docs/gallery.md."""
    lines = [
        "# Gallery",
        "",
        "Made by `make gallery`: short runs on a CPU, of scenes that the project makes itself, the command under each.",
        "[measured.md](measured.md) has what longer runs reach, [photos.md](photos.md#two-meshes) meshes of photos.",
    ]
    for name, exhibit in EXHIBITS.items():
        words = f"'{exhibit.words.split()[-1]}'" if "[" in exhibit.words else ""
        command = " ".join([*exhibit.words.split()[:-1], words]) if words else exhibit.words
        lines += ["", f"![{exhibit.caption}](pictures/gallery/{name}.png)", "", exhibit.caption, ""]
        lines.append(f"    python train.py {command}")
    return "\n".join(lines) + "\n"
