"""Meshes as .usdc and .usdz, read back by USD itself."""

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfkit.errors import ConfigError, SceneError
from nerfkit.mesh.files.io import load_mesh, save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.shapes import icosphere
from nerfkit.mesh.unwrap import unwrap

BALL = icosphere(1, 0.8).without_appearance()
TEXTURED = replace(unwrap(BALL, 32), texture=torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(0)))
MESHES = {
    "plain": BALL,
    "colored": replace(BALL, colors=BALL.vertices * 0.5 + 0.5),
    "textured": TEXTURED,
    "on a map": replace(TEXTURED, origin=(4649776.3, 0.0, 250000.5)),
}


@pytest.mark.parametrize("format", ["usd", "usdz"])
@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)])
@pytest.mark.parametrize("name", MESHES)
def test_what_usd_reads_is_the_mesh(name: str, up: tuple[float, float, float], format: str, tmp_path: Path) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom, UsdShade

    mesh = MESHES[name]
    roughness = torch.full((8, 8), 0.25) if mesh.texture is not None else None
    paths = save_mesh(mesh, tmp_path / "ball", (format,), roughness, up)
    content = paths[-1].read_bytes()
    assert save_mesh(mesh, tmp_path / "ball", (format,), roughness, up) == paths and paths[-1].read_bytes() == content
    stage = Usd.Stage.Open(str(paths[-1]))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    shape = UsdGeom.Mesh(stage.GetPrimAtPath("/Model/Mesh"))
    matrix = np.array(shape.ComputeLocalToWorldTransform(Usd.TimeCode.Default()))
    points = np.array(shape.GetPointsAttr().Get(), dtype=float) @ matrix[:3, :3] + matrix[3, :3]
    expected = mesh.positions.numpy()
    np.testing.assert_allclose(points[:, 1], expected @ np.array(up), atol=1e-6 * max(1, np.abs(expected).max()))
    spread = [np.linalg.norm(p - p[:1], axis=1) for p in (points, expected)]  # turned, not distorted
    np.testing.assert_allclose(*spread, atol=1e-6 * max(1, np.abs(expected).max()))
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(np.array(shape.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3), mesh.faces.numpy())
    if mesh.corner_uvs is not None:
        uv = np.array(UsdGeom.PrimvarsAPI(shape).GetPrimvar("st").Get()).reshape(-1, 3, 2)
        np.testing.assert_array_equal(uv, mesh.corner_uvs.numpy())
    material = UsdShade.MaterialBindingAPI(shape.GetPrim()).ComputeBoundMaterial()[0]
    diffuse = material.ComputeSurfaceSource()[0].GetInput("diffuseColor")
    if mesh.texture is None and mesh.colors is None:
        assert not diffuse.HasConnectedSource() and diffuse.Get()[0] == pytest.approx(0.448, abs=1e-3)
        return
    color = diffuse.GetConnectedSources()[0][0].source
    if mesh.texture is None:
        assert UsdShade.Shader(color).GetShaderId() == "UsdPrimvarReader_float3"
    else:
        asset = UsdShade.Shader(color).GetInput("file").Get()
        assert asset.path == "ball.png" or asset.path == "./ball.png"
        assert asset.resolvedPath  # it is found from where the stage is


@pytest.mark.parametrize("format", ["usd", "usdz"])
def test_usd_s_validator_has_nothing_to_say(format: str, tmp_path: Path) -> None:
    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core has no UsdValidation")
    from pxr import Usd

    for name, mesh in MESHES.items():
        rough = torch.full((8, 8), 0.25) if mesh.texture is not None else None
        path = save_mesh(mesh, tmp_path / name / "ball", (format,), rough)[-1]
        checks = validation.ValidationRegistry().GetOrLoadAllValidators()
        errors = validation.ValidationContext(checks).Validate(Usd.Stage.Open(str(path)))
        assert len(checks) > 5 and [error.GetMessage() for error in errors] == []


def test_a_package_holds_its_pictures_and_a_file_lies_beside_them(tmp_path: Path) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    rough = torch.full((8, 8), 0.25)
    paths = save_mesh(TEXTURED, tmp_path / "ball", ("obj", "usd", "usdz"), rough)
    assert {path.name for path in paths} == {
        *("ball.obj", "ball.mtl", "ball.png", "ball_roughness.png", "ball.usdc", "ball.usdz")
    }
    with zipfile.ZipFile(tmp_path / "ball.usdz") as package:
        infos = {info.filename: info for info in package.infolist()}
        assert set(infos) == {"ball.usdc", "ball.png", "ball_roughness.png"}
        assert {info.date_time for info in infos.values()} == {(1980, 1, 1, 0, 0, 0)}  # the same bytes at any time
        assert package.testzip() is None
        assert package.read("ball.png") == (tmp_path / "ball.png").read_bytes()
        assert all(info.compress_type == zipfile.ZIP_STORED for info in infos.values())  # as the format demands
    assert torch.equal(load_mesh(tmp_path / "ball.obj").faces, TEXTURED.faces)


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    if "pxr" in sys.modules or pytest.importorskip("pxr", reason="usd-core is not installed"):
        with pytest.raises(SceneError, match="without faces"):
            save_mesh(nothing, tmp_path / "none", ("usdz",))
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(ConfigError, match=r"export\.formats: usd needs usd-core"):
        save_mesh(BALL, tmp_path / "ball", ("ply", "usd"))
    assert not list(tmp_path.iterdir())
