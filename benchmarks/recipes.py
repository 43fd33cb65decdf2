"""The named experiments as a user starts them: ``train.py experiment=NAME``; keeps their metrics.json.

Each is run at its default size, and once with ``preset=smoke`` for the time that takes. Real data is looked for in the
folder that NERFKIT_DATA names; what needs data that is not there is left out and said so.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import measure
from benchmarks.runs import ROOT, data_folder


class Entry(NamedTuple):
    """One run: the words of its command, with {data} for the data's folder, and a mesh to photograph first."""

    words: list[str]
    photograph: str | None = None

    @property
    def needs_data(self) -> bool:
        return self.photograph is not None or any("{data}" in word for word in self.words)


KAOLIN = ["scene=kaolin", "scene.root={data}/kaolin_clock/rendered_clock.zip", "scene.resolution=256"]
TEAPOT, NMR = "recipe.mesh={data}/meshes/neural_renderer/teapot.obj", "{data}/meshes/neural_renderer"
RECIPES = {
    "dibr_sphere": Entry(["experiment=dibr_sphere"]),
    "dibr_sphere_dibr": Entry(["experiment=dibr_sphere", "rasterizer.visibility=dibr"]),
    "dibr_sphere_kaolin": Entry(["experiment=dibr_sphere", *KAOLIN]),
    "dibr_sphere_kaolin_dibr": Entry(["experiment=dibr_sphere", *KAOLIN, "rasterizer.visibility=dibr"]),
    "mesh_deform": Entry(["experiment=mesh_deform"]),
    "mesh_deform_spot": Entry(["experiment=mesh_deform", "recipe.mesh={data}/meshes/spot/spot.obj"]),
    "mesh_texture": Entry(["experiment=mesh_texture"]),
    "nmr_draw": Entry(["experiment=nmr_draw"]),
    "nmr_vertices": Entry(["experiment=nmr_vertices", TEAPOT, f"recipe.target={NMR}/example2_ref.png"]),
    "nmr_textures": Entry(["experiment=nmr_textures", TEAPOT, f"recipe.target={NMR}/example3_ref.png"]),
    "nmr_camera": Entry(["experiment=nmr_camera", TEAPOT, f"recipe.target={NMR}/example4_ref.png"]),
    "silhouette_fit": Entry(["experiment=silhouette_fit"]),
    "visibility_study": Entry(["experiment=visibility_study"]),
    "refine_spot": Entry(["experiment=refine", "scene=kaolin"], "meshes/spot/spot.obj"),
    "refine_bob": Entry(["experiment=refine", "scene=kaolin"], "meshes/bob/bob_tri.obj"),
}
VIEWS = ["views=40", "size=256"]


def main(argv: list[str]) -> int:
    """Run the named recipes (all by default); each leaves ``results/recipe_NAME.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks recipes", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(RECIPES)}")
    names = parser.parse_args(argv).names or list(RECIPES)
    if unknown := set(names) - set(RECIPES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected of {', '.join(RECIPES)}")
    for name in names:
        data = data_folder()
        if RECIPES[name].needs_data and data is None:
            print(f"{name}: not run: its data is not there (set NERFKIT_DATA to the folder that holds it)")
            continue
        print(f"saved {measure.save(f'recipe_{name}', run(RECIPES[name], data))}")
    return 0


def run(entry: Entry, data: Path | None) -> dict[str, Any]:
    """The command without this machine's paths, its metrics, its seconds, and those of the same with preset=smoke."""
    with tempfile.TemporaryDirectory() as folder:
        words = [word.format(data=data) for word in entry.words]
        if entry.photograph is not None:
            photos = Path(folder) / "photos"
            _command("-m", "nerfkit", "synthesize", f"{data}/{entry.photograph}", str(photos), *VIEWS)
            words.append(f"scene.root={photos / 'kaolin'}")
        seconds = _command(str(ROOT / "train.py"), *words, f"output={folder}/full")
        smoke = _command(str(ROOT / "train.py"), *words, "preset=smoke", f"output={folder}/smoke")
        metrics = json.loads(next((Path(folder) / "full").glob("*/*/metrics.json")).read_text())
    metrics.get("scene", {}).pop("path", None)  # a path of this machine says nothing elsewhere
    shown = [Path(word).name if "{data}" in word else word for word in entry.words]
    return {"command": ["train.py", *shown], "seconds": seconds, "smoke_seconds": smoke, "metrics": metrics}


def _command(*words: str) -> float:
    """Runs Python with these words; the seconds it took."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
    return round(time.perf_counter() - begin, 1)
