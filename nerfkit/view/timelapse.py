"""Timelapse of a mesh: snapshots as a sequence of files, as one USD file with time samples, and as a video."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.mesh.files.io import save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.raster import render_channels
from nerfkit.runs.files import to_bytes, write_png
from nerfkit.scenes.scene import Similarity
from nerfkit.view.options import TimelapseOptions
from nerfkit.view.paths import orbit
from nerfkit.view.usd import UsdSequence
from nerfkit.view.video import write_video

LIGHTS = torch.tensor([[-0.5, 0.7, 0.6], [0.8, -0.1, 0.4]])
"""Directions, in the camera's axes, toward the lamps that show the shape of a mesh without colors."""


class Timelapse:
    """Collects snapshots in ``folder``: ``mesh_0000.glb`` (and .ply), ``mesh.usdc``, ``mesh.mp4``, ``mesh.gif``.

    Args:
        folder: made with the first snapshot.
        options: which files, and snapshots a second in the video and in the USD file.
        camera: N cameras; frame k of the video shows the mesh through camera k mod N.
        background: of the video.
        units: files are written in the scene's own units, the inverse of this.
        up: the world's up axis, which the files tell their readers.

    Raises:
        ConfigError: ``usd`` without usd-core.
    """

    def __init__(
        self,
        folder: Path,
        options: TimelapseOptions,
        camera: Cameras,
        background: Sequence[float] = (1.0, 1.0, 1.0),
        units: Similarity | None = None,
        up: Sequence[float] = (0.0, 1.0, 0.0),
    ) -> None:
        self.folder, self.formats, self.camera, self.background = folder, options.formats, camera, background
        self.units, self.fps, self.up = units or Similarity(), options.fps, up
        self.frames: list[Path] = []
        self.usd = UsdSequence(options.fps, up) if "usd" in self.formats else None

    def add(self, mesh: Mesh) -> None:
        """One more snapshot; ``mesh`` in normalized units. Topology and texture may change from one to the next."""
        number = len(self.frames)
        own = replace(mesh, vertices=mesh.vertices.detach()).to("cpu").transformed(self.units.invert)
        files = [name for name in self.formats if name in ("glb", "ply")]
        save_mesh(own, self.folder / f"mesh_{number:04d}", files, up=self.up)
        if self.usd is not None:
            self.usd.add(own)
        frame = self.folder / "frames" / f"{number:04d}.png"
        frame.parent.mkdir(parents=True, exist_ok=True)
        write_png(frame, shaded(mesh, self.camera[number % len(self.camera)], self.background))
        self.frames.append(frame)

    def close(self) -> list[Path]:
        """Writes the USD file and the video; returns their paths. Nothing where no snapshot was taken."""
        written: list[Path] = []
        if self.frames and self.usd is not None:
            written.append(self.usd.write(self.folder / "mesh.usdc"))
        if self.frames and "video" in self.formats:
            written.append(write_video(self.frames, self.folder / "mesh.mp4", self.fps))
        if self.frames and "gif" in self.formats:
            written.append(write_video(self.frames, self.folder / "mesh.gif", self.fps))
        return written


def turntable(
    folder: Path,
    options: TimelapseOptions,
    cameras: Cameras,
    background: Sequence[float] = (1.0, 1.0, 1.0),
    units: Similarity | None = None,
    up: tuple[float, float, float] = (0.0, 1.0, 0.0),
    points: Tensor | None = None,
) -> Timelapse | None:
    """The timelapse that ``options`` ask for, seen from a slow turntable; None for no snapshots.

    All of ``points`` (P,3) are in the picture; without them it stands as far away as ``cameras``.
    """
    if options.snapshots < 1:
        return None
    path = orbit(cameras.most_alike(), 2 * options.snapshots, up=up, points=points)
    return Timelapse(folder, options, path, background, units, up)


def shaded(mesh: Mesh, camera: Cameras, background: Sequence[float]) -> np.ndarray:
    """One view (H,W,3) uint8: the mesh's own colors, or two lamps on gray where it has none."""
    mesh = replace(mesh, vertices=mesh.vertices.detach(), faces=mesh.faces)
    with torch.no_grad():
        found = render_channels(mesh, camera, ("rgb", "alpha", "normal"))
    rgb, alpha = found["rgb"][0], found["alpha"][0][..., None]
    if mesh.texture is None and mesh.colors is None:
        lamps = torch.nn.functional.normalize(LIGHTS, dim=-1).to(rgb) @ camera.camera_to_world[0, :, :3].to(rgb).T
        light = (found["normal"][0] @ lamps.T).clamp(min=0) @ lamps.new_tensor([0.65, 0.25]) + 0.12  # (H, W)
        rgb = rgb * light[..., None]
    return to_bytes(rgb + (1 - alpha) * rgb.new_tensor(list(background)))
