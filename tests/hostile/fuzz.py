"""``python -m tests.hostile.fuzz TARGET [SECONDS] [--save]``: one parser is fed what reaches new branches, by atheris.

It runs until something other than ``UserError`` is raised, an input takes 10 seconds or 6 GB (of which the imports have
0.3), or the time is over. What it found is written beside as ``crash-*``, ``timeout-*`` or ``oom-*``; with ``--save``
into the result ``reliability_fuzz``, and later runs of the target begin with it. ``pip install atheris``; not part of
the tests.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

MEGABYTES, SECONDS, LONGEST = 6000, 10, 20_000
OURS, BELOW = ["nerfkit.mesh.files", "nerfkit.scenes", "nerfkit.runs"], ["yaml", "zipfile"]
with atheris.instrument_imports(include=OURS + BELOW):
    from nerfkit.errors import UserError
    from nerfkit.mesh.files.io import load_mesh
    from nerfkit.runs.archives import ERRORS, Archive, array_of, arrays_of
    from nerfkit.runs.configs import load_config
    from nerfkit.scenes import colmap_binary, colmap_text
    from nerfkit.scenes.images import decode
    from nerfkit.scenes.point_cloud import ply_points
    from tests.hostile import cases, record

PLACE = Path(tempfile.mkdtemp(prefix="nerfkit_fuzz_"))


def of_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """What reads bytes by a file of this name."""

    def call(data: bytes) -> None:
        (PLACE / name).write_bytes(data)
        read(PLACE / name)

    return call


def of_table(name: str) -> Callable[[bytes], None]:
    """A file of COLMAP's models, as text and as binary."""

    def call(data: bytes) -> None:
        for module in (colmap_binary, colmap_text):
            with contextlib.suppress(UserError):
                getattr(module, name.removesuffix("3D"))(data, "where")

    return call


def archive(data: bytes) -> None:
    """All entries of a zip, and the arrays in it."""
    with contextlib.suppress(*ERRORS, KeyError), Archive(data) as opened:
        for name in opened.names:
            opened.read(name)
    with contextlib.suppress(Exception):  # readers name the file, whatever it is
        arrays_of(data)
    with contextlib.suppress(Exception):
        array_of(data)


def points(data: bytes) -> None:
    """The points of a PLY."""
    with contextlib.suppress(ValueError):
        ply_points(data)


TARGETS: dict[str, Callable[[bytes], object]] = {
    **{kind: of_file(f"m.{kind}", load_mesh) for kind in ("obj", "ply", "stl", "glb")},
    **{name: of_table(name) for name in cases.MODEL},
    "yaml": of_file("config.yaml", load_config),
    "picture": lambda data: decode(data, "where"),
    "archive": archive,
    "points": points,
}


def main(target: str, seconds: str = "60", place: str = "") -> None:
    """Fuzzes one target, from the corpus' valid files and from what is in the folder ``place``."""
    seeds = PLACE / "seeds"
    (seeds / "scene").mkdir(parents=True)
    cases.write_meshes(seeds)
    for write, _ in cases.SCENES.values():
        write(seeds / "scene")
    if place:
        shutil.copytree(place, seeds, dirs_exist_ok=True)
    for number, path in enumerate(path for path in sorted(seeds.rglob("*")) if path.is_file()):
        path.rename(seeds / f"{number}{path.suffix}")

    def one(data: bytes) -> None:
        with contextlib.suppress(UserError):
            TARGETS[target](data)

    limits = [f"-max_total_time={seconds}", f"-rss_limit_mb={MEGABYTES}", f"-timeout={SECONDS}", f"-max_len={LONGEST}"]
    atheris.Setup([sys.argv[0], *limits, "-print_final_stats=1", str(seeds)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--save"]
    if "--save" in sys.argv:
        record.fuzzed(*words)
    else:
        main(*words)
