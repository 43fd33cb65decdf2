"""Exports of a run read by other programs and rendered again: formats, textures, levels of detail, a photo's camera.

The run is exported anew into a temporary folder. Khronos' validator is asked where Node.js finds it (NODE_PATH), and
Blender where ``--blender`` names a Python that has ``bpy``.
"""

import argparse
import json
import math
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch
import trimesh
from PIL import Image
from torch.nn.functional import avg_pool2d

from benchmarks.measure import save
from benchmarks.results import NOT_RUN, RESULTS, filled_marks, load as load_results, table
from nerfkit.config import ExportOptions
from nerfkit.export_stage import export
from nerfkit.fit.build import load_scene
from nerfkit.fit.metrics import psnr
from nerfkit.fit.refine_measure import alike
from nerfkit.mesh.bake import texel_map
from nerfkit.mesh.files.io import WRITTEN, load_mesh
from nerfkit.mesh.files.pictures import ENDINGS
from nerfkit.mesh.files.stl import printable
from nerfkit.mesh.mesh import Mesh
from nerfkit.raster.shade import MeshSource
from nerfkit.results import finished_file, load_finished
from nerfkit.resume import load
from nerfkit.runs.folder import Run, find
from nerfkit.scenes.scene import Scene
from nerfkit.scenes.writers import view_names

NAME = "exports_clock"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "blender.png"
FACES = [4000, 2000, 1000, 500]
FINE = 8  # rows and columns of samples in a pixel, beside Blender's 64
VALIDATOR = """
    const validator = require("gltf-validator"), fs = require("fs");
    (async () => { for (const file of process.argv.slice(1)) {
        const report = await validator.validateBytes(new Uint8Array(fs.readFileSync(file)));
        console.log(JSON.stringify([report.validatorVersion, report.issues.numErrors, report.issues.numWarnings]));
    } })();
"""


def main(argv: list[str]) -> int:
    """Export, read, compare, save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks exports", description=__doc__)
    parser.add_argument("run", help="a run folder, such as outputs/clock/latest")
    parser.add_argument("--blender", metavar="PYTHON", help="a Python with Blender's bpy")
    parser.add_argument("--view", type=int, default=1, help="which held-out photo Blender looks at")
    arguments = parser.parse_args(argv)
    record, scene = Run.open(find(arguments.run)), load_scene(load(find(arguments.run)))
    path = finished_file(record)
    assert path is not None
    mesh, specular = load_finished(path, record, scene)
    found: dict[str, Any] = {"faces": len(mesh.faces)}
    with tempfile.TemporaryDirectory() as place:
        files: list[Path] = []
        for kind in ENDINGS:
            for material in ("unlit", "pbr"):
                there = Run(Path(place) / f"{kind}_{material}")
                formats = [format for format in WRITTEN if kind != "webp" or not format.startswith("usd")]
                levels = FACES if (kind, material) == ("png", "unlit") else []
                cameras = ["photos", "path"] if kind != "jpeg" else []
                wanted = ExportOptions(formats, texture=kind, material=material, faces=levels, glb_cameras=cameras)
                export(mesh, specular, wanted, scene, there)
                files += sorted(there.folder.glob("mesh/*.glb"))
        folders = {kind: Path(place) / f"{kind}_unlit" / "mesh" for kind in ENDINGS}
        found["textures"] = {kind: _texture(folders[kind], kind, mesh, scene) for kind in ENDINGS}
        found["levels"] = {str(faces): _level(folders["png"], faces, mesh, scene) for faces in FACES}
        found["readers"] = _readers(folders["png"], mesh, scene)
        found["validator"] = _validated(files)
        if arguments.blender:
            view = scene.test[arguments.view]
            found["blender"] = _blender(arguments.blender, folders["png"] / "mesh.glb", scene, view, mesh)
    print(f"wrote {save(NAME, found)}")
    return 0


def _own(path: Path, scene: Scene) -> Mesh:
    """A file of the mesh, in normalized units."""
    return load_mesh(path).transformed(scene.exported.apply)


def _texture(folder: Path, kind: str, mesh: Mesh, scene: Scene) -> dict[str, Any]:
    """Bytes, and PSNR of the texture where faces are and of pictures with it."""
    packed = _own(folder / "mesh.glb", scene)
    assert packed.texture is not None and mesh.texture is not None and mesh.corner_uvs is not None
    covered = texel_map(mesh.corner_uvs, *mesh.texture.shape[:2])[0] >= 0
    error = float((packed.texture - mesh.texture)[covered].square().mean())
    return {
        "size": list(mesh.texture.shape[:2]),
        "texture_bytes": (folder / f"mesh.{ENDINGS[kind]}").stat().st_size,
        "texture_psnr": None if error < 1e-9 else round(-10 * math.log10(error), 2),
        "picture_psnr": _finite(alike(packed, mesh, scene)),
    }


def _level(folder: Path, faces: int, mesh: Mesh, scene: Scene) -> dict[str, Any]:
    """Of a coarser copy: its size, and how much like the mesh it looks, nearby and from afar."""
    path = folder / f"mesh_{faces}.glb"
    level = _own(path, scene)
    assert level.texture is not None
    return {
        "faces": len(level.faces),
        "texture": list(level.texture.shape[:2]),
        "bytes": path.stat().st_size,
        "psnr": _finite(alike(level, mesh, scene)),
        "psnr_afar": _finite(_from_afar(level, mesh, scene)),
        "stl": printable(load_mesh(path.with_suffix(".stl"))).split(";")[0],
    }


def _from_afar(one: Mesh, other: Mesh, scene: Scene) -> float:
    """Mean PSNR of held-out pictures whose blocks of 4 x 4 pixels are averaged."""
    found, sources = [], [MeshSource(mesh, scene.background) for mesh in (one, other)]
    for view in scene.test:
        pictures = [source.render(scene.cameras, view, ("rgb",))["rgb"] for source in sources]
        found.append(psnr(*(avg_pool2d(picture.movedim(-1, 0), 4) for picture in pictures)))
    return sum(found) / len(found)


def _finite(decibels: float) -> float | None:
    """Two digits; None for pictures that are the same."""
    return round(decibels, 2) if math.isfinite(decibels) else None


def _readers(folder: Path, mesh: Mesh, scene: Scene) -> dict[str, Any]:
    """Every format by another reader, drawn by our rasterizer: PSNR to the mesh's own pictures, in dB."""
    bare, black = mesh.without_appearance(), replace(scene, background=(0.0, 0.0, 0.0))
    pictures = {
        "glb": alike(_trimesh(folder / "mesh.glb", scene), mesh, scene),
        "obj": alike(_trimesh(folder / "mesh.obj", scene), mesh, scene),
        "ply": alike(_trimesh(folder / "mesh.ply", scene), mesh, scene),
        "stl": alike(_trimesh(folder / "mesh.stl", scene).without_appearance(), bare, black),
        "usdz": alike(_usd(folder / "mesh.usdz", scene), mesh, scene),
    }
    return {name: _finite(value) for name, value in pictures.items()}


def _placed(vertices: np.ndarray, scene: Scene) -> torch.Tensor:
    return scene.exported.apply(torch.from_numpy(np.array(vertices, np.float64))).float()


def _trimesh(path: Path, scene: Scene) -> Mesh:
    """What trimesh reads."""
    read = trimesh.load(path, force="mesh", process=False)
    vertices, faces = _placed(read.vertices, scene), torch.from_numpy(np.array(read.faces, np.int64))
    if read.visual.kind == "texture":
        material = read.visual.material
        image = getattr(material, "baseColorTexture", None) or material.image
        texture = torch.from_numpy(np.array(image.convert("RGB"), np.float32) / 255)
        uvs = torch.from_numpy(np.array(read.visual.uv, np.float32))[faces]
        return Mesh(vertices, faces, uvs, texture=texture)
    colors = torch.from_numpy(np.array(read.visual.vertex_colors[:, :3], np.float32) / 255)
    return Mesh(vertices, faces, colors=colors)


def _usd(path: Path, scene: Scene) -> Mesh:
    """What USD reads of a package whose model is not turned."""
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(path))
    shape = UsdGeom.Mesh(stage.GetPrimAtPath("/Model/Mesh"))
    faces = torch.from_numpy(np.array(shape.GetFaceVertexIndicesAttr().Get(), np.int64).reshape(-1, 3))
    uvs = torch.from_numpy(np.array(UsdGeom.PrimvarsAPI(shape).GetPrimvar("st").Get(), np.float32).reshape(-1, 3, 2))
    with zipfile.ZipFile(path) as package:
        picture = Image.open(BytesIO(package.read(f"{path.stem}.png"))).convert("RGB")
    texture = torch.from_numpy(np.array(picture, np.float32) / 255)
    return Mesh(_placed(np.array(shape.GetPointsAttr().Get()), scene), faces, uvs, texture=texture)


def _validated(files: Iterable[Path]) -> dict[str, Any] | None:
    """What Khronos' validator says of all files together; None where it is not there."""
    paths = list(files)
    done = subprocess.run(["node", "-e", VALIDATOR, *map(str, paths)], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    errors, warnings = (sum(report[k] for report in reports) for k in (1, 2))
    return {"version": reports[0][0], "files": len(paths), "errors": errors, "warnings": warnings}


def _blender(python: str, path: Path, scene: Scene, view: int, mesh: Mesh) -> dict[str, Any]:
    """A photo's camera in Blender against our picture: PSNR, and by how many pixels one must be shifted to fit."""
    height, width = scene.cameras[view].size
    script, out = Path(__file__).with_name("blender_view.py"), path.with_name("blender.png")
    words = [python, str(script), str(path), view_names(scene)[view], str(out), str(width), str(height)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    about = json.loads(next(line for line in reversed(said.splitlines()) if line.startswith("{")))
    theirs = _premultiplied(iio.imread(out))
    camera = scene.cameras[view].resized(FINE * height, FINE * width)
    drawn = MeshSource(mesh, None).render(camera, 0, ("rgb", "alpha"))
    fine = torch.cat([drawn["rgb"], drawn["alpha"][..., None]], -1).numpy()
    ours = fine.reshape(height, FINE, width, FINE, 4).mean((1, 3))
    slopes = np.stack([slope.ravel() for slope in np.gradient(ours[..., 3])], 1)
    shift = np.linalg.lstsq(slopes, (ours - theirs)[..., 3].ravel(), rcond=None)[0]
    photo = scene.images[view].numpy() / np.float32(255)
    away = 4 * np.abs(theirs - ours)[..., :3]
    over = [picture[..., :3] + 1 - picture[..., 3:] for picture in (photo, theirs, ours)]
    strip = np.concatenate([*over, 1 - away], 1).clip(0, 1)
    iio.imwrite(PICTURE, np.rint(255 * strip).astype(np.uint8))
    return {
        **about,
        "psnr": round(-10 * math.log10(float(np.square(theirs - ours)[..., :3].mean())), 2),
        "shift": [round(float(pixels), 4) for pixels in shift],
        "photo_psnr": [round(-10 * math.log10(float(np.square(p - photo)[..., :3].mean())), 2) for p in (theirs, ours)],
    }


def _premultiplied(pixels: np.ndarray) -> np.ndarray:
    """Straight RGBA bytes (H,W,4) as shares of one, colors times alpha."""
    share = pixels.astype(np.float32) / 255
    return np.concatenate([share[..., :3] * share[..., 3:], share[..., 3:]], -1)


def fill(text: str, folder: Path = RESULTS) -> str:
    """docs/exports.md with its tables made anew."""
    found = load_results(NAME, folder)
    made = found["results"] if found else {}
    return filled_marks(text, lambda name: SECTIONS[name](made))


def _textures(made: dict[str, Any]) -> list[str]:
    head = ["`export.texture`", "bytes", "PSNR of the texture, dB", "PSNR of the mesh's pictures, dB"]
    rows = [
        [kind, f"{row['texture_bytes']:,}", *(_said(row[key]) for key in ("texture_psnr", "picture_psnr"))]
        for kind, row in made.get("textures", {}).items()
    ]
    return table(head, rows or [[NOT_RUN, "", "", ""]])


def _said(decibels: float | None) -> str:
    return "the same" if decibels is None else f"{decibels:.1f}"


def _levels(made: dict[str, Any]) -> list[str]:
    head = ["faces", "texture", "GLB, bytes", "PSNR to the mesh's pictures, dB", "averaged over 4x4 pixels", "its STL"]
    rows = [
        [f"{row['faces']:,}", "{}x{}".format(*row["texture"]), f"{row['bytes']:,}", _said(row["psnr"]),
         _said(row["psnr_afar"]), row["stl"]]
        for row in made.get("levels", {}).values()
    ]  # fmt: skip
    return table(head, rows or [[NOT_RUN, "", "", "", "", ""]])


def _checked(made: dict[str, Any]) -> list[str]:
    readers = {"glb": "trimesh", "obj": "trimesh", "ply": "trimesh", "stl": "trimesh, silhouettes", "usdz": "usd-core"}
    rows = [
        [f"`mesh.{end}` by {readers[end]}, drawn by our rasterizer: PSNR to the mesh's pictures, dB", _said(decibels)]
        for end, decibels in made.get("readers", {}).items()
    ]
    valid, seen = made.get("validator"), made.get("blender")
    kinds = "GLB files of all textures, materials, cameras and levels, by Khronos' validator"
    said = f"{valid['files']}: {valid['errors']} errors, {valid['warnings']} warnings" if valid else NOT_RUN
    rows.append([f"{kinds} {valid['version']}" if valid else kinds, said])
    if seen is None:
        return table(["checked", "found"], [*rows, ["a photo's camera in Blender", NOT_RUN]])
    down, right = seen["shift"]
    rows += [
        [f"a photo's camera in Blender {seen['version']}: PSNR to our picture", f"{seen['psnr']:.1f} dB"],
        ["the same, off our silhouette by", f"{right:+.4f} pixels to the right, {down:+.4f} down"],
        ["the same, PSNR to the photo; ours to it", "{:.2f} dB; {:.2f} dB".format(*seen["photo_psnr"])],
    ]
    return table(["checked", "found"], rows)


SECTIONS = {"textures": _textures, "levels": _levels, "checked": _checked}
