"""Every recipe runs at its smallest, writes what it says, and improves what it fits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfkit import options, pipeline, recipes
from nerfkit.config import TrainOptions
from nerfkit.errors import ConfigError, SceneError
from nerfkit.mesh.files.io import load_mesh
from nerfkit.recipes import nmr
from nerfkit.runs.audience import Audience
from nerfkit.runs.files import write_png
from nerfkit.runs.folder import find
from tests.mesh.test_gltf import document
from tests.scenes.builders import ring, write_kaolin

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps

SMALL = {
    "dibr_sphere": ["recipe.subdivisions=1", "recipe.texture=16", "recipe.steps=20"],
    "mesh_deform": ["recipe.subdivisions=1", "recipe.points=200", "recipe.steps=30"],
    "mesh_texture": ["recipe.subdivisions=2", "recipe.steps=20"],
    "nmr_draw": ["recipe.frames=3", "recipe.size=32"],
    "nmr_vertices": ["recipe.size=32", "recipe.steps=8", "recipe.flatness=0.001", "recipe.area=0.001"],
    "nmr_textures": ["recipe.size=32", "recipe.texture=64", "recipe.steps=8"],
    "nmr_camera": ["recipe.size=48", "recipe.steps=6", "recipe.start=[1.0,1.5,4.0]"],
    "silhouette_fit": ["recipe.subdivisions=1", "recipe.steps=15", "recipe.variants=[none,large_steps]"],
    "visibility_study": ["recipe.subdivisions=[1]", "recipe.steps=3", "recipe.size=24", "recipe.views=2"],
}


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaolin(tmp_path_factory.mktemp("sphere") / "views", ring(8))


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nerfkit.mesh.files.io import save_mesh
    from nerfkit.mesh.shapes import icosphere

    ball = icosphere(2)
    bent = ball.vertices * (1 + 0.3 * torch.sin(3 * ball.vertices[:, :1]))
    return save_mesh(
        ball.without_appearance().transformed(lambda _: bent), tmp_path_factory.mktemp("m") / "bent", ["obj"]
    )[0]


def run(name: str, output: Path, *words: str) -> tuple[Path, dict]:
    config = options.compose("train", [f"experiment={name}", f"output={output}", "threads=2", *words])
    folder = pipeline.run(config)
    return folder, json.loads((folder / "metrics.json").read_text())


class Watched:
    """A config that remembers which of its keys were looked at."""

    def __init__(self, config: TrainOptions) -> None:
        self.config, self.seen = config, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.seen.add(name)
        return getattr(self.config, name)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_recipe_runs(name: str, tmp_path: Path, views: Path, shape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at what it says that it uses, no more and no less, and exports as the export stage does."""
    shown: dict[str, Any] = {}
    monkeypatch.setattr(Audience, "shows", lambda _, what, made, seen_from=None: shown.update({what: made}))
    made = recipes.load().find(name)
    assert issubclass(made, recipes.RecipeOptions) and made.uses is not None
    plain, looks = made.run, []

    def watched(o: Any, config: TrainOptions, record: Any, device: Any) -> None:
        looks.append(Watched(config))
        plain(o, looks[0], record, device)

    monkeypatch.setattr(made, "run", watched)
    words = [*SMALL[name], *([f"recipe.mesh={shape}"] if hasattr(made, "mesh") else [])]
    words += ["timelapse.snapshots=2", "timelapse.formats=[ply,video]"] if "timelapse" in made.uses else []
    exports, photographed = "export" in made.uses, "scene" in made.uses
    if photographed:
        words += ["scene=kaolin", f"scene.root={views}", "scene.holdout=4", "scene.length=[[0,0,0],[0,0,2],1]"]
        words += ["export.units=mm", "export.cameras=[transforms]", "export.glb_cameras=[photos,path]"]
    words += ["export.up=z", "export.faces=[12]", "export.points=9", "export.formats=[glb,ply]"] if exports else []
    folder, metrics = run(name, tmp_path, *words)
    assert looks[0].seen - {*recipes.ALWAYS, "recipe"} == {*made.uses}
    assert folder.parent.name == name
    assert name in metrics
    assert metrics["stages"][name]["seconds"] > 0
    assert name == "nmr_draw" or len(shown["mesh"]().faces)  # to those who look
    assert ("export" in metrics) == exports
    if exports:
        stems = ["none", "large_steps"] if name == "silhouette_fit" else ["mesh"]
        points = ["points.ply"] if stems == ["mesh"] else [f"{stem}_points.ply" for stem in stems]
        names = {f"{stem}{level}.{end}" for stem in stems for level in ("", "_12") for end in ("glb", "ply")}
        assert {path.name for path in (folder / "mesh").iterdir()} == names | {*points}
        for stem in stems:
            glb, ply = (load_mesh(folder / "mesh" / f"{stem}.{end}") for end in ("glb", "ply"))
            x, y, z = (glb.positions[glb.faces] * (1000 if photographed else 1)).unbind(-1)
            expected = torch.stack([x, -z, y], -1)
            assert len(ply.faces) and (ply.positions[ply.faces] - expected).abs().max() < 1e-4 * expected.abs().max()
            assert len(load_mesh(folder / "mesh" / f"{stem}_12.ply").faces) <= 12
            nodes = document(folder / "mesh" / f"{stem}.glb")["nodes"]
            assert sum("camera" in node for node in nodes) == (9 if photographed else 0)
        assert (folder / "cameras" / "transforms").exists() == photographed
        assert len(list((folder / "timelapse").rglob("mesh_*.ply"))) >= 3
        assert list((folder / "timelapse").rglob("mesh.mp4"))


def test_every_recipe_is_tested_and_has_its_experiment() -> None:
    assert set(SMALL) == set(recipes.load())
    for name, made in recipes.RECIPES.items():
        assert options.compose("train", [f"experiment={name}"]).recipe == made()


def test_the_sphere_comes_closer_to_the_photos(tmp_path: Path, views: Path) -> None:
    words = ["scene=kaolin", f"scene.root={views}", "scene.holdout=4", *SMALL["dibr_sphere"], "recipe.radius=0.3"]
    words += ["recipe.vertex_rate=0.005"]
    before = run("dibr_sphere", tmp_path, *words, "budget=0.05")[1]["dibr_sphere"]
    after = run("dibr_sphere", tmp_path, *words, "recipe.steps=60")[1]["dibr_sphere"]
    assert after["mask_iou"] > before["mask_iou"] + 0.05
    assert after["image_l1"] < before["image_l1"]


def test_the_camera_is_found(tmp_path: Path, shape: Path) -> None:
    words = [f"recipe.mesh={shape}", "recipe.size=48", "recipe.start=[0.5,1.8,2.6]", "recipe.enough=1.0"]
    metrics = run("nmr_camera", tmp_path, *words, "recipe.steps=120", "recipe.rate=0.03")[1]["nmr_camera"]
    assert metrics["position_error"] < 0.2
    assert metrics["silhouette_error"] < 5


@pytest.mark.parametrize("name", ["nmr_vertices", "nmr_camera"])
def test_a_silhouette_is_one_however_its_picture_says_so(name: str, tmp_path: Path, shape: Path) -> None:
    inside = np.zeros((32, 32, 1), np.uint8)
    inside[8:24, 10:22] = 255
    write_png(tmp_path / "white_on_black.png", inside.repeat(3, -1))
    write_png(tmp_path / "black_cut_out.png", np.concatenate([inside * 0, inside * 0, inside * 0, inside], -1))
    words = [f"recipe.mesh={shape}", "recipe.size=32", "recipe.steps=2"]
    errors = [
        run(name, tmp_path / "out", *words, f"recipe.target={path}")[1][name]["silhouette_error"]
        for path in sorted(tmp_path.glob("*.png"))
    ]
    assert errors[0] == pytest.approx(errors[1])


def test_the_camera_keeps_its_best_place(tmp_path: Path, shape: Path) -> None:
    """It starts beside the true place, and Adam's first step leads some two units past it."""
    true = nmr.ring(24, 48, nmr.DISTANCE, 30.0, nmr.VIEW_ANGLE).positions[23]
    start = ",".join(f"{value:.6f}" for value in (true + 0.01).tolist())
    words = [f"recipe.mesh={shape}", "recipe.size=48", f"recipe.start=[{start}]", "recipe.enough=0"]
    found = run("nmr_camera", tmp_path, *words, "recipe.steps=3", "recipe.rate=1.0")[1]["nmr_camera"]
    assert found["steps"] == 3
    assert found["position_error"] < 0.02
    assert found["silhouette_error"] < 0.5


def test_bad_words(tmp_path: Path, views: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe=nmr_sing: unknown recipe. Known: "):
        recipes.load().find("nmr_sing")
    with pytest.raises(ConfigError, match="a recipe is short and cannot be resumed"):
        run("nmr_draw", tmp_path, "resume=somewhere")
    with pytest.raises(SceneError, match="no such mesh file"):
        run("mesh_deform", tmp_path, "recipe.mesh=nowhere.obj")
    with pytest.raises(SceneError, match="no such picture"):
        run("nmr_vertices", tmp_path, "recipe.target=nowhere.png")
    line = tmp_path / "line.obj"
    line.write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    for name in ("mesh_deform", "nmr_vertices", "nmr_textures"):
        with pytest.raises(SceneError, match=r"line\.obj: no face has an area"):
            run(name, tmp_path, f"recipe.mesh={line}")
    line.unlink()
    (tmp_path / "none.png").write_text("not a picture")
    with pytest.raises(SceneError, match=r"none\.png: cannot be decoded"):
        run("nmr_vertices", tmp_path, f"recipe.target={tmp_path / 'none.png'}")
    (tmp_path / "none.png").unlink()
    with pytest.raises(ConfigError, match=r"recipe\.variants=\[smoth\]: unknown value smoth; did you mean smooth"):
        run("silhouette_fit", tmp_path, "scene=kaolin", f"scene.root={views}", "recipe.variants=[smoth]")
    assert not list(tmp_path.iterdir())


def test_bad_input_leaves_earlier_runs_alone(tmp_path: Path, shape: Path) -> None:
    folder, _ = run("nmr_draw", tmp_path, f"recipe.mesh={shape}", *SMALL["nmr_draw"])
    with pytest.raises(SceneError, match="no such mesh file"):
        run("nmr_draw", tmp_path, "recipe.mesh=nowhere.obj")
    assert find(tmp_path / "nmr_draw" / "latest") == folder.resolve()


@pytest.mark.parametrize("name", ["nmr_vertices", "nmr_textures"])
def test_a_mesh_comes_back_unmirrored(name: str, tmp_path: Path) -> None:
    from nerfkit.mesh.files.io import save_mesh
    from nerfkit.mesh.mesh import Mesh, signed_volume

    corners = torch.tensor([[-1.0, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 0.5]])
    given = Mesh(corners, torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))
    path = save_mesh(given, tmp_path / "given", ["obj"])[0]
    words = [f"recipe.mesh={path}", *SMALL[name][:2], "recipe.steps=1", "recipe.rate=1e-9"]
    folder, _ = run(name, tmp_path / "runs", *words)
    found = load_mesh(folder / "mesh" / "mesh.ply")
    assert signed_volume(found.vertices, found.faces) > 0
    places = {tuple(round(x, 3) for x in vertex) for vertex in found.vertices.tolist()}
    assert places == {tuple(round(x, 3) for x in (v + torch.tensor([0, 0, 0.25])).tolist()) for v in corners}
