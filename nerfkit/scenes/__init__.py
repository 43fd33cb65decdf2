"""Scenes: one module a format, and ``open_scene``, which finds the right one."""

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from nerfkit.errors import ConfigError, problem
from nerfkit.scenes.assemble import Background, background_color
from nerfkit.scenes.files import Source
from nerfkit.scenes.frame import Frame
from nerfkit.scenes.length import Length
from nerfkit.scenes.photo_store import BUDGET
from nerfkit.scenes.point_cloud import read_points
from nerfkit.scenes.scene import Scene, Similarity
from nerfkit.scenes.sightings import Sightings
from nerfkit.schema import Options, option

__all__ = ["FORMATS", "Scene", "SceneOptions", "Similarity", "detect", "open_scene"]

# Name -> the module whose ``load`` reads it, imported when it is asked for.
RENDERED = {"clock": "nerfkit.studio.clock", "kaolin": "nerfkit.scenes.kaolin", "blender": "nerfkit.scenes.blender"}

# Name -> the module whose ``read`` finds photos with their cameras, and whose ``SIGNS`` are files that only it has. The
# first that fits is taken: COLMAP's cameras have more to say than what LLFF made of them.
TAKEN = {name: f"nerfkit.scenes.{name}" for name in ("transforms", "colmap", "llff", "dtu", "middlebury")}

FORMATS = (*RENDERED, *TAKEN)


@dataclass
class SceneOptions(Options):
    """The photos; auto looks at the files, and clock is modeled and rendered here on first use."""

    group: ClassVar[str] = "scene"

    name: str = option("auto", "its format", choices=(*FORMATS, "auto"))
    root: str | None = option(
        None, "folder or zip of the photos, not for the clock, which is kept in $NERFKIT_CACHE", path=True
    )
    resolution: int | None = option(
        None, "longer image side in pixels; null: as stored, the clock 512, of photos 800 at the most", least=8
    )
    background: Any = option(None, "black, white or [r,g,b] in [0,1]; null: white for blender, else black")
    holdout: int = option(10, "every so many-th view is held out where the format has no test split", least=2)
    center: Any = option(None, "[x,y,z] of what to look at, in the scene's own units; null: found")
    radius: float | None = option(None, "half the side of the cube around it, in these units; null: found", above=0)
    box: Any = option(
        None, "[[x,y,z],[x,y,z]], corners of the box to look at, instead of both; the mesh is cropped to it"
    )
    up: Any = option(None, "the world's up axis: x, -x, y, -y, z, -z or [x,y,z]; null: the format's, or found")
    points: str | None = option(
        None,
        "PLY file of points on what the photos show, in these units, instead of those that come with them; "
        "null: found by pycolmap where none come and nothing masks the photos",
        path=True,
    )
    length: Any = option(
        None, "[p,q,meters], a known distance: of points [x,y,z] in these units, or photos; exports are in meters then"
    )
    memory_gb: float = option(
        BUDGET,
        "of photos in memory; more are kept in a file in $NERFKIT_CACHE, which goes when the program ends",
        least=0,
    )

    def frame(self) -> Frame:
        """What these options say of region and axes."""
        return Frame.of(self.center, self.radius, self.up, self.box)

    def check(self) -> None:
        super().check()
        background_color(self.background, "black")
        self.frame()
        Length.of(self.length)
        made = self.name != "clock" or self.root is None
        self.expect("root", made, "null with scene=clock, which nerfkit makes itself; for photos say scene=auto")


def open_scene(
    name: str,
    root: str | Path | None = None,
    *,
    resolution: int | None = None,
    background: Background = None,
    holdout: int = 10,
    center: Any = None,
    radius: float | None = None,
    box: Any = None,
    up: Any = None,
    points: str | Path | None = None,
    length: Any = None,
    memory_gb: float = BUDGET,
) -> Scene:
    """Load a scene, normalized, with its training and test views.

    Args:
        name: of ``FORMATS`` ("clock" is made by the project), or "auto", which looks at the files.
        root: folder or zip of the data; None for the clock.
        resolution: longer image side in pixels, reached by a premultiplied box filter; more than is stored keeps the
            stored size. So does None, but for photos in the formats of ``TAKEN``, which then have 800 at the most.
        background: "black", "white" or three numbers in [0,1]; None takes the format's: white for blender, else black.
        holdout: views 0, holdout, 2 holdout, ... are the test views where the format has no test split.
        center, radius: of the region of interest, in the scene's own units; None: found by masks, points and cameras.
        box: two opposite corners, in these units, instead of both: the region is the smallest cube around it, and the
            mesh is cropped to it.
        up: "x", "-x", ..., "-z" or three numbers; None: the format's, or found.
        points: PLY file of points on what the photos show, in these units; None: those that come with them.
        length: [p, q, meters]: how far two points in the scene's own units, or two photos, are apart; None: unknown.
        memory_gb: photos that take more are kept in a file (``photo_store``).

    Raises:
        SceneError: the data cannot be used; the message names the file.
        ConfigError: an argument is out of its range, or ``root`` is missing.
    """
    words = None if root is None else str(root)
    dotted = None if points is None else str(points)
    stated = SceneOptions(
        name, words, resolution, background, holdout, center, radius, box, up, dotted, length, memory_gb
    )
    frame = stated.frame()  # checked
    if root is None and name != "clock":
        raise ConfigError(f"scene.root is missing; scene={name} reads files. Add scene.root=FOLDER_OR_ZIP.")
    found = detect(root) if name == "auto" and root is not None else name
    asked = {
        "resolution": resolution,
        "background": background,
        "holdout": holdout,
        "frame": frame,
        "memory_gb": memory_gb,
    }
    if found in RENDERED:
        stated.expect("points", points is None, f"null with scene={found}, whose masks say where the object is")
        scene: Scene = import_module(RENDERED[found]).load(root, **asked)
    else:
        from nerfkit.scenes.develop import develop

        assert root is not None
        with Source(root) as source:
            capture = import_module(TAKEN[found]).read(source)
            if points is not None:
                capture = replace(capture, points=read_points(points), sightings=Sightings())
            scene = develop(source, capture, found, **asked)  # type: ignore[arg-type]
    known = Length.of(length)
    if known is None:
        return scene
    meters = known.meters_per_unit(scene)
    return replace(scene, meters=meters, notes=[*scene.notes, f"1 unit = {meters:.6g} m, by scene.length"])


def detect(root: str | Path) -> str:
    """The format of a folder or zip, one of ``FORMATS``.

    Raises:
        SceneError: there is none.
    """
    with Source(root) as source:
        if source.find("*_metadata.json") and source.find("*_rgb.png"):
            return "kaolin"
        if source.find("transforms_train.json"):
            return "blender"
        for name, module in TAKEN.items():
            if any(source.find(sign) for sign in import_module(module).SIGNS):
                return name
        _refuse_photos_alone(source)
        raise problem(
            str(root),
            "no known format",
            "transforms.json, transforms_train.json, a COLMAP model (sparse/0), poses_bounds.npy, cameras.npz, "
            "*_par.txt or N_metadata.json with N_rgb.png",
            "Check scene.root (docs/photos.md).",
        )


def _refuse_photos_alone(source: Source) -> None:
    """Raises SceneError where there is no known format, but photos, at the top or in ``images/``."""
    from nerfkit.runs.pictures import HEIF, RAW
    from nerfkit.scenes.photo_files import SUFFIXES

    names = source.under(".", deep=False) + source.under("images", deep=False)
    photos = [name for name in names if name.lower().endswith(SUFFIXES + HEIF + RAW)]
    if photos:
        unpacked = "" if source.path.is_dir() else "Unpack it. "
        raise problem(
            str(source.path),
            f"{len(photos)} photo{'s' * (len(photos) > 1)} without cameras, the first is {photos[0]}",
            "them with the cameras that took them, in one of the formats of docs/photos.md",
            f"{unpacked}To find the cameras: python -m nerfkit prepare {source.path} OUT, then scene.root=OUT.",
        )
