"""Universal Scene Description of one textured mesh, through usd-core (the extra ``nerfkit[usd]``): .usdc and .usdz.

https://openusd.org/release/spec_usdpreviewsurface.html, https://openusd.org/release/spec_usdz.html
"""

import io
import struct
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.errors import ConfigError, SceneError
from nerfkit.mesh.files.gltf import srgb_to_linear, turn_to_y, unit_normals
from nerfkit.mesh.mesh import Mesh

GRAY = 0.7  # sRGB, of a mesh without colors
EPOCH = b"\0\0\x21\0"  # time and date of a zip's entry: 1980-01-01
ROUGHNESS = "_roughness"  # behind a mesh's name, that of the picture


def usd_modules(key: str) -> Any:
    """The package ``pxr``, whose modules are loaded.

    Args:
        key: the option that asks for USD.

    Raises:
        ConfigError: usd-core is not installed.
    """
    try:
        import pxr
        from pxr import Gf, Kind, Sdf, Usd, UsdGeom, UsdShade, UsdUtils, Vt  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"{key}: usd needs usd-core, which is not installed; pip install 'nerfkit[usd]', or leave usd out"
        ) from None
    return pxr


def to_usd(mesh: Mesh, pictures: dict[str, bytes], up: Sequence[float], name: str, packed: bool) -> bytes:
    """The mesh with smooth normals, its UVs and textures or its vertex colors, as a .usdc or, packed, as a .usdz file.

    The stage has y up and a meter a unit, as viewers on phones take for granted: where ``up`` is another axis, the
    model is turned. The surface is a rough dielectric (UsdPreviewSurface), which light is added to: USD has no
    unlit one. Vertex colors are linear, the texture sRGB.

    Args:
        pictures: the texture as ``NAME.png`` or ``NAME.jpg``, and how rough it is as ``NAME_roughness.png``, where
            there are any. A .usdc names them, and they belong beside it; a .usdz holds them.
        up: the unit vector that points up among the mesh's axes.
        name: of the files.

    Raises:
        ConfigError: usd-core is not installed.
        SceneError: no faces.
    """
    pxr = usd_modules("export.formats")
    if not len(mesh.faces):
        raise SceneError("USD is not written of a mesh without faces; write it as OBJ or PLY")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        plain, package = folder / f"{name}.usdc", folder / f"{name}.usdz"
        for file, content in pictures.items():
            (folder / file).write_bytes(content)
        stage = pxr.Usd.Stage.CreateNew(str(plain))
        _define(pxr, stage, mesh, pictures, up, name)
        stage.Save()
        del stage
        if packed and not pxr.UsdUtils.CreateNewUsdzPackage(str(plain), str(package)):
            raise OSError(f"{package}: USD could not write it")
        return _undated(package.read_bytes()) if packed else plain.read_bytes()


def _undated(content: bytes) -> bytes:
    """A zip file whose entries are all of 1980: of the same mesh come the same bytes, whenever it is written."""
    data = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        place = package.start_dir
        for info in package.infolist():
            data[info.header_offset + 10 : info.header_offset + 14] = data[place + 12 : place + 16] = EPOCH
            place += 46 + sum(struct.unpack_from("<3H", data, place + 28))  # name, extra field, comment
    return bytes(data)


def _define(pxr: Any, stage: Any, mesh: Mesh, pictures: dict[str, bytes], up: Sequence[float], name: str) -> None:
    geom, value, shade = pxr.UsdGeom, pxr.Sdf.ValueTypeNames, pxr.UsdShade
    geom.SetStageUpAxis(stage, geom.Tokens.y)
    geom.SetStageMetersPerUnit(stage, 1.0)
    model = geom.Xform.Define(stage, "/Model")
    stage.SetDefaultPrim(model.GetPrim())
    pxr.Usd.ModelAPI(model.GetPrim()).SetKind(pxr.Kind.Tokens.component)
    if tuple(up) != (0.0, 1.0, 0.0):
        x, y, z, w = turn_to_y(up)
        model.AddOrientOp().Set(pxr.Gf.Quatf(w, x, y, z))
    shape = geom.Mesh.Define(stage, "/Model/Mesh")
    if any(mesh.origin):
        shape.AddTranslateOp().Set(mesh.origin)
    points, faces = mesh.vertices.detach().cpu().numpy(), mesh.faces.cpu().numpy().astype(np.int32)
    vec3 = pxr.Vt.Vec3fArray.FromNumpy
    shape.CreateSubdivisionSchemeAttr(geom.Tokens.none)
    shape.CreatePointsAttr(vec3(points))
    shape.CreateExtentAttr(vec3(np.stack([points.min(0), points.max(0)])))
    shape.CreateFaceVertexCountsAttr(pxr.Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
    shape.CreateFaceVertexIndicesAttr(pxr.Vt.IntArray.FromNumpy(faces.reshape(-1)))
    shape.CreateNormalsAttr(vec3(unit_normals(mesh)))
    shape.SetNormalsInterpolation(geom.Tokens.vertex)
    primvars = geom.PrimvarsAPI(shape)
    if mesh.corner_uvs is not None:
        uv = mesh.corner_uvs.detach().cpu().numpy().reshape(-1, 2)
        corners = primvars.CreatePrimvar("st", value.TexCoord2fArray, geom.Tokens.faceVarying)
        corners.Set(pxr.Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(uv, np.float32)))
    if mesh.colors is not None and not pictures:
        linear = srgb_to_linear(mesh.colors.detach().cpu().numpy().clip(0, 1))
        primvars.CreatePrimvar("displayColor", value.Color3fArray, geom.Tokens.vertex).Set(vec3(linear))
    material = shade.Material.Define(stage, "/Model/Looks/Surface")
    surface = shade.Shader.Define(stage, "/Model/Looks/Surface/Preview")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("metallic", value.Float).Set(0.0)
    material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    color, rough = surface.CreateInput("diffuseColor", value.Color3f), surface.CreateInput("roughness", value.Float)
    rough.Set(1.0)
    if pictures:
        reader = shade.Shader.Define(stage, "/Model/Looks/Surface/Reader")
        _read(reader, "UsdPrimvarReader_float2", {"varname": (value.String, "st")})
        reader.CreateOutput("result", value.Float2)
    elif mesh.colors is not None:
        reader = shade.Shader.Define(stage, "/Model/Looks/Surface/Reader")
        _read(reader, "UsdPrimvarReader_float3", {"varname": (value.String, "displayColor")})
        color.ConnectToSource(reader.CreateOutput("result", value.Float3))
    else:
        color.Set(pxr.Gf.Vec3f(*srgb_to_linear(np.full(3, GRAY)).tolist()))
    for file in pictures:
        is_color = not file.endswith(f"{ROUGHNESS}.png")
        picture = shade.Shader.Define(stage, f"/Model/Looks/Surface/{'Color' if is_color else 'Roughness'}")
        space = "sRGB" if is_color else "raw"
        given = {"file": (value.Asset, f"./{file}"), "sourceColorSpace": (value.Token, space)}
        given |= dict.fromkeys(("wrapS", "wrapT"), (value.Token, "repeat"))
        _read(picture, "UsdUVTexture", given)
        picture.CreateInput("st", value.Float2).ConnectToSource(reader.ConnectableAPI(), "result")
        wanted, channel, kind = (color, "rgb", value.Float3) if is_color else (rough, "r", value.Float)
        wanted.ConnectToSource(picture.CreateOutput(channel, kind))
    shade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(material)


def _read(shader: Any, kind: str, inputs: dict[str, tuple[Any, str]]) -> None:
    """What a shader is, and its inputs by name."""
    shader.CreateIdAttr(kind)
    for name, (type_name, content) in inputs.items():
        shader.CreateInput(name, type_name).Set(content)
