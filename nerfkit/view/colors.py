"""What a renderer returns, as pictures: color, depth, normals and opacity as (H,W,3) uint8."""

import numpy as np
from numpy.typing import NDArray

from nerfkit.runs.files import to_bytes

# Near to far: pale yellow, orange, magenta, violet, near black. Lightness falls all the way: it reads in gray as well.
_DEPTH_STOPS = np.array(
    [[1.00, 0.97, 0.72], [0.98, 0.66, 0.30], [0.84, 0.30, 0.38], [0.45, 0.14, 0.45], [0.12, 0.06, 0.26]], np.float32
)


def picture(
    channel: str, rendered: dict[str, NDArray], near: float, far: float, transparent: bool = False
) -> NDArray[np.uint8]:
    """One channel of a rendered view as an RGB picture, or an RGBA one, not premultiplied.

    Args:
        channel: ``rgb``; ``depth``: bright at ``near``, dark at ``far``; ``normal``: (n + 1) / 2; ``alpha``: gray.
            Depth and normals are over black where the object does not cover the pixel.
        rendered: ``rgb`` (H,W,3) in [0,1], ``depth`` (H,W) in normalized units, ``normal`` (H,W,3) unit vectors in the
            world, ``alpha`` (H,W) in [0,1].
        near, far: the depths of the ends of the scale.
        transparent: RGBA where the object's opacity is A; ``rgb`` must have been rendered over black. ``alpha`` itself
            stays opaque.
    """
    alpha = np.clip(np.nan_to_num(rendered["alpha"]), 0, 1)[..., None]  # (H, W, 1)
    if channel == "alpha":
        return to_bytes(np.repeat(alpha, 3, axis=-1))
    if channel == "rgb":
        color = rendered["rgb"] / np.maximum(alpha, 1 / 255) if transparent else rendered["rgb"]
    else:
        normal = channel == "normal"
        color = np.nan_to_num(rendered["normal"]) * 0.5 + 0.5 if normal else depth_colors(rendered["depth"], near, far)
        color = color if transparent else color * alpha
    return to_bytes(np.concatenate([color, alpha], -1) if transparent else color)


def depth_colors(depth: NDArray, near: float = 0.0, far: float = 1.0) -> NDArray[np.float32]:
    """Colors (H,W,3) of depths (H,W) on a scale from ``near`` to ``far``; beyond is clipped, NaN is far."""
    fraction = (depth - near) / (far - near)
    position = np.clip(np.nan_to_num(fraction, nan=1.0, posinf=1.0, neginf=0.0), 0, 1) * (len(_DEPTH_STOPS) - 1)
    stops = np.arange(len(_DEPTH_STOPS))
    return np.stack([np.interp(position, stops, _DEPTH_STOPS[:, c]) for c in range(3)], -1).astype(np.float32)
