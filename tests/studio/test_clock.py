"""The clock: its solids, its truth, its cameras and the folder it is kept in."""

import errno
import json

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from nerfkit.errors import SceneError
from nerfkit.studio import clock, clock_model, solids
from nerfkit.studio.clock_parts import SIGNAL, build_parts
from nerfkit.studio.renderer import Surface, render

pytestmark = pytest.mark.slow
SIZE, VIEWS = 64, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return clock.make_clock(tmp_path_factory.mktemp("cache") / "clock", SIZE, VIEWS, progress=False)


def read(folder, name):
    path = folder / name
    return (
        np.load(path)
        if path.suffix == ".npy"
        else iio.imread(path)
        if path.suffix == ".png"
        else json.loads(path.read_text())
    )


def test_parts_are_closed_and_face_outward():
    for part in build_parts():
        vertices, faces = part.solid.vertices, part.solid.faces
        _, weld = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)
        faces = weld.reshape(-1)[faces]
        faces = faces[(faces != np.roll(faces, 1, 1)).all(1)]
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        there, count = np.unique(edges, axis=0, return_counts=True)
        assert (count == 1).all()
        assert {tuple(e) for e in there} == {(b, a) for a, b in there}
        a, b, c = vertices[part.solid.faces].transpose(1, 0, 2)
        assert (a * np.cross(b, c)).sum() > 0


def test_inside_tests_agree_with_the_surfaces():
    for part in build_parts():
        solid = part.solid
        a, b, c = solid.vertices[solid.faces].transpose(1, 0, 2)
        normals = np.cross(b - a, c - a)
        area = np.linalg.norm(normals, axis=-1, keepdims=True)
        usable = area[:, 0] > 1e-3
        centers, normals = ((a + b + c) / 3)[usable], (normals / np.maximum(area, 1e-12))[usable]
        assert solid.inside(centers - 0.15 * normals).mean() > 0.97
        assert solid.inside(centers + 0.15 * normals).mean() < 0.03


def test_truth_is_what_can_be_seen_and_no_more():
    whole, (vertices, faces, colors) = clock_model.surface(), clock_model.truth()
    assert np.abs(vertices).max() < 49
    cameras = clock.clock_cameras(64, 8)
    all_parts = render(whole, cameras, samples=3).coverage
    visible = render(Surface(vertices, faces), cameras, samples=3).coverage
    assert np.abs(all_parts - visible).max() <= 1 / 9  # at most one ray of a pixel slips through a seam
    assert (all_parts != visible).mean() < 1e-3

    a, b, c = vertices[faces].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    area = np.linalg.norm(normals, axis=-1)
    points = (a + b + c) / 3 + 0.05 * normals / np.maximum(area, 1e-12)[:, None]
    buried = np.zeros(len(points), bool)
    for part in build_parts():
        buried |= part.solid.inside(points)
    assert area[buried].sum() < 0.005 * area.sum()
    assert colors.min() >= 0
    assert colors.max() <= 1


def test_metadata_projects_known_points_onto_the_pictures(folder):
    vertices, _, _ = clock_model.truth()
    hand = next(part.solid for part in build_parts() if part.finish is SIGNAL)
    red_views = 0
    for view in range(VIEWS):
        camera = read(folder, f"{view}_metadata.json")["camera_properties"]
        focal = camera["focal_length"] / camera["horizontal_aperture"] * SIZE
        matrix = np.array(camera["tf_mat"])
        coverage, depth = read(folder, f"{view}_coverage.png"), read(folder, f"{view}_depth.npy")
        rgb, semantic = read(folder, f"{view}_rgb.png"), read(folder, f"{view}_semantic.npy")
        assert semantic.dtype == np.int32
        assert semantic.shape == (SIZE, SIZE, 1)
        np.testing.assert_array_equal(semantic[..., 0], coverage >= 128)
        assert (rgb[..., 3] == 255).all()
        assert (rgb[..., :3].max(-1) <= coverage).all()
        np.testing.assert_array_equal(np.isinf(depth), coverage == 0)

        def project(points, matrix=matrix, focal=focal):
            x, y, z, _ = (np.concatenate([points, np.ones((len(points), 1))], -1) @ matrix).T
            return (SIZE / 2 + focal * x / -z).astype(int), (SIZE / 2 - focal * y / -z).astype(int), -z

        column, row, distance = project(vertices)
        assert (coverage[row, column] > 0).mean() > 0.99
        nearer = distance - depth[row, column]
        assert np.quantile(nearer, 0.02) > -4  # a pixel is two units wide, and its depth a mean
        assert (np.abs(nearer) < 3).mean() > 0.15  # the dial holds most vertices, and faces away in some views
        column, row, distance = project(hand.vertices)
        seen = np.abs(distance - depth[row, column]) < 2
        if seen.mean() > 0.7:  # the alarm hand is the only red thing on the dial
            patch = rgb[row, column].astype(int)
            red_views += (patch[:, 0] - patch[:, 1]).max() > 60
    assert red_views >= 1


def test_cameras_surround_the_clock_and_so_do_the_held_out_ones():
    cameras = clock.clock_cameras(512, 100)
    positions = cameras.positions.numpy()
    distance = np.linalg.norm(positions, axis=-1)
    assert distance.min() >= clock.NEAREST - 1e-3
    assert distance.max() <= clock.FARTHEST + 1e-3
    for some in (positions, positions[::10]):
        assert 0.2 < (some[:, 2] > 0).mean() < 0.8
        assert 0.2 < (some[:, 0] > 0).mean() < 0.8
        assert some[:, 1].min() < -80
        assert some[:, 1].max() > 150
    ahead, depth = cameras.project(torch.zeros(1, 3))
    np.testing.assert_allclose(ahead[:, 0], 256, atol=1e-2)
    assert (depth > 0).all()
    corners = torch.from_numpy(clock_model.surface().vertices).float()
    pixels, _ = cameras.project(corners)
    assert pixels.min() > 8  # nothing is cut off
    assert pixels.max() < 504


def test_loader_reads_what_was_written(tmp_path):
    scene = clock.load(tmp_path, resolution=SIZE // 2, holdout=3, views=VIEWS)
    assert scene.name == "clock"
    assert scene.images.stack().shape == (VIEWS, SIZE // 2, SIZE // 2, 4)
    assert (scene.train, scene.test) == ([1, 2, 4, 5], [0, 3])
    written = clock.clock_cameras(SIZE // 2, VIEWS)
    positions = scene.normalization.invert(scene.cameras.positions)
    torch.testing.assert_close(positions, written.positions, rtol=0, atol=0.05)
    torch.testing.assert_close(scene.cameras.intrinsics, written.intrinsics, rtol=0, atol=1e-2)
    truth = clock_model.truth()[0]
    assert scene.normalization.apply(torch.from_numpy(truth)).abs().max() < 1
    expected = render(clock_model.surface(), written[2], samples=16, lights=clock_model.LIGHTS)
    got = scene.images[2].numpy() / 255
    assert np.abs(got[..., :3] - expected.rgb[0]).mean() < 0.004
    assert np.abs(got[..., 3] - expected.coverage[0]).mean() < 0.004
    assert scene.truth == str(clock.clock_folder(tmp_path, SIZE, VIEWS) / "truth.ply")


def test_two_makings_are_the_same(folder, tmp_path):
    other = clock.make_clock(tmp_path / "clock", SIZE, VIEWS, progress=False)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 5 * VIEWS + 2
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_is_interrupted_leaves_nothing(tmp_path, monkeypatch, failure):
    write = clock.write_view

    def stop_at_two(folder, number, *rest):
        if number == 2:
            (folder / "2_rgb.png").write_bytes(b"half")
            raise failure
        return write(folder, number, *rest)

    target = tmp_path / "deep" / "clock"
    with monkeypatch.context() as patch:
        patch.setattr(clock, "write_view", stop_at_two)
        with pytest.raises(KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else SceneError) as caught:
            clock.make_clock(target, SIZE, VIEWS, progress=False)
    if isinstance(failure, OSError):
        for part in (str(target), "No space left", "MB free", "NERFKIT_CACHE"):
            assert part in str(caught.value)
    assert list(target.parent.iterdir()) == []
    assert clock.make_clock(target, 8, 1, progress=False) == target


def test_damaged_clock_is_made_again_and_a_whole_one_is_kept(tmp_path, monkeypatch):
    target = clock.make_clock(tmp_path / "clock", 8, 2, progress=False)
    for damage in (lambda: (target / "1_rgb.png").write_bytes(b""), lambda: (target / "0_depth.npy").unlink()):
        damage()
        clock.make_clock(target, 8, 2, progress=False)
        assert iio.imread(target / "1_rgb.png").shape == (8, 8, 4)
        assert (target / "0_depth.npy").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["clock"]
    monkeypatch.setattr(clock, "_fill", None)  # would fail if it were called
    assert clock.make_clock(target, 8, 2) == target


def test_other_peoples_folders_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SceneError, match="not a clock"):
        clock.make_clock(tmp_path, 8, 1, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(SceneError, match="cannot be written"):
        clock.make_clock(tmp_path / "notes.txt" / "clock", 8, 1, progress=False)


def test_cache_folder_depends_on_what_is_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("NERFKIT_CACHE", str(tmp_path))
    usual = clock.clock_folder()
    assert usual.parent == tmp_path
    monkeypatch.setattr(clock_model, "VERSION", clock_model.VERSION + 1)
    assert len({usual, clock.clock_folder(), clock.clock_folder(resolution=64), clock.clock_folder(views=24)}) == 4
    assert [clock.stored_resolution(r) for r in (64, 256, 300, 512, 800)] == [128, 512, 300, 512, 800]


def test_changed_model_needs_a_new_version():
    """If this fails, the pictures have changed: raise ``clock_model.VERSION`` and put the new figures here."""
    photos = render(clock_model.surface(), clock.clock_cameras(64, 4), samples=2, lights=clock_model.LIGHTS)
    figures = [*photos.rgb.mean((0, 1, 2)), photos.coverage.mean()]
    assert clock_model.VERSION == 1
    np.testing.assert_allclose(figures, [0.07611, 0.09049, 0.07302, 0.20348], atol=2e-4)


def test_fillet_touches_both_sides():
    points, creases = solids.fillet([(0, 0, 0), (10, 0, 2), (10, 10, 0)], step=0.5)
    arc = points[(points[:, 0] > 8 + 1e-9) & (points[:, 1] < 2 - 1e-9)]
    np.testing.assert_allclose(np.hypot(arc[:, 0] - 8, arc[:, 1] - 2), 2, atol=0.02)
    assert np.linalg.norm(np.diff(points, axis=0), axis=-1).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(np.flatnonzero(creases), [0, len(points) - 1])
