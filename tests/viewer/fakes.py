"""A server of viser's that only notes what it is told, and clients that are a camera."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from nerfkit.scenes.scene import Scene
from nerfkit.viewer.things import pose_of


def client_of(number: int, scene: Scene, view: int, size: tuple[int, int] = (300, 400)) -> Any:
    wxyz, position, fov = pose_of(scene, view)
    eye = MagicMock(wxyz=wxyz, position=position, fov=fov, image_height=size[0], image_width=size[1])
    return MagicMock(client_id=number, camera=eye)


class Controls:
    """The fake server's controls by their labels; ``set`` and ``click`` do what a user does.

    Args:
        clients: that are there from the start.
    """

    def __init__(self, *clients: Any) -> None:
        self.server = MagicMock()
        self.by_label: dict[str, Any] = {}
        gui = self.server.gui
        for kind in ("dropdown", "checkbox", "button", "slider"):
            getattr(gui, f"add_{kind}").side_effect = self._made
        self._texts: list[Any] = []
        gui.add_markdown.side_effect = gui.add_html.side_effect = self._written
        self.clients: dict[int, Any] = {client.client_id: client for client in clients}
        self.server.get_clients.side_effect = lambda: self.clients
        self.server.on_client_connect.side_effect = lambda call: [call(client) for client in clients]

    def _made(self, label: str, *values: Any, **_: Any) -> Any:
        first = values[0] if values else None
        value = first[0] if isinstance(first, list) else values[-1] if values else None
        handle = MagicMock(value=value, visible=True)
        self.by_label[label] = handle
        return handle

    def _written(self, content: str) -> Any:
        self._texts.append(SimpleNamespace(content=content))
        return self._texts[-1]

    def texts(self) -> list[str]:
        """What stands among the controls."""
        return [text.content for text in self._texts]

    def set(self, label: str, value: Any) -> None:
        handle = self.by_label[label]
        handle.value = value
        for call in handle.on_update.call_args_list:
            call.args[0](SimpleNamespace(target=handle))

    def click(self, label: str, client: Any) -> None:
        for call in self.by_label[label].on_click.call_args_list:
            call.args[0](SimpleNamespace(client=client))


def drawn(client: Any) -> list[tuple[int, ...] | None]:
    """The sizes of the pictures that a client was sent."""
    sent = [call.args[0] for call in client.scene.set_background_image.call_args_list]
    return [None if pixels is None else pixels.shape for pixels in sent]
