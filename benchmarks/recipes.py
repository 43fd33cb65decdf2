"""The named experiments as a user starts them: ``train.py experiment=NAME``; keeps their metrics.json.

Each is run at its default size, and once with ``preset=smoke`` for the time that takes. Real data is looked for in the
folder that NERFKIT_DATA names; what needs data that is not there is left out and said so.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.runs import ROOT, metrics_in, python, record, with_data


class Entry(NamedTuple):
    """One run: the words of its command, with {data} for the data's folder, and a mesh to photograph first."""

    words: list[str]
    photograph: str | None = None


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
    "refine_spot": Entry(["experiment=refine", "scene=kaolin"], "{data}/meshes/spot/spot.obj"),
    "refine_bob": Entry(["experiment=refine", "scene=kaolin"], "{data}/meshes/bob/bob_tri.obj"),
}
VIEWS = ["views=40", "size=256"]


def main(argv: list[str]) -> int:
    """Run the named recipes (all by default); each leaves ``results/recipe_NAME.json``."""
    return record("recipes", __doc__, RECIPES, run, argv)


def run(name: str) -> dict[str, Any]:
    """The command without this machine's paths, its metrics, its seconds, and those of the same with preset=smoke."""
    words, photograph = RECIPES[name]
    shown = [Path(word).name if "{data}" in word else word for word in words]
    words = with_data(words)
    with tempfile.TemporaryDirectory() as folder:
        if photograph is not None:
            photos = Path(folder) / "photos"
            python("-m", "nerfkit", "synthesize", *with_data([photograph]), str(photos), *VIEWS)
            words.append(f"scene.root={photos / 'kaolin'}")
        seconds = python(str(ROOT / "train.py"), *words, f"output={folder}/full")
        smoke = python(str(ROOT / "train.py"), *words, "preset=smoke", f"output={folder}/smoke")
        metrics = metrics_in(Path(folder) / "full")
    return {"command": ["train.py", *shown], "seconds": seconds, "smoke_seconds": smoke, "metrics": metrics}
