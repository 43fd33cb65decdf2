"""What is made for a run in the browser: the crop of its mesh, and a camera path; the controls of both."""

import html
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.config import TrainOptions
from nerfkit.errors import UserError, command
from nerfkit.scenes.scene import Scene
from nerfkit.viewer.box import CropBox, crop_command, own_box, write_crop
from nerfkit.viewer.draw import camera_of
from nerfkit.viewer.keyframes import Keyframes

BLOCK = "white-space:pre-wrap; overflow-wrap:anywhere; font-size:0.75em; padding:0.6em; background:#88888820"


def worded(said: str, command: str = "") -> str:
    """A line and a command below it as HTML: a long command is wrapped, so that its end is seen, too."""
    text = f'<div style="padding:0.3em 0.6em; font-size:0.85em">{html.escape(said)}</div>' if said else ""
    return text + (f'<pre style="{BLOCK}; margin:0.3em 0.6em">{html.escape(command)}</pre>' if command else "")


class CropTool:
    """A box to drag, the command that crops the mesh of the run in ``folder`` to it, and a button that writes it there.

    Args:
        say: prints a line.
    """

    def __init__(
        self, server: Any, folder: Path, config: TrainOptions, scene: Scene, say: Callable[[str], object]
    ) -> None:
        self.folder, self._units, self._watched = folder, scene.normalization, config.viewer != "off"
        gui = server.gui
        with gui.add_folder("crop", expand_by_default=False):
            visible = gui.add_checkbox("box", False, hint="drag its corners")
            self._text = gui.add_html("")
            printed = gui.add_button("print the command")
            written = gui.add_button("write to the run", hint="to its config.yaml, unless it is in training")
        self.box = CropBox(server, _corners(config, scene), self._moved)
        self._moved(self.box.corners)
        visible.on_update(lambda event: self.box.show(event.target.value))
        printed.on_click(lambda _: say(self._command))
        written.on_click(self._write)

    def _moved(self, corners: NDArray) -> None:
        self._own = own_box(corners, self._units)
        self._say(crop_command(self.folder, self._own, self._watched))

    def _write(self, _: Any) -> None:
        try:
            write_crop(self.folder, self._own)
        except UserError as error:
            self._say(self._command, f"not written: {error}")
            return
        self._say(crop_command(self.folder, watched=self._watched), "written to config.yaml; run this next:")

    def _say(self, command: str, said: str = "") -> None:
        """Shows the command below a line."""
        self._command = command
        self._text.content = worded(said, command)


class PathTool:
    """Keyframes, and the button that writes them into the run in ``folder`` as a camera path.

    Args:
        side: of the pictures whose cameras are keyframes, the longer one at most, in pixels.
        say: prints a line.
    """

    def __init__(self, server: Any, folder: Path, scene: Scene, side: int, say: Callable[[str], object]) -> None:
        self.folder, self._units, self._side, self._say = folder, scene.normalization, side, say
        self.keyframes = Keyframes(server)
        gui = server.gui
        with gui.add_folder("camera path", expand_by_default=False):
            add, drop = gui.add_button("add this camera"), gui.add_button("drop the last one")
            save = gui.add_button("save")
            self._text = gui.add_html(worded("keyframes: 0"))
        add.on_click(self._add)
        drop.on_click(self._drop)
        save.on_click(self._save)

    def _add(self, event: Any) -> None:
        self.keyframes.add(camera_of(event.client.camera, self._side))
        self._text.content = worded(f"keyframes: {len(self.keyframes)}")

    def _drop(self, _: Any) -> None:
        self.keyframes.drop()
        self._text.content = worded(f"keyframes: {len(self.keyframes)}")

    def _save(self, _: Any) -> None:
        if len(self.keyframes) < 2:
            self._text.content = worded("a path needs two keyframes")
            return
        path = self.keyframes.write(self.folder / "video", self._units)
        words = [f"run={self.folder}", "path=file", f"file={path}", "frames=null"]
        said = " ".join([command("render"), *map(shlex.quote, words)])
        self._say(said)
        self._text.content = worded(f"{len(self.keyframes)} keyframes in {path.name}; this renders it:", said)


def _corners(config: TrainOptions, scene: Scene) -> NDArray:
    """The box (2,3) that the run's mesh was cropped to, else the region, in normalized units."""
    own = config.extract.crop() or scene.box
    if own is None:
        return np.array([[-1.0] * 3, [1.0] * 3])
    return np.array(own) * scene.normalization.scale + np.array(scene.normalization.translation)
