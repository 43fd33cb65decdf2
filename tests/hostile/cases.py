"""What a case is, and cases of files that were valid until they were spoiled."""

import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
import numpy as np
import torch

from nerfkit.fit.dtu_scan import open_scan
from nerfkit.mesh.files.io import load_mesh, save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.scenes import open_scene
from nerfkit.scenes.images import decode
from nerfkit.view.options import VideoOptions
from nerfkit.view.route import camera_path
from tests.fit.dtu_files import scan_of, write_scan
from tests.hostile.mutations import spoiled, spoiled_json
from tests.scenes.builders import ring, write_blender, write_kaolin
from tests.scenes.captures import (
    View,
    motion,
    some_views,
    write_colmap,
    write_dtu,
    write_llff,
    write_middlebury,
    write_pictures,
    write_rigs,
)
from tests.view.path_builders import scene as photographed, write_all

SIZE = (12, 16)


class Case(NamedTuple):
    """A hostile input.

    Attributes:
        name: of the case.
        read: reads it; it lies in the working folder's ``case``.
        refused: what the message says, besides where it is; None where the input may also be read.
    """

    name: str
    read: Callable[[], object]
    refused: str | None = None


def fresh() -> Path:
    """The empty folder ``case``."""
    folder = Path("case").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


# ---- scenes


def _transforms(folder: Path, views: list[View]) -> None:
    write_pictures(folder / "images", [view.name for view in views])
    write_pictures(folder / "masks", ["a.png"])
    (folder / "depth").mkdir()
    np.save(folder / "depth" / "a.npy", np.full((30, 40), 5.0, np.float32))
    frames = []
    for view in views:
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = view.rotation.T * [1, -1, -1], -view.rotation.T @ view.translation
        frames.append({"file_path": f"images/{view.name}", "transform_matrix": pose.tolist()})
    frames[0] |= {"mask_path": "masks/a.png", "depth_file_path": "depth/a.npy"}
    head = {"fl_x": 50.0, "fl_y": 50.0, "cx": 20.0, "cy": 15.0, "w": 40, "h": 30, "k1": 0.01, "up": [0, 0, 1]}
    content = {**head, "ply_file_path": "points.ply", "test_filenames": ["images/a.png"], "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    lines = ["ply", "format ascii 1.0", "element vertex 2", *(f"property float {axis}" for axis in "xyz"), "end_header"]
    (folder / "points.ply").write_text("\n".join([*lines, "0 0 0", "1 0 0", ""]))


def _colmap(folder: Path, views: list[View], kind: str) -> None:
    model = write_colmap(
        folder / "sparse" / "0", views, [((0.1 * k, 0.2, 0.3), 0.5, [1, 2, 3]) for k in range(4)], kind
    )
    write_rigs(model, [], [motion(view.rotation, view.translation) for view in views[:1]], kind)
    write_pictures(folder / "images", [view.name for view in views])


VIEWS = [view._replace(lens=(50.0, 50.0, 20.0, 15.0)) for view in some_views()]
OF_VIEWS: dict[str, Callable[[Path, list[View]], object]] = {
    "transforms": _transforms,
    "colmap": partial(_colmap, kind="bin"),
    "colmap text": partial(_colmap, kind="txt"),
    "llff": write_llff,
    "dtu": write_dtu,
    "middlebury": write_middlebury,
}
MODEL = ("cameras", "images", "points3D", "rigs", "frames")
SCENES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "kaolin": (
        lambda folder: write_kaolin(folder / "data", ring(5, SIZE)),
        ("data/0_metadata.json", "data/1_rgb.png", "data/2_semantic.npy"),
    ),
    "blender": (
        lambda folder: write_blender(folder, ring(5, SIZE), ring(2, SIZE)),
        ("transforms_train.json", "train/r_0.png"),
    ),
    "transforms": (partial(_transforms, views=VIEWS), ("transforms.json", "depth/a.npy", "points.ply", "masks/a.png")),
    "colmap": (partial(_colmap, kind="bin", views=some_views()), tuple(f"sparse/0/{name}.bin" for name in MODEL)),
    "colmap text": (partial(_colmap, kind="txt", views=some_views()), tuple(f"sparse/0/{name}.txt" for name in MODEL)),
    "llff": (lambda folder: write_llff(folder, VIEWS), ("poses_bounds.npy",)),
    "dtu": (lambda folder: write_dtu(folder, VIEWS), ("cameras_sphere.npz",)),
    "middlebury": (lambda folder: write_middlebury(folder, VIEWS), ("dino_par.txt",)),
}


def read_scene(folder: Path) -> object:
    """Opens whatever scene lies in a folder or zip."""
    return open_scene("auto", folder, holdout=3)


def scenes() -> Iterator[Case]:
    """Every format with one of its files spoiled, each as it was first; or with a camera that is absurdly far away."""
    for seed, (name, (write, targets)) in enumerate(SCENES.items()):
        folder = fresh()
        write(folder)
        read_scene(folder)
        for target in targets:
            path = folder / target
            whole = path.read_bytes()
            copies = [*spoiled(whole, seed, 6)]
            if path.suffix == ".json":
                copies += spoiled_json(whole, seed, 16)
            for label, data in copies:
                path.write_bytes(data)
                yield Case(f"{name}, {target}: {label}", partial(read_scene, folder))
            path.write_bytes(whole)
    far = VIEWS[1]._replace(translation=np.array([0, 1e20, 0]))
    for name, write_views in OF_VIEWS.items():
        folder = fresh()
        write_views(folder, [VIEWS[0], far, *VIEWS[2:]])
        yield Case(f"{name}: a camera 1e20 away", partial(read_scene, folder), "the pose is")


# ---- meshes


def _quad() -> Mesh:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices, faces, vertices[faces][..., :2], None, torch.rand(4, 4, 3))


PLY = """ply
format ascii 1.0
comment TextureFile m.png
element vertex 4
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
property list uchar float texcoord
end_header
0 0 0 255 0 0
1 0 0 0 255 0
1 1 0 0 0 255
0 1 0 9 9 9
3 0 1 2 6 0 0 1 0 1 1
3 0 2 3 6 0 0 1 1 0 1
"""
STL = "solid\n" + 2 * (
    "facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"
) + "endsolid\n"  # fmt: skip


def write_meshes(folder: Path) -> None:
    """One mesh in every format: m.*, and as text t.*."""
    save_mesh(_quad(), folder / "m", ("glb", "obj", "ply", "stl"))
    (folder / "t.ply").write_text(PLY)
    (folder / "t.stl").write_text(STL)


def meshes() -> Iterator[Case]:
    """Every format with one of its files spoiled; the JSON of a GLB by itself, too."""
    folder = fresh()
    write_meshes(folder)
    targets = [("m.obj", "m.obj"), ("m.obj", "m.mtl"), ("m.obj", "m.png"), *((name, name) for name in WHOLE)]
    for seed, (name, target) in enumerate(targets):
        path, whole = folder / target, (folder / target).read_bytes()
        load_mesh(folder / name)
        copies = [*spoiled(whole, seed, 16)]
        if name == "m.glb":
            copies += [(label, with_json(whole, text)) for label, text in spoiled_json(json_of(whole), seed, 60)]
        for label, data in copies:
            path.write_bytes(data)
            yield Case(f"{path.suffix[1:]}, {target}: {label}", partial(load_mesh, folder / name))
        path.write_bytes(whole)


WHOLE = ("m.glb", "m.ply", "m.stl", "t.ply", "t.stl")


def json_of(glb: bytes) -> bytes:
    """The JSON of a GLB."""
    return glb[20 : 20 + int.from_bytes(glb[12:16], "little")]


def with_json(glb: bytes, text: bytes) -> bytes:
    """A GLB with another JSON."""
    rest = glb[20 + len(json_of(glb)) :]
    text += b" " * (-len(text) % 4)
    total = 20 + len(text) + len(rest)
    return glb[:8] + total.to_bytes(4, "little") + len(text).to_bytes(4, "little") + b"JSON" + text + rest


# ---- camera paths


def paths() -> Iterator[Case]:
    """Camera paths of every form, spoiled; what is read must lead to cameras."""
    folder = fresh()
    for seed, path in enumerate(write_all(folder)):
        whole = path.read_bytes()
        copies = [*spoiled(whole, seed, 8)]
        if path.suffix == ".json":
            copies += spoiled_json(whole, seed, 30)
        else:
            copies += [(label, with_json(whole, text)) for label, text in spoiled_json(json_of(whole), seed, 30)]
        options = VideoOptions(path="file", file=str(path), resolution=8)
        read = partial(camera_path, options, photographed(), torch.zeros(0, 3))
        read()
        for label, data in copies:
            path.write_bytes(data)
            yield Case(f"path {path.name}: {label}", read)
        path.write_bytes(whole)


# ---- scans


def scans() -> Iterator[Case]:
    """DTU's files of a scan, spoiled: its points; its matrices, packed and not, and what is packed in them."""
    for packed in (True, False):
        folder = fresh()
        write_scan(folder, scan_of(np.eye(3)), packed=packed)
        points = folder / "Points" / "stl" / "stl024_total.ply"
        read = partial(open_scan, points, photographed())
        read()
        for seed, path in enumerate([points, *sorted(folder.glob("ObsMask/*.mat"))]):
            whole = path.read_bytes()
            copies = [*spoiled(whole, seed, 8)]
            if packed and path != points:
                inside = zlib.decompressobj().decompress(whole[136:])
                copies += [(f"inside, {label}", _repacked(whole, data)) for label, data in spoiled(inside, seed, 8)]
                path.write_bytes(_repacked(whole, bytes(300 << 20)))
                yield Case(f"scan {path.name}: 300 MB in 300 kB", read, "unpacks to more")
            for label, data in copies:
                path.write_bytes(data)
                yield Case(f"scan {path.name}: {label}", read)
            path.write_bytes(whole)


def _repacked(whole: bytes, inside: bytes) -> bytes:
    """A MAT file whose first element, a packed one, has another inside."""
    packed, after = zlib.compress(inside), 136 + int.from_bytes(whole[132:136], "little")
    return whole[:132] + len(packed).to_bytes(4, "little") + packed + whole[after:]


# ---- pictures


def pictures() -> Iterator[Case]:
    """Pictures of every format, spoiled."""
    pixels = np.random.default_rng(0).integers(0, 255, (9, 11, 3)).astype(np.uint8)
    for seed, suffix in enumerate((".png", ".jpg", ".tif", ".bmp", ".webp", ".ppm")):
        whole = iio.imwrite("<bytes>", pixels, extension=suffix)
        for label, data in spoiled(whole, seed, 8):
            where = str(Path("case").absolute() / f"p{suffix}")
            yield Case(f"{suffix[1:]}: {label}", partial(decode, data, where))
