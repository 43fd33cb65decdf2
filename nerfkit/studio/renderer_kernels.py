"""The loops of ``renderer``, which holds formulas and shapes, and of ``surfaces``: the normals around each vertex."""

import numpy as np
from numba import prange

from nerfkit.kernels.jit import inline, jit

BANDS = 16  # of rows; each is filled by one thread, face after face
ATTRIBUTES = 14


@jit
def cast_rays(
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
            # Each entry is a difference of two products, so the face across the edge holds its exact negative: no
            # sample between two faces is lost to rounding.
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
def _dot(ax: np.float32, ay: np.float32, az: np.float32, b: np.ndarray) -> np.float32:
    return ax * b[0] + ay * b[1] + az * b[2]


@inline
def _highlight(
    nx: np.float32,
    ny: np.float32,
    nz: np.float32,
    ex: np.float32,
    ey: np.float32,
    ez: np.float32,
    light: np.ndarray,
    exponent: np.float32,
) -> np.float32:
    """Blinn-Phong: (n . h)^m with h half way between the eye e and the light; 0 where the light is behind."""
    hx, hy, hz = ex + light[0], ey + light[1], ez + light[2]
    squared = hx * hx + hy * hy + hz * hz
    cosine = nx * hx + ny * hy + nz * hz
    if cosine <= 0 or _dot(nx, ny, nz, light) <= 0:
        return np.float32(0)
    return (cosine * cosine / squared) ** (exponent / np.float32(2))


@jit
def shade(
    face_of_sample: np.ndarray,
    edges: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    attributes: np.ndarray,
    texture: np.ndarray,
    repeat: bool,
    eye: np.ndarray,
    lights: np.ndarray,
    samples: int,
    rgb: np.ndarray,
    coverage: np.ndarray,
    depth: np.ndarray,
) -> None:
    height, width = coverage.shape
    texture_height, texture_width = texture.shape[:2]
    key, fill = lights[0], lights[1]
    for row in prange(height):
        a = np.empty(ATTRIBUTES, np.float32)
        total = np.empty(3, np.float32)
        for column in range(width):
            total[0] = total[1] = total[2] = 0
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
                v0, v1, v2 = faces[f, 0], faces[f, 1], faces[f, 2]
                for k in range(ATTRIBUTES):
                    a[k] = b0 * attributes[v0, k] + b1 * attributes[v1, k] + b2 * attributes[v2, k]

                ex = eye[0] - (b0 * vertices[v0, 0] + b1 * vertices[v1, 0] + b2 * vertices[v2, 0])
                ey = eye[1] - (b0 * vertices[v0, 1] + b1 * vertices[v1, 1] + b2 * vertices[v2, 1])
                ez = eye[2] - (b0 * vertices[v0, 2] + b1 * vertices[v1, 2] + b2 * vertices[v2, 2])
                away = np.float32(1 / np.sqrt(ex * ex + ey * ey + ez * ez))
                ex, ey, ez = np.float32(ex) * away, np.float32(ey) * away, np.float32(ez) * away
                turn = 1 / np.sqrt(max(a[0] * a[0] + a[1] * a[1] + a[2] * a[2], np.float32(1e-20)))
                if edges[f, 9] > 0:  # seen from behind
                    turn = -turn
                nx, ny, nz = a[0] * turn, a[1] * turn, a[2] * turn

                ambient = lights[3, 0] + (lights[2, 3] - lights[3, 0]) * (_dot(nx, ny, nz, lights[2]) + 1) / 2
                from_key = a[13] * key[3]
                diffuse = from_key * max(_dot(nx, ny, nz, key), np.float32(0))
                diffuse += a[12] * (ambient + fill[3] * max(_dot(nx, ny, nz, fill), np.float32(0)))
                shine = np.float32(0)
                if a[8] + a[9] + a[10] > 0:
                    shine = from_key * _highlight(nx, ny, nz, ex, ey, ez, key, a[11])
                    shine += a[12] * fill[3] * _highlight(nx, ny, nz, ex, ey, ez, fill, a[11])

                # Bilinear lookup; texel centers at half-integers, v upward.
                u, v = a[6] * texture_width - 0.5, (1 - a[7]) * texture_height - 0.5
                if repeat:
                    u, v = u % texture_width, v % texture_height  # in [0, size]: the remainder may round up
                    left, top = int(u), int(v)
                    p, q = np.float32(u - left), np.float32(v - top)
                    right, bottom = (left + 1) % texture_width, (top + 1) % texture_height
                    left, top = left % texture_width, top % texture_height
                else:
                    u, v = min(max(u, 0.0), texture_width - 1.0), min(max(v, 0.0), texture_height - 1.0)
                    left, top = int(u), int(v)
                    p, q = np.float32(u - left), np.float32(v - top)
                    right, bottom = min(left + 1, texture_width - 1), min(top + 1, texture_height - 1)
                for k in range(3):
                    above = texture[top, left, k] * (1 - p) + texture[top, right, k] * p
                    below = texture[bottom, left, k] * (1 - p) + texture[bottom, right, k] * p
                    albedo = a[3 + k] * (above + (below - above) * q) / 255
                    total[k] += min(max(albedo * diffuse + a[8 + k] * shine, np.float32(0)), np.float32(1))
            coverage[row, column] = hits / np.float32(samples * samples)
            depth[row, column] = depths / hits if hits > 0 else np.inf
            for k in range(3):
                rgb[row, column, k] = total[k] / np.float32(samples * samples)


@jit(parallel=False)
def blend_normals(
    corners: np.ndarray, starts: np.ndarray, areas: np.ndarray, cosine: float, normals: np.ndarray
) -> None:
    """Sums into ``normals`` (3F,3), for each corner, the area vectors of those faces around its point that turn little.

    Corner c belongs to face c // 3; ``corners`` (3F,) lists them point after point, and ``starts`` where each point's
    begin. ``areas`` (F,3) are the faces' normals times their areas.
    """
    for point in range(len(starts) - 1):
        for i in range(starts[point], starts[point + 1]):
            own = areas[corners[i] // 3]
            for j in range(starts[point], starts[point + 1]):
                other = areas[corners[j] // 3]
                dot = own[0] * other[0] + own[1] * other[1] + own[2] * other[2]
                size = own[0] * own[0] + own[1] * own[1] + own[2] * own[2]
                size *= other[0] * other[0] + other[1] * other[1] + other[2] * other[2]
                if dot > 0 and dot >= cosine * np.sqrt(size):
                    for k in range(3):
                        normals[corners[i], k] += other[k]
