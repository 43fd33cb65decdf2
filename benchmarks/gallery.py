"""docs/gallery.md and its pictures, by short runs of scenes that the project makes itself."""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
import numpy as np
from PIL import Image

from benchmarks.pictures import FOLDER, six_sides
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.recipes.common import ring
from nerfkit.recipes.targets import target_mesh
from nerfkit.runs.files import write_text
from nerfkit.view.timelapse import shaded

PAGE = FOLDER.parent / "gallery.md"
PICTURES = FOLDER / "gallery"
WIDTH, BYTES = 1024, 150_000
"""Of a picture, at the most."""
TALL, MARGIN = 320, 0.04
"""Of a mesh's view, in pixels, and of what is left around the things in a strip, as a share of its height."""
BRIGHTER = 3
"""How many times a difference is shown."""


class Exhibit(NamedTuple):
    """A run, and what of it is shown.

    Attributes:
        words: of ``train.py``.
        shown: side by side: pictures below the run's folder; meshes there, with the azimuth in eighths of a turn from
            which they are seen; ``sphere``, ``clock``: what fits begin with and aim at; or ``six`` alone: the run's
            mesh from six sides.
        caption: one sentence on what is seen, from left to right.
    """

    words: str
    shown: tuple[str, ...]
    caption: str


FAST = "scene=clock preset=fast stages=[field,extract,refine,export]"
VARIANTS = ("none", "smooth", "area", "both", "large_steps")
EXHIBITS = {
    "field": Exhibit(
        FAST,
        ("images/field_030.png",),
        "A view that training never saw: field, photo, difference (three times as bright).",
    ),
    "mesh": Exhibit(FAST, ("images/mesh_030.png",), "The same view of the refined mesh, with its highlights."),
    "sides": Exhibit(FAST, ("six",), "That mesh from four sides, from above and a little from below; its normals."),
    "dibr_sphere": Exhibit(
        "experiment=dibr_sphere",
        ("images/mesh_030.png",),
        "A sphere of 1280 faces and one texture after 2000 steps: mesh, photo, difference (three times as bright).",
    ),
    "silhouette_fit": Exhibit(
        "experiment=silhouette_fit",
        tuple(f"mesh/{name}.glb 1" for name in VARIANTS),
        f"Spheres that have become the clock by its silhouettes alone, kept in order by: {', '.join(VARIANTS)}.",
    ),
    "mesh_deform": Exhibit(
        "experiment=mesh_deform",
        ("sphere", "mesh/mesh.glb 1", "clock 1"),
        "A sphere drawn to the clock by points on both surfaces: start, found, wanted. A sphere has no holes.",
    ),
    "nmr_vertices": Exhibit(
        "experiment=nmr_vertices",
        ("clock 1", "mesh/mesh.glb 1", "images/nmr_vertices.png"),
        "The clock's model pressed into a square silhouette: before, after, and from the square's side: found, wanted.",
    ),
    "nmr_textures": Exhibit(
        "experiment=nmr_textures",
        ("images/nmr_textures.png",),
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
            if exhibit.shown == ("six",):
                picture = iio.imread(six_sides(run, target))
            else:
                picture = joined([panel for one in exhibit.shown for panel in panels(run, one)])
            shrink(picture, target)
            print(f"{target.name}: {target.stat().st_size // 1000} kB")
    write_text(PAGE, page())
    return 0


def run_of(words: str, folder: Path) -> Path:
    """The folder of the run with these words, made where it is not there."""
    output = folder / words.replace("=", "_").replace(" ", "-")
    if not list(output.glob("*/*/metrics.json")):
        subprocess.run([sys.executable, "train.py", *words.split(), f"output={output}"], check=True)
    return max(output.glob("*/*/metrics.json")).parent


def panels(run: Path, shown: str) -> list[np.ndarray]:
    """The pictures, (H,W,3) uint8, that a word of ``Exhibit.shown`` stands for, without most of what is empty."""
    if shown.endswith(".png"):
        strip = iio.imread(run / shown)[..., :3]
        found = np.split(strip, strip.shape[1] // strip.shape[0], 1)
        if "/nmr_" not in shown:  # predicted, true, error
            found[2] = np.minimum(found[2].astype(np.int32) * BRIGHTER, 255).astype(np.uint8)
        return cropped(found)
    name, _, eighths = shown.partition(" ")
    meshes = {"sphere": lambda: icosphere(4).without_appearance(), "clock": lambda: target_mesh(None)}
    mesh = meshes[name]() if name in meshes else load_mesh(run / name)
    return cropped([view(mesh.without_appearance(), int(eighths or 1))])


def view(mesh: Mesh, eighths: int) -> np.ndarray:
    """A mesh by its shape, from an azimuth: (H,W,3) uint8, twice supersampled."""
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    placed = replace(mesh, vertices=(mesh.vertices - (low + high) / 2) * (2 / (high - low).max()))
    large = shaded(placed, ring(8, 2 * TALL, 4.5, 15.0, 17.0)[eighths], (1.0, 1.0, 1.0)).astype(np.float32)
    return np.rint(large.reshape(TALL, 2, TALL, 2, 3).mean((1, 3))).astype(np.uint8)


def cropped(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """The part of pictures of one size that is not their upper left corner's color in all of them, and a margin."""
    filled = np.any([(picture != picture[0, 0]).any(-1) for picture in pictures], 0)
    margin = round(MARGIN * len(filled))
    parts = []
    for axis in (1, 0):
        places = np.flatnonzero(filled.any(axis))
        parts.append(slice(max(places[0] - margin, 0), places[-1] + 1 + margin))
    return [picture[parts[0], parts[1]] for picture in pictures]


def joined(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures side by side, scaled to the height of the tallest."""
    tall = max(len(picture) for picture in pictures)
    scaled = [
        picture
        if len(picture) == tall
        else np.asarray(Image.fromarray(picture).resize((picture.shape[1] * tall // len(picture), tall)))
        for picture in pictures
    ]
    return np.concatenate(scaled, 1)


def shrink(source: np.ndarray, target: Path) -> None:
    """Writes a picture no wider than ``WIDTH`` and no larger than ``BYTES``: smaller, then of fewer colors."""
    picture = Image.fromarray(source[..., :3])
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
