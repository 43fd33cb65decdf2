"""Every way in which a COLMAP model can be wrong is one sentence that names the file."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nerfkit.errors import SceneError
from tests.scenes.captures import some_views, write_colmap, write_rigs
from tests.scenes.test_colmap import POINTS, data_set, read


def spoil(name: str, at: int, layout: str, *values: float) -> Callable[[Path], None]:
    def write(model: Path) -> None:
        data = bytearray((model / name).read_bytes())
        struct.pack_into("<" + layout, data, at, *values)
        (model / name).write_bytes(data)

    return write


def cut(name: str, size: int) -> Callable[[Path], None]:
    return lambda model: (model / name).write_bytes((model / name).read_bytes()[:size]) and None


def swap(name: str, old: str, new: str) -> Callable[[Path], None]:
    def write(model: Path) -> None:
        text = (model / name).read_text()
        assert old in text
        (model / name).write_text(text.replace(old, new, 1))

    return write


def panorama(model: Path) -> None:
    """Camera 1 has COLMAP's model 17, of two parameters."""
    data = (model / "cameras.bin").read_bytes()
    first = struct.pack("<IiQQ2d", 1, 17, 40, 30, 20, 15)
    (model / "cameras.bin").write_bytes(data[:8] + first + data[8 + 56 :])


NAN = float("nan")
BAD_BINARY = {
    "cameras cut": (cut("cameras.bin", 50), "cameras.bin.*ends after 50 bytes"),
    "cameras empty": (cut("cameras.bin", 0), "cameras.bin.*ends after 0 bytes"),
    "images cut in a name": (cut("images.bin", 73), "images.bin.*ends after 73 bytes"),
    "points cut": (cut("points3D.bin", 60), "points3D.bin.*ends after 60 bytes"),
    "more cameras than the file holds": (spoil("cameras.bin", 0, "Q", 2**63), "cameras.bin.*ends after"),
    "more images": (spoil("images.bin", 0, "Q", 2**60), "images.bin.*ends after"),
    "more observations": (spoil("images.bin", 78, "Q", 2**62), "images.bin.*ends after"),
    "longer tracks": (spoil("points3D.bin", 8 + 43, "Q", 2**62), "points3D.bin.*ends after"),
    "fewer cameras": (spoil("cameras.bin", 0, "Q", 2), "cameras.bin.*56 bytes follow"),
    "model 99": (spoil("cameras.bin", 12, "i", 99), "camera 1.*number 99"),
    "model -1": (spoil("cameras.bin", 12, "i", -1), "camera 1.*number -1"),
    "a panorama": (panorama, "cameras.bin, camera 1.*EQUIRECTANGULAR: a panorama of the whole sphere"),
    "no width": (spoil("cameras.bin", 16, "Q", 0), "camera 1.*0x30"),
    "NaN focal length": (spoil("cameras.bin", 32, "d", NAN), "camera 1.*nan"),
    "negative focal length": (spoil("cameras.bin", 32, "d", -5.0), "camera 1.*-5"),
    "zero quaternion": (spoil("images.bin", 12, "4d", 0, 0, 0, 0), "a.png.*quaternion"),
    "NaN translation": (spoil("images.bin", 44, "d", NAN), "a.png.*nan.*quaternion"),
    "infinite quaternion": (spoil("images.bin", 12, "d", float("inf")), "a.png.*quaternion"),
    "unknown camera": (spoil("images.bin", 68, "I", 77), "image 1.*no camera 77"),
    "NaN point": (spoil("points3D.bin", 16, "d", NAN), "points3D.bin.*NaN"),
    "no images file": (lambda model: (model / "images.bin").unlink(), "images.bin.*missing"),
    "rigs cut": (lambda model: write_rigs(model, [], []) or cut("rigs.bin", 20)(model), "rigs.bin.*ends after"),
    "no such rig": (
        lambda model: write_rigs(model, [], [[1.0, 0, 0, 0, 0, 0, 0]]) or spoil("frames.bin", 12, "I", 6)(model),
        "frame 0.*no rig 6",
    ),
    "zero quaternion of a frame": (lambda model: write_rigs(model, [], [[0.0] * 7]), "a.png.*quaternion"),
}
BAD_TEXT = {
    "text for a number": (swap("cameras.txt", "50.0", "fifty"), "cameras.txt, line 2.*'fifty'"),
    "NaN": (swap("cameras.txt", "50.0", "nan"), "cameras.txt, line 2.*'nan'"),
    "a panorama as text": (
        swap("cameras.txt", "PINHOLE 40 30 50.0 52.0 21.0 14.0", "EQUIRECTANGULAR 40 30 20 15"),
        "cameras.txt, line 2.*EQUIRECTANGULAR: a panorama of the whole sphere",
    ),
    "unknown model": (swap("cameras.txt", "PINHOLE", "HOLE"), "cameras.txt, line 2.*'HOLE'"),
    "a parameter too few": (swap("cameras.txt", " 14.0", ""), "cameras.txt, line 2.*3 parameters of PINHOLE"),
    "a cut line": (swap("images.txt", " 1 a.png", ""), "images.txt, line 2.*ends after 8 words"),
    "an id that is none": (swap("images.txt", " 1 a.png", " 1.5 a.png"), "images.txt, line 2.*'1.5'"),
    "no second lines": (swap("images.txt", "3 4 7\n", ""), "images.txt, line 5.*10 words"),
    "a broken observation": (swap("images.txt", "3 4 7", "3 4"), "images.txt, line 5.*2 words"),
    "a name that leaves the folder": (swap("images.txt", "a.png", "../a.png"), r"image 1.*'\.\./a\.png'"),
    "an absolute name elsewhere": (swap("images.txt", "a.png", "/etc/a.png"), "image 1.*'/etc/a.png'"),
    "a name on a drive": (swap("images.txt", "a.png", "C:\\a.png"), "image 1.*C:"),
    "a name of 300 letters": (swap("images.txt", "a.png", "a" * 300), "image 1.*aaa"),
    "a name twice": (swap("images.txt", "b.png", "a.png"), "images.txt.*same name"),
    "a point without an error": (swap("points3D.txt", " 1 2 3 0.5 1 0 1 0 1 0", ""), "points3D.txt, line 2"),
    "half of a track": (swap("points3D.txt", " 0.5 1 0", " 0.5 1"), "points3D.txt, line 2.*5 words"),
    "a track that is none": (swap("points3D.txt", " 0.5 1 0", " 0.5 x 0"), "points3D.txt, line 2.*'x'"),
    "a position that is none": (swap("points3D.txt", "0.2", "x"), "points3D.txt, line 2.*'x'"),
    "bytes": (lambda model: (model / "images.txt").write_bytes(bytes(range(256))) and None, "images.txt, line"),
}


@pytest.mark.parametrize("case", [*BAD_BINARY, *BAD_TEXT])
def test_bad_input_is_one_sentence(tmp_path: Path, case: str) -> None:
    change, message = (BAD_BINARY | BAD_TEXT)[case]
    kind = "bin" if case in BAD_BINARY else "txt"
    root = data_set(tmp_path, some_views(), kind)
    write_colmap(root / "sparse/0", some_views(), POINTS, kind)
    change(root / "sparse/0")
    with pytest.raises(SceneError, match=message) as caught:
        read(root)
    assert "expected" in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["bin", "txt"])
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(0)
    root = data_set(tmp_path, some_views(), kind)
    model = write_colmap(root / "sparse/0", some_views(), POINTS[:3], kind)
    write_rigs(model, [], [[1.0, 0, 0, 0, 0, 0, 0]], kind)
    refused = 0
    for stem in ("cameras", "images", "points3D", "rigs", "frames"):
        file = model / f"{stem}.{kind}"
        whole = file.read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for at in random.integers(0, len(data), 3):
                data[at] = random.integers(256)
            file.write_bytes(data[: random.integers(len(data) + 1)] if random.random() < 0.3 else data)
            try:
                read(root)
            except SceneError:
                refused += 1
        file.write_bytes(whole)
    assert refused > 100
