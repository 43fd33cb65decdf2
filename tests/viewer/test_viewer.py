"""The viewer's controls on a server that only notes what it is told, its command's messages, and a real browser."""

import io
import json
import shlex
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import nerfkit
from nerfkit import view_command
from nerfkit.config import TrainOptions
from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.fit.walls import crop_of
from nerfkit.mesh.shapes import icosphere
from nerfkit.raster.shade import MeshSource
from nerfkit.resume import load
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run
from nerfkit.scenes.frame import corners_of
from nerfkit.scenes.scene import Scene, Similarity
from nerfkit.view.path_files import read_path
from nerfkit.viewer.box import CropBox, crop_command, own_box
from nerfkit.viewer.draw import Look, camera_of
from nerfkit.viewer.pace import COARSEST
from nerfkit.viewer.panel import choices
from nerfkit.viewer.run import Shown, open_run, state_of
from nerfkit.viewer.serving import HOST, address, serve, stop
from nerfkit.viewer.things import begin_at, stand
from nerfkit.viewer.viewer import Viewer
from tests.viewer.fakes import Controls, client_of, drawn


@pytest.fixture
def shown(record: Run) -> Shown:
    found = open_run(record.folder, torch.device("cpu"))
    # Another ball in the place of a field: what is drawn does not depend on what it is.
    return replace(found, sources={"field": MeshSource(icosphere(1, 0.5), (0, 0, 0)), **found.sources})


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
    count = len(drawn(client))
    assert viewer.work(0, None, lambda: bool(controls.clients.clear())) is None  # it leaves meanwhile
    assert len(drawn(client)) == count


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
    client = MagicMock()
    stand(client, scene, view, np.array([0.1, 0.2, 0.3]))
    assert np.allclose(client.camera.look_at, server.initial_camera.look_at)  # turns go about the same point


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
        handle.position = position
        drag(SimpleNamespace(target=handle, phase="end"))
        assert np.array_equal(handle.position, np.clip(position, -1, 1))  # back where the box ends
    wanted = [[-0.5, -0.25, -1.0], [0.5, 0.75, 0.125]]
    assert np.allclose(moved[-1], wanted)
    words = shlex.split(crop_command(Path("/a folder/run"), own_box(box.corners, units)))
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
    assert choices(["field"], False) == ["field"] and choices(["mesh"], True) == ["mesh", "triangles"]
    assert choices(["field", "mesh"], True) == ["field", "mesh", "both", "triangles"]
    assert Look("both", split=0.5).columns(3) == [("field", 0, 2), ("mesh", 2, 3)]


def test_the_command_s_messages(record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ConfigError, match=r"pip install 'nerfkit\[view\]'"):
        view_command.main([str(record.folder)])
    monkeypatch.setitem(sys.modules, "viser", MagicMock())
    with socket.socket() as other:
        other.bind((HOST, 0))
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
    assert f"ssh -L {port}:localhost:{port} " in address(port, "")


def test_what_viser_says_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    console, said = pytest.importorskip("rich").get_console(), io.StringIO()
    monkeypatch.setattr(console, "file", said)  # past stdout, as in notebooks
    server = MagicMock(get_port=lambda: 8765, stop=lambda: console.print("stopped"))

    def serves(**_: Any) -> MagicMock:
        console.print("listening")
        return server

    stop(serve(MagicMock(ViserServer=serves), 8765, "--port ", "a run"))
    assert not said.getvalue() and not console.quiet


def test_a_box_is_written_to_the_run(shown: Shown, scene: Scene) -> None:
    assert shown.record is not None and shown.config is not None
    controls, folder = Controls(), shown.record.folder
    Viewer(controls.server, shown, lambda: shown, 200, lambda text: None)
    before = OmegaConf.load(folder / "config.yaml")
    holder = Run.open(folder)
    holder.hold()
    controls.click("write to the run", None)
    assert OmegaConf.load(folder / "config.yaml") == before
    assert any("not written" in text and "another process is training" in text for text in controls.texts())
    holder.close()
    low = controls.server.scene.add_transform_controls.call_args_list
    assert len(low) == 2
    drag = controls.server.scene.add_transform_controls.return_value.on_update.call_args_list[0].args[0]
    drag(SimpleNamespace(target=SimpleNamespace(position=np.array([-0.5, -0.25, 0.125])), phase="update"))
    controls.click("write to the run", None)
    config = load(folder)
    crop = crop_of(scene, config.extract.crop())
    assert crop is not None and np.allclose(crop, [[-0.5, -0.25, 0.125], [1, 1, 1]], atol=2e-3)
    before.extract.box = OmegaConf.load(folder / "config.yaml").extract.box
    assert OmegaConf.load(folder / "config.yaml") == before  # and nothing else
    words = list(OmegaConf.load(folder / "overrides.yaml"))
    assert words[:-1] == ["scene=kaolin"] and json.loads(words[-1].removeprefix("extract.box=")) == before.extract.box
    assert "viewer: extract.box: null -> [[" in (folder / "log.txt").read_text()
    assert any("extract.box" not in text and "stages=[extract" in text for text in controls.texts())
    assert not any("viewer=off" in text for text in controls.texts())
    controls = Controls()  # of a run whose own viewer would have the port
    watched = replace(shown, config=replace(shown.config, viewer="on"))
    Viewer(controls.server, watched, lambda: shown, 200, lambda text: None)
    assert any("viewer=off" in text for text in controls.texts())


def test_a_notebook_s_window(record: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    controls = Controls()
    made: list[dict[str, Any]] = []

    def serves(**options: Any) -> MagicMock:
        made.append(options)
        controls.server.get_port.return_value = options["port"]
        return controls.server

    monkeypatch.setitem(sys.modules, "viser", MagicMock(ViserServer=serves))
    ball = icosphere(2, 30.0).transformed(lambda points: points + 100)
    scene = open_run(record.folder, torch.device("cpu")).scene
    for thing, given in ((ball.without_appearance(), None), (record.folder, None), (icosphere(1, 0.5), scene)):
        client = client_of(0, scene, 0, (60, 80))
        controls.clients = {0: client}
        controls.server.on_client_connect.side_effect = lambda call, client=client: call(client)
        window = nerfkit.show(thing, given, height=321)
        end = time.monotonic() + 60
        while (not drawn(client) or drawn(client)[-1] != (60, 80, 3)) and time.monotonic() < end:
            time.sleep(0.01)
        window.close()
        assert drawn(client)[-1] == (60, 80, 3)
        options = made.pop()
        assert options["host"] == HOST
        page = window._repr_html_()
        assert f'src="http://localhost:{options["port"]}"' in page and 'height="321"' in page
        assert f"ssh -L {options['port']}:localhost:{options['port']}" in repr(window)
        first = controls.server.initial_camera
        assert np.linalg.norm(first.position) > 1.5 and np.abs(first.look_at).max() < 1
