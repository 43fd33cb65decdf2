"""Photos, videos and results for the tests of ``prepare``, made here."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nerfkit.cameras import Cameras
from nerfkit.prepare.doctor import Facts
from nerfkit.prepare.intake import Shot
from nerfkit.studio.renderer import Lights, Surface, render


def noise(height: int, width: int, seed: int = 0, cells: Sequence[int] = (4, 8, 16, 32, 64)) -> np.ndarray:
    """Colored blotches of several sizes, (height,width,3) uint8: something to find features on."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for size in cells:
        coarse = random.integers(0, 256, (size, size, 3), np.uint8)
        total += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    total -= total.min((0, 1))
    return np.rint(255 * total / total.max((0, 1))).astype(np.uint8)


def write_photo(path: Path, pixels: np.ndarray, **tags: Any) -> Path:
    """A JPEG or PNG; ``tags``: orientation, make, model, focal35, taken."""
    image = Image.fromarray(pixels)
    exif = image.getexif()
    for name, number in (("orientation", 274), ("make", 271), ("model", 272)):
        if name in tags:
            exif[number] = tags[name]
    inner = exif.get_ifd(0x8769)
    if "focal35" in tags:
        inner[41989] = tags["focal35"]
    if "taken" in tags:
        inner[36867] = tags["taken"]
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def some_photos(folder: Path, count: int = 4, size: tuple[int, int] = (32, 24)) -> Path:
    """A folder of small photos, different ones."""
    for number in range(count):
        write_photo(folder / f"photo_{number}.jpg", noise(size[1], size[0], number))
    return folder


def shot(name: str, **values: Any) -> Shot:
    """A photo that was taken in."""
    about: dict[str, Any] = {"width": 40, "height": 30, "group": "40x30", "focal": None, "taken": None}
    about |= {"sharpness": 100.0, "crispness": 0.4, "brightness": -2.0}
    return Shot(name, name, **(about | values))


def fact(name: str, model: int | None = 0, **values: Any) -> Facts:
    """A photo as good as any."""
    about: dict[str, Any] = {
        "sharpness": 1.0,
        "crispness": 1.0,
        "exposure": 0.0,
        "partners": {"other.jpg": 500},
        "error": 0.7,
    }
    if model != 0:
        about["error"] = float("nan")
    return Facts(name, name, model, **(about | values))


def poses_around(azimuths: Iterable[float], elevation: float = 20.0, distance: float = 4.0) -> np.ndarray:
    """Poses (N,3,4) that look at the origin, z up, OpenGL axes; angles in degrees."""
    poses = []
    for azimuth in azimuths:
        a, e = np.radians(azimuth), np.radians(elevation)
        back = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
        right = np.array([-np.sin(a), np.cos(a), 0.0])
        poses.append(np.stack([right, np.cross(back, right), back, distance * back], 1))
    return np.stack(poses)


def landscape(grid: int = 40, seed: int = 0, size: int = 768) -> Surface:
    """Hills 2.4 across about the origin, z up, with a texture of blotches."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.random((7, 7)).astype(np.float32))
    heights = np.asarray(coarse.resize((grid, grid), Image.Resampling.BICUBIC)) - 0.5
    across, up = np.meshgrid(np.linspace(0, 1, grid), np.linspace(0, 1, grid))
    vertices = np.stack([2.4 * across - 1.2, 2.4 * up - 1.2, 0.9 * heights], -1).reshape(-1, 3)
    corner = (np.arange(grid - 1)[:, None] * grid + np.arange(grid - 1)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + grid + 1], 1), np.stack([corner, corner + grid + 1, corner + grid], 1)]
    )
    texture = noise(size, size, seed + 1, (16, 32, 64, 128, 256))
    return Surface(vertices, faces, uvs=np.stack([across, up], -1).reshape(-1, 2), texture=texture)


def photograph(surface: Surface, poses: np.ndarray, side: int = 400, samples: int = 2) -> list[np.ndarray]:
    """Photos (side,side,3) uint8 from ``poses``, 50 degrees wide."""
    focal = side / 2 / np.tan(np.radians(25))
    lens = torch.tensor([[focal, focal, side / 2, side / 2]] * len(poses), dtype=torch.float32)
    cameras = Cameras(torch.from_numpy(poses).float(), lens, side, side)
    photos = render(surface, cameras, samples, Lights(key=0.0, fill=0.0, sky=1.0, ground=1.0))
    return list(np.rint(255 * photos.rgb).astype(np.uint8))
