"""Makes photos of a mesh: a supersampled hard renderer in Numba.

It is the witness for the differentiable renderers (truth images, finite differences of silhouettes), so it shares no code
with them: it casts one ray through each sample and keeps the nearest face, in float64, with homogeneous edge functions
(Olano and Greer 1997, "Triangle scan conversion using 2D homogeneous coordinates"). With v_i = (x_i w_i, y_i w_i, w_i) the
corners in sample coordinates times depth, and p = (x, y, 1) a sample,

    beta_i = (v_j x v_k) . p / det(v_0, v_1, v_2),     depth = 1 / sum beta_i,     barycentric b_i = beta_i * depth,

and the sample is covered where all beta_i >= 0. Faces that reach behind the camera need no clipping.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import prange

from nerfkit.cameras import Cameras
from nerfkit.kernels.jit import inline, jit

BANDS = 32


@dataclass(frozen=True)
class Surface:
    """A mesh and its look; split a vertex where normals, colours or texture coordinates jump.

    Attributes:
        vertices: (V,3) in scene units. faces: (F,3) vertex numbers, counter-clockwise seen from outside.
        colours: (V,3) in [0,1], multiplied by the texture; white by default.
        normals: (V,3); area-weighted means of the faces' normals by default.
        uvs, texture: (V,2) with (0,0) at the bottom left, and (Ht,Wt,3) uint8 with row 0 on top; bilinear, clamped.
        specular: (V,3) colour and strength of the highlight; none by default. shininess: (V,) its Blinn-Phong exponent.
        sky, key: (V,) which part of the surroundings and of the key light a vertex sees; all by default.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None = None
    normals: np.ndarray | None = None
    uvs: np.ndarray | None = None
    texture: np.ndarray | None = None
    specular: np.ndarray | None = None
    shininess: np.ndarray | None = None
    sky: np.ndarray | None = None
    key: np.ndarray | None = None

    def attributes(self) -> np.ndarray:
        """Everything the shader interpolates, (V,16) float32: normal 3, colour 3, uv 2, specular 3, shininess, sky, key, 0, 0."""
        packed = np.zeros((len(self.vertices), 16), np.float32)
        packed[:, 0:3] = vertex_normals(self.vertices, self.faces) if self.normals is None else self.normals
        packed[:, 3:6] = 1.0 if self.colours is None else self.colours
        packed[:, 6:8] = 0.0 if self.uvs is None else self.uvs
        packed[:, 8:11] = 0.0 if self.specular is None else self.specular
        packed[:, 11] = 32.0 if self.shininess is None else self.shininess
        packed[:, 12] = 1.0 if self.sky is None else self.sky
        packed[:, 13] = 1.0 if self.key is None else self.key
        return packed


@dataclass(frozen=True)
class Lights:
    """A key light and a fill light, both infinitely far, and surroundings that shade from ``ground`` to ``sky`` along ``up``.

    Directions point towards the light, in the world; strengths multiply colours in the display's own space (sRGB as stored).
    """

    key_direction: tuple[float, float, float] = (-0.45, 0.62, 0.64)
    key: float = 0.62
    fill_direction: tuple[float, float, float] = (0.62, 0.30, -0.72)
    fill: float = 0.40
    sky: float = 0.46
    ground: float = 0.26
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def packed(self) -> np.ndarray:
        """(4,4) float32 rows: key, fill, up, each a unit direction and a strength; the last row's first entry is ``ground``."""
        rows = np.zeros((4, 4), np.float32)
        for row, (direction, strength) in enumerate(
            [(self.key_direction, self.key), (self.fill_direction, self.fill), (self.up, self.sky)]
        ):
            rows[row, :3] = np.asarray(direction) / np.linalg.norm(direction)
            rows[row, 3] = strength
        rows[3, 0] = self.ground
        return rows


class Photos(NamedTuple):
    """N views, float32: ``rgb`` (N,H,W,3) premultiplied, ``coverage`` (N,H,W), ``depth`` (N,H,W) along the camera axis, inf where empty."""

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
    """Photos of ``surface``: ``samples`` x ``samples`` rays a pixel, box-filtered; Lambert, sky and Blinn-Phong shading.

    colour = albedo (ambient(n) sky + key_seen key (n.l)+ + sky fill (n.l')+) + specular (key_seen key (n.h)+^m + sky fill (n.h')+^m),
    clipped to [0,1], evaluated at every sample; the back of a face is shaded with the normal turned over. ``depth`` is the mean
    over a pixel's covered samples.
    """
    attributes = surface.attributes()
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
        _shade(
            face_of_sample, edges, vertices, faces, attributes, texture, eye, packed_lights, samples,
            photos.rgb[view], photos.coverage[view], photos.depth[view],
        )  # fmt: skip
    return photos


def silhouettes(vertices: np.ndarray, faces: np.ndarray, cameras: Cameras, samples: int = 16) -> np.ndarray:
    """Which part of each pixel the mesh covers, (N,H,W) float32: the share of ``samples`` x ``samples`` rays that hit it."""
    height, width = cameras.height, cameras.width
    vertices, faces = np.ascontiguousarray(vertices, np.float64), np.ascontiguousarray(faces, np.int32)
    result = np.empty((len(cameras), height, width), np.float32)
    for view in range(len(cameras)):
        hit = nearest_faces(project(vertices, cameras, view, samples), faces, height * samples, width * samples)[0] >= 0
        result[view] = hit.reshape(height, samples, width, samples).mean((1, 3), dtype=np.float32)
    return result


def project(vertices: np.ndarray, cameras: Cameras, view: int, samples: int) -> np.ndarray:
    """Homogeneous sample coordinates (V,3) float64 of the vertices in one view: x w, y w and the depth w."""
    pose = cameras.camera_to_world[view].double().numpy()
    fx, fy, cx, cy = cameras.intrinsics[view].double().numpy() * samples
    x, y, z = ((vertices - pose[:, 3]) @ pose[:, :3]).T
    return np.stack([fx * x - cx * z, -fy * y - cy * z, -z], -1)


def nearest_faces(
    points: np.ndarray, faces: np.ndarray, rows: int, columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest face at every sample centre (column + 0.5, row + 0.5); of equally near ones the lowest number.

    Returns face numbers (rows, columns) int32, -1 where empty; 1 / depth (rows, columns) float32, 0 where empty; and the faces'
    edge functions (F,10): rows v_j x v_k times the determinant's sign, then the determinant, negative for faces seen from outside.
    """
    face_of_sample = np.full((rows, columns), -1, np.int32)
    inverse_depth = np.zeros((rows, columns), np.float32)
    edges = np.empty((len(faces), 10), np.float64)
    _nearest_faces(points, faces, face_of_sample, inverse_depth, edges, np.empty((len(faces), 4), np.int32))
    return face_of_sample, inverse_depth, edges


@jit
def _nearest_faces(
    points: np.ndarray,
    faces: np.ndarray,
    face_of_sample: np.ndarray,
    inverse_depth: np.ndarray,
    edges: np.ndarray,
    boxes: np.ndarray,
) -> None:
    rows, columns = face_of_sample.shape
    for f in prange(faces.shape[0]):
        left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
        behind = 0
        for corner in range(3):
            x, y, w = points[faces[f, corner]]
            if w <= 0:
                behind += 1
            else:
                left, right = min(left, x / w), max(right, x / w)
                top, bottom = min(top, y / w), max(bottom, y / w)
            x1, y1, w1 = points[faces[f, (corner + 1) % 3]]
            x2, y2, w2 = points[faces[f, (corner + 2) % 3]]
            # Each entry is a difference of two products, so the face across the edge holds its exact negative: no sample
            # between two faces is lost to rounding.
            edges[f, 3 * corner] = y1 * w2 - w1 * y2
            edges[f, 3 * corner + 1] = w1 * x2 - x1 * w2
            edges[f, 3 * corner + 2] = x1 * y2 - y1 * x2
        if behind > 0:
            left, right, top, bottom = 0.0, columns, 0.0, rows
        x, y, w = points[faces[f, 0]]
        determinant = x * edges[f, 0] + y * edges[f, 1] + w * edges[f, 2]
        edges[f, 9] = determinant
        if determinant < 0:
            for k in range(9):
                edges[f, k] = -edges[f, k]
        if behind == 3 or determinant == 0 or not np.isfinite(determinant):
            left, right, top, bottom = 1.0, 0.0, 1.0, 0.0
        boxes[f, 0] = int(np.ceil(min(max(left - 0.5, 0), columns)))
        boxes[f, 1] = int(np.floor(min(max(right - 0.5, -1), columns - 1))) + 1
        boxes[f, 2] = int(np.ceil(min(max(top - 0.5, 0), rows)))
        boxes[f, 3] = int(np.floor(min(max(bottom - 0.5, -1), rows - 1))) + 1
    for band in prange(BANDS):
        first, last = rows * band // BANDS, rows * (band + 1) // BANDS
        for f in range(faces.shape[0]):
            for row in range(max(first, boxes[f, 2]), min(last, boxes[f, 3])):
                y = row + 0.5
                c0 = edges[f, 1] * y + edges[f, 2]
                c1 = edges[f, 4] * y + edges[f, 5]
                c2 = edges[f, 7] * y + edges[f, 8]
                for column in range(boxes[f, 0], boxes[f, 1]):
                    x = column + 0.5
                    e0, e1, e2 = edges[f, 0] * x + c0, edges[f, 3] * x + c1, edges[f, 6] * x + c2
                    if e0 >= 0 and e1 >= 0 and e2 >= 0:
                        inverse = np.float32((e0 + e1 + e2) / abs(edges[f, 9]))
                        if inverse > inverse_depth[row, column]:
                            inverse_depth[row, column] = inverse
                            face_of_sample[row, column] = f


@inline
def _texel(texture: np.ndarray, u: float, v: float, channel: int) -> float:
    """Bilinear, clamped; texel centres at half-integers, v upwards."""
    height, width = texture.shape[0], texture.shape[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.0)
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.0)
    x0, y0 = int(x), int(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    a, b = x - x0, y - y0
    top = texture[y0, x0, channel] * (1 - a) + texture[y0, x1, channel] * a
    bottom = texture[y1, x0, channel] * (1 - a) + texture[y1, x1, channel] * a
    return (top * (1 - b) + bottom * b) / 255


@inline
def _highlight(n: np.ndarray, to_eye: np.ndarray, light: np.ndarray, exponent: float) -> float:
    """Blinn-Phong: (n . h)^m with h half way between the eye and the light; 0 where the light is behind the surface."""
    if n[0] * light[0] + n[1] * light[1] + n[2] * light[2] <= 0:
        return 0.0
    x, y, z = to_eye[0] + light[0], to_eye[1] + light[1], to_eye[2] + light[2]
    cosine = (n[0] * x + n[1] * y + n[2] * z) / np.sqrt(max(x * x + y * y + z * z, 1e-12))
    return max(cosine, 0.0) ** exponent


@jit
def _shade(
    face_of_sample: np.ndarray,
    edges: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    attributes: np.ndarray,
    texture: np.ndarray,
    eye: np.ndarray,
    lights: np.ndarray,
    samples: int,
    rgb: np.ndarray,
    coverage: np.ndarray,
    depth: np.ndarray,
) -> None:
    height, width = coverage.shape
    count = np.float32(samples * samples)
    for row in prange(height):
        a = np.empty(16, np.float32)
        to_eye = np.empty(3, np.float32)
        total = np.empty(3, np.float32)
        for column in range(width):
            total[:] = 0
            hits, depths = 0, 0.0
            for sample in range(samples * samples):
                i, j = row * samples + sample // samples, column * samples + sample % samples
                f = face_of_sample[i, j]
                if f < 0:
                    continue
                x, y = j + 0.5, i + 0.5
                e0 = edges[f, 0] * x + edges[f, 1] * y + edges[f, 2]
                e1 = edges[f, 3] * x + edges[f, 4] * y + edges[f, 5]
                e2 = edges[f, 6] * x + edges[f, 7] * y + edges[f, 8]
                scale = 1 / (e0 + e1 + e2)
                hits += 1
                depths += abs(edges[f, 9]) * scale
                b0, b1, b2 = np.float32(e0 * scale), np.float32(e1 * scale), np.float32(e2 * scale)
                v0, v1, v2 = faces[f]
                for k in range(14):
                    a[k] = b0 * attributes[v0, k] + b1 * attributes[v1, k] + b2 * attributes[v2, k]
                for k in range(3):
                    to_eye[k] = eye[k] - (b0 * vertices[v0, k] + b1 * vertices[v1, k] + b2 * vertices[v2, k])
                to_eye /= np.sqrt(to_eye[0] ** 2 + to_eye[1] ** 2 + to_eye[2] ** 2)
                length = np.sqrt(max(a[0] ** 2 + a[1] ** 2 + a[2] ** 2, np.float32(1e-20)))
                if edges[f, 9] > 0:  # seen from behind
                    length = -length
                n = a[:3]
                n /= length
                key, fill = lights[0], lights[1]
                up = n[0] * lights[2, 0] + n[1] * lights[2, 1] + n[2] * lights[2, 2]
                ambient = lights[3, 0] + (lights[2, 3] - lights[3, 0]) * (up + 1) / 2
                key_cosine = max(n[0] * key[0] + n[1] * key[1] + n[2] * key[2], np.float32(0))
                fill_cosine = max(n[0] * fill[0] + n[1] * fill[1] + n[2] * fill[2], np.float32(0))
                diffuse = a[13] * key[3] * key_cosine + a[12] * (ambient + fill[3] * fill_cosine)
                shine = np.float32(0)
                if a[8] + a[9] + a[10] > 0:
                    shine = a[13] * key[3] * _highlight(n, to_eye, key, a[11])
                    shine += a[12] * fill[3] * _highlight(n, to_eye, fill, a[11])
                for k in range(3):
                    albedo = a[3 + k] * _texel(texture, a[6], a[7], k)
                    total[k] += min(max(albedo * diffuse + a[8 + k] * shine, np.float32(0)), np.float32(1))
            coverage[row, column] = hits / count
            depth[row, column] = depths / hits if hits > 0 else np.inf
            for k in range(3):
                rgb[row, column, k] = total[k] / count
