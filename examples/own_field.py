"""A field of one's own in a training loop of one's own, with nerfkit's rays, marcher and compositor."""

import torch
from torch import Tensor, nn

import nerfkit as nk


class OwnField(nn.Module):
    """Any module that gives density (S,) and color (S,3) at positions (S,3)."""

    def __init__(self, octaves: int = 6, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.pi * 2.0 ** torch.arange(octaves))
        layers = [nn.Linear(6 * octaves, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4)]
        self.network = nn.Sequential(*layers)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        phases = (positions[..., None] * self.frequencies).flatten(1)  # (S, 3 * octaves)
        raw = self.network(torch.cat([phases.sin(), phases.cos()], -1))
        return nn.functional.softplus(raw[:, 0] - 1), raw[:, 1:].sigmoid()


def main(size: int = 64, steps: int = 300, rays: int = 512) -> float:
    """Returns the PSNR of the last rays."""
    torch.manual_seed(0)
    scene = nk.open_scene("clock", resolution=size)
    cameras, images, train = scene.cameras, scene.images.stack().float() / 255, torch.tensor(scene.train)
    field, occupied = OwnField(), torch.ones(64, 64, 64, dtype=torch.bool)
    optimizer = torch.optim.Adam(field.parameters(), lr=3e-3)
    for step in range(steps):
        batch = nk.sample_rays(
            cameras.camera_to_world, cameras.intrinsics, size, size, rays, seed=0, step=step, views=train
        )
        near, far = nk.intersect_box(batch.origins, batch.directions)
        samples = nk.march(batch.origins, batch.directions, near, far, occupied, 0.03, jitter=(0, step))
        density, color = field(nk.positions(samples, batch.origins, batch.directions))
        pixels = nk.composite(density, color, samples.t_start, samples.t_end, samples.offsets)
        true = images[batch.view, batch.row, batch.column]  # (R, 4), premultiplied
        error = torch.cat([pixels.color, pixels.opacity[:, None]], -1) - true
        optimizer.zero_grad()
        error.square().mean().backward()
        optimizer.step()
    psnr = -10 * error[:, :3].square().mean().log10().item()
    print(f"{psnr:.2f} dB after {steps} steps")
    return psnr


if __name__ == "__main__":
    main()
