"""Data sets made from meshes: what the readers and the differentiable rasterizer make of them, and failures."""

import filecmp
import json
import shutil
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

from nerfkit import raster
from nerfkit.cameras import Cameras
from nerfkit.errors import ConfigError, SceneError
from nerfkit.kernels import use
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.mesh import Mesh, face_areas
from nerfkit.scenes import open_scene
from nerfkit.scenes.scene import Scene
from nerfkit.studio import blender_writer
from nerfkit.studio.synthesize import SynthesisOptions, synthesize
from tests.scenes.builders import ring, write_blender, write_kaolin
from tests.scenes.real import data_folder

SIZE, VIEWS, HOLDOUT = 24, 7, 3
SETTINGS = {"views": VIEWS, "size": SIZE, "samples": 4, "holdout": HOLDOUT}


def lopsided() -> Mesh:
    """A ball with a beak along its own +y and an ear along +x; colors by place."""
    ball = trimesh.creation.icosphere(1, 1.0)
    vertices = ball.vertices * [1.0, 1.0, 0.8]
    vertices[vertices[:, 1] > 0.99] += [0, 1.5, 0]
    vertices[vertices[:, 0].argmax()] += [0.8, 0, 0]
    colors = torch.from_numpy((vertices - vertices.min(0)) / np.ptp(vertices, axis=0)).float()
    return Mesh(torch.from_numpy(vertices).float() + 3.0, torch.from_numpy(ball.faces).long(), colors=colors)


def made_of(mesh: Mesh, folder: Path, **settings: Any) -> dict[str, Path]:
    return synthesize(mesh, folder, SynthesisOptions(**settings), progress=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return made_of(lopsided(), tmp_path_factory.mktemp("made") / "new" / "data", **SETTINGS)


def stored_camera(folder: Path, view: int) -> Cameras:
    """The camera of a file of Kaolin's folder, in float64."""
    stated = json.loads((folder / f"{view}_metadata.json").read_text())["camera_properties"]
    matrix = torch.tensor(stated["tf_mat"], dtype=torch.float64)
    rotation = matrix[:3, :3]  # row vectors: the columns are the camera's axes in the world
    pose = torch.cat([rotation, -(rotation @ matrix[3, :3])[:, None]], 1)
    focal = stated["focal_length"] / stated["horizontal_aperture"] * SIZE
    return Cameras(pose[None], torch.tensor([[focal, focal, SIZE / 2, SIZE / 2]], dtype=torch.float64), SIZE, SIZE)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_silhouettes_and_depth_are_those_of_the_rasterizer(made: dict[str, Path], backend: str) -> None:
    truth = load_mesh(made["kaolin"] / "truth.ply")
    for view in range(VIEWS):
        camera = stored_camera(made["kaolin"], view)
        with use(backend):  # in float32 the vertices' projections would be off by as much as 1e-6
            fragments = raster.rasterize(truth.vertices.double(), truth.faces, camera)
        depth = torch.from_numpy(np.load(made["kaolin"] / f"{view}_depth.npy"))
        coverage = iio.imread(made["kaolin"] / f"{view}_coverage.png")
        assert torch.equal(fragments.covered[0], depth.isfinite())  # no center of these pixels lies on an edge
        covered = fragments.covered[0]
        assert covered.sum() > 60
        torch.testing.assert_close(
            depth[covered].double(), fragments.depth[0][covered].double(), rtol=1e-6, atol=0, msg=f"view {view}"
        )
        inside = torch.from_numpy(coverage)
        assert bool((covered[inside == 255]).all()) and not bool(covered[inside == 0].any())
        labels = np.load(made["kaolin"] / f"{view}_semantic.npy")
        np.testing.assert_array_equal(labels[..., 0], coverage >= 128)


def test_normals_are_those_of_the_surface(made: dict[str, Path]) -> None:
    depth, normals = (np.load(made["kaolin"] / f"2_{name}.npy") for name in ("depth", "normal"))
    covered = np.isfinite(depth)
    assert normals.shape == (SIZE, SIZE, 3) and normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(normals[covered], axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(normals[~covered], 0)
    _, rays = stored_camera(made["kaolin"], 2).image_rays(0)
    assert ((normals.reshape(-1, 3) * rays.numpy()).sum(-1)[covered.ravel()] < 0.2).all()  # toward the camera
    assert ((normals.reshape(-1, 3) * rays.numpy()).sum(-1)[covered.ravel()]).mean() < -0.5


def scenes(made: dict[str, Path]) -> tuple[Scene, Scene]:
    return open_scene("kaolin", made["kaolin"], holdout=HOLDOUT), open_scene("auto", made["blender"])


def test_both_formats_read_back_as_one_scene(made: dict[str, Path]) -> None:
    kaolin, blender = scenes(made)
    assert kaolin.test == [0, 3, 6] and kaolin.train == [1, 2, 4, 5]
    assert blender.train == [0, 1, 2, 3] and blender.test == [4, 5, 6]
    order = kaolin.train + kaolin.test
    # Straight alpha in 8 bits loses up to half a level of color, and one more in premultiplying.
    assert (blender.images.stack().int() - kaolin.images.stack()[order].int()).abs().max() <= 1
    assert torch.equal(blender.images.stack()[..., 3], kaolin.images.stack()[order][..., 3])
    turn = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y up to z up
    assert torch.equal(turn @ torch.tensor(kaolin.up), torch.tensor(blender.up))
    own = [scene.normalization.invert(scene.cameras.positions) for scene in (kaolin, blender)]
    torch.testing.assert_close(own[0][order] @ turn.T, own[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        turn @ kaolin.cameras.camera_to_world[order][..., :3], blender.cameras.camera_to_world[..., :3]
    )


def test_the_true_mesh_is_found_and_projects_onto_the_masks(made: dict[str, Path]) -> None:
    for scene in scenes(made):
        assert scene.truth is not None
        truth = load_mesh(scene.truth)
        pixels, _ = scene.cameras.project(scene.normalization.apply(truth.vertices))
        for view in range(VIEWS):
            columns, rows = (scene.images[view][..., 3] > 0).nonzero().flip(1).T
            for axis, filled in enumerate((columns, rows)):
                seen = pixels[view, :, axis]
                assert abs(seen.min() - filled.min()) < 1.1 and abs(seen.max() - filled.max() - 1) < 1.1
        assert truth.colors is not None


def test_kaolin_keeps_the_mesh_s_axes_and_blender_turns_them(made: dict[str, Path], tmp_path: Path) -> None:
    mesh, truth = lopsided(), load_mesh(made["kaolin"] / "truth.ply")
    assert torch.equal(truth.vertices, mesh.vertices) and torch.equal(truth.faces, mesh.faces)
    x, y, z = mesh.vertices.T
    assert torch.equal(load_mesh(made["blender"] / "truth.ply").vertices, torch.stack([x, -z, y], 1))
    upright = made_of(mesh, tmp_path, **SETTINGS, up="z")
    assert torch.equal(load_mesh(upright["blender"] / "truth.ply").vertices, mesh.vertices)
    assert torch.equal(load_mesh(upright["kaolin"] / "truth.ply").vertices, torch.stack([x, z, -y], 1))
    assert (face_areas(truth.vertices, truth.faces) > 0).all()


def test_blender_s_depth_and_normals_are_kaolin_s(made: dict[str, Path]) -> None:
    about = json.loads((made["blender"] / "synthesis.json").read_text())
    for split, number, view in (("test", 1, 3), ("train", 2, 4)):
        depth = np.load(made["kaolin"] / f"{view}_depth.npy")
        folder = made["blender"] / split
        np.testing.assert_array_equal(np.load(folder / f"r_{number}_depth.npy"), depth)
        gray = iio.imread(folder / f"r_{number}_depth_0001.png")[..., 0]
        covered = np.isfinite(depth)
        shown = (1 - gray[covered] / 255) * about["depth_png_black"]
        assert np.abs(shown - depth[covered]).max() <= about["depth_png_black"] / 255 / 2 + 1e-6
        normals = np.load(made["kaolin"] / f"{view}_normal.npy")[covered]
        stored = iio.imread(folder / f"r_{number}_normal_0001.png")[covered]
        assert np.abs(stored[:, :3] / 127.5 - 1 - normals @ [[1, 0, 0], [0, 0, 1], [0, -1, 0]]).max() < 0.0041
        assert (stored[:, 3] == 255).all()


def test_val_views_are_others(made: dict[str, Path]) -> None:
    frames = {s: json.loads((made["blender"] / f"transforms_{s}.json").read_text())["frames"] for s in ("val", "train")}
    assert len(frames["val"]) == 3
    for frame in frames["val"]:
        assert (made["blender"] / f"{frame['file_path']}.png").is_file()
        apart = [np.abs(np.subtract(frame["transform_matrix"], f["transform_matrix"])).max() for f in frames["train"]]
        assert min(apart) > 0.1


def test_the_same_arguments_give_the_same_files(made: dict[str, Path], tmp_path: Path) -> None:
    again = made_of(lopsided(), tmp_path / "again", **SETTINGS)
    for name, folder in made.items():
        files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        assert files == sorted(p.relative_to(again[name]) for p in again[name].rglob("*") if p.is_file())
        _, different, unreadable = filecmp.cmpfiles(folder, again[name], files, shallow=False)
        assert (different, unreadable) == ([], [])
    other = made_of(lopsided(), tmp_path / "other", **SETTINGS, seed=1, format="kaolin")
    assert not filecmp.cmp(other["kaolin"] / "0_rgb.png", made["kaolin"] / "0_rgb.png", shallow=False)


def test_colors_are_as_they_are_or_lit(made: dict[str, Path], tmp_path: Path) -> None:
    gray = Mesh(lopsided().vertices, lopsided().faces, colors=torch.full((42, 3), 0.4))
    white = Mesh(lopsided().vertices, lopsided().faces)
    cases = [(gray, "none", True), (gray, "studio", False), (gray, "auto", True), (white, "auto", False)]
    for number, (mesh, light, even) in enumerate(cases):
        folder = made_of(mesh, tmp_path / str(number), **SETTINGS, light=light, format="kaolin")["kaolin"]
        inside = iio.imread(folder / "1_rgb.png")[iio.imread(folder / "1_coverage.png") == 255][:, :3]
        assert (np.ptp(inside) == 0) == even
        assert not even or (inside == 102).all()


def test_one_format_alone(tmp_path: Path) -> None:
    made = made_of(lopsided(), tmp_path / "k", **SETTINGS, format="kaolin")
    assert list(made) == ["kaolin"] and [p.name for p in (tmp_path / "k").iterdir()] == ["kaolin"]
    assert len(list(made["kaolin"].glob("*_rgb.png"))) == VIEWS
    made = made_of(lopsided(), tmp_path / "b", **SETTINGS, format="blender")
    assert list(made) == ["blender"] and [p.name for p in (tmp_path / "b").iterdir()] == ["blender"]


@pytest.mark.slow
def test_truth_beside_other_data_is_found_too(tmp_path: Path) -> None:
    roots = {
        "kaolin": write_kaolin(tmp_path / "k", ring(6)),
        "blender": write_blender(tmp_path / "b", ring(6), ring(2)),
    }
    for name, root in roots.items():
        assert open_scene(name, root).truth is None
        (root / "truth.ply").touch()
        assert open_scene(name, root).truth == str(root / "truth.ply")
        (tmp_path / f"up_{name}").mkdir()
        inner = root.rename(tmp_path / f"up_{name}" / root.name)  # one folder down
        assert open_scene(name, inner.parent).truth == str(inner / "truth.ply")
        packed = shutil.make_archive(str(tmp_path / name), "zip", inner)
        assert open_scene(name, packed).truth is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": 0}, "views=0: expected a whole number from 3"),
        ({"views": 2}, "views=2: expected a whole number from 3"),
        ({"views": 4, "holdout": 2, "size": 7}, "size=7: expected a whole number from 8"),
        ({"views": 3, "holdout": 2}, "views=3: expected at least 2 views for training, and holdout=2 leaves 1"),
        ({"samples": 2.0}, "samples=2.0: expected a whole number"),
        ({"size": 8192}, "size=8192: expected at most 16384 rays across a picture, not 32768"),
        ({"fov": float("nan")}, "fov=nan: expected a finite number"),
        ({"specular": -1.0}, "specular=-1.0: expected a number from 0 to 1"),
        ({"seed": -1}, "seed=-1: expected a whole number from 0"),
        ({"light": "studoi"}, "light=studoi: unknown value studoi; did you mean studio? Known: auto, none, studio"),
        ({"up": "x"}, "up=x: unknown value x. Known: y, z"),
        ({"format": "colmap"}, "format=colmap: unknown value colmap. Known: both, kaolin, blender"),
    ],
)
def test_bad_arguments(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        made_of(lopsided(), tmp_path / "x", **(SETTINGS | change))
    assert str(caught.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("faces", [[], [[0, 0, 0], [1, 2, 1]]])
def test_meshes_that_show_nothing(faces: list, tmp_path: Path) -> None:
    mesh = Mesh(torch.rand(3, 3), torch.tensor(faces, dtype=torch.int64).reshape(-1, 3), provenance={"path": "a.obj"})
    with pytest.raises(SceneError, match=r"a\.obj: no face has an area"):
        made_of(mesh, tmp_path / "x", **SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_stray_vertices_and_faces_without_area_do_not_move_the_cameras(made: dict[str, Path], tmp_path: Path) -> None:
    mesh = lopsided()
    vertices = torch.cat([mesh.vertices, torch.tensor([[1e4, 0, 0]])])
    faces = torch.cat([mesh.faces, torch.tensor([[42, 42, 0]])])
    assert mesh.colors is not None
    stray = Mesh(vertices, faces, colors=torch.cat([mesh.colors, torch.ones(1, 3)]))
    folder = made_of(stray, tmp_path, **SETTINGS, format="kaolin")["kaolin"]
    for view in range(VIEWS):
        assert filecmp.cmp(folder / f"{view}_rgb.png", made["kaolin"] / f"{view}_rgb.png", shallow=False)


def test_folders_that_hold_something_are_left_alone(made: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SceneError, match=r"not empty, it holds mine\.txt"):
        made_of(lopsided(), tmp_path, **SETTINGS)
    with pytest.raises(SceneError, match="a file; expected a new or an empty folder"):
        made_of(lopsided(), tmp_path / "mine.txt", **SETTINGS)
    with pytest.raises(SceneError, match="cannot be written there"):
        made_of(lopsided(), tmp_path / "mine.txt" / "below", **SETTINGS)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_stopped_run_leaves_nothing(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(blender_writer, "write_view", fail)
    for folder in (tmp_path / "new" / "deep", tmp_path):
        with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else SceneError):
            made_of(lopsided(), folder, **SETTINGS)
        assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_does_not_block_the_next(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-0123").mkdir()
    made_of(lopsided(), tmp_path, **SETTINGS, format="kaolin")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".unfinished-0123", "kaolin"]


@pytest.mark.parametrize(("name", "file"), [("spot", "spot.obj"), ("bob", "bob_tri.obj")])
def test_real_meshes_have_their_textures_in_place(name: str, file: str, tmp_path: Path) -> None:
    mesh = load_mesh(data_folder("meshes") / name / file)
    assert mesh.texture is not None and mesh.corner_uvs is not None
    settings = {"views": 4, "size": 48, "samples": 1, "holdout": 4}
    folder = made_of(mesh, tmp_path, **settings, format="kaolin")["kaolin"]
    scene = open_scene("kaolin", folder, holdout=4)
    moved = mesh.transformed(scene.normalization.apply)
    fragments = raster.rasterize(moved.vertices, moved.faces, scene.cameras)
    covered = fragments.covered
    assert (covered != (scene.images.stack()[..., 3] == 255)).float().mean() < 1e-3
    both = covered & (scene.images.stack()[..., 3] == 255)
    photo = scene.images.stack()[..., :3].float() / 255
    uv = raster.interpolate_corners(fragments, mesh.corner_uvs)
    errors = [
        (raster.sample_texture(mesh.texture, given, covered) - photo)[both].abs().amax(-1) * 255
        for given in (uv, uv * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, 1.0]))
    ]
    assert (errors[0] > 1).float().mean() < 0.01  # single texels of sharp edges differ in float32
    assert (errors[1] > 1).float().mean() > 0.1  # upside down
