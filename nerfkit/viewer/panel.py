"""The controls beside the scene: what is shown, the crop, the path."""

from collections.abc import Callable, Sequence
from typing import Any

from nerfkit.viewer.draw import BOTH, FIELD, MESH, Look

TRIANGLES = "triangles"  # the mesh as the browser draws it
CHANNELS = {"color": "rgb", "depth": "depth", "normal": "normal", "opacity": "alpha"}


def choices(sources: Sequence[str]) -> list[str]:
    """What can be shown where there are these of ``field`` and ``mesh``."""
    both = [BOTH] if {FIELD, MESH} <= {*sources} else []
    return [*sources, *both, *([TRIANGLES] if MESH in sources else [])]


class Panel:
    """viser's controls, shared by all clients.

    Args:
        sources: of ``field`` and ``mesh`` those that there are.
        said: what they are, a line.
        changed: called when something else is to be shown.
    """

    def __init__(self, server: Any, sources: Sequence[str], said: str, changed: Callable[[], None]) -> None:
        gui = server.gui
        self._changed = changed
        self._said = gui.add_markdown(said)
        self._source = gui.add_dropdown(
            "show", choices(sources), hint="mesh: with highlights; triangles: the browser's"
        )
        self._channel = gui.add_dropdown("channel", list(CHANNELS))
        self._split = gui.add_slider("field | mesh", 0.0, 1.0, 0.01, 0.5, visible=False)
        self.photos = gui.add_checkbox("photos", True, hint="orange: held out; a click takes the camera there")
        self.region = gui.add_checkbox("region", False, hint="where the field is known")
        with gui.add_folder("crop", expand_by_default=False):
            self.crop = gui.add_checkbox("box", False, hint="drag its corners")
            self._crop = gui.add_markdown("")
            self.print_crop = gui.add_button("print the command")
        with gui.add_folder("camera path", expand_by_default=False):
            self.add_keyframe = gui.add_button("add this camera")
            self.drop_keyframe = gui.add_button("drop the last one")
            self.save_path = gui.add_button("save")
            self._path = gui.add_markdown("no keyframes")
        self._status = gui.add_markdown("")
        for control in (self._source, self._channel, self._split):
            control.on_update(self._on_change)

    @property
    def look(self) -> Look | None:
        """What the pictures show; None: none, the browser draws the mesh itself."""
        if self._source.value == TRIANGLES:
            return None
        return Look(self._source.value, CHANNELS[self._channel.value], float(self._split.value))

    def offer(self, sources: Sequence[str], said: str) -> None:
        """Other sources than before."""
        self._said.content = said
        self._source.options = choices(sources)

    def say_crop(self, command: str) -> None:
        """Shows the command of the crop."""
        self._crop.content = f"```\n{command}\n```"

    def say_path(self, text: str) -> None:
        """Shows what the path holds, or where it was written."""
        self._path.content = text

    def say_picture(self, text: str) -> None:
        """Shows what the last picture was."""
        self._status.content = text

    def _on_change(self, _: Any) -> None:
        self._split.visible = self._source.value == BOTH
        self._changed()
