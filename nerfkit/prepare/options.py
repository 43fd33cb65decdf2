"""What ``prepare`` can be told, and what it answers."""

from dataclasses import dataclass, field
from pathlib import Path

from nerfkit.schema import Options, option

MIN_PHOTOS = 3  # two views fix a scene only up to what both of them happen to show
LENSES = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE")


@dataclass
class PrepareOptions(Options):
    """How poses are found for photos that have none."""

    size: int = option(
        1600,
        "longer side in pixels at which features are looked for; stored photos keep theirs",
        least=200,
        most=20_000,
    )
    features: int = option(4096, "SIFT features a photo, at the most", least=256, most=65_536)
    frames: int = option(60, "photos taken from a video: the sharpest of so many windows", least=MIN_PHOTOS, most=2000)
    matching: str = option(
        "auto",
        "which photos are compared; exhaustive: all pairs; sequential: neighbors in time or by name; "
        "auto: exhaustive for up to 200 photos, sequential for more and for a video",
        choices=("auto", "exhaustive", "sequential"),
    )
    lens: str = option("SIMPLE_RADIAL", "COLMAP's camera model that is estimated", choices=LENSES)
    seed: int = option(0, "of the random choices in matching and mapping", least=0, most=2**31 - 1)


@dataclass
class Prepared:
    """What ``prepare`` leaves.

    Attributes:
        folder: a data set that ``open_scene`` reads: ``images/``, ``sparse/0``, and the report.
        placed: photos that have a pose.
        total: photos that were tried.
        notes: what a user should know, a sentence each.
    """

    folder: Path
    placed: int
    total: int
    notes: list[str] = field(default_factory=list)
