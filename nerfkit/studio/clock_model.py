"""The project's own alarm clock: twin brass bells, teal enamel, a cream dial at nine minutes past ten.

``surface`` holds all parts for the renderer, with texture and baked light. ``truth`` is what a scanner could see of
them: the faces, or the pieces of faces, that lie inside no other part.
"""

from functools import cache

import numpy as np

from nerfkit.studio.clock_dial import draw_back, draw_dial
from nerfkit.studio.clock_parts import BACK_RADIUS, CENTER, DIAL_RADIUS, build_parts
from nerfkit.studio.occlusion import cone_directions, smoothed, sphere_directions, visibility
from nerfkit.studio.renderer import Lights, Surface, vertex_normals
from nerfkit.studio.union import joined, outside

VERSION = 1  # part of the cache's key: raise it whenever the model, its look, the lights or the cameras change
LIGHTS = Lights()
TEXTURE_SIZE = 1024


@cache
def surface() -> Surface:
    """All parts as one mesh with colors, texture and, baked, how much sky and key light each vertex sees."""
    parts = build_parts()
    starts = np.cumsum([0] + [len(part.solid.vertices) for part in parts[:-1]])
    vertices, faces = joined([part.solid for part in parts])
    normals = vertex_normals(vertices, faces)

    def spread(values: list[tuple[float, float, float]]) -> np.ndarray:
        return np.concatenate(
            [np.tile(v, (len(part.solid.vertices), 1)) for part, v in zip(parts, values, strict=True)]
        )

    uvs = np.zeros((len(vertices), 2))
    uvs[:] = (0.002, 0.004)  # a white corner of the dial's picture
    for part, start in zip(parts, starts, strict=True):
        if part.print is not None:
            own = slice(start, start + len(part.solid.vertices))
            uvs[own] = _print_uvs(part.print, vertices[own], normals[own], uvs[own])
    sky = visibility(vertices, faces, normals, sphere_directions(72), offset=0.8)
    key = visibility(vertices, faces, normals, cone_directions(np.array(LIGHTS.key_direction), 4.0, 12), offset=0.8)
    return Surface(
        vertices,
        faces,
        spread([part.finish.color for part in parts]),
        normals,
        uvs,
        _texture(),
        spread([part.finish.specular for part in parts]),
        np.concatenate([np.full(len(part.solid.vertices), part.finish.shininess) for part in parts]),
        smoothed(sky, faces, 2),
        smoothed(key, faces, 2),
    )


def _print_uvs(number: int, vertices: np.ndarray, normals: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Texture coordinates of a disc's flat front: the dial is the texture's left half, the back plate its right."""
    radius, facing = ((DIAL_RADIUS, 1.0), (BACK_RADIUS, -1.0))[number]
    x, y = (vertices[:, :2] - CENTER[:2]).T / radius
    uvs = np.stack([(facing * x + 1) / 4 + 0.5 * number, (y + 1) / 2], -1)
    return np.where(normals[:, 2:] * facing > 0.99, uvs, blank)


def _texture() -> np.ndarray:
    """(1024,2048,3) uint8: dial and back plate side by side; the bottom left corner is white, for unprinted parts."""
    dial, back = draw_dial(DIAL_RADIUS, TEXTURE_SIZE), draw_back(BACK_RADIUS, TEXTURE_SIZE)
    dial[-16:, :16] = 255
    return np.concatenate([dial, back], 1)


@cache
def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The true surface: vertices (V,3), faces (F,3) outward, and unlit colors (V,3) in [0,1].

    ``union.outside`` says how parts are cut where they reach into one another.
    """
    whole = surface()
    vertices, colors, faces = outside([part.solid for part in build_parts()], _unlit_colors(whole))
    return vertices, faces, colors


def _unlit_colors(whole: Surface) -> np.ndarray:
    assert whole.texture is not None
    assert whole.uvs is not None
    assert whole.colors is not None
    height, width = whole.texture.shape[:2]
    column = np.clip(whole.uvs[:, 0] * width, 0, width - 1).astype(int)
    row = np.clip((1 - whole.uvs[:, 1]) * height, 0, height - 1).astype(int)
    return whole.colors * whole.texture[row, column] / 255
