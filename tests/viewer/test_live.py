"""Runs that are looked at while they are made: the same bits, whose turn it is, what ends it."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from nerfkit import options, pipeline
from nerfkit.cameras import Cameras
from nerfkit.config import TrainOptions
from nerfkit.errors import ConfigError
from nerfkit.mesh.shapes import icosphere
from nerfkit.runs.folder import Run
from nerfkit.scenes.scene import Scene
from nerfkit.viewer import live
from nerfkit.viewer.live import Onlookers
from nerfkit.viewer.serving import free_port
from tests.viewer.fakes import Controls, client_of, drawn

TINY = [
    *("scene=kaolin", "scene.holdout=3", "field.width=16", "field.depth=2", "field.octaves=3", "trainer.samples=4096"),
    *("sampler.resolution=32", "sampler.step_size=0.04", "sampler.update_every=4", "sampler.warmup=20"),
    *("trainer.max_steps=100", "extract.resolution=40", "extract.faces=600", "refine.steps=4"),
    *("refine.views_per_step=2", "refine.texture=64", "refine.specular_steps=2"),
]
PORT = free_port()  # another program may listen at the usual one


def serves(monkeypatch: pytest.MonkeyPatch, controls: Controls) -> None:
    """Lets viser's servers be the fake one."""
    controls.server.get_port.return_value = PORT
    monkeypatch.setitem(sys.modules, "viser", MagicMock(ViserServer=lambda **_: controls.server))


def onlookers(record: Run, controls: Controls, monkeypatch: pytest.MonkeyPatch, scene: Scene | Cameras) -> Onlookers:
    """Those of a run that has a ball."""
    serves(monkeypatch, controls)
    found = Onlookers(record, TrainOptions(viewer="on", viewer_port=PORT), torch.device("cpu"))
    found.shows("mesh", lambda: icosphere(1, 0.7), scene)
    return found


SLOWEST = pytest.mark.skipif(not os.environ.get("NERFKIT_SLOWEST"), reason="ten seconds: NERFKIT_SLOWEST=1")


@pytest.mark.slow
@pytest.mark.parametrize("stages", ["[field]", pytest.param("[field,extract,refine]", marks=SLOWEST)])
def test_a_run_has_the_same_bits_whoever_looks(
    stages: str, views: Path, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(0, scene, scene.test[0], (60, 80))
    controls = Controls(client)
    serves(monkeypatch, controls)
    monkeypatch.setattr(live, "RESTS", {"finer": 0.0, "again": 0.0})  # a picture after each step

    def look(pixels: Any, **_: Any) -> None:
        shown = controls.by_label["show"]
        shown.value = "both" if "both" in shown.options else "field"

    client.scene.set_background_image.side_effect = look
    found = []
    for viewer in ("off", "on"):
        words = [
            *TINY,
            f"stages={stages}",
            f"scene.root={views}",
            f"output={tmp_path / viewer}",
            f"viewer={viewer}",
            f"viewer_port={PORT}",
        ]
        folder = pipeline.run(options.compose("train", words))
        assert folder is not None
        found.append(json.loads((folder / "metrics.json").read_text())["fingerprints"])
    assert len(drawn(client)) >= 99 and client.scene.set_background_image.call_args.args[0].std() > 5
    assert f"http://localhost:{PORT}" in (folder / "log.txt").read_text()
    controls.server.stop.assert_called_once_with()
    assert found[0] == found[1] and found[0]["field"]["step 10"] and len(found[0]) == stages.count(",") + 1


def test_whose_turn_it_is(record: Run, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture takes 2 s here, and training what the test says."""
    client, now = client_of(0, scene, 0), [0.0]
    controls = Controls(client)
    looking = onlookers(record, controls, monkeypatch, scene)
    viewer = looking._viewer
    assert viewer is not None
    made: list[tuple[float, int | None]] = []

    def work(who: Any, level: int | None, interrupted: Any) -> int | None:
        made.append((now[0], level))
        now[0] += 2
        return 3 if level is None else None

    monkeypatch.setattr(viewer.worker, "_work", work)
    monkeypatch.setattr(live, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    for step in range(1, 60):
        now[0] += 1
        if step == 30:
            viewer.worker.ask(0)
        looking.turn("field", step)
    first, finer, again = made[:3]
    assert first == (1.0, None)
    assert finer == (first[0] + 2 + 2, 3)  # training has had as long as the picture took
    assert again == (finer[0] + 2 + 18, 0)  # nine times as long
    asked = next(k for k, picture in enumerate(made) if k and picture[1] is None)
    assert made[asked][0] == 30 + 2 * asked  # at once
    assert viewer.panel._said.content.startswith("field: step ")
    viewer.worker.forget(0)
    assert not looking.turn("field", 61)


def test_a_viewer_that_fails_does_not_end_the_run(record: Run, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(0, scene, 0)
    looking = onlookers(record, Controls(client), monkeypatch, scene)
    client.scene.set_background_image.side_effect = RuntimeError("no such client")
    assert looking.turn("field", 1) and not looking.turn("field", 2)
    looking.shows("mesh", lambda: icosphere(1, 0.5))
    log = (record.folder / "log.txt").read_text()
    assert log.count("warning: the viewer has failed") == 1 and "RuntimeError: no such client" in log


def test_a_port_that_was_taken_meanwhile_does_not_end_the_run(
    record: Run, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls = Controls()
    controls.server.get_port.return_value = PORT + 1
    monkeypatch.setitem(sys.modules, "viser", MagicMock(ViserServer=lambda **_: controls.server))
    looking = Onlookers(record, TrainOptions(viewer="on", viewer_port=PORT), torch.device("cpu"))
    for _ in range(2):
        looking.shows("mesh", lambda: icosphere(1, 0.7), scene)
    assert not looking.turn("fit", 1)
    log = (record.folder / "log.txt").read_text()
    assert log.count(f"the viewer has failed and is off: viewer_port={PORT}: another program listens there") == 1


def test_a_mesh_without_photos(record: Run, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    controls = Controls(client_of(0, scene, 0, (90, 120)))
    looking = onlookers(record, controls, monkeypatch, scene.cameras)
    assert looking.turn("fit", 1)
    pixels = controls.clients[0].scene.set_background_image.call_args.args[0]
    inside = pixels[pixels.min(-1) < 250]
    assert len(inside) and inside.std() > 10  # gray, under lamps
    controls.server.scene.add_camera_frustum.assert_not_called()


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ConfigError, match=r"viewer=stay: it needs viser.*nerfkit\[view\]"):
        pipeline.run(options.compose("train", [*TINY, "viewer=stay", f"output={tmp_path}"]))
    assert not list(tmp_path.iterdir())
