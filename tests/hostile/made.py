"""Scenes, archives and meshes made on purpose: bombs, names and links that lead out, counts of terabytes."""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.scenes.images import decode
from tests.hostile.cases import SCENES, Case, fresh, json_of, read_scene, with_json, write_meshes

OUT = "leads out of its folder"
MEGA = 1 << 20


def npy(shape: tuple[int, ...], kind: str = "<f8", data: bytes = b"") -> bytes:
    """A .npy file whose header promises an array."""
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return packed.getvalue()


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header says this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def archives() -> Iterator[Case]:
    """Zips as scenes, and arrays."""
    folder = fresh()

    def opened(data: bytes, refused: str | None, name: str) -> Case:
        path = folder / "scene.zip"
        path.write_bytes(data)
        return Case(f"zip: {name}", lambda: read_scene(path), refused)

    for name in ("../x.json", "/etc/x.json", "a/../../x.json", "C:\\x.json", "a\\..\\..\\x.json", "a\0b"):
        packed = zipped({name.replace("\0", "_"): b"{}"})
        yield opened(packed.replace(b"a_b", b"a\0b"), None if "\0" in name else "unsafe name", f"holds {name!r}")
    digits = "9" * 5000
    yield opened(zipped({f"{digits}_metadata.json": b"{}", f"{digits}_rgb.png": b""}), "", "a name of 5,000 digits")
    bomb = zipped({"transforms.json": b"[" * (300 * MEGA)})
    yield opened(bomb, "unpacks to more than", "300 MB of JSON in 300 kB")
    lying = bytearray(bomb)
    at = lying.find(b"PK\x01\x02")
    lying[at + 24 : at + 28] = struct.pack("<I", 10)  # the directory says 10 bytes
    yield opened(bytes(lying), "", "300 MB that say 10 bytes")
    yield opened(zipped({"transforms.json": b" " * MEGA}, zipfile.ZIP_LZMA), "neither by deflate", "LZMA")
    yield opened(zipped({"transforms.json": b" " * MEGA}, zipfile.ZIP_BZIP2), "neither by deflate", "bzip2")
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(200_001):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
    yield opened(many.getvalue(), "entries, more than", "200,001 entries")
    with (folder / "long.zip").open("wb") as file:  # 3 GB that take no room
        file.seek(3 << 30)
        file.write(b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 1, 1, 3 << 30, 0, 0))
    yield Case("zip: a list of 3 GB", lambda: read_scene(folder / "long.zip"), "its list of entries")
    overlapping = bytearray(zipped({f"{k}_metadata.json": b"{}" for k in range(3)}))
    at = overlapping.rfind(b"PK\x01\x02")
    overlapping[at + 42 : at + 46] = struct.pack("<I", 0)
    yield opened(bytes(overlapping), None, "entries that overlap")
    link = zipfile.ZipInfo("transforms.json")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(folder / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    yield Case("zip: a link", lambda: read_scene(folder / "link.zip"), "malformed JSON")
    os.mkfifo(folder / "pipe.zip")
    yield Case("zip: a pipe", lambda: read_scene(folder / "pipe.zip"), "a pipe or a device")

    def array(data: bytes, refused: str, name: str) -> Case:
        SCENES["llff"][0](folder)
        (folder / "poses_bounds.npy").write_bytes(data)
        return Case(f"npy: {name}", lambda: read_scene(folder), refused)

    yield array(npy((10**12, 17)), "is not there", "136 TB")
    yield array(npy((10**30,)), "is not there", "more than there are numbers")
    yield array(npy((3,), "|O", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."), "", "a pickle")
    yield array(npy((2**62, 4), "|S0"), "", "items of no bytes")
    yield array(npy((3, 17), "<f8", b"\xff" * 408), "NaN", "NaN")
    yield array(zipped({"a.npy": npy((1,))}), "", "an archive under this name")
    (folder / "poses_bounds.npy").unlink()
    SCENES["dtu"][0](folder)
    cameras = folder / "cameras_sphere.npz"
    cameras.write_bytes(zipped({"world_mat_0.npy": npy((300 * MEGA // 8,), data=bytes(300 * MEGA))}))
    yield Case("npz: 300 MB in 300 kB", lambda: read_scene(folder), "unpacks to more than")
    cameras.write_bytes(npy((3, 4)))
    yield Case("npz: a single array", lambda: read_scene(folder), "single array")


def links() -> Iterator[Case]:
    """Names and links in scenes that lead out of the folder, pipes, and files of terabytes."""
    secret = Path("secret").absolute()
    secret.mkdir(exist_ok=True)
    (secret / "s.png").write_bytes(png(1, 1, b"\0\1\2\3"))
    for name, (write, targets) in SCENES.items():
        for target in targets:
            folder = fresh()
            write(folder)
            path = folder / target
            path.rename(secret / "moved")
            path.symlink_to(secret / "moved")
            yield Case(f"{name}: {target} is a link that leads out", partial(read_scene, folder), OUT)
            path.unlink()
            os.mkfifo(path)
            yield Case(f"{name}: {target} is a pipe", partial(read_scene, folder))
            path.unlink()
            with path.open("wb") as file:
                file.truncate(1 << 42)  # 4 TB that take no room
            # the points are left out with a note
            enormous = None if target.endswith(".ply") else "more than"
            yield Case(f"{name}: {target} has 4 TB", partial(read_scene, folder), enormous)
            path.unlink()
    for key in ("file_path", "mask_path", "depth_file_path"):
        for stated in (
            "../secret/s.png",
            str(secret / "s.png"),
            "images/../../secret/s.png",
            "\x1b[2J/../../x",
            "\ud800/..",
        ):
            folder = fresh()
            SCENES["transforms"][0](folder)
            content = json.loads((folder / "transforms.json").read_text())
            content["frames"][0][key] = stated
            (folder / "transforms.json").write_text(json.dumps(content))
            yield Case(f"transforms: {key} = {stated!a}", partial(read_scene, folder), "inside the data set's")
    folder = fresh()
    SCENES["colmap text"][0](folder)
    images = folder / "sparse/0/images.txt"
    images.write_text(images.read_text().replace(" a.png", " ../../../secret/s.png"))
    yield Case("colmap: a name that leads out", lambda: read_scene(folder), "inside the data set's")
    folder = fresh()
    SCENES["colmap"][0](folder)
    (folder / "loop").symlink_to(folder)
    (folder / "images" / "loop").symlink_to(folder / "images" / "loop")
    yield Case("colmap: rings of links", lambda: read_scene(folder))


def counts() -> Iterator[Case]:
    """Pictures and meshes that ask for terabytes, hours or another program."""
    folder = fresh()
    where = str(folder / "p.png")
    for name, data, refused in (
        ("40,000 x 40,000 pixels", png(40_000, 40_000), "pixels"),
        ("2^31 pixels wide", png(2**31 - 1, 2**31 - 1), ""),
        (
            "PostScript",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n",
            "another",
        ),
        ("a picture of text", b"P3 99999 99999 255\n", ""),
    ):
        yield Case(f"picture: {name}", partial(decode, data, where), refused)
    yield from _mesh_files(folder)
    write_meshes(folder)
    whole = (folder / "m.glb").read_bytes()

    def changed(name: str, change: Callable[[dict[str, Any]], object], refused: str) -> Case:
        document = json.loads(json_of(whole))
        change(document)
        (folder / "m.glb").write_bytes(with_json(whole, json.dumps(document).encode()))
        return Case(f"glb: {name}", lambda: load_mesh(folder / "m.glb"), refused)

    def shared_children(document: dict[str, Any]) -> None:
        document["nodes"] = [{"children": [k + 1, k + 1]} for k in range(60)] + [{"mesh": 0}]
        document["scenes"] = [{"nodes": [0]}]

    def repeated(document: dict[str, Any]) -> None:
        document["nodes"] = [{"mesh": 0}] * 60_000
        document["scenes"] = [{"nodes": list(range(60_000))}]
        document["meshes"][0]["primitives"] *= 5_000

    view, nothing = "bufferViews", {"componentType": 5126, "count": 10**12, "type": "VEC3"}
    for uri in ("../secret/s.png", "/etc/passwd", "..%2f..%2fsecret%2fs.png", "%2e%2e/secret/s.png"):
        yield changed(f"a buffer {uri}", partial(_uri, uri), OUT)
    for uri in ("http://localhost/x", "file:///etc/passwd", "data:;base64,AA", "a\0b", "x" * 5000):
        yield changed(f"a buffer {uri[:20]}", partial(_uri, uri), "")
    yield changed("nodes that share children", shared_children, "inside itself")
    yield changed("a node in itself", lambda d: d["nodes"][0].update(children=[0]), "inside itself")
    yield changed("a mesh 300 million times", repeated, "repeat meshes")
    yield changed("numbers without data", lambda d: d["accessors"].__setitem__(0, nothing), "without data")
    yield changed("a view before the file", lambda d: d[view][0].update(byteOffset=-40), "begins at")
    yield changed("a stride below 0", lambda d: d[view][0].update(byteStride=-12), "")
    yield changed("rows beyond the file", lambda d: d["accessors"][0].update(count=10**15), "")


def _uri(uri: str, document: dict[str, Any]) -> None:
    document["buffers"][0]["uri"] = uri


def _mesh_files(folder: Path) -> Iterator[Case]:
    def written(name: str, data: bytes, refused: str | None, kind: str) -> Case:
        path = folder / f"{name.replace('/', ' ')}.{kind}"
        path.write_bytes(data)
        return Case(f"{kind}: {name}", lambda: load_mesh(path), refused)

    def noted(name: str, files: dict[str, bytes], note: str) -> Case:
        for file, data in files.items():
            (folder / file).write_bytes(data)
        return Case(f"mesh: {name}", lambda: _with_note(load_mesh(folder / next(iter(files))), note))

    square = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\n"
    face = b"usemtl a\nf 1/1 2/2 3/3\n"
    out = ("../secret/x", str(folder.parent / "secret" / "x"), "..\\secret\\x")
    (folder.parent / "secret").mkdir(exist_ok=True)
    (folder.parent / "secret" / "x").write_bytes(b"newmtl a\nKd 1 0 0\n")
    for name in out:
        yield noted(f"mtllib {name}", {"a.obj": b"mtllib " + name.encode() + b"\n" + square + face}, OUT)
        library = b"newmtl a\nmap_Kd " + name.encode() + b"\n"
        yield noted(f"map_Kd {name}", {"b.obj": b"mtllib b.mtl\n" + square + face, "b.mtl": library}, OUT)
        ply = b"ply\nformat ascii 1.0\ncomment TextureFile " + name.encode() + b"\nelement vertex 3\n"
        ply += b"".join(b"property float %c\n" % axis for axis in b"xyzst")
        ply += b"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
        yield noted(f"TextureFile {name}", {"c.ply": ply + b"0 0 0 0 0\n1 0 0 1 0\n1 1 0 1 1\n3 0 1 2\n"}, OUT)
    head = b"ply\nformat binary_little_endian 1.0\n"
    rows = b"".join(b"property float %c\n" % axis for axis in b"xyz")
    rows += b"element face 1\nproperty list uchar int vertex_indices\n"
    for count in (b"99999999999999", b"4294967295", b"-1", b"9" * 5000, b"1e9"):
        yield written(
            f"{count[:12]!r} vertices", head + b"element vertex " + count + b"\n" + rows + b"end_header\n", "", "ply"
        )
    wide = b"element vertex 1\n" + b"property list uint double x\n" * 50 + b"end_header\n" + b"\xff\xff\x00\x00" * 50
    yield written("lists of 65,535", head + wide, "", "ply")
    yield written("no end of a header", b"ply\n" + b"comment x\n" * 200_000, "", "ply")
    yield written("4 billion triangles", b"\0" * 80 + b"\xff" * 4, "triangles are missing", "stl")
    text = square + b"v " + b"0" * (8 * MEGA) + b" 0 0\n" + b"v 0 0 0\n" * 50_000 + face
    yield written("one number of 8 MB beside many", text, "characters", "obj")
    star = [(np.cos(k * 2.4) * (1 + k % 7), np.sin(k * 2.4) * (1 + k % 7)) for k in range(30_000)]
    many = b"".join(b"v %f %f 0\n" % point for point in star)
    polygon = b"f " + b" ".join(b"%d" % k for k in range(1, 30_001)) + b"\n"
    yield written("a polygon of 30,000 corners that cross", many + polygon, None, "obj")
    names = b"".join(b"usemtl m%d\nf 1 2 3\n" % k for k in range(60_000))
    yield written("60,000 materials", square + names, None, "obj")
    for word in (b"1e400", b"nan", b"-inf", b"1e39"):
        yield written(f"a coordinate {word.decode()}", square.replace(b"v 1 1", b"v 1 " + word) + face, "", "obj")
    for corner in (b"0", b"-9", b"4", b"99999999999999999999", b"1/99", b"1//9999999999999999999999"):
        yield written(f"a corner {corner.decode()}", square + b"f 1 2 " + corner + b"\n", None, "obj")
    os.mkfifo(folder / "pipe.obj")
    yield Case("obj: a pipe", lambda: load_mesh(folder / "pipe.obj"), "no such mesh file")
    for kind in ("obj", "ply", "stl", "glb"):
        path = folder / f"tera.{kind}"
        with path.open("wb") as file:
            file.truncate(1 << 42)
        yield Case(f"{kind}: 4 TB", partial(load_mesh, path), "more than")
        path.unlink()


def _with_note(mesh: Mesh, note: str) -> None:
    notes = mesh.provenance["notes"]
    assert any(note in line for line in notes) and mesh.texture is None, notes
