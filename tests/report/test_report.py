"""``report.html``: what it says of a run, and what a browser shows of its mesh."""

import base64
import html
import io
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nerfkit import compare_command, report_command
from nerfkit.cameras import Cameras
from nerfkit.config import TrainOptions
from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.fit.evaluate import write_comparison
from nerfkit.fit.specular import Specular, SpecularSource
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.mesh.unwrap import unwrap
from nerfkit.raster.shade import MeshSource
from nerfkit.report import model
from nerfkit.report.figures import DEEP, line_chart
from nerfkit.report.page import page, write_report
from nerfkit.results import keep_refined, load_finished
from nerfkit.runs.files import write_png
from nerfkit.runs.folder import Run
from nerfkit.scenes import open_scene
from nerfkit.scenes.record import record as record_scene
from nerfkit.scenes.scene import Scene
from tests.scenes.builders import ring, write_kaolin
from tests.viewer.browser import CHROMIUM, NO_CHROMIUM

LARGER = 6  # than the photos, is the browser's picture
HANDS = """
  const found = [], canvas = viewer.canvas, picked = [];
  const turned = { ...seen, pose: [...seen.pose] }, { up, center } = viewer.scene;
  const side = unit(cross(up, [0.6, 0.5, 0.4]));
  for (const sign of [1, -1]) {
    [side, cross(up, side).map((x) => sign * x), up.map((x) => sign * x), add(center, up, 3 * sign)].forEach(
      (axis, column) => axis.forEach((x, row) => { turned.pose[4 * row + column] = x; }));
    viewer.take(turned);
    viewer._zoom(1.1);
    found.push(Math.round(dot(viewer._axes()[0], side)));
  }
  const quick = { ...viewer.scene, texture: null, strength: null };
  await Promise.all([viewer.show({ ...viewer.scene }), viewer.show(quick)]);
  found.push(Number(viewer.scene === quick));
  canvas.setPointerCapture = () => {};
  viewer.cameras_shown = true;
  viewer._pick = () => picked.push(1);
  const hand = (name, x) => canvas.dispatchEvent(new PointerEvent(name, { pointerId: 7, clientX: x, clientY: 9 }));
  const gesture = (end, ...places) => {
    picked.length = 0;
    hand("pointerdown", 9);
    places.forEach((x) => hand("pointermove", x));
    hand(end, 9);
    found.push(picked.length);
  };
  gesture("pointerup", 11, 13, 15);
  gesture("pointercancel");
  gesture("pointerup");
  const fits = (shape) => viewer._projection(...shape)[0] * seen.width / seen.fx / 2;
  viewer.taken = seen;
  found.push(Math.round(100 * fits([50, 500])), Math.round(100 * fits([seen.width, seen.height])));
"""  # at both poles right stays right; of two scenes the later one; slow drags and ends are no clicks; all of a photo
WORD = "scene.root=</script><b>"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("views")
    return open_scene("kaolin", write_kaolin(folder / "sphere", ring(6, size=(40, 48))), holdout=3)


@pytest.fixture(scope="module")
def shiny() -> tuple[Mesh, Specular]:
    ball = icosphere(2, 0.7)
    rows = torch.linspace(0, 1, 64)
    texture = torch.stack([rows[:, None].expand(64, 64), rows.expand(64, 64), torch.full((64, 64), 0.3)], -1)
    mesh = replace(unwrap(ball, 64), texture=texture)
    direction = torch.nn.functional.normalize(torch.tensor([[0.3, 0.8, 0.5], [-0.5, 0.1, 0.8]]), dim=-1)
    lobes = {
        "direction": direction,
        "sharpness": torch.tensor([20.0, 5.0]),
        "color": torch.tensor([[0.5] * 3, [0.2] * 3]),
    }
    return mesh, Specular(texture, torch.full((32, 32), 0.8), **lobes)


@pytest.fixture
def record(scene: Scene, shiny: tuple[Mesh, Specular], tmp_path: Path) -> Run:
    """A run folder with everything that a report shows."""
    run = Run.create(tmp_path, "ball", TrainOptions(), ["scene=kaolin", WORD])
    record_scene(scene, run.folder)
    keep_refined(shiny[0].transformed(scene.normalization.invert), shiny[1], run, scene)
    view = scene.test[0]
    write_comparison(
        run.folder / f"images/mesh_{view:03d}.png", torch.full((40, 48, 3), 0.5), scene.image(view), write_png
    )
    for step in range(1, 4):
        run.scalar("loss/color", 1 / step, step)
        run.scalar("held_out/psnr", 20.0 + step, step)
    run.update_metrics(
        {
            "field": {"psnr": 31.25, "steps": 400},
            "mesh": {
                "psnr": 30.5,
                "psnr_specular": 33.75,
                "coarse": {"psnr": 25.0},
                "views": [{"view": view, "psnr": 30.5}],
            },
            "stages": {"field": {"seconds": 12.5, "peak_memory_bytes": 2_000_000_000}},
        }
    )
    run.board.flush()
    return run


def said(page: str) -> Any:
    """The page's data."""
    return json.loads(page.split('type="application/json">')[1].split("</script>")[0])


def test_a_page_says_what_the_run_made(record: Run, scene: Scene, shiny: tuple[Mesh, Specular]) -> None:
    page = write_report(record).read_text(encoding="utf-8")
    for text in (
        "31.25",
        "33.75",
        "12.5",
        "2.00",
        "field, one held-out photo",
        "mesh with highlights: PSNR, dB",
        "nerfkit verify",
        html.escape(WORD),
    ):
        assert text in page
    assert WORD not in page and len(page) < 3e6
    assert not re.search(r"""(src|href)=["']?(https?:)?//|url\(|@import|fetch\(""", page)  # it needs no network
    (model,) = said(page)["models"]
    found = model["scene"]
    assert found["count"] == len(shiny[0].faces) and len(found["lobes"]["sharpness"]) == 2
    decoded = {key: np.frombuffer(base64.b64decode(found[key]), "<f4") for key in ("position", "normal", "uv")}
    assert len(decoded["position"]) == len(decoded["normal"]) == 3 * len(decoded["uv"]) // 2
    assert abs(np.linalg.norm(decoded["position"].reshape(-1, 3), axis=1).max() - 0.7) < 0.01
    assert [camera["view"] for camera in found["cameras"] if camera["held_out"]] == scene.test
    assert said(page)["sources"] == ["photo", "mesh"] and said(page)["views"][0]["said"] == ["mesh 30.50 dB"]


def test_several_runs_side_by_side(record: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Run.create(tmp_path, "ball", TrainOptions(seed=7), [])
    target = tmp_path / "both.html"
    report_command.main([str(record.folder), str(other.folder), "--output", str(target)])
    assert capsys.readouterr().out.strip() == str(target)
    again = tmp_path / "again.html"
    compare_command.main([str(record.folder), str(other.folder), "--output", str(again)])
    said_of_both = capsys.readouterr().out
    assert re.search(r"PSNR, dB +31\.25 +25\.00 +30\.50\n", said_of_both) and re.search(r"seed +0 +7\n", said_of_both)
    assert said_of_both.endswith(f"\n{again}\n") and again.read_bytes() == target.read_bytes()
    page = target.read_text(encoding="utf-8")
    assert "<td>seed</td><td>0</td><td>7</td>" in page and len(said(page)["models"]) == 1
    report_command.main([str(other.folder)])
    assert "Nothing was measured" in (other.folder / "report.html").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a file"):
        compare_command.main([str(record.folder), "--output", str(tmp_path)])
    with pytest.raises(CheckpointError, match="no such run"):
        report_command.main([str(tmp_path / "none")])


def test_views_of_two_scenes_stay_apart(record: Run, tmp_path: Path) -> None:
    other = Run.create(tmp_path, "fox", TrainOptions(), [])
    (other.folder / "images").mkdir()
    for path in (record.folder / "images").glob("mesh_*.png"):
        write_png(other.folder / "images" / path.name, np.zeros((40, 144, 3), np.uint8))
    views = said(page([record, other]))["views"]
    assert [view["title"] for view in views] == [f"{name} photo {views[0]['view']}" for name in ("ball", "fox")]
    assert [list(view["pictures"]) for view in views] == [["0", "1"], ["0", "2"]]
    assert views[0]["pictures"]["0"] != views[1]["pictures"]["0"]


def test_an_evaluation_of_an_earlier_mesh_is_not_shown(record: Run, capsys: pytest.CaptureFixture[str]) -> None:
    record.add_fingerprints("refine", {"mesh/refined.glb": "aa"})
    found = {"about": "3 views", "mesh": {"psnr": 41.5}, "fingerprints": {"refine": {"mesh/refined.glb": "aa"}}}
    (record.folder / "eval.json").write_text(json.dumps(found))
    compare_command.main([str(record.folder)])
    assert "41.50" in (said := capsys.readouterr().out) and "eval: 3 views" in said
    record.add_fingerprints("refine", {"mesh/refined.glb": "bb"})
    compare_command.main([str(record.folder)])
    for said in (capsys.readouterr().out, write_report(record).read_text(encoding="utf-8")):
        assert "41.50" not in said and "eval: eval.json is of an earlier state" in said


def test_cameras_of_held_out_pictures_are_never_thinned_out(
    record: Run, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "CAMERAS", 1)
    (shown,) = said(write_report(record).read_text(encoding="utf-8"))["models"]
    assert [camera["view"] for camera in shown["scene"]["cameras"]] == sorted([scene.train[0], scene.test[0]])


def test_odd_run_folders_are_shown_or_refused(record: Run) -> None:
    (record.folder / "images/mesh_odd.png").write_bytes(b"")
    (record.folder / "mesh/refined.glb").write_bytes(b"no mesh")
    (record.folder / "overrides.yaml").write_text("a: [")
    record.update_metrics({"field": {"psnr": "many", "views": 3}, "stages": {"field": {"seconds": "long"}}})
    assert said(write_report(record).read_text(encoding="utf-8"))["models"] == []
    for name in ("config.yaml", "overrides.yaml"):
        for content in ("[1, 2]", "a: 1"):
            (record.folder / name).write_text(content)
            write_report(record)
    metrics = record.metrics() | {"field": {"psnr": 10**400, "ssim": 0.5}}
    (record.folder / "metrics.json").write_text(json.dumps(metrics))
    assert "0.5000" in write_report(record).read_text(encoding="utf-8")
    (record.folder / "images/mesh_002.png").write_bytes(b"no picture")
    with pytest.raises(CheckpointError, match=r"mesh_002\.png: damaged"):
        write_report(record)


@pytest.mark.parametrize(
    ("line", "log", "heights"),
    [
        ([(0, 1.0), (10, 100.0)], True, 2),
        ([(0, 1.0), (10, 100.0)], False, 2),
        ([(0, 5.0), (10, 5.0)], False, 1),
        ([(0, 1.0), (5, 1e-9), (10, 1 / DEEP)], True, 2),  # too small for the axis: on its floor
    ],
)
def test_a_chart_has_its_points_within(line: list[tuple[float, float]], log: bool, heights: int) -> None:
    chart = line_chart("title & all", {"a<b": line}, log)
    points = [tuple(map(float, point.split(","))) for point in re.findall(r'points="([^"]*)"', chart)[0].split()]
    assert len(points) == len(line) and len({y for _, y in points}) == heights
    assert all(0 <= x <= 520 and 0 <= y <= 240 for x, y in points)
    assert "title &amp; all" in chart and "a&lt;b" in chart


ALL = ["field", "extract", "refine", "export", "video"]
TEXTURED = ["field", "extract", "texture"]


@pytest.mark.parametrize(
    ("words", "stages", "done", "mesh", "said"),
    [
        (["scene=kaolin", "output=there", "stages=[field]"], ["field"], [], None, "scene=kaolin 'stages=[field]'"),
        # what a resumed part has changed is recorded in the order of the options: its stages before its resume
        (["stages=[extract]", "resume=there", "refine.steps=3"], ["extract"], ALL, None, "refine.steps=3"),
        (["stages=[field]", "resume=there"], ["field"], ["field"], None, "'stages=[field]'"),
        (["stages=[field]", "resume=there"], ["field"], [], None, "'stages=[field]'"),
        (["stages=[field]", "stages=[export]", "resume=a"], ["export"], ["field"], None, "'stages=[field,export]'"),
        (["seed=1", "resume=there"], ALL, ["field"], None, "seed=1"),
        (
            ["mesh=a.glb", "stages=[texture]", "resume=there"],
            ["texture", "export"],
            [],
            "/a.glb",
            "mesh=a.glb 'stages=[texture,export]'",
        ),
        (["mesh=a.glb", "resume=there"], ["refine", "export", "video"], ["refine"], "/a.glb", "mesh=a.glb"),
        (
            ["seed=1", "stages=[texture]", "resume=a"],
            ["texture", "export"],
            ALL,
            None,
            "seed=1 'stages=[field,extract,texture,export,video]'",
        ),
        (["stages=[export]", "resume=a"], ["export"], TEXTURED, None, "'stages=[field,extract,texture,export]'"),
    ],
)
def test_what_makes_a_run_anew(
    words: list[str], stages: list[str], done: list[str], mesh: str | None, said: str, tmp_path: Path
) -> None:
    run = Run.create(tmp_path, "ball", TrainOptions(stages=stages, mesh=mesh), words)
    run.update_metrics({"fingerprints": {stage: {"state": "0"} for stage in done}})
    assert f" {html.escape(said)}\n" in write_report(run).read_text(encoding="utf-8")


@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_a_browser_shows_the_mesh_as_we_draw_it(record: Run, scene: Scene, tmp_path: Path) -> None:
    page = write_report(record).read_text(encoding="utf-8")
    view = scene.test[0]
    script = (
        "<script>viewer.ready.then(async () => { const seen = viewer.scene.cameras.find((each) => each.view === VIEW);"
        'for (const key of ["width", "height", "fx", "fy", "cx", "cy"]) seen[key] *= LARGER;'
        "[viewer.canvas.width, viewer.canvas.height] = [seen.width, seen.height]; viewer.take(seen);"
        "viewer._paint([0, 0, 0]); const shot = viewer.canvas.toDataURL('image/png');"
        f"{HANDS} document.body.innerHTML = `<p id=shot>${{shot}}</p><p id=hands>${{JSON.stringify(found)}}</p>`; }});"
        "</script>"
    )
    script = script.replace("VIEW", str(view)).replace("LARGER", str(LARGER))
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{script}</body>"), encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-background-networking",
        "--disable-component-update",
        "--dump-dom",
    ]
    flags += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--virtual-time-budget=8000"]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'page.html'}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    shot = re.search(r'id="shot">data:image/png;base64,([^<]+)<', dom)
    assert shot is not None, dom[-2000:]
    hands = re.search(r'id="hands">([^<]+)<', dom)
    assert hands is not None and json.loads(html.unescape(hands[1])) == [1, 1, 1, 0, 0, 1, 100, 100]
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(shot[1]))).convert("RGB"), np.float32) / 255
    mesh, specular = load_finished(record.folder / "mesh/refined.glb", record, scene)
    assert specular is not None
    one = scene.cameras[[view]]
    camera = Cameras(one.camera_to_world, one.intrinsics * LARGER, 40 * LARGER, 48 * LARGER)
    ours = SpecularSource(mesh, specular, (0, 0, 0)).pictures(camera, ("rgb",))["rgb"][0].numpy()
    inside = (ours.sum(-1) > 0) & (seen.sum(-1) > 0)
    assert inside.mean() > 0.2 and ((ours.sum(-1) > 0) != (seen.sum(-1) > 0)).mean() < 0.01
    error = np.abs(ours - seen)[inside]
    assert error.mean() < 0.008 and np.median(error) < 0.005  # JPEG, mipmaps, outlines
    plain = MeshSource(replace(mesh, texture=specular.diffuse), (0, 0, 0)).pictures(camera, ("rgb",))["rgb"][0].numpy()
    assert np.abs(plain - seen)[inside].mean() > 3 * error.mean()  # so highlights are where they belong
