from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

from nerfkit.cameras import Cameras, look_at
from nerfkit.errors import ConfigError
from nerfkit.mesh.files.gltf import srgb_to_linear
from nerfkit.mesh.files.io import load_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.scenes.scene import Similarity
from nerfkit.view.options import TimelapseOptions
from nerfkit.view.timelapse import Timelapse, shaded


def ball(subdivisions: int, **more) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions, radius=0.6)
    return Mesh(torch.tensor(made.vertices, dtype=torch.float32), torch.tensor(made.faces), **more)


def camera() -> Cameras:
    pose = look_at(torch.tensor([[0.0, 0.0, 3.0]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    return Cameras(pose, torch.tensor([[30.0, 30.0, 16.0, 16.0]]), 32, 32)


def test_files_video_and_usd(tmp_path):
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom

    units = Similarity(0.5, (0.0, 1.0, 0.0))
    options = TimelapseOptions(formats=["glb", "ply", "usd", "video"], fps=4.0)
    film = Timelapse(tmp_path / "film", options, camera(), units=units)
    snapshots = [ball(1), replace(ball(1), vertices=ball(1).vertices * 0.5), ball(2, colors=torch.rand(162, 3))]
    for mesh in snapshots:
        film.add(mesh)
    usd, video = film.close()
    for k, mesh in enumerate(snapshots):
        for ending in ("glb", "ply"):
            loaded = load_mesh(tmp_path / "film" / f"mesh_{k:04d}.{ending}")
            torch.testing.assert_close(loaded.vertices, units.invert(mesh.vertices))
    stage = Usd.Stage.Open(str(usd))  # held here: its prims die with it
    shape = UsdGeom.Mesh(stage.GetDefaultPrim())
    assert shape.GetPointsAttr().GetTimeSamples() == [0.0, 1.0, 2.0]
    assert shape.GetFaceVertexIndicesAttr().GetTimeSamples() == [0.0, 2.0]
    np.testing.assert_allclose(shape.GetPointsAttr().Get(1.0), units.invert(snapshots[1].vertices).numpy(), atol=1e-6)
    color = UsdGeom.PrimvarsAPI(shape).GetPrimvar("displayColor")
    linear = srgb_to_linear(snapshots[2].colors.numpy())  # what USD's viewers take it for
    np.testing.assert_allclose(color.Get(2.0), linear, atol=1e-6)
    assert len(iio.imread(video)) == 3
    first, second = (iio.imread(tmp_path / "film" / "frames" / f"{k:04d}.png") for k in range(2))
    covered = [(frame < 250).any(-1).mean() for frame in (first, second)]
    assert covered[0] == pytest.approx(4 * covered[1], rel=0.25)


def test_bad_words():
    with pytest.raises(ConfigError, match=r"timelapse.formats=\[fbx\]: unknown value fbx"):
        TimelapseOptions(formats=["fbx"])


def test_usd_knows_which_way_is_up():
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import UsdGeom

    from nerfkit.view.usd import UsdSequence

    for up, token in (((0.0, 1.0, 0.0), "Y"), ((0.0, 0.0, 1.0), "Z"), ((0.0, 0.1, -0.9), "Z")):
        assert UsdGeom.GetStageUpAxis(UsdSequence(12.0, up).stage) == token


@pytest.mark.parametrize("place", [0.0, 4649776.3])
def test_usd_s_own_validator_has_nothing_to_say(tmp_path, place):
    """All of its checks, among them units, up axis and default prim; coordinates of a map are kept to 0.1 mm."""
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom

    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core has no UsdValidation")
    from nerfkit.view.usd import UsdSequence

    film = UsdSequence(12.0, (0.0, 0.0, 1.0))
    snapshots = [ball(1), ball(2, colors=torch.rand(162, 3))]
    for mesh in snapshots:
        film.add(mesh.transformed(lambda points: points + place))
    stage = Usd.Stage.Open(str(film.write(tmp_path / "mesh.usdc")))
    checks = validation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(checks) > 5
    errors = validation.ValidationContext(checks).Validate(stage)
    assert [error.GetMessage() for error in errors] == []
    assert stage.HasAuthoredMetadata("metersPerUnit") and stage.HasAuthoredMetadata("upAxis")
    shape = UsdGeom.Mesh(stage.GetDefaultPrim())
    for time, mesh in enumerate(snapshots):
        matrix = np.array(shape.ComputeLocalToWorldTransform(time))
        points = np.array(shape.GetPointsAttr().Get(time), dtype=float) @ matrix[:3, :3] + matrix[3, :3]
        np.testing.assert_allclose(points, mesh.positions.numpy() + place, atol=1e-4)


def test_a_mesh_without_colors_is_lit_from_the_camera():
    front = camera()
    turn = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])
    back = front.changed(turn @ front.camera_to_world)
    np.testing.assert_allclose(
        shaded(ball(2), front, (1, 1, 1)).astype(int), shaded(ball(2), back, (1, 1, 1)).astype(int), atol=12
    )
