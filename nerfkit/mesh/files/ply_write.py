"""Binary PLY of a mesh, or of points of its surface."""

import numpy as np
from torch import Tensor

from nerfkit.mesh.levels import surface_colors
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.sampling import sample_surface
from nerfkit.runs.files import to_bytes

COLORS = ("red", "green", "blue", "alpha")


def to_ply(mesh: Mesh, colors: Tensor | None) -> bytes:
    """The faces over vertices with ``colors`` (V,3), if any; coordinates are double where the mesh has an origin."""
    lines, rows = _vertices(mesh, mesh.vertices, colors)
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces.cpu().numpy()
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    return _joined(lines) + rows.tobytes() + faces.tobytes()


def points_to_ply(mesh: Mesh, count: int) -> bytes:
    """``count`` points spread by area over the surface, the faces' normals, and colors where the mesh has some.

    Two calls give the same points.

    Raises:
        ValueError: the mesh has no area.
    """
    found = sample_surface(mesh.vertices, mesh.faces, count)
    colors = None
    if mesh.texture is not None:
        colors = surface_colors(mesh, mesh.texture, found.face, found.barycentrics)
    elif mesh.colors is not None:
        colors = (mesh.colors[mesh.faces[found.face]] * found.barycentrics[..., None]).sum(1)
    lines, rows = _vertices(mesh, found.points, colors, found.normals)
    return _joined(lines) + rows.tobytes()


def _vertices(
    mesh: Mesh, vertices: Tensor, colors: Tensor | None, normals: Tensor | None = None
) -> tuple[list[str], np.ndarray]:
    """The header's lines and the table of points (P,3), relative to the mesh's origin."""
    far = any(mesh.origin)
    points = vertices.numpy(force=True)
    points = points.astype(np.float64) + mesh.origin if far else points
    fields: list[tuple] = [("xyz", points.dtype, 3)]
    lines = [f"element vertex {len(points)}"] + [f"property {'double' if far else 'float'} {axis}" for axis in "xyz"]
    if normals is not None:
        fields.append(("normal", "<f4", 3))
        lines += [f"property float n{axis}" for axis in "xyz"]
    if colors is not None:
        fields.append(("rgba", "u1", 4))
        lines += [f"property uchar {channel}" for channel in COLORS]
    rows = np.empty(len(points), fields)
    rows["xyz"] = points
    if normals is not None:
        rows["normal"] = normals.numpy(force=True)
    if colors is not None:
        rows["rgba"] = 255
        rows["rgba"][:, :3] = to_bytes(colors)
    return lines, rows


def _joined(lines: list[str]) -> bytes:
    return "\n".join(["ply", "format binary_little_endian 1.0", "comment nerfkit", *lines, "end_header", ""]).encode()
