"""The options of videos and timelapses."""

from dataclasses import dataclass
from typing import ClassVar

from nerfkit.schema import Options, option
from nerfkit.view.colors import CHANNELS
from nerfkit.view.paths import PATHS


@dataclass
class VideoOptions(Options):
    """Videos along a camera path."""

    group: ClassVar[str] = "video"

    source: str = option("auto", "auto: the mesh where the run has one", choices=("auto", "field", "mesh"))
    path: str = option(
        "orbit",
        "orbit: a turntable; wave: one that also rises and falls; spiral: small circles near the mean camera",
        choices=PATHS,
    )
    channels: list[str] = option(["rgb"], "one video each", choices=CHANNELS)
    format: list[str] = option(["mp4"], "mp4 is H.264, plays in browsers", choices=("mp4", "gif"))
    frames: int = option(60, "of the whole path", least=1)
    fps: float = option(30.0, "frames a second", above=0)
    elevation: float = option(20.0, "degrees above the object's equator (orbit, wave)", least=-90, most=90)
    radius: float | None = option(
        None, "distance from the center in normalized units; null: the median of the training cameras", above=0
    )
    resolution: int | None = option(None, "longer side in pixels; null: as the training images", least=1)


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
