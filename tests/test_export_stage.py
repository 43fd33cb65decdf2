"""What the export stage writes: units in every format, a mesh or cameras alone, and what it says of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfkit import export_stage, options, results
from nerfkit.config import ExportOptions
from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.fit.extract import ExtractOptions
from nerfkit.fit.specular import Specular, SpecularSource
from nerfkit.mesh.files.io import FORMATS, load_mesh, save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.mesh.topology import is_watertight
from nerfkit.pipeline import run
from nerfkit.recipes.common import save
from nerfkit.results import SPECULAR, drop_refined, finished_file, load_finished, source_of
from nerfkit.runs.folder import Run
from nerfkit.scenes import Scene, open_scene
from nerfkit.scenes.scene import Similarity
from nerfkit.scenes.writers import view_names
from nerfkit.stages import Stages
from nerfkit.view.options import TimelapseOptions, VideoOptions
from nerfkit.view.timelapse import turntable
from tests.mesh.test_gltf import document
from tests.scenes.builders import ring, write_kaolin

UNITS = Similarity(0.5, (0.0, 1.0, 0.0))
BALL = icosphere(1, 0.8).without_appearance()  # 3.2 of the scene's own units wide
ROUND = icosphere(3, 1.0).without_appearance()
CPU = torch.device("cpu")
LENGTH = 0.25  # meters a unit, where it is known
CAMERAS_ALONE = ("export.formats=null", "export.cameras=[colmap]")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = write_kaolin(tmp_path_factory.mktemp("data") / "sphere", ring(4, size=(12, 10)))
    return replace(open_scene("kaolin", folder), normalization=UNITS)


@pytest.fixture
def record(tmp_path: Path) -> Run:
    return Run(tmp_path)


def export(
    new: Mesh | None, specular: Specular | None, asked: ExportOptions, scene: Scene, *more: Any, **other: Any
) -> None:
    """``export_stage.export`` of a mesh in normalized units."""
    own = None if new is None else new.transformed(scene.normalization.invert)
    export_stage.export(own, specular, asked, scene, *more, **other)


def keep_refined(mesh: Mesh, specular: Specular | None, record: Run, scene: Scene) -> None:
    """``results.keep_refined`` of a mesh in normalized units."""
    results.keep_refined(mesh.transformed(scene.normalization.invert), specular, record, scene)


def cameras_see(mesh: Mesh, scene: Scene, record: Run) -> None:
    """The exported cameras see the exported OBJ where the scene's see the mesh, which is in normalized units."""
    seen = open_scene("auto", record.folder / "cameras" / "transforms")
    found = load_mesh(record.folder / "mesh" / "mesh.obj")
    points = seen.normalization.apply(found.positions[found.faces]).flatten(0, 1)
    expected = scene.cameras.project(mesh.vertices[mesh.faces].flatten(0, 1))[0]
    assert (seen.cameras.project(points.to(expected))[0] - expected).abs().max() < 0.01


def files(record: Run) -> set[str]:
    return {path.relative_to(record.folder).as_posix() for path in record.folder.glob("*/*")}


def log(record: Run) -> str:
    return (record.folder / "log.txt").read_text()


@pytest.mark.parametrize("meters", [None, LENGTH])
def test_every_format_has_the_same_units(scene: Scene, record: Run, meters: float | None) -> None:
    """Meters where a length is known, else the scene's own; USD, the timelapse's, says a meter a unit in both cases."""
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    from pxr import UsdGeom

    scene = replace(scene, meters=meters)
    export(BALL, None, ExportOptions(formats=list(FORMATS)), scene, record)
    expected = UNITS.invert(BALL.positions) * (meters or 1)
    for end in FORMATS:
        mesh = load_mesh(record.folder / "mesh" / f"mesh.{end}")
        corners = mesh.positions[mesh.faces]
        torch.testing.assert_close(corners, expected[BALL.faces], rtol=1e-6, atol=1e-6, msg=end)
    film = turntable(
        record.folder / "timelapse", TimelapseOptions(snapshots=1, formats=["usd"]), scene.cameras, units=scene.exported
    )
    assert film is not None
    film.add(BALL)
    stage = usd.Stage.Open(str(film.close()[0]))
    points = torch.tensor(UsdGeom.Mesh(stage.GetDefaultPrim()).GetPointsAttr().Get(0.0))
    torch.testing.assert_close(points.double(), expected, rtol=1e-6, atol=1e-6)
    assert stage.HasAuthoredMetadata("metersPerUnit") and UsdGeom.GetStageMetersPerUnit(stage) == 1


@pytest.mark.parametrize("place", [0.0, 4649776.3])
def test_any_scale_and_place_come_back(scene: Scene, record: Run, place: float) -> None:
    """Another scale, once more from the file alone, in a scene with z up, here and at coordinates of a map."""
    units = Similarity(2.0, (-2 * place, 0.5, -2 * place))
    ball, new = icosphere(2, 0.8).without_appearance(), True
    for scale, meters, formats in ((1000.0, None, [*FORMATS]), (0.01, 0.21, ["ply"]), (1.0, None, ["obj"])):
        there = replace(scene, normalization=units, up=(0.0, 0.0, 1.0), meters=meters)
        export(ball if new else None, None, ExportOptions(formats=formats, scale=scale), there, record)
        new, scale = False, scale * (meters or 1)
        for end in FORMATS:  # all of a mesh's files
            mesh = load_mesh(record.folder / "mesh" / f"mesh.{end}")
            expected = scale * units.invert(ball.vertices.double())
            assert (mesh.positions[mesh.faces] - expected[ball.faces]).abs().max() < 1e-6 * scale, end
        shown, _ = source_of("mesh", record, there, lambda: pytest.fail("no field is asked for"), CPU)
        assert (shown.mesh.vertices - ball.vertices).abs().max() < 1e-5


def test_an_export_that_is_killed_leaves_no_file_in_doubt(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each of its files, and once more at the next try: whatever is there is where metrics.json says."""
    first = ExportOptions(formats=["glb", "obj", "stl"], scale=3.0, faces=[40], points=9, cameras=["transforms"])
    second = ExportOptions(formats=["glb", "obj"], up="z", texture="jpeg")
    third = replace(second, scale=5.0, up="scene")
    plain, ball = Path.replace, painted()
    for kept in range(0, 60, 3):  # files that are written before
        (tmp_path / str(kept)).mkdir()
        record, left = Run(tmp_path / str(kept)), [kept]
        export(ball, None, first, scene, record)

        def dies(path: Path, target: Path, left: list[int] = left) -> Path:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return plain(path, target)

        monkeypatch.setattr(Path, "replace", dies)
        killed = 0
        for wanted in (second, third):
            try:
                left[0] = kept
                export(None, None, wanted, scene, record)
            except KeyboardInterrupt:
                killed += 1
            for path in (record.folder / "mesh").glob("mesh.[gos][lbt][bjl]"):
                found = load_finished(path, record, scene)[0]
                assert (found.vertices[found.faces] - ball.vertices[ball.faces]).abs().max() < 1e-5, (kept, path)
        monkeypatch.setattr(Path, "replace", plain)
        export(None, None, third, scene, record)
        assert not {"mesh_40.obj", "points.ply"} & {path.name for path in (record.folder / "mesh").iterdir()}
        for end in ("glb", "obj", "stl"):
            mesh = load_mesh(record.folder / "mesh" / f"mesh.{end}")
            expected = 5 * UNITS.invert(ball.positions)[ball.faces]
            assert (mesh.positions[mesh.faces] - expected).abs().max() < 1e-4, (kept, end)
        cameras_see(BALL, scene, record)
        if not killed:
            break
    else:
        pytest.fail("it was killed at every file")


def test_a_length_that_is_taken_back_is_no_longer_stated(scene: Scene, record: Run) -> None:
    wanted = ExportOptions(formats=["ply"])
    for meters in (LENGTH, None):
        export(BALL, None, wanted, replace(scene, meters=meters), record)
        found = json.loads((record.folder / "metrics.json").read_text())["export"]
        assert found == {"scale": meters or 1, "meters_per_unit": meters}


@pytest.mark.parametrize(
    ("faces", "said"),
    [(BALL.faces, "mesh.stl, watertight; "), (BALL.faces[1:], "mesh.stl, not watertight, edges: 3 open; ")],
)
def test_an_stl_is_said_to_be_printable_or_not(scene: Scene, record: Run, faces: torch.Tensor, said: str) -> None:
    export(Mesh(BALL.vertices, faces), None, ExportOptions(formats=["stl"]), scene, record)
    assert said in log(record) and "3.2 x 3.2 x 3.2" in log(record)


@pytest.mark.parametrize(("up", "axis"), [("scene", 1), ("z", 2), ("-x", 0)])
def test_what_states_neither_unit_nor_up_is_turned_with_the_cameras(
    scene: Scene, record: Run, up: str, axis: int
) -> None:
    """A pear, in mm and meters; cameras see the OBJ where the scene's see the mesh."""
    taller = torch.tensor([0.0, 0.3, 0.0]) * BALL.vertices[:, 1:2].square()
    there, pear = replace(scene, meters=LENGTH), replace(BALL, vertices=BALL.vertices + taller)
    wanted = ExportOptions(formats=[*FORMATS], units="mm", up=up, cameras=["transforms", "colmap"])
    export(pear, None, wanted, there, record)
    own = UNITS.invert(pear.positions) * LENGTH
    glb, folder = load_mesh(record.folder / "mesh" / "mesh.glb"), record.folder / "cameras"
    assert (glb.positions[glb.faces] - own[pear.faces]).abs().max() < 1e-5
    for end in ("obj", "ply", "stl"):
        mesh = load_mesh(record.folder / "mesh" / f"mesh.{end}")
        sign = -1 if up == "-x" else 1
        heights = sign * (mesh.positions[mesh.faces][..., axis])
        assert (heights - 1000 * own[pear.faces][..., 1]).abs().max() < 1e-2, end
    for kind in ("transforms", "colmap"):
        seen = open_scene(kind, folder / kind)
        points = seen.normalization.apply(load_mesh(record.folder / "mesh" / "mesh.obj").positions).float()
        expected = scene.cameras.project(pear.vertices)[0]
        assert (seen.cameras.project(points)[0] - expected).abs().max() < 0.01, kind
        if kind == "transforms":
            assert seen.up[axis] == pytest.approx(-1 if up == "-x" else 1)
    shown, _ = load_finished(record.folder / "mesh" / "mesh.ply", record, there)
    assert (shown.vertices[shown.faces] - pear.vertices[pear.faces]).abs().max() < 1e-5
    export(None, None, ExportOptions(formats=["glb"]), there, record)  # plain again: so are all files
    again = load_mesh(record.folder / "mesh" / "mesh.stl")
    assert (again.positions[again.faces] - own[pear.faces]).abs().max() < 1e-5


def test_levels_points_and_cameras_stand_beside_the_mesh(scene: Scene, record: Run) -> None:
    """Coarser files look alike and are named by their faces; none of another mesh or unit stays."""
    ball, folder = painted(), record.folder / "mesh"
    wanted = ExportOptions(
        formats=["glb", "obj"],
        faces=[500, 40],
        points=50,
        texture="jpeg",
        material="pbr",
        glb_cameras=["photos", "path"],
    )
    export(ball, highlights(ball), wanted, scene, record, video=VideoOptions(frames=3))
    names = {f"{stem}.{end}" for stem in ("mesh", "mesh_40") for end in ("glb", "obj", "mtl", "jpg")}
    assert {path.name for path in folder.iterdir()} == names | {"points.ply"}
    assert len(load_mesh(folder / "mesh_40.glb").faces) <= 40 and "mesh_500.*: the mesh itself has 80 faces" in log(
        record
    )
    assert "mesh_40.*, 40 faces, PSNR " in log(record)
    found = document(folder / "mesh.glb")
    assert [node["name"] for node in found["nodes"]] == ["mesh", *view_names(scene), "path"]
    assert found["accessors"][found["animations"][0]["samplers"][0]["input"]]["count"] == 3
    assert "cameras" not in document(folder / "mesh_40.glb") and "extensionsUsed" not in found
    export(None, None, ExportOptions(formats=["glb"]), scene, record)
    assert (folder / "mesh_40.obj").exists()  # it is of this mesh still
    export(None, None, ExportOptions(formats=["glb"], scale=2.0), scene, record)
    left = {path.name for path in folder.iterdir()}
    assert "mesh.obj" in left and not left & {"mesh_40.obj", "mesh_40.glb", "points.ply"}
    (folder / "mesh_old.glb").write_text("the user's own")
    export(BALL, None, ExportOptions(formats=["ply"]), scene, record)
    assert {path.name for path in folder.iterdir()} == {"mesh.ply", "mesh_old.glb"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"texture": "webp", "formats": ["usd"]}, "export.texture=webp: expected png or jpeg with usd"),
        ({"glb_cameras": ["path"], "formats": ["obj"]}, r"export.glb_cameras=\[path\]: expected \[\] without glb"),
        ({"faces": [3]}, r"export.faces=\[3\]: expected a list, each a whole number of at least 4"),
        ({"faces": [500, 500]}, "expected each value once"),
        ({"points": 9, "formats": None}, "export.points=9: expected export.formats"),
        ({"up": "w"}, "export.up=w: unknown value w"),
        ({"units": "feet"}, "export.units=feet: unknown value feet"),
        ({"quality": 0}, "export.quality=0: expected a whole number from 1 to 100"),
    ],
)
def test_bad_values_are_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ExportOptions(**values)
    assert "\n" not in str(caught.value)


def test_units_need_a_length() -> None:
    with pytest.raises(ConfigError, match=r"export.units=mm: expected null, or scene.length"):
        options.compose("train", ["scene=clock", "export.units=mm"])


@pytest.mark.parametrize(
    ("unbounded", "closed", "said"), [(True, None, True), (True, True, False), (False, None, False)]
)
def test_an_open_stl_is_said_how_to_close(
    scene: Scene, record: Run, unbounded: bool, closed: bool | None, said: bool
) -> None:
    """Only where cuts are what may have opened it."""
    mesh, there = Mesh(BALL.vertices, BALL.faces[1:]), replace(scene, unbounded=unbounded)
    export(mesh, None, ExportOptions(formats=["stl"]), there, record, ExtractOptions(closed=closed))
    assert ("'stages=[refine,export]' extract.closed=true" in log(record)) == said


def test_a_coarse_mesh_is_opened_when_it_is_written(scene: Scene, record: Run) -> None:
    """A ball that the region's border cuts: what closes it there goes, or stays where that is asked for."""
    cut = replace(ROUND, vertices=(1.5 * ROUND.vertices).clamp(-1, 1))
    save_mesh(cut.transformed(scene.normalization.invert), record.folder / "mesh" / "coarse", ("ply",))
    there = replace(scene, unbounded=True)
    for closed in (True, None):
        export(None, None, ExportOptions(formats=["ply"]), there, record, ExtractOptions(closed=closed))
        found = load_mesh(record.folder / "mesh" / "mesh.ply")
        (record.folder / "mesh" / "mesh.ply").unlink()
        assert is_watertight(found) == (closed is True)
        assert found.faces.numel() and (len(found.faces) == len(cut.faces)) == (closed is True)


def test_a_run_with_an_stl_alone_goes_on_from_it(scene: Scene, record: Run) -> None:
    export(BALL, None, ExportOptions(formats=["stl"], scale=10.0), scene, record)
    assert finished_file(record) == record.folder / "mesh" / "mesh.stl"
    shown, _ = source_of("mesh", record, scene, lambda: pytest.fail("no field is asked for"), CPU)
    assert (shown.mesh.vertices[shown.mesh.faces] - BALL.vertices[BALL.faces]).abs().max() < 1e-5
    export(None, None, ExportOptions(formats=["ply"]), scene, record)
    for end in ("ply", "stl"):
        mesh = load_mesh(record.folder / "mesh" / f"mesh.{end}")
        assert mesh.vertices[mesh.faces].amax().item() == pytest.approx(1.6, rel=0.05)


def highlights(mesh: Mesh) -> Specular:
    """One lamp above, stronger to one side of the texture."""
    assert mesh.texture is not None
    strength = torch.linspace(0, 1, 64).view(8, 8)
    return Specular(mesh.texture, strength, torch.eye(3)[1:2], torch.tensor([20.0]), torch.ones(1, 3))


def painted() -> Mesh:
    """The ball with a texture that holds every 8-bit red."""
    texture = torch.arange(256).view(16, 16, 1) * torch.tensor([1.0, 0.5, 0.25])
    return replace(icosphere(1, 0.8), texture=texture.round() / 255)


@pytest.mark.parametrize("formats", [["stl"], ["ply"], None])
@pytest.mark.parametrize("shiny", [False, True])
def test_texture_and_highlights_are_there_for_a_later_export(
    scene: Scene, record: Run, formats: list[str] | None, shiny: bool
) -> None:
    """Whatever was written before, at any scale, and twice."""
    ball = painted()
    specular = highlights(ball) if shiny else None
    there, cameras = replace(scene, meters=LENGTH, up=(0.0, 0.0, 1.0)), [] if formats else ["colmap"]
    keep_refined(ball, specular, record, there)
    export(ball, specular, ExportOptions(formats=formats, cameras=cameras), there, record)
    shown, _ = source_of("mesh", record, there, lambda: pytest.fail("no field is asked for"), CPU)
    assert isinstance(shown, SpecularSource) == shiny
    for scale in (1.0, 10.0):
        export(None, None, ExportOptions(formats=["glb", "obj"], scale=scale), there, record)
        for end in ("glb", "obj"):
            mesh = load_mesh(record.folder / "mesh" / f"mesh.{end}")
            assert mesh.texture is not None and mesh.corner_uvs is not None
            torch.testing.assert_close(mesh.texture, ball.texture, rtol=0, atol=1e-6)
            expected = UNITS.invert(ball.positions) * LENGTH * scale
            torch.testing.assert_close(mesh.positions[mesh.faces], expected[ball.faces], rtol=1e-5, atol=1e-5)
        assert (b"metallicRoughnessTexture" in (record.folder / "mesh" / "mesh.glb").read_bytes()) == shiny
    mesh, found = load_finished(record.folder / "mesh" / "refined.glb", record, there)
    torch.testing.assert_close(mesh.positions[mesh.faces], ball.positions[ball.faces], rtol=1e-5, atol=1e-5)
    assert (found is not None) == shiny and "no texture is written" not in log(record)


def test_what_is_kept_goes_with_its_mesh(scene: Scene, record: Run) -> None:
    """Highlights of an earlier refinement, and a refined mesh whose coarse one was replaced, are taken for nothing."""
    ball, folder = painted(), record.folder / "mesh"
    keep_refined(ball, highlights(ball), record, scene)
    keep_refined(ball, None, record, scene)
    assert not (folder / SPECULAR).exists()
    keep_refined(ball, highlights(ball), record, scene)
    drop_refined(record)
    export(BALL, None, ExportOptions(formats=["glb"]), scene, record)
    assert {path.name for path in folder.iterdir()} == {"mesh.glb"}


@pytest.mark.parametrize("before", ["stl", "ply", "coarse"])
def test_a_texture_that_is_not_there_is_said(scene: Scene, record: Run, before: str) -> None:
    """Of runs of earlier versions, and where the mesh was never refined."""
    if before == "coarse":
        colored = replace(BALL, colors=(BALL.vertices + 1) / 2)
        save_mesh(colored.transformed(UNITS.invert), record.folder / "mesh" / "coarse", ("ply",))
    else:
        export(painted(), None, ExportOptions(formats=[before]), scene, record)
    export(None, None, ExportOptions(formats=["stl"]), scene, record)
    assert "no texture is written" not in log(record)
    export(None, None, ExportOptions(formats=["glb"]), scene, record)
    name = "coarse.ply" if before == "coarse" else f"mesh.{before}"
    assert (load_mesh(record.folder / "mesh" / "mesh.glb").colors is None) == (before == "stl")
    assert f"no texture is written: {record.folder / 'mesh' / name}, which has none" in log(record)
    assert f"resume={record.folder} 'stages=[refine,export]' makes one" in log(record)


@pytest.mark.parametrize("closed", [True, False])
def test_a_coarse_mesh_is_the_same_in_a_later_run(scene: Scene, record: Run, closed: bool) -> None:
    """As it was just made, or from its file alone, whose own bits it has where nothing opens it."""
    scene = replace(scene, normalization=Similarity(0.37, (0.3, 1.1, -0.2)))
    rough = torch.rand(ROUND.vertices.shape, generator=torch.Generator().manual_seed(0))  # no round trip keeps its bits
    coarse = ROUND.transformed(lambda points: scene.normalization.invert(points) + 0.001 * rough)
    save_mesh(coarse, record.folder / "mesh" / "coarse", ("ply",))
    config = options.compose("train", ["scene=kaolin", "export.formats=[ply]", f"extract.closed={closed}".lower()])
    found = []
    for made in (results.load_coarse(record, scene), None):
        stages = Stages(config, scene, record, CPU)
        stages.coarse = made
        stages._export()
        found.append((record.folder / "mesh" / "mesh.ply").read_bytes())
        (record.folder / "mesh" / "mesh.ply").unlink()
    assert found[0] == found[1]
    assert not closed or found[0] == (record.folder / "mesh" / "coarse.ply").read_bytes()


@pytest.mark.parametrize("formats", [["glb"], None])
def test_cameras_alone(scene: Scene, record: Run, formats: list[str] | None) -> None:
    """With no mesh there, and with old and new ones there that are not asked for."""
    new = BALL if formats is None else None
    if new is not None:
        export(new, None, ExportOptions(formats=["ply"]), scene, record)
    before = files(record)
    export(new, None, ExportOptions(formats=formats, cameras=["transforms"]), scene, record)
    assert files(record) == before | {"cameras/transforms"}
    assert ("no mesh is written: " + ("add extract" if formats else "export.formats=null")) in log(record)
    assert len(open_scene("auto", record.folder / "cameras" / "transforms").images) == 4


def test_cameras_alone_of_a_recipe(scene: Scene, record: Run) -> None:
    config = options.compose("train", ["experiment=mesh_texture", "export.formats=null", "export.cameras=[transforms]"])
    save(BALL, config, record, scene)
    assert files(record) == {"cameras/transforms"} and "export.formats=null" in log(record)


@pytest.mark.parametrize("apart", [False, True])
def test_cameras_of_before_follow_the_mesh(scene: Scene, record: Run, apart: bool) -> None:
    """Also where the last ones were written without it, at another scale, and the next export is stopped once."""
    export(BALL, None, ExportOptions(formats=["obj"], cameras=["transforms"]), scene, record)
    scale = 10.0
    if apart:
        export(None, None, ExportOptions(formats=None, cameras=["transforms"], scale=1000.0), scene, record)
        scale = 1.0
        with pytest.raises(KeyboardInterrupt), export_stage.moving(ExportOptions(), scene, record):
            raise KeyboardInterrupt
    export(BALL, None, ExportOptions(formats=["obj"], scale=scale), scene, record)
    cameras_see(BALL, scene, record)
    assert "cameras_apart" not in record.metrics()["export"]


def test_nothing_to_write_is_refused(scene: Scene, record: Run) -> None:
    with pytest.raises(CheckpointError, match=r"coarse.ply: not there yet; add extract to stages, or .*cameras"):
        export(None, None, ExportOptions(), scene, record)
    with pytest.raises(ConfigError, match=r"export.formats=null: expected some of glb.* or export.cameras"):
        options.compose("train", ["scene=clock", "export.formats=null"])
    options.compose("train", ["scene=clock", "export.formats=null", "stages=[field,video]"])
    assert files(record) == set()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stages=[refine]"], "there must be a run to go on with: resume="),
        (["stages=[field,refine]"], "refine needs the mesh that extract makes; add extract"),
        (["stages=[field,export]"], "export needs the mesh that extract makes; add extract"),
        (["stages=[field,extract,video]", "video.source=mesh"], "add extract and export to stages"),
        (
            ["stages=[field,extract,export,video]", "video.source=mesh", *CAMERAS_ALONE],
            "export.formats=null writes none",
        ),
    ],
)
def test_a_new_run_whose_stages_lack_one_does_not_start(tmp_path: Path, words: list[str], message: str) -> None:
    config = options.compose("train", ["scene=clock", *words, f"output={tmp_path / 'out'}"])
    with pytest.raises(ConfigError, match=message):
        run(config)
    assert not (tmp_path / "out").exists()
