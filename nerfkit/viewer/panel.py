"""The controls beside the scene: what is shown."""

from collections.abc import Callable, Sequence
from typing import Any

from nerfkit.viewer.draw import BOTH, ERROR, FIELD, MESH, Look

TRIANGLES = "triangles"  # the mesh as the browser draws it
CHANNELS = {"color": "rgb", "depth": "depth", "normal": "normal", "opacity": "alpha", ERROR: ERROR}


def choices(sources: Sequence[str], triangles: bool) -> list[str]:
    """What can be shown where there are these of ``field`` and ``mesh``, and the browser has the mesh or not."""
    both = [BOTH] if {FIELD, MESH} <= {*sources} else []
    return [*sources, *both, *([TRIANGLES] if triangles else [])]


class Panel:
    """viser's controls, shared by all clients.

    Args:
        sources: of ``field`` and ``mesh`` those that there are.
        triangles: whether the browser has the mesh.
        said: what they are, a line.
        changed: called when something else is to be shown.
    """

    def __init__(
        self, server: Any, sources: Sequence[str], triangles: bool, said: str, changed: Callable[[], None]
    ) -> None:
        gui = server.gui
        self._changed = changed
        self._said = gui.add_markdown(said)
        self._source = gui.add_dropdown(
            "show", choices(sources, triangles), hint="mesh: with highlights; triangles: the browser's"
        )
        self._channel = gui.add_dropdown("channel", list(CHANNELS), hint="error: against the photo that was clicked")
        self._photo = gui.add_slider("photo | picture", 0.0, 1.0, 0.01, 0.5, visible=False)
        self._split = gui.add_slider("field | mesh", 0.0, 1.0, 0.01, 0.5, visible=False)
        self.photos = gui.add_checkbox("photos", True, hint="orange: held out; a click goes there and shows it")
        self.region = gui.add_checkbox("region", False, hint="where the field is known")
        self._status = gui.add_markdown("")
        for control in (self._source, self._channel, self._photo, self._split):
            control.on_update(self._on_change)

    @property
    def look(self) -> Look | None:
        """What the pictures show; None: none, the browser draws the mesh itself."""
        if self._source.value == TRIANGLES:
            return None
        split, photo = float(self._split.value), float(self._photo.value)
        return Look(self._source.value, CHANNELS[self._channel.value], split, photo)

    def offer(self, sources: Sequence[str], triangles: bool) -> None:
        """Other sources than before."""
        self._source.options = choices(sources, triangles)

    def slide_photos(self) -> None:
        """From now on there is a slider between photos and pictures."""
        self._photo.visible = True

    def say(self, said: str) -> None:
        """Shows what the sources are."""
        self._said.content = said

    def say_picture(self, text: str) -> None:
        """Shows what the last picture was."""
        self._status.content = text

    def _on_change(self, _: Any) -> None:
        self._split.visible = self._source.value == BOTH
        self._changed()
