"""A run, a mesh or a field in a window of a notebook, or of any Python session."""

import threading
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.errors import ConfigError
from nerfkit.mesh.mesh import Mesh
from nerfkit.scenes.scene import Scene
from nerfkit.view.show import Source
from nerfkit.viewer.draw import FIELD, MESH
from nerfkit.viewer.run import Shown, open_run, seen, without_photos
from nerfkit.viewer.serving import address, check_port, free_port, serve, stop, viser_module
from nerfkit.viewer.viewer import Viewer
from nerfkit.volume.model import FieldSource, RadianceModel

KEY = "show: port="
FOCAL = 1.2  # of heights of the picture, where there is no scene
EYE = (1.65, 1.4, 2.75)  # where it is looked at from then


class Window:
    """What ``show`` opens: as the last value of a notebook's cell, a frame in the page.

    Attributes:
        url: its address on this machine.
    """

    def __init__(self, server: Any, viewer: Viewer, port: int, height: int) -> None:
        self._server, self._viewer, self._port, self._height = server, viewer, port, height
        self.url = f"http://localhost:{port}"
        self._thread = threading.Thread(target=viewer.run, name="show", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it, as the session's end does."""
        self._viewer.worker.close()
        self._thread.join()
        stop(self._server)

    def _repr_html_(self) -> str:
        return f'<iframe src="{self.url}" width="100%" height="{self._height}" style="border:0"></iframe>'

    def __repr__(self) -> str:
        return address(self._port, "close() ends it")


def show(
    thing: str | PathLike[str] | Mesh | RadianceModel,
    scene: Scene | None = None,
    *,
    port: int | None = None,
    side: int = 1024,
    height: int = 600,
) -> Window:
    """Opens a viewer beside the session, which goes on; it needs the extra ``nerfkit[view]``.

    Pictures are computed in a thread of this process. On a remote machine the browser needs a way to the port: the
    line that the window prints says ``ssh -L``.

    Args:
        thing: a run folder; a mesh, of any size; or a model, in normalized units.
        scene: of a mesh in normalized units, or of a model: its photos' cameras are shown, too, and its background.
        port: of this machine alone; None takes a free one.
        side: of the finished pictures, the longer one at most, in pixels.
        height: of the frame in a notebook, in pixels.

    Raises:
        CheckpointError: no run folder, a damaged one, or one with neither a field nor a mesh.
        ConfigError: no viser, or the port is taken.
    """
    viser = viser_module("show")
    if side < 1:
        raise ConfigError(f"show: side={side}: expected at least 1")
    if port is None:
        port = free_port()
    check_port(port, KEY)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shown = _opened(thing, scene) if isinstance(thing, Mesh | RadianceModel) else open_run(Path(thing), device)
    server = serve(viser, port, KEY, shown.scene.name)

    def again() -> Shown:
        return shown if shown.record is None else open_run(shown.record.folder, device)

    return Window(server, Viewer(server, shown, again, side, prepare=lambda: None), port, height)


def _opened(thing: Mesh | RadianceModel, scene: Scene | None) -> Shown:
    mesh = thing if isinstance(thing, Mesh) else None
    if mesh is not None and scene is None:
        low, high = mesh.positions.aminmax(dim=0)
        middle, half = (low + high) / 2, max(float((high - low).max()) / 2, 1e-12)
        mesh = mesh.transformed(lambda points: (points - middle.to(points)) / half)
    if scene is None:
        pose = look_at(torch.tensor([EYE]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
        cameras = Cameras(pose, torch.tensor([[FOCAL * 256, FOCAL * 256, 128.0, 128.0]]), 256, 256)
        scene = without_photos(cameras, "mesh" if mesh is not None else "field")
    said = "field" if mesh is None else f"mesh of {len(mesh.faces)} faces"
    sources: dict[str, Source] = (
        {FIELD: FieldSource(thing, scene.background)}
        if isinstance(thing, RadianceModel)
        else {MESH: seen(thing if mesh is None else mesh, scene.background)}
    )
    return Shown(None, None, scene, sources, mesh, None, np.zeros(3), 1.0, said)
