"""`eval` measures a run that was trained small at the photos' own size, against a ball that is known."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from nerfkit import compare_command, options, report_command
from nerfkit.errors import CheckpointError, ConfigError, SceneError
from nerfkit.eval_command import main as evaluate
from nerfkit.evaluation import Protocol, evaluated, spread
from nerfkit.fit.build import load_scene, settled
from nerfkit.fit.evaluate import evaluate_field
from nerfkit.fit.perceptual import lpips
from nerfkit.fit.surface_error import axis_of, errors, of_mesh
from nerfkit.fit.true_surface import UNKNOWN, true_surfaces
from nerfkit.mesh.files.io import save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.results import keep_refined, load_fit, new_fit
from nerfkit.resume import load
from nerfkit.runs.folder import Run
from nerfkit.scenes import open_scene
from nerfkit.scenes.record import record as record_scene
from tests.fit.dtu_files import scan_of, write_scan
from tests.scenes.builders import Sphere, ring, write_blender
from tests.test_pipeline import TINY

pytestmark = pytest.mark.slow  # two seconds or more for each of the commands

SIZE, SMALL = (48, 64), 32  # height and width of the photos; longer side in training
BALL = Sphere()


def ball() -> Mesh:
    """The photos' ball, in their units."""
    mesh = icosphere(4, 1.0)
    vertices = mesh.vertices * BALL.radius + torch.tensor(BALL.center)
    return replace(mesh, vertices=vertices, colors=0.5 + 0.4 * mesh.vertices)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a field that has learned nothing and a perfect mesh."""
    folder = tmp_path_factory.mktemp("measured")
    photos = write_blender(folder / "ball", ring(6, SIZE), ring(3, SIZE, distance=50.0))
    save_mesh(ball(), photos / "truth", ("ply",))
    words = [*TINY[2:], "scene=blender", f"scene.root={photos}", f"scene.resolution={SMALL}", "device=cpu"]
    config = options.compose("train", words)
    scene = load_scene(config)
    config.field, _ = settled(config.field, config.sampler, scene)
    run = Run.create(folder, "ball", config, words)
    record_scene(scene, run.folder)
    new_fit(config, scene, run, torch.device("cpu")).save()
    keep_refined(ball(), None, run, scene)
    run.add_fingerprints("refine", {"mesh/refined.glb": "aa"})
    return run


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "eval.json").read_text())


def test_as_it_was_trained_is_what_the_run_measures(record: Run) -> None:
    found = evaluated(record, Protocol(), ("field",))
    config = load(record.folder)
    scene = load_scene(config)
    fit = load_fit(config, scene, record, torch.device("cpu"))
    expected = evaluate_field(fit.average, scene)
    assert {key: found["field"][key] for key in expected if key != "views"} == {
        key: value for key, value in expected.items() if key != "views"
    }
    assert found["about"].startswith("3 views (test), 32x24 pixels")


def test_the_protocol_at_the_photos_own_size(
    record: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate([str(record.folder), "--size", "64x48", "--background", "white", "--pictures", str(tmp_path)])
    found, said = read(record.folder), capsys.readouterr().out
    mesh = found["mesh"]
    assert found["fingerprints"] == {"field": {}, "refine": {"mesh/refined.glb": "aa"}}
    assert [row["view"] for row in mesh["views"]] == [6, 7, 8] and found["protocol"]["background"] == "white"
    assert mesh["psnr"] > 40 and mesh["mask_iou"] > 0.99 and mesh["chamfer"] < 1e-3
    assert mesh["depth_error"] < 0.02 and mesh["depth_error_share"] < 4e-4 and mesh["depth_missing"] == 0
    assert mesh["angle_error"] < 0.5 and mesh["spread"] == spread(mesh["views"])
    assert iio.imread(tmp_path / "mesh_006.png").shape == (48, 192, 3)
    assert (iio.imread(tmp_path / "mesh_006.png")[0, 0] == 255).all()
    assert f"{mesh['psnr']:.2f}" in said and "lpips: not measured: " in said
    compare_command.main([str(record.folder)])
    said = capsys.readouterr().out
    assert f"{mesh['psnr']:.2f}" in said and found["about"] in said
    report_command.main([str(record.folder)])
    page = (record.folder / "report.html").read_text(encoding="utf-8")
    assert f"<td>{mesh['psnr']:.2f}</td>" in page and found["about"] in page


def test_the_mesh_against_a_scan_of_dtu(record: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A scan 0.4 mm around the ball, whose units are millimeters; the numbers stand beside those of the pictures."""
    away = torch.randn(40_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = torch.tensor(BALL.center) + (BALL.radius + 0.4) * away / away.norm(dim=-1, keepdim=True)
    write_scan(tmp_path, scan_of(points.numpy()), number=7)
    scan = str(tmp_path / "Points" / "stl" / "stl007_total.ply")
    evaluate([str(record.folder), "--protocol", "dtu", "--truth", scan, "--source", "mesh", "--every", "3"])
    mesh, said = read(record.folder)["mesh"], capsys.readouterr().out
    assert mesh["dtu_accuracy"] == pytest.approx(0.41, abs=0.02) and mesh["dtu_f_score"] == 1
    assert mesh["dtu_completeness"] == pytest.approx(0.41, abs=0.02) and mesh["psnr"] > 40
    assert f"{mesh['dtu_overall']:.3f}" in said and "DTU overall, mm" in said


def test_depth_files_of_nerf_synthetic(tmp_path: Path) -> None:
    """Files of depth with the ball's own: they and the true mesh agree as far as 8 bits go."""
    near = replace(BALL, center=(0.0, 0.0, 0.0), radius=1.0)
    cameras = ring(3, SIZE, near, distance=5.0)
    write_blender(tmp_path / "near", ring(6, SIZE, near, distance=6.0), cameras, near)
    own = open_scene("blender", tmp_path / "near")
    mesh = replace(ball(), vertices=icosphere(4, 1.0).vertices).transformed(own.normalization.apply)
    assert true_surfaces(own, own.test) == (None, UNKNOWN)
    for view, frame in zip(own.test, range(3), strict=True):
        z = of_mesh(mesh, own.cameras, view).depth / own.normalization.scale
        distance = (z / axis_of(own.cameras, view)).numpy()
        value = np.where(distance > 0, np.rint(255 * (1 - distance / 8)), 0).astype(np.uint8)
        iio.imwrite(tmp_path / f"near/test/r_{frame}_depth_0186.png", np.stack([value] * 4, -1))
    read, why = true_surfaces(own, own.test)
    assert read is not None and "positive parts" in why
    row = errors(of_mesh(mesh, own.cameras, 7), read(7), own.mask(7) == 1, own.normalization.scale)
    assert 1e-3 < row["depth_error"] < 0.5 * 8 / 255 and "angle_error" not in row
    assert not read(0).depth.any()
    small = open_scene("blender", tmp_path / "near", resolution=32)
    assert true_surfaces(small, small.test) == (None, "files of depth are 64x48, pictures 32x24")
    value[0, 0] = 9
    iio.imwrite(tmp_path / "near/test/r_0_depth_0186.png", np.stack([value, value, value, value * 0 + 255], -1))
    assert "channels differ" in true_surfaces(own, own.test)[1]


def test_what_cannot_be_measured(record: Run, tmp_path: Path) -> None:
    other = Run(Path(shutil.copytree(record.folder, tmp_path / "ball" / "other")))
    shutil.rmtree(other.folder / "mesh")
    assert "refine or export" in evaluated(other, Protocol(split="train", every=5))["not_measured"]["mesh"]
    with pytest.raises(CheckpointError, match="it has no mesh"):
        evaluate([str(other.folder), "--source", "mesh"])
    shutil.rmtree(other.folder / "checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint of a field"):
        evaluate([str(other.folder), "--source", "field"])
    for words, message in {
        "--size 800": "expected native or WIDTHxHEIGHT",
        "--every 0": "expected a whole number",
        f"--lpips {record.folder / 'config.yaml'}": "config.yaml: cannot be read",
        "--checkpoint best --source mesh": "expected --source field or both",
        "--protocol dtu": "which needs it: the folder with DTU's Points and ObsMask",
        f"--truth {tmp_path}": "expected with --protocol dtu alone",
        "--protocol nerf-synthetic --split all": "says that already",
        "--protocol nerf-synthetic": "the photos are 64x48 then",
        f"--output {tmp_path}": "expected a file",
        f"--pictures {record.folder / 'config.yaml'}": "expected a folder",
    }.items():
        with pytest.raises(ConfigError, match=message):
            evaluate([str(other.folder), *words.split()])
    config = (other.folder / "config.yaml").read_text("utf-8")
    assert "poses: 'off'" in config
    (other.folder / "config.yaml").write_text(config.replace("poses: 'off'", "poses: 'on'"))
    with pytest.raises(ConfigError, match="has learned its cameras"):
        evaluate([str(other.folder), "--checkpoint", "best"])
    (other.folder / "config.yaml").write_text(config.replace(f"root: {record.folder.parents[1]}", "root: /nowhere"))
    with pytest.raises(SceneError, match="no such file or folder"):
        evaluate([str(other.folder)])


def test_lpips_is_measured_where_its_package_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stub(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert net == "vgg"

        def forward(self, a: torch.Tensor, b: torch.Tensor, normalize: bool) -> torch.Tensor:
            assert normalize and a.shape == (1, 3, 5, 4)
            return (a - b).abs().amax().view(1, 1, 1, 1)

    weights = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url="https://nowhere.example/models/vgg16-0.pth"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setitem(sys.modules, "lpips", None)
    assert lpips() == (None, "the package lpips is not installed (pip install lpips); or --lpips FILE")
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=Stub))
    monkeypatch.setitem(sys.modules, "torchvision.models", SimpleNamespace(VGG16_Weights=weights))
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=sys.modules["torchvision.models"]))
    distance, why = lpips()
    assert distance is None and "vgg16-0.pth" in why
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-0.pth").touch()
    distance, why = lpips()
    assert distance is not None and why == ""
    one = torch.full((5, 4, 3), 0.501)
    assert distance(one, one + 1e-4) == 0  # as 8-bit files
    assert distance(one, one + 0.2) == pytest.approx(0.2, abs=1 / 255)
