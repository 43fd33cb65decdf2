"""A mesh file seen from all around, with a point light: rasterize, interpolate, shade, antialias by hand.

python examples/render.py mesh.glb
"""

import math
import sys
from pathlib import Path

import imageio.v3 as iio
import torch

import nerfkit as nk
from nerfkit.mesh.mesh import vertex_normals
from nerfkit.raster.lights import Ambient, Point


def main(file: str | None = None, out: Path = Path("."), size: int = 256, views: int = 8) -> Path:
    """Writes ``OUT/around.gif``; without a file, of a sphere."""
    mesh = nk.icosphere(4) if file is None else nk.load_mesh(file)
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    vertices = (mesh.vertices - (low + high) / 2) / (high - low).max() * 2  # in [-1, 1]^3
    angle = torch.arange(views) * (2 * math.pi / views)
    positions = 3.2 * torch.stack([angle.sin(), 0.4 * torch.ones(views), angle.cos()], -1)
    pose = nk.look_at(positions, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    intrinsics = torch.tensor([1.2 * size, 1.2 * size, size / 2, size / 2]).expand(views, 4)
    cameras = nk.Cameras(pose, intrinsics, size, size)

    fragments = nk.rasterize(vertices, mesh.faces, cameras)
    place = nk.interpolate(fragments, mesh.faces, vertices)  # (N, H, W, 3)
    normal = nk.interpolate(fragments, mesh.faces, vertex_normals(vertices, mesh.faces))
    lights = [Ambient(torch.full((3,), 0.3)), Point(torch.tensor([3.0, 4.0, 3.0]), torch.full((3,), 0.7))]
    color = nk.shade(torch.full_like(place, 0.7), normal, place, cameras.positions, lights)
    covered = fragments.covered[..., None]
    picture = nk.antialias(torch.cat([color * covered, covered.float()], -1), fragments, mesh.faces)
    frames = (picture[..., :3] + 1 - picture[..., 3:]).clamp(0, 1).mul(255).byte().numpy()
    iio.imwrite(out / "around.gif", frames, duration=120, loop=0)
    print(f"wrote {out / 'around.gif'}")
    return out / "around.gif"


if __name__ == "__main__":
    main(*sys.argv[1:])
