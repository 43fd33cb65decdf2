"""From which sides the photos look: azimuth and elevation around the point that they look at, and gaps between."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from nerfkit.cameras import Cameras
from nerfkit.cameras.poses import level_up
from nerfkit.runs.files import write_bytes
from nerfkit.scenes.normalize import focus_point

NEAR = 15.0  # degrees around a camera that count as seen
WIDTH, HEIGHT, MARGIN, SCALE = 760, 420, 50, 2


@dataclass
class Coverage:
    """Where the cameras are, seen from the point that they look at.

    Attributes:
        inward: whether they look at a common point. Otherwise (a room, from within) the angles are those of the
            directions in which they look.
        angles: {name: (azimuth, elevation)} in degrees. Azimuth is 0 at the first photo by name and grows
            counterclockwise seen from above, up to 360; above is where the photos' upper edges point.
        gap: the widest range of azimuths without a camera, (start, end), end above 360 where it spans 0.
        gap_between: the photos at its two ends.
        seen: share of the sphere within 15 degrees of a camera's direction.
    """

    inward: bool
    angles: dict[str, tuple[float, float]]
    gap: tuple[float, float]
    gap_between: tuple[str, str]
    seen: float

    @property
    def gap_width(self) -> float:
        """In degrees."""
        return self.gap[1] - self.gap[0]

    def nearest(self, name: str) -> float:
        """The angle in degrees between a photo's direction and the nearest other one's; 180 if there is none."""
        others = [angles for other, angles in self.angles.items() if other != name]
        if not others:
            return 180.0
        cosines = _unit(*np.array(others).T) @ _unit(*np.array(self.angles[name]))
        return float(np.degrees(np.arccos(np.clip(cosines.max(), -1, 1))))


def coverage(poses: Mapping[str, np.ndarray]) -> Coverage:
    """The coverage of at least one pose (3,4), camera to world, OpenGL axes."""
    names = sorted(poses)
    stack = np.stack([poses[name] for name in names])  # (N, 3, 4)
    count = len(names)
    lens = torch.tensor([[1.0, 1.0, 0.5, 0.5]] * count)
    focus = focus_point(Cameras(torch.from_numpy(stack).float(), lens, 1, 1))
    looks, offsets = -stack[:, :, 2], stack[:, :, 3] - focus
    inward = bool((np.einsum("ni,ni->n", looks, offsets) < 0).mean() > 0.7)
    directions = offsets if inward else looks
    directions = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    up = level_up(stack)
    level = directions - np.outer(directions @ up, up)
    lengths = np.linalg.norm(level, axis=1)
    first = int(np.argmax(lengths > 0.05))  # one straight above has no azimuth
    east = level[first] / max(float(lengths[first]), 1e-12)
    azimuth = np.degrees(np.arctan2(directions @ np.cross(up, east), directions @ east)) % 360
    azimuth[azimuth > 360 - 1e-6] = 0
    elevation = np.degrees(np.arcsin(np.clip(directions @ up, -1, 1)))
    angles = {name: (float(a), float(e)) for name, a, e in zip(names, azimuth, elevation, strict=True)}
    around = sorted(names, key=lambda name: angles[name][0])
    following = [*around[1:], around[0]]
    widths = [(angles[after][0] - angles[name][0]) % 360 for name, after in zip(around, following, strict=True)]
    widest = int(np.argmax(widths)) if count > 1 else 0
    start = angles[around[widest]][0]
    width = widths[widest] if count > 1 else 360.0
    return Coverage(inward, angles, (start, start + width), (around[widest], following[widest]), _seen(directions))


def _seen(directions: np.ndarray) -> float:
    """The share of the sphere within ``NEAR`` degrees of one of ``directions`` (N,3), on a Fibonacci lattice."""
    number = np.arange(2000) + 0.5
    z = 1 - number / 1000
    turn = np.pi * (1 + 5**0.5) * number
    sphere = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], 1)
    return float(((sphere @ directions.T).max(1) > np.cos(np.radians(NEAR))).mean())


def draw_coverage(path: Path, found: Coverage) -> Path:
    """Writes ``path``: azimuth across, elevation up; a dot a photo, green near one, the widest gap in red."""
    font = ImageFont.load_default(size=13 * SCALE)
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    draw = ImageDraw.Draw(image)
    left, right, top, bottom = MARGIN, WIDTH - 20, 46, HEIGHT - 52

    def place(azimuth: float, elevation: float) -> tuple[float, float]:
        across = left + (right - left) * azimuth / 360
        return across * SCALE, (bottom - (bottom - top) * (elevation + 90) / 180) * SCALE

    image.paste(
        _shades(found, round((right - left) * SCALE), round((bottom - top) * SCALE)), (left * SCALE, top * SCALE)
    )
    for azimuth in range(0, 361, 30):
        draw.line([place(azimuth, -90), place(azimuth, 90)], fill="#cccccc", width=SCALE)
        x, y = place(azimuth, -90)
        draw.text((x, y + 8 * SCALE), str(azimuth), fill="black", font=font, anchor="mt")
    for height in range(-90, 91, 30):
        draw.line([place(0, height), place(360, height)], fill="#cccccc", width=SCALE)
        x, y = place(0, height)
        draw.text((x - 6 * SCALE, y), str(height), fill="black", font=font, anchor="rm")
    for across, elevation in found.angles.values():
        x, y = place(across, elevation)
        draw.ellipse([x - 4 * SCALE, y - 4 * SCALE, x + 4 * SCALE, y + 4 * SCALE], fill="#1b6ca8", outline="white")
    what = "where the photos were taken from" if found.inward else "where the photos look to"
    title = f"{what}: {len(found.angles)} photos; widest gap {found.gap_width:.0f} degrees"
    draw.text((left * SCALE, 12 * SCALE), title, fill="black", font=font)
    label = "azimuth in degrees, from the first photo by name; elevation on the left"
    draw.text((WIDTH / 2 * SCALE, (HEIGHT - 14) * SCALE), label, fill="#666666", font=font, anchor="mm")
    content = io.BytesIO()
    image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(content, "PNG")
    write_bytes(path, content.getvalue())
    return path


def _shades(found: Coverage, width: int, height: int) -> Image.Image:
    """The picture's background: green where a direction is near a camera's, red in the gap, else nearly white."""
    azimuth = (np.arange(width // 4) + 0.5) * 360 / (width // 4)
    elevation = 90 - (np.arange(height // 4) + 0.5) * 180 / (height // 4)
    grid = _unit(*np.meshgrid(azimuth, elevation))  # (h, w, 3)
    cameras = _unit(*np.array(list(found.angles.values())).T)  # (N, 3)
    near = (grid @ cameras.T).max(-1) > np.cos(np.radians(NEAR))
    shades = np.full((*near.shape, 3), 250, np.uint8)
    if found.gap_width > 30:
        shades[:, (azimuth - found.gap[0]) % 360 < found.gap_width] = (250, 225, 225)
    shades[near] = (196, 230, 200)
    return Image.fromarray(shades).resize((width, height), Image.Resampling.NEAREST)


def _unit(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1)


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names for a sentence: at most so many, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
