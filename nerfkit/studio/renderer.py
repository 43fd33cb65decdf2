"""Makes photos of a mesh: a supersampled hard renderer in Numba.

It is the witness for the differentiable renderers (truth images, finite differences of silhouettes), so it shares no
code with them: it casts one ray through each sample and keeps the nearest face, in float64, with homogeneous edge
functions (Olano and Greer 1997, "Triangle scan conversion using 2D homogeneous coordinates"). With
v_i = (x_i w_i, y_i w_i, w_i) the corners in sample coordinates times depth, and p = (x, y, 1) a sample,

    beta_i = (v_j x v_k) . p / det(v_0, v_1, v_2),     depth = 1 / sum beta_i,     barycentric b_i = beta_i * depth,

and the sample is covered where all beta_i >= 0. Faces that reach behind the camera need no clipping.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from nerfkit.cameras import Cameras
from nerfkit.studio.renderer_kernels import ATTRIBUTES, cast_rays, shade


@dataclass(frozen=True)
class Surface:
    """A mesh and its look; split a vertex where normals, colors or texture coordinates jump.

    Attributes:
        vertices: (V,3) in scene units. faces: (F,3) vertex numbers, counter-clockwise seen from outside.
        colors: (V,3) in [0,1], multiplied by the texture; white by default.
        normals: (V,3); area-weighted means of the faces' normals by default.
        uvs, texture: (V,2) with (0,0) at the bottom left, and (Ht,Wt,3) uint8 with row 0 on top; bilinear.
        repeat: whether the texture repeats outside [0,1]^2; else its border's texels go on.
        specular: (V,3) color and strength of the highlight; none by default. shininess: (V,) its Blinn-Phong exponent.
        sky, key: (V,) which part of the surroundings and of the key light a vertex sees; all by default.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None
    normals: np.ndarray | None = None
    uvs: np.ndarray | None = None
    texture: np.ndarray | None = None
    specular: np.ndarray | None = None
    shininess: np.ndarray | None = None
    sky: np.ndarray | None = None
    key: np.ndarray | None = None
    repeat: bool = False

    @cached_property
    def attributes(self) -> np.ndarray:
        """What the shader interpolates, (V,14) float32: normal 3, color 3, uv 2, specular 3, shininess, sky, key."""
        packed = np.zeros((len(self.vertices), ATTRIBUTES), np.float32)
        packed[:, 0:3] = vertex_normals(self.vertices, self.faces) if self.normals is None else self.normals
        packed[:, 3:6] = 1.0 if self.colors is None else self.colors
        packed[:, 6:8] = 0.0 if self.uvs is None else self.uvs
        packed[:, 8:11] = 0.0 if self.specular is None else self.specular
        packed[:, 11] = 32.0 if self.shininess is None else self.shininess
        packed[:, 12] = 1.0 if self.sky is None else self.sky
        packed[:, 13] = 1.0 if self.key is None else self.key
        return packed


@dataclass(frozen=True)
class Lights:
    """A key and a fill light, infinitely far, and surroundings that shade from ``ground`` to ``sky`` along ``up``.

    Directions point toward the light, in the world; strengths multiply colors as stored (sRGB).
    """

    key_direction: tuple[float, float, float] = (-0.42, 0.56, 0.72)
    key: float = 0.72
    fill_direction: tuple[float, float, float] = (0.62, 0.30, -0.72)
    fill: float = 0.48
    sky: float = 0.48
    ground: float = 0.28
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def packed(self) -> np.ndarray:
        """(4,4) float32: key, fill and up, each a unit direction and a strength; then ``ground``."""
        rows = np.zeros((4, 4), np.float32)
        for row, (direction, strength) in enumerate(
            [(self.key_direction, self.key), (self.fill_direction, self.fill), (self.up, self.sky)]
        ):
            rows[row, :3] = np.asarray(direction) / np.linalg.norm(direction)
            rows[row, 3] = strength
        rows[3, 0] = self.ground
        return rows


class Photos(NamedTuple):
    """N views, float32: ``rgb`` (N,H,W,3) premultiplied, ``coverage`` (N,H,W) in [0,1], ``depth`` (N,H,W).

    Depth is the distance along the camera's axis in scene units, inf where a pixel is empty.
    """

    rgb: np.ndarray
    coverage: np.ndarray
    depth: np.ndarray


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit area-weighted normals (V,3) float64; (0,0,0) at vertices that no face with an area uses."""
    corners = vertices[faces]  # (F, 3, 3)
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # (F, 3)
    sums = np.stack(
        [np.bincount(faces.ravel(), np.repeat(areas[:, k], 3), len(vertices)) for k in range(3)], -1
    )  # (V, 3)
    return sums / np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), 1e-30)


def render(surface: Surface, cameras: Cameras, samples: int = 4, lights: Lights | None = None) -> Photos:
    """Photos of ``surface``: ``samples`` x ``samples`` rays a pixel, averaged; Lambert, sky and Blinn-Phong shading.

    With n the normal, l and l' the lights, h and h' half way from them to the eye, and s_sky, s_key what the point
    sees,

        color = albedo (s_key key (n.l)+ + s_sky (fill (n.l')+ + surroundings(n)))
               + specular (s_key key (n.h)+^m + s_sky fill (n.h')+^m), clipped to [0,1],

    at every sample; the back of a face is shaded with its normal turned over. ``depth`` is the mean over a pixel's
    covered samples.
    """
    attributes = surface.attributes
    vertices = np.ascontiguousarray(surface.vertices, np.float64)
    faces = np.ascontiguousarray(surface.faces, np.int32)
    texture = np.full((1, 1, 3), 255, np.uint8) if surface.texture is None else np.ascontiguousarray(surface.texture)
    packed_lights = (lights or Lights()).packed()
    n, height, width = len(cameras), cameras.height, cameras.width
    photos = Photos(
        np.empty((n, height, width, 3), np.float32),
        np.empty((n, height, width), np.float32),
        np.empty((n, height, width), np.float32),
    )
    for view in range(n):
        face_of_sample, _, edges = nearest_faces(
            project(vertices, cameras, view, samples), faces, height * samples, width * samples
        )
        eye = cameras.positions[view].double().numpy()
        shade(
            face_of_sample, edges, vertices, faces, attributes, texture, surface.repeat, eye, packed_lights, samples,
            photos.rgb[view], photos.coverage[view], photos.depth[view],
        )  # fmt: skip
    return photos


def geometry(surface: Surface, cameras: Cameras, view: int) -> tuple[np.ndarray, np.ndarray]:
    """What the rays through the pixels' centers meet, where ``Photos`` holds means over pixels.

    Returns depth (H,W) float64, distance along the camera's axis, inf where a pixel's center is empty; and the
    surface's interpolated unit normals (H,W,3) float32 in the world's axes, toward the camera, 0 where it is empty.
    """
    height, width = cameras.height, cameras.width
    faces = np.ascontiguousarray(surface.faces, np.int32)
    points = project(np.ascontiguousarray(surface.vertices, np.float64), cameras, view, 1)
    face, _, edges = nearest_faces(points, faces, height, width)
    rows, columns = np.nonzero(face >= 0)
    hit = face[rows, columns]  # (P,)
    centers = np.stack([columns + 0.5, rows + 0.5, np.ones(len(hit))], -1)  # (P, 3)
    beta = np.einsum("pkc,pc->pk", edges[hit, :9].reshape(-1, 3, 3), centers)  # (P, 3)
    total = beta.sum(-1)
    depth = np.full((height, width), np.inf)
    depth[rows, columns] = np.abs(edges[hit, 9]) / total
    corners = surface.attributes[faces[hit], :3]  # (P, 3, 3)
    normal = np.einsum("pk,pkc->pc", beta / total[:, None], corners)
    normal *= np.where(edges[hit, 9] > 0, -1, 1)[:, None]  # positive where the face is seen from behind
    normals = np.zeros((height, width, 3), np.float32)
    normals[rows, columns] = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-20)
    return depth, normals


def project(vertices: np.ndarray, cameras: Cameras, view: int, samples: int) -> np.ndarray:
    """Homogeneous sample coordinates (V,3) float64 of the vertices in one view: x w, y w and the depth w."""
    pose = cameras.camera_to_world[view].double().numpy()
    fx, fy, cx, cy = cameras.intrinsics[view].double().numpy() * samples
    offset = (vertices - pose[:, 3]).T  # (3, V)
    # Written out: BLAS is slower for so narrow a matrix, and rounds differently from machine to machine.
    x, y, z = (offset[0] * axis[0] + offset[1] * axis[1] + offset[2] * axis[2] for axis in pose[:, :3].T)
    return np.stack([fx * x - cx * z, -fy * y - cy * z, -z], -1)


def nearest_faces(
    points: np.ndarray, faces: np.ndarray, rows: int, columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest face at every sample center (column + 0.5, row + 0.5); of equally near ones the lowest number.

    Returns face numbers (rows, columns) int32, -1 where empty; 1 / depth (rows, columns) float32, 0 where empty; and
    the faces' edge functions (F,10): v_j x v_k times the determinant's sign, three numbers for each corner, then the
    determinant, which is negative for faces seen from outside.
    """
    face_of_sample = np.full((rows, columns), -1, np.int32)
    inverse_depth = np.zeros((rows, columns), np.float32)
    edges = np.empty((len(faces), 10), np.float64)
    cast_rays(points, faces, face_of_sample, inverse_depth, edges, np.empty((len(faces), 4), np.int32))
    return face_of_sample, inverse_depth, edges
