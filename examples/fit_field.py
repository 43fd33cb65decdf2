"""Photos with known cameras become a radiance field, and that a mesh: the whole pipeline without a config.

python examples/fit_field.py                     the built-in clock
python examples/fit_field.py FOLDER_OR_ZIP       photos of your own, in a format that nerfkit knows
"""

import sys
from pathlib import Path

import nerfkit as nk


def main(root: str | None = None, out: Path = Path("."), size: int = 128, steps: int = 400) -> float:
    """Writes ``OUT/object.glb``; returns the PSNR of the held-out views."""
    scene = nk.open_scene("clock" if root is None else "auto", root, resolution=size)
    model = nk.build_model(scene, nk.HarmonicOptions(width=64), nk.OccupancyOptions(resolution=64, step_size=0.02))
    model = nk.FieldFit(model, scene, nk.TrainerOptions(max_steps=steps)).train()
    psnr = nk.evaluate_field(model, scene)["psnr"]
    print(f"held-out views: {psnr:.2f} dB")

    mesh = nk.coarse_mesh(model, scene, nk.ExtractOptions(resolution=96, faces=4000))
    mesh = nk.refine_mesh(mesh, scene, nk.RefineOptions(steps=steps))
    for path in nk.save_mesh(mesh.transformed(scene.normalization.invert), out / "object", ["glb"]):
        print(f"wrote {path}")
    return psnr


if __name__ == "__main__":
    main(*sys.argv[1:])
