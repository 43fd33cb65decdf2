"""The box that a mesh is cropped to, dragged by two corners; how a run is told of it, by a command or in its config."""

import contextlib
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf

from nerfkit.errors import command
from nerfkit.runs.configs import load_config
from nerfkit.runs.files import write_text
from nerfkit.runs.folder import Run
from nerfkit.scenes.frame import corners_of
from nerfkit.scenes.scene import Similarity
from nerfkit.schema import literal, shown
from nerfkit.viewer.things import edges

DIGITS = 4  # of a box's longest side
COLOR = (30, 160, 90)


def own_box(corners: NDArray, units: Similarity) -> list[list[float]]:
    """Least and largest coordinates of a box in the scene's own units, rounded.

    Args:
        corners: (2,3), any two opposite ones, in normalized units.
        units: from the scene's own units to normalized ones.
    """
    own = units.invert(torch.from_numpy(np.sort(corners, axis=0)).double()).numpy()
    longest = max(float((own[1] - own[0]).max()), 1e-12)
    digits = max(DIGITS - 1 - math.floor(math.log10(longest)), 0)
    return [[round(float(x), digits) for x in corner] for corner in own]


def crop_command(folder: Path, box: list[list[float]] | None = None, watched: bool = False) -> str:
    """The command that makes a run's mesh again, cropped to a box, or to the one that its config has.

    Of a run that is ``watched`` by its config, it says that this one is not: its port is taken by who reads this.
    """
    words = [f"resume={folder}", "stages=[extract,refine,export]"]
    words += [] if box is None else [f"extract.box={shown(box)}"]
    words += ["viewer=off"] if watched else []
    return " ".join([command("train"), *map(shlex.quote, words)])


def write_crop(folder: Path, box: list[list[float]]) -> None:
    """Makes ``extract.box`` in a run's config.yaml the box, and says so in its log.

    Raises:
        CheckpointError: a process trains the run, or its folder cannot be written.
        ConfigError: the box is flat.
    """
    corners_of(box, "extract.box")
    record = Run.open(folder)
    record.hold()
    with contextlib.closing(record):
        path = record.folder / "config.yaml"
        words = record.folder / "overrides.yaml"  # of the command that makes the run anew; the oldest runs have none
        config, said = load_config(path), load_config(words) if words.exists() else []
        saved: Any = OmegaConf.to_container(config)
        before = saved.get("extract", {}).get("box")  # an older run has none
        OmegaConf.update(config, "extract.box", box)
        write_text(path, OmegaConf.to_yaml(config))
        kept = [word for word in said if not str(word).startswith("extract.box=")]
        write_text(words, OmegaConf.to_yaml(literal([*kept, f"extract.box={shown(box)}"])))
        record.log(f"viewer: extract.box: {shown(before)} -> {shown(box)}")


class CropBox:
    """A box in the scene with a handle at its least and one at its largest corner.

    Args:
        corners: (2,3) at first, in normalized units.
        moved: told of the corners, sorted, when one is dragged.
    """

    def __init__(self, server: Any, corners: NDArray, moved: Callable[[NDArray], None]) -> None:
        self._corners, self._moved = corners.astype(np.float64), moved
        self._lines = server.scene.add_line_segments(
            "/crop", edges(*self._corners), COLOR, thickness=2.5, thickness_units="screen", visible=False
        )
        self._handles = [
            server.scene.add_transform_controls(
                f"/crop_{name}", scale=0.4, disable_rotations=True, depth_test=False, position=corner, visible=False
            )
            for name, corner in zip(("low", "high"), self._corners, strict=True)
        ]
        for index, handle in enumerate(self._handles):

            def drag(event: Any, index: int = index) -> None:
                self._drag(index, event.target.position)
                if event.phase == "end":  # a handle may have been let go of outside the region
                    event.target.position = self._corners[index]

            handle.on_update(drag)

    @property
    def corners(self) -> NDArray:
        """(2,3), least and largest coordinates in normalized units."""
        return np.sort(self._corners, axis=0)

    def show(self, visible: bool) -> None:
        """Shows the box and its handles, or hides them."""
        for node in (self._lines, *self._handles):
            node.visible = visible

    def _drag(self, index: int, position: NDArray) -> None:
        self._corners[index] = np.clip(position, -1, 1)
        self._lines.points = edges(*self.corners)
        self._moved(self.corners)
