"""Fields with and without a signed distance: held-out pictures and the mesh against the truth, over scenes and seeds.

Steps are the budget, so results do not depend on the machine. Each scene and field leaves
``results/surface_SCENE_FIELD.json``. Spot and Bob (looked for in NERFKIT_DATA) and the toys of ``benchmarks.toys`` are
photographed first, Spot and Bob with their colors as they are.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import measure, toys
from benchmarks.results import NOT_KNOWN, NOT_RUN, load, table
from benchmarks.runs import NOT_THERE, ROOT, SCENES as RECORDED, metrics_in, named, python, with_data
from nerfkit.fit.build import load_scene
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.measures import surface_distance
from nerfkit.mesh.topology import topology_report
from nerfkit.options import compose
from nerfkit.studio.synthesize import SynthesisOptions, synthesize

MESHES = {"spot": "{data}/meshes/spot/spot.obj", "bob": "{data}/meshes/bob/bob_tri.obj"}
SCENES = ("clock", "mic", *MESHES, *toys.TOYS)
FIELDS = {
    "default": [],
    "hash_grid": ["field=hash_grid", "field.surface=sdf"],
    "planes": ["field=planes", "field.surface=sdf"],
}
FIELD_KEYS = ("psnr", "psnr_inside", "steps", "seconds", "samples")
COLUMNS = (
    ("field", "psnr", "{:.2f}", 1),
    ("field", "psnr_inside", "{:.2f}", 1),
    ("coarse", "chamfer", "{:.3f}", 100),
    ("coarse", "f_score", "{:.3f}", 1),
    ("coarse", "normal_error", "{:.1f}", 1),
    ("coarse", "genus", "{:.0f}", 1),
    ("refined", "chamfer", "{:.3f}", 100),
    ("refined", "f_score", "{:.3f}", 1),
    ("refined", "normal_error", "{:.1f}", 1),
    ("refined", "psnr_specular", "{:.2f}", 1),
)
HEADER = [
    "scene", "field", "steps", "seeds", "field PSNR", "inside the masks", "coarse: chamfer, %", "F at 0.5 %",
    "normals, degrees", "genus", "refined: chamfer, %", "F at 0.5 %", "normals, degrees", "PSNR with highlights",
]  # fmt: skip
MESH_KEYS = ("chamfer", "normal_error", "f_score", "genus", "psnr", "psnr_specular", "seconds")


def main(argv: list[str]) -> int:
    """Run the named scenes with the named fields (all by default); what needs data that is not there is left out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks surfaces", description=__doc__)
    parser.add_argument("scenes", nargs="*", help=f"of {', '.join(SCENES)}")
    parser.add_argument("--fields", nargs="+", choices=FIELDS, default=list(FIELDS), help="default: all")
    parser.add_argument("--steps", type=int, default=1200, help="of the field, 16,384 samples each")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--views", type=int, default=100, help="photos of a mesh or a toy")
    parser.add_argument("--size", type=int, default=400, help="their side in pixels")
    parser.add_argument("--refine", action="store_true", help="refine the meshes, too, with the default budget")
    asked = parser.parse_args(argv)
    for scene in named(parser, asked.scenes, SCENES):
        with tempfile.TemporaryDirectory() as folder:
            try:
                words = words_of(scene, Path(folder) / "photos", asked.views, asked.size)
            except FileNotFoundError as missing:
                print(f"{scene}: not run: {missing} {NOT_THERE}")
                continue
            for field in asked.fields:
                runs = [run([*words, *FIELDS[field]], asked.steps, seed, asked.refine) for seed in range(asked.seeds)]
                print(f"saved {measure.save(f'surface_{scene}_{field}', {'runs': runs})}")
    return 0


def words_of(scene: str, folder: Path, views: int, size: int) -> list[str]:
    """The command's words for a scene, whose photos are made in ``folder`` where there are none.

    Raises:
        FileNotFoundError: data that is not there.
    """
    if scene in RECORDED:
        return with_data(RECORDED[scene])
    if scene in toys.TOYS:
        made = toys.photograph(scene, folder, views, size)
    else:
        (path,) = with_data([MESHES[scene]])
        options = SynthesisOptions(views=views, size=size, format="kaolin")
        made = synthesize(load_mesh(path), folder, options)["kaolin"]
    return ["scene=kaolin", f"scene.root={made}", f"scene.resolution={size}"]


def run(words: list[str], steps: int, seed: int, refine: bool) -> dict[str, Any]:
    """What one run measured: of its field, of the coarse mesh and, with ``refine``, of the refined one."""
    with tempfile.TemporaryDirectory() as output:
        stages = ["field", "extract", *(["refine"] if refine else [])]
        budget = [f"trainer.max_steps={steps}", f"stages=[{','.join(stages)}]"]
        python(str(ROOT / "train.py"), *words, *budget, f"seed={seed}", f"output={output}")
        metrics = metrics_in(Path(output))
        (coarse,) = Path(output).glob("*/*/mesh/coarse.ply")
        found = {
            "seed": seed,
            "size": metrics["scene"]["size"],
            "field": {key: metrics["field"][key] for key in FIELD_KEYS},
            "coarse": against_truth(coarse, words),
        }
        if refine:
            found["refined"] = {key: metrics["mesh"][key] for key in MESH_KEYS if key in metrics["mesh"]}
        return found


def against_truth(path: Path, words: list[str]) -> dict[str, Any]:
    """Genus of a mesh in the scene's own units and, where the scene's true surface is known, how far that is."""
    mesh, truth = load_mesh(path), load_scene(compose("train", words)).truth
    found: dict[str, Any] = {"genus": topology_report(mesh).genus}
    if truth is not None:
        distance = surface_distance(mesh, load_mesh(truth))
        found |= {key: round(getattr(distance, key), 6) for key in ("chamfer", "normal_error", "f_score")}
    return found


def surface_table(folder: Path) -> list[str]:
    """A row for each scene and field that was run: means over the seeds, and half of how far they vary."""
    made = []
    for scene in SCENES:
        for field in FIELDS:
            found = load(f"surface_{scene}_{field}", folder)
            if found is None:
                continue
            runs, (width, height) = found["results"]["runs"], found["results"]["runs"][0]["size"]
            made.append([f"{scene}, {width}x{height}", field if field == "default" else f"{field}, sdf"])
            made[-1] += [f"{runs[0]['field']['steps']}", f"{len(runs)}"]
            for part, key, style, factor in COLUMNS:
                values = [factor * one[part][key] for one in runs if one.get(part, {}).get(key) is not None]
                made[-1].append(spread(values, style) if values else NOT_RUN if part == "refined" else NOT_KNOWN)
    return table(HEADER, made or [[NOT_RUN] * len(HEADER)])


def spread(values: list[float], style: str) -> str:
    """Their mean, and half the way from the least to the greatest where they are several."""
    mean, half = sum(values) / len(values), (max(values) - min(values)) / 2
    return style.format(mean) + (f" ± {style.format(half)}" if len(values) > 1 else "")
