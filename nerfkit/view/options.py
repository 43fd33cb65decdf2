"""The options of videos and timelapses."""

from dataclasses import dataclass
from typing import Any, ClassVar

from nerfkit.cameras.channels import CHANNELS
from nerfkit.errors import ConfigError
from nerfkit.scenes.assemble import background_color
from nerfkit.schema import Options, key_of, option
from nerfkit.view.paths import PATHS

TRANSPARENT = "transparent"
FILE = "file"


@dataclass
class VideoOptions(Options):
    """Videos along a camera path."""

    group: ClassVar[str] = "video"

    source: str = option(
        "auto",
        "auto: the mesh where the run has one with colors; both: field and mesh side by side",
        choices=("auto", "field", "mesh", "both"),
    )
    path: str = option(
        "orbit",
        "orbit: a turntable; wave: one that also rises and falls; spiral: small circles near the mean camera; ellipse: "
        "where the photos were taken from, looking at the object; photos: from each to the next; file: see file",
        choices=(*PATHS, FILE),
    )
    file: str | None = option(
        None,
        "path=file: keyframes of nerfkit (STEM_path.json), nerfstudio (camera_path.json) or instant-ngp "
        "(base_cam.json), or the cameras of a .glb or .gltf; docs/paths.md",
        path=True,
    )
    channels: list[str] = option(["rgb"], "one video each", choices=CHANNELS)
    format: list[str] = option(
        ["mp4"],
        "mp4 is H.264, plays in browsers; png: the frames alone; webm and png can be transparent",
        choices=("mp4", "gif", "webm", "png"),
    )
    frames: int | None = option(60, "of the whole path; null: as many as the file's path lasts", least=1)
    fps: float = option(30.0, "frames a second", above=0)
    elevation: float = option(20.0, "degrees above the object's equator (orbit, wave)", least=-90, most=90)
    radius: float | None = option(
        None,
        "distance in the scene's units (orbit, wave, spiral); null: all of the object is in the picture (spiral: as "
        "the photos)",
        above=0,
    )
    target: list[float] | None = option(
        None,
        "[x,y,z] in the scene's units, in the middle of the picture (not of photos, file); null: the object's middle",
    )
    resolution: int | None = option(None, "longer side in pixels; null: as the file, else the training images", least=1)
    width: int | None = option(None, "pixels, in place of resolution; null: in proportion to the height", least=1)
    height: int | None = option(None, "pixels, in place of resolution; null: in proportion to the width", least=1)
    background: Any = option(None, "black, white, [r,g,b] in [0,1], or transparent; null: the scene's")

    def check(self) -> None:
        super().check()
        self.expect("target", self.target is None or len(self.target) == 3, "three numbers, such as [0,0.5,0], or null")
        drawn = self.path == FILE
        self.expect("file", drawn or self.file is None, "null, or path=file")
        self.expect("file", not drawn or self.file is not None, "the name of a file, for path=file")
        self.expect("frames", drawn or self.frames is not None, "a whole number of at least 1, or path=file")
        sized = self.resolution is None or (self.width is None and self.height is None)
        self.expect("resolution", sized, "null where width or height is given")
        key = key_of(type(self), "background")
        if self.background == TRANSPARENT:
            opaque = [ending for ending in self.format if ending not in ("webm", "png")]
            if opaque:
                raise ConfigError(f"{key}={TRANSPARENT}: {opaque[0]} cannot be; ask for format=[webm] or format=[png]")
        else:
            background_color(self.background, "black", key)


@dataclass
class TimelapseOptions(Options):
    """Snapshots of the mesh, while it is refined or a recipe fits it."""

    group: ClassVar[str] = "timelapse"

    snapshots: int = option(0, "0: none", least=0, most=10_000)
    formats: list[str] = option(
        ["glb", "video"],
        "files of each snapshot; usd needs the extra nerfkit[usd]",
        choices=("glb", "ply", "usd", "video", "gif"),
    )
    fps: float = option(12.0, "snapshots a second", above=0)
