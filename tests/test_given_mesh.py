"""A mesh of the user's, textured and refined by photos: ``mesh=FILE``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfkit import options, pipeline
from nerfkit.errors import ConfigError, SceneError
from nerfkit.fit.build import load_scene
from nerfkit.fit.given_mesh import given_mesh, seen_share
from nerfkit.fit.refine import _Refinement
from nerfkit.mesh.files.io import load_mesh, save_mesh
from nerfkit.mesh.mesh import Mesh, face_areas
from nerfkit.mesh.repair import drop_unused
from nerfkit.mesh.shapes import icosphere
from nerfkit.mesh_stage import refine_stage
from nerfkit.resume import resumed
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run, find
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
    mesh, record = drop_unused(given_mesh(model, scene).transformed(scene.normalization.apply)), Run(tmp_path)
    refined, _ = refine_stage(mesh, None, config, scene, record)
    found = refined.transformed(scene.normalization.invert)
    away = (found.vertices - torch.tensor(Sphere().center)).norm(dim=-1)
    assert (away - Sphere().radius).abs().max() < 0.001 * Sphere().radius
    assert record.metrics()["mesh"]["masks"] == "outline" and "keeps its shape" in (tmp_path / "log.txt").read_text()
    record.close()


def odd(path: Path) -> Path:
    """A model that repairing would change: a dented sphere with seams, faces that look inward, repeat one another and
    have no area, and coordinates that no round trip through other units brings back."""
    ball = icosphere(2, Sphere().radius)
    dent = 1 - 0.1 * (ball.vertices[:, :1] > 0)
    vertices = ball.vertices * dent + torch.tensor(Sphere().center) + 1e-3 * torch.rand(ball.vertices.shape)
    faces = torch.cat([ball.faces, ball.faces[:3], ball.faces[5:6, [0, 1, 1]]])
    faces[40:60] = faces[40:60].flip(1)
    assert ball.corner_uvs is not None
    uvs = torch.cat([ball.corner_uvs, ball.corner_uvs[:3], ball.corner_uvs[5:6]])
    gray = Mesh(vertices, faces, uvs, texture=torch.full((8, 8, 3), 0.5))
    return save_mesh(gray, path / "odd", ("glb",))[0]


@pytest.mark.slow
@pytest.mark.parametrize("masks", [True, False])
def test_a_texture_alone_moves_no_vertex(views: Path, tmp_path: Path, masks: bool, monkeypatch: Any) -> None:
    """Nor does it change a face, stopped on the way or not, of whatever kind the model is."""
    given, asked = odd(tmp_path), words(views, tmp_path / "out", "stages=[texture]", "refine.checkpoint_every=0")
    asked += [f"mesh={tmp_path / 'odd.glb'}", "export.formats=[glb,obj,stl]"]
    if not masks:
        plain = load_scene
        monkeypatch.setattr(
            "nerfkit.pipeline.load_scene", lambda config: replace(plain(config), unbounded=True, has_masks=False)
        )
    run = pipeline.run(options.compose("train", asked))
    assert run is not None
    before, metrics = load_mesh(given), json.loads((run / "metrics.json").read_text())
    assert [*metrics["stages"]] == ["texture", "export"] and set(metrics["fingerprints"]) == {"texture", "export"}
    for name in ("mesh.glb", "mesh.obj", "refined.glb"):
        found = load_mesh(run / "mesh" / name)
        assert torch.equal(found.vertices[found.faces], before.vertices[before.faces]), name
        assert torch.equal(found.faces, before.faces), name
    assert metrics["mesh"]["psnr"] > metrics["mesh"]["coarse"]["psnr"] + 3
    assert "extract.closed" not in (run / "log.txt").read_text()  # it has no say in what becomes of a given mesh
    if not masks:
        return
    step, left = _Refinement.step, [30]

    def stopped(self: Any, share: float) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return step(self, share)

    monkeypatch.setattr(_Refinement, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(options.compose("train", asked))
    other = find(run.parent / "latest")
    assert other != run and checkpoints.steps(other, "refine")
    left[0] = 1000
    pipeline.run(resumed(other, [f"resume={other}"]))
    assert left[0] > 1000 - 80  # it went on
    assert (other / "mesh/mesh.glb").read_bytes() == (run / "mesh/mesh.glb").read_bytes()
    pipeline.run(resumed(other, [f"resume={other}", "stages=[refine,export]", "refine.steps=10"]))
    assert set(Run.open(other).metrics()["fingerprints"]) == {"refine", "export"}
    assert "dropped 3 faces repeating another" in (other / "log.txt").read_text()


@pytest.mark.slow
def test_coarser_copies_of_flat_shaded_triangles_have_no_gaps(views: Path, tmp_path: Path) -> None:
    """A file without UVs has a vertex of its own for each corner; a later export has the same shapes."""
    ball = icosphere(2, Sphere().radius)
    corners = (ball.vertices + torch.tensor(Sphere().center))[ball.faces].flatten(0, 1)
    soup = Mesh(corners, torch.arange(len(corners)).view(-1, 3))
    (given,) = save_mesh(soup, tmp_path / "soup", ("glb",))
    asked = words(
        views, tmp_path / "out", f"mesh={given}", "stages=[texture]", "refine.steps=4", "refine.specular=false"
    )
    run = pipeline.run(options.compose("train", [*asked, "export.formats=[glb]", "export.faces=[120]"]))
    assert run is not None
    whole, less = (load_mesh(run / "mesh" / name) for name in ("mesh.glb", "mesh_120.glb"))
    assert torch.equal(whole.vertices[whole.faces].flatten(0, 1), corners)
    areas = [face_areas(mesh.vertices, mesh.faces).sum().item() for mesh in (whole, less)]
    assert 0.9 < areas[1] / areas[0] < 1.02
    before = (run / "mesh/mesh.glb").read_bytes()
    pipeline.run(resumed(run, [f"resume={run}", "stages=[export]"]))
    assert (run / "mesh/mesh.glb").read_bytes() == before
    again = load_mesh(run / "mesh/mesh_120.glb")
    assert torch.equal(again.vertices[again.faces], less.vertices[less.faces])


def test_what_is_asked_of_a_mesh(views: Path, model: Path, tmp_path: Path) -> None:
    scene = open_scene("kaolin", views, holdout=6)
    given = given_mesh(model, scene)
    assert torch.equal(given.vertices, load_mesh(model).vertices)
    assert seen_share(drop_unused(given.transformed(scene.normalization.apply)), scene) == 1
    far = replace(load_mesh(model), vertices=load_mesh(model).vertices + 5000)
    (elsewhere,) = save_mesh(far, tmp_path / "far", ("ply",))
    empty = save_mesh(Mesh(torch.rand(3, 3), torch.zeros(0, 3, dtype=torch.int64)), tmp_path / "none", ("ply",))[0]
    for path, says in ((elsewhere, "of its vertices are in a photo"), (empty, "face"), (tmp_path / "x.obj", "no such")):
        with pytest.raises(SceneError, match=says):
            pipeline.run(options.compose("train", words(views, tmp_path / "runs", f"mesh={path}")))
    mesh = f"mesh={model}"
    for more, says in (
        ((mesh, "stages=[export]"), "mesh: add refine to stages, .* or texture"),
        ((mesh, "video.source=field"), "there is no field"),
        ((mesh, "stages=[refine,texture]"), r"stages=\[refine,texture\]: expected refine, .* or texture"),
        (("stages=[texture]",), "resume=OUTPUT/SCENE/DATE_TIME, or a mesh to texture: mesh=FILE"),
        (("stages=[field,texture]",), "stages: texture needs the mesh that extract makes; add extract"),
    ):
        with pytest.raises(ConfigError, match=says):
            pipeline.run(options.compose("train", words(views, tmp_path / "runs", *more)))
    assert not (tmp_path / "runs").exists()  # nothing half written
