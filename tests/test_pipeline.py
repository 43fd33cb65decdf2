"""Whole runs: every stage on a tiny sphere, resuming, rendering; and the smoke preset on the project's clock."""

import json
import shutil
import sys
from pathlib import Path

import imageio.v3 as iio
import pytest
import torch
import trimesh
from omegaconf import OmegaConf

from nerfkit import options, pipeline, resume
from nerfkit.config import STAGES
from nerfkit.errors import CheckpointError, ConfigError, SceneError
from nerfkit.fields import FIELDS
from nerfkit.fit.build import build_model, load_scene
from nerfkit.mesh.files.io import load_mesh
from nerfkit.results import load_fit
from nerfkit.runs import checkpoints
from nerfkit.runs.curves import scalars
from nerfkit.runs.folder import Run, find
from nerfkit.runs.tensors import DTYPES
from nerfkit.scenes import open_scene
from nerfkit.scenes.record import recorded
from nerfkit.scenes.scene import Scene
from nerfkit.stages import Stages
from nerfkit.volume import SAMPLERS
from tests.scenes.builders import Sphere, ring, write_kaolin
from tests.scenes.test_develop import write

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps

TINY = [
    *("scene=kaolin", "scene.holdout=6", "field.width=16", "field.depth=2", "field.octaves=3"),
    *("sampler.resolution=32", "sampler.step_size=0.04", "sampler.update_every=4", "sampler.warmup=20"),
    *("trainer.samples=4096", "trainer.warmup=10", "trainer.max_steps=150"),
    *("extract.resolution=40", "extract.faces=600", "refine.steps=12", "refine.views_per_step=2"),
    *("refine.specular_steps=10", "timelapse.snapshots=2", "timelapse.formats=[ply,video]", "refine.depth_weight=0.02"),
    *("video.frames=3", "video.resolution=32"),
]


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaolin(tmp_path_factory.mktemp("data") / "sphere", ring(12, size=(40, 48)))


@pytest.fixture(scope="module")
def run_folder(views: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("outputs")
    return pipeline.run(options.compose("train", [*TINY, f"scene.root={views}", f"output={output}"]))


@pytest.mark.slow
def test_a_run_leaves_what_the_contract_promises(run_folder: Path) -> None:
    for name in ("config.yaml", "overrides.yaml", "log.txt"):
        assert (run_folder / name).is_file(), name
    for name in ("coarse.ply", "refined.glb", "mesh.mtl", "mesh.png"):
        assert (run_folder / "mesh" / name).is_file(), name
    assert find(run_folder.parent / "latest") == run_folder.resolve()
    assert len(list(run_folder.glob("events.out.tfevents.*"))) == 1
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert {"psnr", "ssim", "views", "steps", "seconds", "samples"} <= set(metrics["field"])
    assert {"psnr", "ssim", "mask_iou", "vertices", "faces", "watertight", "coarse"} <= set(metrics["mesh"])
    assert "chamfer" not in metrics["mesh"]  # nobody knows the truth of this scene
    assert 0 <= metrics["mesh"]["unseen_texels"] < 1
    assert metrics["mesh"]["genus"] == metrics["mesh"]["coarse"]["genus"] == 0
    assert metrics["mesh"]["self_intersections"] <= metrics["mesh"]["coarse"]["self_intersections"]
    assert (run_folder / "mesh" / "specular.npz").exists() == metrics["mesh"]["specular"]["kept"]
    assert set(metrics["stages"]) == set(STAGES) - {"texture"}
    assert all(stage["peak_memory_bytes"] < 4e9 for stage in metrics["stages"].values())
    assert "held-out views" in (run_folder / "log.txt").read_text()
    assert scalars(run_folder)["Final/mesh_psnr"] == [(0, pytest.approx(metrics["mesh"]["psnr"]))]


def test_the_weights_make_the_same_model_elsewhere(run_folder: Path, views: Path) -> None:
    """By the file alone, whose format is plain enough to read here."""
    data = (run_folder / "field.safetensors").read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header, dtypes = json.loads(data[8:end]), {name: dtype for dtype, name in DTYPES.items()}
    about = header.pop("__metadata__")
    assert (about["version"], end % 8) == ("1", 0)
    field, sampler = (json.loads(about[key]) for key in ("field", "sampler"))
    options_of = [registry[given.pop("name")] for registry, given in ((FIELDS, field), (SAMPLERS, sampler))]
    scene = open_scene("kaolin", str(views), holdout=6)
    model = build_model(scene, options_of[0](**field), options_of[1](**sampler), seed=7)
    tensors = {}
    for name, tensor in header.items():
        begin, stop = (end + offset for offset in tensor["data_offsets"])
        tensors[name] = torch.frombuffer(bytearray(data[begin:stop]), dtype=dtypes[tensor["dtype"]])
        tensors[name] = tensors[name].view(tensor["shape"])
    model.load_state_dict(tensors)
    config = resume.load(run_folder)
    fit = load_fit(config, scene, Run(run_folder), torch.device("cpu"))
    pictures = [made.render_view(scene.cameras, 0).over(scene.background) for made in (model, fit.average)]
    assert torch.equal(*pictures) and pictures[0].max() > 0.2
    assert json.loads(about["normalization"])["scale"] == scene.normalization.scale


def test_safetensors_reads_the_weights(run_folder: Path) -> None:
    loader = pytest.importorskip("safetensors.torch")
    found = loader.load_file(run_folder / "field.safetensors")
    saved = checkpoints.load_latest(run_folder)[1]
    assert saved["average"] and all(torch.equal(found[name], value) for name, value in saved["average"].items())


def test_a_time_that_steps_end_before_is_noted(views: Path, tmp_path: Path) -> None:
    words = ["scene=kaolin", f"scene.root={views}", "stages=[field]", "trainer.max_seconds=60", f"output={tmp_path}"]
    folder = pipeline.run(options.compose("train", [*words, "trainer.max_steps=2"]))
    assert "note: trainer.max_steps=2 was reached before trainer.max_seconds=60" in (folder / "log.txt").read_text()


@pytest.mark.slow
def test_meshes_are_in_the_scene_s_own_units(run_folder: Path) -> None:
    sphere = Sphere()
    for name in ("mesh.glb", "mesh.obj", "mesh.ply", "coarse.ply", "refined.glb"):
        mesh = trimesh.load(run_folder / "mesh" / name, force="mesh")
        assert mesh.bounds.mean(0) == pytest.approx(sphere.center, abs=0.1 * sphere.radius), name
        assert mesh.extents / 2 == pytest.approx([sphere.radius] * 3, rel=0.15), name


@pytest.mark.slow
def test_the_timelapse_shows_the_refinement(run_folder: Path) -> None:
    folder = run_folder / "timelapse"
    meshes = sorted(folder.glob("mesh_*.ply"))
    assert len(meshes) >= 3 and len(iio.imread(folder / "mesh.mp4")) == len(meshes)
    first, last = (trimesh.load(path, force="mesh") for path in (meshes[0], meshes[-1]))
    assert first.bounds.mean(0) == pytest.approx(Sphere().center, abs=0.1 * Sphere().radius)
    assert not (last.bounds == first.bounds).all()


@pytest.mark.slow
def test_video_has_its_frames(run_folder: Path) -> None:
    (path,) = (run_folder / "video").glob("orbit_mesh_*_rgb.mp4")
    video = iio.imread(path)
    assert len(video) == 3 and video.max() > 60


@pytest.mark.slow
def test_render_field_and_mesh_without_the_photos(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(config: object) -> None:
        raise SceneError("the photos are no longer there")

    monkeypatch.setattr(pipeline, "load_scene", moved)
    for source in ("field", "mesh"):
        words = [
            f"run={run_folder}",
            f"source={source}",
            "frames=2",
            "resolution=24",
            "channels=[rgb,depth,normal,alpha]",
        ]
        made = pipeline.render(options.compose("render", [*words, "format=[gif]", f"output={tmp_path}"]))
        assert [path.name for path in made] == [
            f"orbit_{source}_frames2_resolution24_{c}.gif" for c in ("rgb", "depth", "normal", "alpha")
        ]
        for path in made:
            assert iio.imread(path).max() > 60, path


@pytest.mark.slow
def test_a_finished_run_can_go_on(run_folder: Path) -> None:
    before = checkpoints.steps(run_folder)[0]
    words = [f"resume={run_folder}", f"trainer.max_steps={before + 10}", "stages=[field]"]
    pipeline.run(resume.resumed(run_folder, words))
    assert checkpoints.steps(run_folder)[0] == before + 10
    assert json.loads((run_folder / "metrics.json").read_text())["field"]["steps"] == before + 10


def test_later_stages_see_the_refined_cameras(views: Path, tmp_path: Path) -> None:
    words = [*TINY, "trainer.poses=on", "trainer.max_steps=30", "trainer.preview_every=1", "stages=[field]"]
    folder = pipeline.run(options.compose("train", [*words, f"scene.root={views}", f"output={tmp_path}"]))
    kept, given = recorded(folder), load_scene(resume.load(folder))
    assert kept is not None
    assert kept.cameras_refined
    assert not torch.equal(kept.cameras.camera_to_world, given.cameras.camera_to_world)
    assert json.loads((folder / "metrics.json").read_text())["cameras"]["turned_degrees"] > 0
    pipeline.run(resume.resumed(folder, [f"resume={folder}", "stages=[extract]"]))
    assert torch.equal(recorded(folder).cameras.camera_to_world, kept.cameras.camera_to_world)  # type: ignore[union-attr]
    _exports_hold(folder, kept)
    pipeline.run(resume.resumed(folder, [f"resume={folder}", "stages=[field]", "trainer.max_steps=32"]))
    after = recorded(folder)
    assert after is not None
    assert (after.cameras.camera_to_world - kept.cameras.camera_to_world).abs().max() < 0.05  # went on from there


def _exports_hold(folder: Path, kept: Scene) -> None:
    """Whether cameras that a run exports are those that it ``kept``, in the scene's own units."""
    words = [f"resume={folder}", "stages=[export]", "export.formats=null", "export.cameras=[transforms,colmap]"]
    pipeline.run(resume.resumed(folder, words))
    wanted = kept.normalization.invert(kept.cameras.positions.double())
    for name in ("transforms", "colmap"):
        found = open_scene("auto", folder / "cameras" / name)
        own = found.normalization.invert(found.cameras.positions.double())
        order = [found.provenance["views"].index(view) for view in sorted(found.provenance["views"])]
        torch.testing.assert_close(own[order], wanted, atol=1e-3, rtol=0)  # of cameras 60 units away
        turned = found.cameras.camera_to_world[order][:, :, :3] - kept.cameras.camera_to_world[:, :, :3]
        assert turned.abs().max() < 1e-5


@pytest.mark.slow
def test_later_stages_alone(run_folder: Path) -> None:
    words = [f"resume={run_folder}", "stages=[extract,export]", "export.formats=[ply]", "extract.faces=300"]
    pipeline.run(resume.resumed(run_folder, words))
    assert len(trimesh.load(run_folder / "mesh" / "mesh.ply", force="mesh").faces) <= 300
    assert not (run_folder / "mesh" / "refined.glb").exists()  # of another coarse mesh


def exported(folder: Path) -> set[str]:
    return {path.name for path in (folder / "mesh").iterdir() if path.name.startswith(("mesh", "points"))}


@pytest.mark.slow
def test_files_of_an_earlier_mesh_do_not_stay(run_folder: Path) -> None:
    mesh = run_folder / "mesh"
    for name in (
        "mesh.mtl",
        "mesh.png",
        "mesh.jpg",
        "mesh.stl",
        "mesh_200.glb",
        "mesh_roughness.png",
        "points.ply",
        "mesh.blend",
    ):
        (mesh / name).write_text("an earlier one")
    words = [f"resume={run_folder}", "stages=[extract,export]", "export.formats=[ply]"]
    pipeline.run(resume.resumed(run_folder, words))
    assert exported(run_folder) == {"mesh.ply", "mesh.blend"}  # the user's own file is nobody else's to remove

    words = [f"resume={run_folder}", "stages=[export]", "export.formats=[obj]"]
    pipeline.run(resume.resumed(run_folder, words))  # the same mesh once more
    assert exported(run_folder) == {"mesh.ply", "mesh.obj", "mesh.blend"}
    (mesh / "mesh.blend").unlink()


def test_cameras_of_a_run_are_a_scene(run_folder: Path) -> None:
    words = [f"resume={run_folder}", "stages=[export]", "export.formats=[glb]", "export.cameras=[transforms,colmap]"]
    pipeline.run(resume.resumed(run_folder, words))
    assert {path.name for path in (run_folder / "cameras").iterdir()} == {"transforms", "colmap"}
    for name in ("transforms", "colmap"):
        scene = open_scene("auto", run_folder / "cameras" / name)
        assert scene.provenance["format"] == name and len(scene.images) == 12 and scene.has_masks


def test_a_length_makes_the_files_metric(run_folder: Path) -> None:
    before = load_mesh(run_folder / "mesh" / "mesh.glb").vertices
    words = [f"resume={run_folder}", "stages=[export]", "scene.length=[[0,0,0],[0,0,60],30.0]"]
    pipeline.run(resume.resumed(run_folder, words))
    torch.testing.assert_close(load_mesh(run_folder / "mesh" / "mesh.glb").vertices, before / 2, rtol=1e-5, atol=1e-5)
    assert json.loads((run_folder / "metrics.json").read_text())["export"] == {"scale": 0.5, "meters_per_unit": 0.5}
    assert "1 unit = 0.5 m" in (run_folder / "log.txt").read_text()
    pipeline.run(resume.resumed(run_folder, [f"resume={run_folder}", "stages=[export]", "scene.length=null"]))
    torch.testing.assert_close(load_mesh(run_folder / "mesh" / "mesh.glb").vertices, before, rtol=1e-5, atol=1e-5)
    assert json.loads((run_folder / "metrics.json").read_text())["export"] == {"scale": 1.0, "meters_per_unit": None}


def test_a_finished_run_is_cropped_without_new_training(run_folder: Path, tmp_path: Path) -> None:
    """Another region has no field, and the message says what crops the mesh; that crops it, here also to be refined."""
    folder = tmp_path / "cropped"
    shutil.copytree(run_folder, folder)
    steps, before = checkpoints.steps(folder)[0], load_mesh(folder / "mesh" / "mesh.glb").vertices
    stages = "stages=[extract,refine,export]"
    for words in (["scene.center=[3,3,5]", "scene.radius=6"], ["scene.box=[[-9,-2,-9],[15,10,17]]"]):
        kept = (folder / "config.yaml").read_bytes()
        with pytest.raises(CheckpointError, match=r"another region.*extract\.box=\[\[x,y,z\],\[x,y,z\]\]"):
            pipeline.run(resume.resumed(folder, [f"resume={folder}", stages, *words]))
        assert (folder / "config.yaml").read_bytes() == kept
    with pytest.raises(ConfigError, match=r"extract\.box=.*outside of the region"):
        pipeline.run(resume.resumed(folder, [f"resume={folder}", stages, "extract.box=[[90,0,0],[99,1,1]]"]))

    words = ["extract.box=[[-20,-2,-20],[20,20,20]]", "export.formats=[glb,stl]"]  # the sphere's upper half
    pipeline.run(resume.resumed(folder, [f"resume={folder}", stages, *words]))
    cropped = load_mesh(folder / "mesh" / "mesh.glb").vertices
    assert before[:, 1].min() < -10 and cropped[:, 1].max() == pytest.approx(before[:, 1].max().item(), abs=1)
    assert cropped[:, 1].min() == pytest.approx(-2, abs=1)
    found = json.loads((folder / "metrics.json").read_text())
    assert found["field"]["steps"] == steps == checkpoints.steps(folder)[0]
    assert found["mesh"]["masks"] == "field"  # those of the photos show the lower half, too
    assert found["mesh"]["watertight"]
    assert "cut off where the masks are not" in (folder / "log.txt").read_text()


def test_a_finished_run_s_coarse_mesh_gets_a_texture(run_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "sphere" / "run"))
    pipeline.run(resume.resumed(folder, [f"resume={folder}", "stages=[texture]", "export.formats=[glb]"]))
    coarse, found = (load_mesh(folder / "mesh" / name) for name in ("coarse.ply", "mesh.glb"))
    assert torch.equal(found.vertices[found.faces], coarse.vertices[coarse.faces]) and found.texture is not None
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"field", "texture", "export"} <= {*metrics["fingerprints"]} and "refine" not in metrics["fingerprints"]
    assert metrics["mesh"]["psnr"] > metrics["mesh"]["coarse"]["psnr"]


def test_cameras_of_a_run_without_a_mesh(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "field_only"
    shutil.copytree(run_folder, folder)
    shutil.rmtree(folder / "mesh")
    pipeline.run(resume.resumed(folder, [f"resume={folder}", "stages=[export]", "export.cameras=[colmap]"]))
    assert len(open_scene("auto", folder / "cameras" / "colmap").images) == 12
    assert not (folder / "mesh").exists()
    for stages, asked in (("[export,video]", ""), ("[extract,export,video]", "export.formats=null")):
        words = [f"resume={folder}", f"stages={stages}", "export.cameras=[colmap]", "video.source=mesh", asked]
        before = (folder / "log.txt").read_text()
        with pytest.raises(CheckpointError, match="has no mesh"):
            pipeline.run(resume.resumed(folder, [word for word in words if word]))
        assert (folder / "log.txt").read_text() == before, "it had begun"


def test_resume_without_a_checkpoint(tmp_path: Path) -> None:
    OmegaConf.save(options.compose("train", TINY), tmp_path / "config.yaml")
    config = options.compose("train", [*TINY, f"resume={tmp_path}"])
    with pytest.raises(CheckpointError, match="checkpoint"):
        pipeline.run(config)


@pytest.mark.parametrize(("steps", "advice"), [(0, "holds nothing to go on with"), (1, "nerfkit train resume=")])
def test_ctrl_c_says_whether_there_is_something_to_go_on_with(
    views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, steps: int, advice: str
) -> None:
    def stop(stages: Stages) -> Path:
        if steps:
            checkpoints.save(stages.record.folder, steps, {})
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["nerfkit train"])
    monkeypatch.setattr(Stages, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(options.compose("train", [*TINY, f"scene.root={views}", f"output={tmp_path}"]))
    said = capsys.readouterr().out.splitlines()[-1]
    assert advice in said and said.startswith("stopped")
    assert ("resume=" in said) == bool(steps)
    assert (find(tmp_path / "sphere" / "latest") / "log.txt").read_text().splitlines()[-1] == said


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_device_cuda_without_a_gpu() -> None:
    with pytest.raises(ConfigError, match="doctor"):
        pipeline.pick_device("cuda")


@pytest.mark.slow
def test_smoke_preset_on_the_own_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERFKIT_CACHE", str(tmp_path / "cache"))
    folder = pipeline.run(options.compose("train", ["scene=clock", "preset=smoke", f"output={tmp_path / 'out'}"]))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["mesh"]["psnr"] > metrics["mesh"]["coarse"]["psnr"]
    assert 0 < metrics["mesh"]["chamfer"] < 0.05
    assert (folder / "mesh" / "mesh.glb").is_file()


def test_photos_without_masks_in_a_photo_format(tmp_path: Path) -> None:
    """Every stage, then a picture of the run after the photos are gone: nested grids and contraction come back."""
    photos = write(tmp_path / "still")
    words = [f"scene.root={photos}" if word == "scene=kaolin" else word for word in TINY if "timelapse" not in word]
    words = [
        "scene=auto",
        *words,
        "trainer.max_steps=600",
        "scene.holdout=3",
        "extract.level=0.5",
        f"output={tmp_path / 'out'}",
    ]
    folder = pipeline.run(options.compose("train", [*words, "sampler.levels=2"]))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["scene"]["format"] == "transforms"
    assert {"psnr", "mask_iou", "coarse"} <= set(metrics["mesh"])
    assert (folder / "mesh" / "mesh.glb").is_file()
    assert "field's own opacity" in (folder / "log.txt").read_text()
    capture = json.loads((folder / "capture.json").read_text())["photos"]
    assert sum(one["held_out"] for one in capture) == metrics["scene"]["test_views"]
    assert all(one["psnr"] > 5 for one in capture) and (folder / "capture.md").is_file()
    shutil.rmtree(photos)
    (video,) = pipeline.render(
        options.compose("render", [f"run={folder}", "source=field", "frames=2", "resolution=24"])
    )
    assert video.is_file()
