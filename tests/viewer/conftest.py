"""A scene of six photos of a sphere, and a run that has a red ball."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nerfkit.config import TrainOptions
from nerfkit.mesh.shapes import icosphere
from nerfkit.results import keep_refined
from nerfkit.runs.folder import Run
from nerfkit.scenes import open_scene
from nerfkit.scenes.record import record as record_scene
from nerfkit.scenes.scene import Scene
from tests.scenes.builders import ring, write_kaolin


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaolin(tmp_path_factory.mktemp("views") / "sphere", ring(6, size=(40, 48)))


@pytest.fixture(scope="module")
def scene(views: Path) -> Scene:
    return open_scene("kaolin", views, holdout=3)


@pytest.fixture
def record(scene: Scene, views: Path, tmp_path: Path) -> Run:
    config = TrainOptions()
    config.scene.name, config.scene.root, config.scene.holdout = "kaolin", str(views), 3
    run = Run.create(tmp_path, "ball", config, ["scene=kaolin"])
    run.close()
    record_scene(scene, run.folder)
    ball = icosphere(2, 0.7)
    red = torch.tensor([0.9, 0.1, 0.1]).expand(len(ball.vertices), 3)
    keep_refined(replace(ball, colors=red).transformed(scene.normalization.invert), None, run, scene)
    return run
