"""A mesh of the user's, textured and refined by photos: ``mesh=FILE``."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nerfkit import options, pipeline
from nerfkit.errors import ConfigError, SceneError
from nerfkit.fit.given_mesh import given_mesh, seen_share
from nerfkit.mesh.files.io import load_mesh, save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.mesh_stage import refine_stage
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run
from nerfkit.scenes import open_scene
from tests.scenes.builders import Sphere, ring, write_kaolin

SHORT = ["refine.steps=80", "refine.specular_steps=10", "video.frames=2", "video.resolution=24"]


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaolin(tmp_path_factory.mktemp("data") / "sphere", ring(12, size=(40, 48)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The true sphere, gray, in the scene's own units, with a vertex that nothing uses."""
    ball = icosphere(2, Sphere().radius).without_appearance()
    vertices = torch.cat([ball.vertices + torch.tensor(Sphere().center), torch.full((1, 3), 7.0)])
    gray = Mesh(vertices, ball.faces, colors=torch.full((len(vertices), 3), 0.5))
    return save_mesh(gray, tmp_path_factory.mktemp("mesh") / "ball", ("ply",))[0]


def words(views: Path, output: Path, *more: str) -> list[str]:
    return ["scene=kaolin", "scene.holdout=6", f"scene.root={views}", f"output={output}", *SHORT, *more]


@pytest.mark.slow
def test_a_mesh_is_textured_by_the_photos(views: Path, model: Path, tmp_path: Path) -> None:
    asked = words(views, tmp_path, f"mesh={model}")
    run = pipeline.run(options.compose("train", asked))
    assert run is not None and not checkpoints.steps(run)
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["stages"]) == {"refine", "export", "video"} and "field" not in metrics
    assert metrics["mesh"]["psnr"] > metrics["mesh"]["coarse"]["psnr"] + 3
    assert metrics["mesh"]["mask_iou"] > 0.95
    assert (run / "mesh/mesh.glb").exists() and list((run / "video").glob("orbit_mesh*_rgb.mp4"))
    assert "1 vertex that no face uses" in (run / "log.txt").read_text()
    assert str(model) in (run / "config.yaml").read_text()
    report = (run / "report.html").read_text()
    assert "The mesh" in report and "Views that were held out" in report
    before = (run / "mesh/refined.glb").read_bytes()
    again = pipeline.run(options.compose("train", [*asked, f"resume={run}"]))
    assert again == run and (run / "mesh/refined.glb").read_bytes() == before  # the same bits


@pytest.mark.slow
def test_without_masks_it_keeps_its_shape(views: Path, model: Path, tmp_path: Path) -> None:
    scene = replace(open_scene("kaolin", views, holdout=6), unbounded=True, has_masks=False)
    config = options.compose("train", words(views, tmp_path, f"mesh={model}"))
    mesh, record = given_mesh(model, scene)[0], Run(tmp_path)
    refined, _ = refine_stage(mesh, None, config, scene, record)
    found = refined.transformed(scene.normalization.invert)
    away = (found.vertices - torch.tensor(Sphere().center)).norm(dim=-1)
    assert (away - Sphere().radius).abs().max() < 0.001 * Sphere().radius
    assert record.metrics()["mesh"]["masks"] == "outline" and "keeps its shape" in (tmp_path / "log.txt").read_text()
    record.close()


def test_what_is_asked_of_a_mesh(views: Path, model: Path, tmp_path: Path) -> None:
    scene = open_scene("kaolin", views, holdout=6)
    assert seen_share(given_mesh(model, scene)[0], scene) == 1
    far = replace(load_mesh(model), vertices=load_mesh(model).vertices + 5000)
    (elsewhere,) = save_mesh(far, tmp_path / "far", ("ply",))
    empty = save_mesh(Mesh(torch.rand(3, 3), torch.zeros(0, 3, dtype=torch.int64)), tmp_path / "none", ("ply",))[0]
    for path, says in ((elsewhere, "of its vertices are in a photo"), (empty, "face"), (tmp_path / "x.obj", "no such")):
        with pytest.raises(SceneError, match=says):
            pipeline.run(options.compose("train", words(views, tmp_path / "runs", f"mesh={path}")))
    for more, says in (("stages=[export]", "add refine"), ("video.source=field", "there is no field")):
        with pytest.raises(ConfigError, match=says):
            pipeline.run(options.compose("train", words(views, tmp_path / "runs", f"mesh={model}", more)))
    assert not (tmp_path / "runs").exists()  # nothing half written
