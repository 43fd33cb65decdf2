"""Silhouettes to a mesh: a sphere becomes the clock by its outlines alone, through the differentiable rasterizer."""

from pathlib import Path

import torch

import nerfkit as nk
from nerfkit.mesh.laplacian import Topology


def main(out: Path = Path("."), size: int = 64, steps: int = 200) -> float:
    """Writes ``OUT/silhouette.glb``; returns the mean absolute error of the masks."""
    scene = nk.open_scene("clock", resolution=size)
    masks = scene.images.stack()[..., 3].float() / 255  # (N, H, W)
    sphere = nk.icosphere(4, radius=0.8).without_appearance()
    vertices = sphere.vertices.clone().requires_grad_()
    topology = Topology.of(sphere.faces, len(vertices))
    optimizer = torch.optim.Adam([vertices], lr=0.01)
    for step in range(steps):
        views = torch.randperm(len(scene.train), generator=torch.Generator().manual_seed(step))[:4]
        views = torch.tensor(scene.train)[views]
        alpha = nk.render(vertices, sphere.faces, scene.cameras[views]).alpha  # (4, H, W)
        error = (alpha - masks[views]).abs().mean()
        loss = error + 20 * nk.losses.laplacian(vertices, topology) + 0.01 * nk.losses.flatness(vertices, topology)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"mask error {error.item():.4f}")
    mesh = nk.Mesh(vertices.detach(), sphere.faces).transformed(scene.normalization.invert)
    nk.save_mesh(mesh, out / "silhouette", ["glb"])
    return error.item()


if __name__ == "__main__":
    main()
