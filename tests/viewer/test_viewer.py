"""The viewer's controls on a server that only notes what it is told, its command's messages, and a real browser."""

import json
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image

from nerfkit import view_command
from nerfkit.cameras import Cameras
from nerfkit.config import TrainOptions
from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.fit.walls import crop_of
from nerfkit.mesh.shapes import icosphere
from nerfkit.raster.shade import MeshSource
from nerfkit.results import keep_refined
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run
from nerfkit.scenes import open_scene
from nerfkit.scenes.frame import corners_of
from nerfkit.scenes.record import record as record_scene
from nerfkit.scenes.scene import Scene, Similarity
from nerfkit.view.path_files import read_path
from nerfkit.viewer.box import CropBox, crop_command
from nerfkit.viewer.draw import Look, camera_of
from nerfkit.viewer.pace import COARSEST
from nerfkit.viewer.panel import choices
from nerfkit.viewer.run import Shown, open_run, state_of
from nerfkit.viewer.things import begin_at, pose_of
from nerfkit.viewer.viewer import Viewer
from tests.scenes.builders import ring, write_kaolin

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("views")
    return open_scene("kaolin", write_kaolin(folder / "sphere", ring(6, size=(40, 48))), holdout=3)


@pytest.fixture
def record(scene: Scene, tmp_path: Path) -> Run:
    """A run with a red ball."""
    run = Run.create(tmp_path, "ball", TrainOptions(), ["scene=kaolin"])
    record_scene(scene, run.folder)
    ball = icosphere(2, 0.7)
    red = torch.tensor([0.9, 0.1, 0.1]).expand(len(ball.vertices), 3)
    keep_refined(replace(ball, colors=red), None, run, scene)
    return run


@pytest.fixture
def shown(record: Run) -> Shown:
    found = open_run(record.folder, torch.device("cpu"))
    # Another ball in the place of a field: what is drawn does not depend on what it is.
    return replace(found, sources={"field": MeshSource(icosphere(1, 0.5), (0, 0, 0)), **found.sources})


def client_of(number: int, scene: Scene, view: int, size: tuple[int, int] = (300, 400)) -> Any:
    wxyz, position, fov = pose_of(scene, view)
    eye = MagicMock(wxyz=wxyz, position=position, fov=fov, image_height=size[0], image_width=size[1])
    return MagicMock(client_id=number, camera=eye)


class Controls:
    """The fake server's controls by their labels; ``set`` does what a user does."""

    def __init__(self) -> None:
        self.server = MagicMock()
        self.by_label: dict[str, Any] = {}
        gui = self.server.gui
        for kind in ("dropdown", "checkbox", "button", "slider"):
            getattr(gui, f"add_{kind}").side_effect = self._made
        gui.add_markdown.side_effect = lambda content: SimpleNamespace(content=content)
        self.clients: dict[int, Any] = {}
        self.server.get_clients.side_effect = lambda: self.clients

    def _made(self, label: str, *values: Any, **_: Any) -> Any:
        first = values[0] if values else None
        value = first[0] if isinstance(first, list) else values[-1] if values else None
        handle = MagicMock(value=value, visible=True)
        self.by_label[label] = handle
        return handle

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


def finish(viewer: Viewer, who: int) -> int:
    """Makes all pictures of a client, as the worker would; their number."""
    level, count = viewer.work(who, None, lambda: False), 1
    while level is not None:
        level, count = viewer.work(who, level, lambda: False), count + 1
    return count


def test_a_client_gets_pictures_up_to_the_whole(shown: Shown, scene: Scene) -> None:
    controls = Controls()
    viewer = Viewer(controls.server, shown, lambda: shown, 200, lambda text: None)
    client = controls.clients[0] = client_of(0, scene, scene.test[0])
    controls.server.on_client_connect.call_args.args[0](client)
    count = finish(viewer, 0)
    sizes = drawn(client)
    assert len(sizes) == count == COARSEST // 2 + 1 and sizes[-1] == (150, 200, 3)
    assert viewer.work(0, 2, lambda: True) == 2 and len(drawn(client)) == count  # given up: the same level again
    controls.set("show", "triangles")
    assert finish(viewer, 0) == 1 and drawn(client)[-1] is None
    controls.set("show", "both")
    controls.set("channel", "opacity")
    finish(viewer, 0)
    opacity = client.scene.set_background_image.call_args.args[0][..., 0] > 128
    left, right = opacity[:, :100].sum(), opacity[:, 100:].sum()
    assert 0.4 < left / right < 0.62  # halves of balls of the radii 0.5 and 0.7
    assert viewer.work(7, None, lambda: False) is None  # it has left


def test_the_same_picture_as_a_photo_s(shown: Shown, scene: Scene) -> None:
    view = scene.test[0]
    camera = camera_of(client_of(0, scene, view, scene.cameras.sizes[view]).camera, 1000)
    assert camera.size == scene.cameras.sizes[view]
    assert torch.allclose(camera.camera_to_world[0], scene.cameras.camera_to_world[view], atol=1e-5)
    assert torch.allclose(camera.intrinsics[0], scene.cameras.intrinsics[view], atol=1e-3)
    server = MagicMock()
    begin_at(server, scene, view, np.array([0.1, 0.2, 0.3]))
    ahead = server.initial_camera.look_at - scene.cameras.positions[view].numpy()
    axis = -scene.cameras.camera_to_world[view, :, 2].numpy()
    assert np.allclose(np.cross(ahead, axis), 0, atol=1e-5) and ahead @ axis > 0


def test_keyframes_are_a_path(shown: Shown, scene: Scene) -> None:
    controls = Controls()
    said: list[str] = []
    Viewer(controls.server, shown, lambda: shown, 400, said.append)
    clients = [client_of(k, scene, view, (300 + 50 * k, 400)) for k, view in enumerate(scene.train[:3])]
    controls.click("add this camera", clients[0])
    controls.click("save", clients[0])
    assert not said  # one camera is no path
    for client in clients[1:]:
        controls.click("add this camera", client)
    controls.click("drop the last one", clients[0])
    for _ in range(2):
        controls.click("save", clients[0])
    files = [shlex.split(words)[-2].removeprefix("file=") for words in said]
    assert [Path(file).name for file in files] == ["viewer_path.json", "viewer_path_2.json"]
    path = read_path(Path(files[0]))
    assert path.times.tolist() == [0, 2] and path.focal is not None and not path.closed
    for pose, focal, view in zip(torch.from_numpy(path.poses).float(), path.focal, scene.train, strict=False):
        assert torch.allclose(pose[:, :3], scene.cameras.camera_to_world[view, :, :3], atol=1e-5)
        assert torch.allclose(scene.normalization.apply(pose[:, 3]), scene.cameras.positions[view], atol=1e-5)
        assert np.allclose(focal, scene.cameras.intrinsics[view, 1] / 40, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 0.3, 2e3])
def test_a_dragged_box_is_a_command(scene: Scene, scale: float) -> None:
    units = Similarity(scale, (0.1, -0.2, 0.3))
    server, moved = MagicMock(), []
    handles = [MagicMock(), MagicMock()]
    server.scene.add_transform_controls.side_effect = handles
    box = CropBox(server, np.array([[-1.0] * 3, [1.0] * 3]), moved.append)
    low, high = np.array([0.5, -0.25, -3.0]), np.array([-0.5, 0.75, 0.125])  # past each other in x; outside in z
    for handle, position in zip(handles, (low, high), strict=True):
        drag: Callable[[Any], None] = handle.on_update.call_args.args[0]
        drag(SimpleNamespace(target=SimpleNamespace(position=position)))
    wanted = [[-0.5, -0.25, -1.0], [0.5, 0.75, 0.125]]
    assert np.allclose(moved[-1], wanted)
    words = shlex.split(crop_command(Path("/a folder/run"), box.corners, units))
    assert "resume=/a folder/run" in words and "stages=[extract,refine,export]" in words
    corners = corners_of(json.loads(words[-1].removeprefix("extract.box=")), "extract.box")
    crop = crop_of(replace(scene, normalization=units), corners)
    assert crop is not None and np.allclose(crop, wanted, atol=2e-3)
    ends = server.scene.add_line_segments.return_value.points.reshape(-1, 3)
    assert len({tuple(point) for point in ends.tolist()}) == 8 and np.allclose([ends.min(0), ends.max(0)], wanted)


def test_a_run_that_goes_on_is_read_again(shown: Shown, scene: Scene) -> None:
    controls, said, opened = Controls(), [], []

    def reopen() -> Shown:
        opened.append(state_of(shown.record))
        if len(opened) == 1:
            raise CheckpointError("half written")
        return replace(shown, state=opened[-1], said="field of step 3")

    viewer = Viewer(controls.server, shown, reopen, 200, said.append)
    viewer.follow()
    checkpoints.save(shown.record.folder, 3, {})
    viewer.follow()
    assert not opened  # nobody looks
    controls.clients[0] = client_of(0, scene, 0)
    for _ in range(3):
        viewer.follow()
    assert opened == [(3, shown.state[1])] * 2 and viewer.shown.said == "field of step 3"
    assert said == ["warning: half written"]


def test_what_can_be_shown() -> None:
    assert choices(["field"]) == ["field"] and choices(["mesh"]) == ["mesh", "triangles"]
    assert choices(["field", "mesh"]) == ["field", "mesh", "both", "triangles"]
    assert Look("both", split=0.5).columns(3) == [("field", 0, 2), ("mesh", 2, 3)]


def test_the_command_s_messages(record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ConfigError, match=r"pip install 'nerfkit\[view\]'"):
        view_command.main([str(record.folder)])
    monkeypatch.setitem(sys.modules, "viser", MagicMock())
    with socket.socket() as other:
        other.bind((view_command.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: another program listens there"):
            view_command.main([str(record.folder), "--port", str(port)])
    free = ["--port", str(port)]
    with pytest.raises(ConfigError, match="expected 1 to 65535"):
        view_command.main([str(record.folder), "--port", "70000"])
    with pytest.raises(ConfigError, match="--side 0"):
        view_command.main([str(record.folder), "--side", "0"])
    with pytest.raises(CheckpointError, match="no such run folder"):
        view_command.main([str(tmp_path / "none"), *free])
    empty = Run.create(tmp_path, "empty", TrainOptions(), [])
    with pytest.raises(CheckpointError, match="no field to render"):
        view_command.main([str(empty.folder), *free])
    assert f"ssh -L {port}:localhost:{port} " in view_command.address(port)


def bounds(mask: np.ndarray) -> tuple[int, int]:
    """First and last row of what is set, 0 where nothing is."""
    rows = mask.nonzero()[0]
    return (int(rows.min()), int(rows.max())) if len(rows) else (0, 0)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_the_run(record: Run, scene: Scene, tmp_path: Path) -> None:
    pytest.importorskip("viser", reason="no viser here")
    view, size = scene.test[0], (600, 1000)
    focal = size[0] / 40 * float(scene.cameras.intrinsics[view, 1])
    lens = torch.tensor([[focal, focal, size[1] / 2, size[0] / 2]])
    camera = Cameras(scene.cameras.camera_to_world[[view]], lens, *size)
    ball = MeshSource(icosphere(2, 0.7), (0, 0, 0)).render(camera, 0, ["alpha"])["alpha"].numpy() > 0.5
    expected = bounds(ball[:, : size[1] // 2])  # the controls cover a part of the right half
    with socket.socket() as probe:
        probe.bind((view_command.HOST, 0))
        port = probe.getsockname()[1]
    program = [sys.executable, "-m", "nerfkit", "view", str(record.folder), "--port", str(port)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        watch = threading.Timer(120, server.kill)
        watch.start()
        assert f"http://localhost:{port}" in server.stdout.readline()
        flags = ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        flags += ["--ignore-gpu-blocklist", "--disable-background-networking", "--window-size=1000,600"]
        flags += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000"]
        shot = [f"--screenshot={tmp_path / 'shot.png'}", f"http://127.0.0.1:{port}"]
        found: list[tuple[int, int]] = []
        for _ in range(3):  # the browser's clock runs ahead of the server, which has kernels to load at first
            subprocess.run([str(CHROMIUM), *flags, *shot], capture_output=True, timeout=100, check=True)
            seen = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB"), np.int32)
            red = (seen[..., 0] > 180) & (seen[..., 1:].max(-1) < 80)
            found.append(bounds(red[:, : size[1] // 2]))
            if max(np.abs(np.subtract(found[-1], expected))) < 5:
                break
        server.terminate()
        server.communicate()
        watch.cancel()
    assert max(np.abs(np.subtract(found[-1], expected))) < 5, found
