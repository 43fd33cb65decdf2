"""A picture of field, mesh or both for a client's camera, in bands of rows between which it may be given up."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.cameras import Cameras
from nerfkit.cameras.channels import CHANNELS
from nerfkit.runs.files import to_bytes
from nerfkit.scenes.colmap_model import transform
from nerfkit.view.colors import picture
from nerfkit.view.show import Source

FIELD, MESH, BOTH = "field", "mesh", "both"
MARGINS = {FIELD: 0, MESH: 1}
"""Pixels around a part of a picture that it depends on: outlines of a mesh are blended with their neighbors."""

BAND = 0.03  # seconds of a band
ROWS = 16  # of a band, at least
SIDE = 256  # of depth, which only says what is hidden and takes long to encode
ERROR, GAIN = "error", 4  # the channel |picture - photo|, and how many times as bright it is shown
FAR = 160.0  # where nothing is seen, in normalized units; viser's depth ends at 167


class Eye(Protocol):
    """A viser client's camera: OpenCV's axes, ``wxyz`` and ``position`` to the world, a vertical field of view."""

    wxyz: NDArray
    position: NDArray
    fov: float
    image_height: int
    image_width: int


@dataclass(frozen=True)
class Look:
    """What a picture shows.

    Attributes:
        source: field, mesh or both, left and right of ``split`` of the width.
        channel: of ``CHANNELS``, or ``ERROR``.
        photo: share of the width, from the left, that a photo covers where there is one.
    """

    source: str = FIELD
    channel: str = CHANNELS[0]
    split: float = 0.5
    photo: float = 0.5

    def columns(self, width: int) -> list[tuple[str, int, int]]:
        """The sources with the columns, first and behind the last, that they fill."""
        middle = round(min(max(self.split, 0), 1) * width)
        parts = [(FIELD, 0, middle), (MESH, middle, width)] if self.source == BOTH else [(self.source, 0, width)]
        return [part for part in parts if part[1] < part[2]]


class Drawn(NamedTuple):
    """A picture (H,W,3) uint8 and, coarser, the distance (H',W') along the camera's axis, ``FAR`` where nothing is."""

    pixels: NDArray[np.uint8]
    depth: NDArray[np.float32]


class Framed(NamedTuple):
    """A photo in a client's window of H times W pixels.

    Attributes:
        camera: the photo's, its picture the window.
        colors: (H,W,3) float32 in [0,1] over the scene's background.
        inside: (H,W) bool, where the photo has pixels that count.
    """

    camera: Cameras
    colors: NDArray[np.float32]
    inside: NDArray[np.bool_]


def camera_of(eye: Eye, side: int) -> Cameras:
    """A client's camera, whose picture is as large as its window; its longer side at most ``side`` pixels."""
    pose = transform((*(float(x) for x in eye.wxyz), *(float(x) for x in eye.position)), "camera")  # (3, 4)
    pose[:, 1:3] *= -1  # to OpenGL's axes
    height, width = max(int(eye.image_height), 1), max(int(eye.image_width), 1)
    focal = height / 2 / math.tan(eye.fov / 2)
    lens = torch.tensor([[focal, focal, width / 2, height / 2]])
    camera = Cameras(torch.from_numpy(pose).float()[None], lens, height, width)
    scale = min(side / max(height, width), 1)
    return camera.resized(max(round(height * scale), 1), max(round(width * scale), 1))


def draw(
    sources: Mapping[str, Source],
    camera: Cameras,
    look: Look,
    span: tuple[float, float],
    seconds: float,
    interrupted: Callable[[], bool],
    photo: Framed | None = None,
) -> Drawn | None:
    """The picture that one camera has; None where ``interrupted()`` says so between two bands.

    Args:
        sources: ``field`` and ``mesh``, those that ``look`` asks for.
        span: the ends of the scale of depths.
        seconds: what the picture is expected to take, infinite if unknown: it is made in bands of ``BAND`` seconds.
        photo: one that ``camera`` has taken; without it there is no error, and color is shown.
    """
    height, width = camera.size
    found: dict[str, NDArray] = {}
    channel = CHANNELS[0] if look.channel == ERROR else look.channel
    needed = sorted({channel, "alpha", "depth"})
    rows = height
    if math.isfinite(seconds):
        rows = max(math.ceil(height * BAND / max(seconds, 1e-9)), ROWS)
    for name, first, last in look.columns(width):
        for top in range(0, height, rows):
            if interrupted():
                return None
            bottom = min(top + rows, height)
            part = _part(sources[name], name, camera, (top, bottom, first, last), needed)
            for key, values in part:
                whole = found.setdefault(key, np.zeros((height, width, *values.shape[2:]), np.float32))
                whole[top:bottom, first:last] = values
    pixels = picture(channel, found, *span)
    if photo is not None and look.channel == ERROR:
        pixels = to_bytes(GAIN * np.abs(found["rgb"] - photo.colors) * photo.inside[..., None])
    if photo is not None:
        covered = photo.inside & (np.arange(width) < round(look.photo * width))
        pixels[covered] = to_bytes(photo.colors[covered])
    step = math.ceil(max(height, width) / SIDE)
    depth = np.where(found["alpha"] > 0.5, found["depth"], 0)[step // 2 :: step, step // 2 :: step]
    return Drawn(pixels, np.where((depth > 0) & (depth < FAR), depth, FAR).astype(np.float32))


def _part(
    source: Source, name: str, camera: Cameras, place: tuple[int, int, int, int], needed: list[str]
) -> Iterator[tuple[str, NDArray]]:
    """The named pictures of rows ``top`` to ``bottom`` and columns ``first`` to ``last``."""
    top, bottom, first, last = place
    margin = MARGINS[name]
    height, width = bottom - top, last - first
    part = camera.cropped([top - margin], [first - margin], height + 2 * margin, width + 2 * margin)
    for key, value in source.render(part, 0, needed).items():
        values = value.detach().cpu().numpy()[margin : margin + height, margin : margin + width]
        if key == "depth" and name == FIELD:
            values = values * _cosine(camera, place)
        yield key, values


def _cosine(camera: Cameras, place: tuple[int, int, int, int]) -> NDArray:
    """Of the angle between rays and axis, (H,W): a field's depth is along the ray, a mesh's along the axis."""
    top, bottom, first, last = place
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    x = (np.arange(first, last) + 0.5 - cx) / fx
    y = (np.arange(top, bottom) + 0.5 - cy) / fy
    return 1 / np.sqrt(1 + x[None] ** 2 + y[:, None] ** 2)
