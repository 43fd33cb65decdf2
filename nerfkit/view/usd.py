"""Universal Scene Description: one mesh with time samples, through usd-core (the extra ``nerfkit[usd]``).

https://openusd.org/release/api/class_usd_geom_mesh.html
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.mesh.files.gltf import srgb_to_linear
from nerfkit.mesh.files.io import texture_colors
from nerfkit.mesh.files.usd import usd_modules
from nerfkit.mesh.mesh import Mesh
from nerfkit.runs.files import replacing


class UsdSequence:
    """A mesh whose points, faces and colors are time samples, one a snapshot.

    Colors are ``displayColor`` of the vertices, taken from the texture where the mesh has one, and linear as USD
    expects them. Faces are written again only where they change. The scene's unit is said to be a meter, as glTF has
    it. Points are float32: the first mesh's origin, where it has one, is a translation, in float64.

    Args:
        fps: time codes a second.
        up: the world's up axis; the file says z where that is nearest, and y elsewhere, the two that USD knows.

    Raises:
        ConfigError: usd-core is not installed.
    """

    def __init__(self, fps: float, up: Sequence[float] = (0.0, 1.0, 0.0)) -> None:
        pxr = usd_modules("timelapse.formats")
        Sdf, Usd, UsdGeom, Vt = pxr.Sdf, pxr.Usd, pxr.UsdGeom, pxr.Vt
        self._vt: Any = Vt
        self.stage = Usd.Stage.CreateInMemory()
        self.stage.SetTimeCodesPerSecond(fps)
        UsdGeom.SetStageUpAxis(self.stage, UsdGeom.Tokens.z if abs(up[2]) > abs(up[1]) else UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(self.stage, 1.0)
        self.mesh = UsdGeom.Mesh.Define(self.stage, "/mesh")
        self.mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        self.stage.SetDefaultPrim(self.mesh.GetPrim())
        primvars = UsdGeom.PrimvarsAPI(self.mesh)
        self.color = primvars.CreatePrimvar("displayColor", Sdf.ValueTypeNames.Color3fArray, UsdGeom.Tokens.vertex)
        self.count = 0
        self.faces: np.ndarray | None = None
        self.origin = (0.0, 0.0, 0.0)

    def add(self, mesh: Mesh) -> None:
        """The next time sample."""
        time = float(self.count)
        vec3: Any = self._vt.Vec3fArray.FromNumpy
        ints: Any = self._vt.IntArray.FromNumpy
        if not self.count and any(mesh.origin):
            self.origin = mesh.origin
            self.mesh.AddTranslateOp().Set(self.origin)
        mesh = mesh.about(self.origin)
        points = np.ascontiguousarray(mesh.vertices.detach().cpu().numpy(), dtype=np.float32)
        faces = np.ascontiguousarray(mesh.faces.cpu().numpy(), dtype=np.int32)
        self.mesh.CreatePointsAttr().Set(vec3(points), time)
        extent = np.stack([points.min(0), points.max(0)]) if len(points) else np.zeros((2, 3), np.float32)
        self.mesh.CreateExtentAttr().Set(vec3(extent), time)
        if self.faces is None or not np.array_equal(self.faces, faces):
            self.mesh.CreateFaceVertexCountsAttr().Set(ints(np.full(len(faces), 3, np.int32)), time)
            self.mesh.CreateFaceVertexIndicesAttr().Set(ints(faces.reshape(-1)), time)
            self.faces = faces
        colors = texture_colors(mesh) if mesh.texture is not None else mesh.colors
        if colors is not None:
            linear = srgb_to_linear(colors.detach().cpu().numpy())
            self.color.Set(vec3(np.ascontiguousarray(linear, dtype=np.float32)), time)
        self.count += 1

    def write(self, path: Path) -> Path:
        """The file, whole or not at all; its ending is .usdc, .usda or .usd."""
        self.stage.SetStartTimeCode(0)
        self.stage.SetEndTimeCode(max(self.count - 1, 0))
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            self.stage.GetRootLayer().Export(str(temporary))
        return path
