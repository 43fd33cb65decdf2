"""What the fuzzer calls: readers of a file's bytes, the files that it begins with, and mutations of what is in them.

Bytes that are changed at random hardly ever remain JSON, and never a zip with its checksums: ``in_json``, ``in_glb``
and ``in_zip`` mostly change a value or an entry, what is around it staying valid; else they leave it to libFuzzer.
"""

import contextlib
import io
import json
import random
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import atheris
import imageio.v3 as iio
import numpy as np
import torch

from nerfkit import resume
from nerfkit.errors import UserError
from nerfkit.fit.specular import Specular
from nerfkit.mesh.files.io import load_mesh
from nerfkit.prepare.exif import read_exif
from nerfkit.results import new_fit
from nerfkit.runs.archives import ERRORS, Archive, array_of, arrays_of
from nerfkit.runs.board import EVENTS, Board
from nerfkit.runs.checkpoints import load_latest
from nerfkit.runs.configs import load_config
from nerfkit.runs.curves import scalars
from nerfkit.runs.folder import Run, find
from nerfkit.runs.pictures import open_picture
from nerfkit.scenes import colmap_binary, colmap_text, record
from nerfkit.scenes.images import decode
from nerfkit.scenes.point_cloud import ply_points
from nerfkit.view.options import VideoOptions
from nerfkit.view.route import camera_path
from tests.hostile import cases
from tests.hostile.mutations import VALUES, places
from tests.hostile.runs import OLD
from tests.prepare.made import write_photo
from tests.view.path_builders import glb, gltf, scene, write_all

PLACE = Path(tempfile.mkdtemp(prefix="nerfkit_fuzz_"))
Read = Callable[[bytes], object]
Mutate = Callable[[bytes, int, int], bytes]


class Target(NamedTuple):
    """A reader to fuzz.

    Attributes:
        make: prepares what lies around the file, and returns what reads its bytes.
        seeds: patterns of the names of the valid files to begin with.
        mutate: data, the most bytes and a seed -> other data; None: libFuzzer's own.
    """

    make: Callable[[], Read]
    seeds: tuple[str, ...]
    mutate: Mutate | None = None


# ---- mutations


def in_json(data: bytes, most: int, seed: int) -> bytes:
    """A JSON text with one value taken away, or replaced by an odd one, by another of its own, or by a changed text."""
    chance = random.Random(seed)
    with contextlib.suppress(ValueError, OverflowError, RecursionError, IndexError):
        content = json.loads(data)
        found = list(places(content))
        parent, key = chance.choice(found)
        other, there = chance.choice(found)
        value = parent[key]
        kind = chance.randrange(6)
        if kind == 0:
            del parent[key]
        elif kind == 1:
            parent[key] = chance.choice(VALUES)
        elif kind == 2 and isinstance(value, str):
            parent[key] = atheris.Mutate(value.encode(errors="replace"), 200).decode(errors="replace")
        elif kind == 2 and isinstance(value, int | float):
            parent[key] = value * chance.choice((-1, 0.5, 2, 1e-6, 1e6)) + chance.choice((0, 1, -1))
        elif kind == 3:
            parent[key] = json.loads(json.dumps(other[there]))  # a copy: no ring
        if kind < 4 and len(text := json.dumps(content).encode()) <= most:
            return text
    return atheris.Mutate(data, most)


def in_glb(data: bytes, most: int, seed: int) -> bytes:
    """A GLB whose JSON is changed as by ``in_json``."""
    text = cases.json_of(data)
    if data.startswith(b"glTF") and text and seed % 2:
        found = cases.with_json(data, in_json(text, max(most - len(data) + len(text) - 4, 1), seed))
        if len(found) <= most:
            return found
    return atheris.Mutate(data, most)


def in_zip(data: bytes, most: int, seed: int) -> bytes:
    """A zip, or .npz, one of whose entries is changed; its checksum is right."""
    chance = random.Random(seed)
    with contextlib.suppress(*ERRORS, KeyError, IndexError):
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            entries = {name: old.read(name) for name in old.namelist()}
        name = chance.choice(list(entries))
        entries[name] = atheris.Mutate(entries[name], most)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as new:
            for each, content in entries.items():
                new.writestr(each, content)
        if chance.randrange(2) and packed.tell() <= most:
            return packed.getvalue()
    return atheris.Mutate(data, most)


# ---- readers


def of_file(name: str, read: Callable[[Path], object]) -> Callable[[], Read]:
    """What reads bytes by a file of this name."""

    def call(data: bytes) -> None:
        (PLACE / name).write_bytes(data)
        read(PLACE / name)

    return lambda: call


def of_table(name: str) -> Callable[[], Read]:
    """A file of COLMAP's models, as text and as binary."""

    def call(data: bytes) -> None:
        for module in (colmap_binary, colmap_text):
            with contextlib.suppress(UserError):
                getattr(module, name.removesuffix("3D"))(data, "where")

    return lambda: call


def of_scene(name: str, file: str) -> Callable[[], Read]:
    """A whole scene of a format, with one of its files read from the bytes."""

    def make() -> Read:
        cases.SCENES[name][0](PLACE)

        def call(data: bytes) -> None:
            (PLACE / file).write_bytes(data)
            cases.read_scene(PLACE)

        return call

    return make


def of_run(file: str, read: Callable[[Path], object]) -> Callable[[], Read]:
    """A run folder, with one of its files read from the bytes."""

    def make() -> Read:
        folder = PLACE / "run"
        shutil.copytree(OLD, folder)

        def call(data: bytes) -> None:
            (folder / file).write_bytes(data)
            read(folder)

        return call

    return make


def _path(name: str) -> Callable[[], Read]:
    """A camera path's file, up to the cameras."""
    options, photographed = VideoOptions(path="file", file=str(PLACE / name), resolution=8), scene()
    return of_file(name, lambda path: camera_path(options, photographed, torch.zeros(0, 3)))


def _library() -> Read:
    """The materials of an OBJ."""
    cases.write_meshes(PLACE)

    def call(data: bytes) -> None:
        (PLACE / "m.mtl").write_bytes(data)
        load_mesh(PLACE / "m.obj")

    return call


def _archive(data: bytes) -> None:
    """All entries of a zip, and the arrays in it."""
    with contextlib.suppress(*ERRORS, KeyError), Archive(data) as opened:
        for name in opened.names:
            opened.read(name)
    with contextlib.suppress(Exception):  # readers name the file, whatever it is
        arrays_of(data)
    with contextlib.suppress(Exception):
        array_of(data)


def _points(data: bytes) -> None:
    """The points of a PLY."""
    with contextlib.suppress(ValueError):
        ply_points(data)


def _exif(data: bytes) -> None:
    """What a photo says of how it was taken."""
    with contextlib.suppress(Exception):  # Pillow raises a dozen unrelated types
        image = open_picture(data)
        image.getexif()
    if "image" in locals():
        read_exif(image)


def _checkpoint() -> Read:
    """The pickle of a checkpoint among the tensors of a real one, up to the fit that takes its state."""
    cases.SCENES["kaolin"][0](PLACE)
    folder = PLACE / "run"
    shutil.copytree(OLD, folder)
    fit: Any = new_fit(resume.load(folder), cases.read_scene(PLACE / "data"), Run(folder), torch.device("cpu"))  # type: ignore[arg-type]
    path = folder / "checkpoints" / "step_00000030.pt"
    with zipfile.ZipFile(path) as stored:
        entries = {name: stored.read(name) for name in stored.namelist()}

    def call(data: bytes) -> None:
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in entries.items():
                packed.writestr(name, data if name.endswith("data.pkl") else content)
        fit.load_state_dict(load_latest(folder, warn=lambda line: None)[1], str(folder))

    return call


def _events(folder: Path) -> None:
    """A run's curves, before and after a part of them is taken away."""
    scalars(folder)
    Board(folder).forget(["loss"], 5)


TARGETS: dict[str, Target] = {
    **{kind: Target(of_file(f"m.{kind}", load_mesh), (f"*.{kind}",)) for kind in ("obj", "ply", "stl")},
    "glb": Target(of_file("m.glb", load_mesh), ("*.glb",), in_glb),
    "mtl": Target(_library, ("*.mtl",)),
    **{name: Target(of_table(name), (f"{name}.*",)) for name in cases.MODEL},
    "picture": Target(lambda: lambda data: decode(data, "where"), ("*.png", "p.*")),
    "exif": Target(lambda: _exif, ("*.jpg",)),
    "archive": Target(lambda: _archive, ("*.np[yz]",), in_zip),
    "points": Target(lambda: _points, ("*.ply",)),
    **{
        f"path {stem}": Target(_path(f"{stem}.json"), (f"{stem}.json",), in_json)
        for stem in ("own", "camera_path", "base_cam")
    },
    "path glb": Target(_path("c.glb"), ("c.glb", "still.glb"), in_glb),
    "transforms": Target(of_scene("transforms", "transforms.json"), ("transforms.json",), in_json),
    "blender": Target(of_scene("blender", "transforms_train.json"), ("transforms_train.json",), in_json),
    "kaolin": Target(of_scene("kaolin", "data/0_metadata.json"), ("*_metadata.json",), in_json),
    "llff": Target(of_scene("llff", "poses_bounds.npy"), ("poses_bounds.npy",)),
    "dtu": Target(of_scene("dtu", "cameras_sphere.npz"), ("cameras_sphere.npz",), in_zip),
    "middlebury": Target(of_scene("middlebury", "dino_par.txt"), ("dino_par.txt",)),
    "yaml": Target(of_file("config.yaml", load_config), ("*.yaml",)),
    "config": Target(of_run("config.yaml", resume.load), ("config.yaml",)),
    "environment": Target(of_run("environment.yaml", find), ("environment.yaml",)),
    "metrics": Target(of_run("metrics.json", lambda folder: Run(folder).metrics()), ("metrics.json",), in_json),
    "scene": Target(of_run("scene.json", record.recorded), ("scene.json",), in_json),
    "specular": Target(
        of_run("mesh/specular.npz", lambda folder: Specular.load(folder / "mesh" / "specular.npz")),
        ("specular.npz",),
        in_zip,
    ),
    "checkpoint": Target(_checkpoint, ("data.pkl",)),
    "events": Target(of_run(f"{EVENTS}1", _events), (f"{EVENTS}*",)),
}


def write_seeds(folder: Path) -> None:
    """Valid files of every format."""
    cases.write_meshes(folder)
    for name, (write, _) in cases.SCENES.items():
        (folder / name).mkdir()
        write(folder / name)
    write_all(folder)
    (folder / "still.glb").write_bytes(glb(*gltf(animated=False)))
    pixels = np.random.default_rng(0).integers(0, 255, (9, 11, 3)).astype(np.uint8)
    for suffix in (".jpg", ".tif", ".bmp", ".webp", ".ppm"):
        iio.imwrite(folder / f"p{suffix}", pixels)
    write_photo(
        folder / "exif.jpg", pixels, orientation=6, make="a", model="b", focal35=28, taken="2026:01:01 10:00:00"
    )
    run = folder / "run"
    shutil.copytree(OLD, run)
    record.record(cases.read_scene(folder / "kaolin" / "data"), run)  # type: ignore[arg-type]
    with zipfile.ZipFile(run / "checkpoints" / "step_00000030.pt") as stored:
        (run / "data.pkl").write_bytes(stored.read("archive/data.pkl"))
    board = Board(run)
    for step in range(8):
        board.writer.add_scalar("loss/color", 1 / (1 + step), step)
    board.close()
