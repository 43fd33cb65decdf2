"""Pinhole cameras.

Conventions (docs/conventions.md): the camera looks along -z with x to the right and y up (OpenGL); row 0 of an image
is on top; the center of pixel (row i, column j) is at (x, y) = (j + 0.5, i + 0.5); fx, fy, cx, cy are in pixels; ray
directions have unit length and distances t are in normalized world units.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from nerfkit.kernels import use
from nerfkit.kernels.sample_rays import rays_from_pixels


class Cameras:
    """N pinhole cameras, each with the size of its own pictures.

    Attributes:
        camera_to_world: (N,3,4) float32, [rotation | position]; the rotation is right-handed and orthonormal.
        intrinsics: (N,4) float32, fx, fy, cx, cy in pixels.
        sizes: N pairs, height and width of each one's pictures in pixels.

    Args:
        height, width: in pixels; a number for all, or N of them.

    Raises:
        ValueError: on creation, where a shape is another one.
    """

    def __init__(
        self, camera_to_world: Tensor, intrinsics: Tensor, height: int | Sequence[int], width: int | Sequence[int]
    ) -> None:
        pose = tuple(camera_to_world.shape)
        if len(pose) != 3 or pose[1:] != (3, 4):
            raise ValueError(f"camera_to_world: expected (N,3,4), got {pose}")
        count = pose[0]
        if intrinsics.shape != (count, 4):
            found = tuple(intrinsics.shape)
            raise ValueError(f"intrinsics: expected ({count},4), fx, fy, cx, cy of every camera, got {found}")
        self.camera_to_world, self.intrinsics = camera_to_world, intrinsics
        rows, columns = (side if isinstance(side, Sequence) else [side] * count for side in (height, width))
        if len(rows) != count or len(columns) != count:
            raise ValueError(f"height, width: expected a number or {count}, got {len(rows)} and {len(columns)}")
        self.sizes = tuple((int(h), int(w)) for h, w in zip(rows, columns, strict=True))
        different = set(self.sizes)
        if not count and isinstance(height, int) and isinstance(width, int):
            different = {(height, width)}
        self._size = different.pop() if len(different) == 1 else None

    def __repr__(self) -> str:
        return f"{len(self)} cameras, {', '.join(f'{w}x{h}' for h, w in dict.fromkeys(self.sizes))} pixels"

    def __len__(self) -> int:
        return self.camera_to_world.shape[0]

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> "Cameras":
        """Some of the cameras, in a row; a number, which may be a tensor, gives one."""
        pose, intrinsics = self.camera_to_world[index].reshape(-1, 3, 4), self.intrinsics[index].reshape(-1, 4)
        if self._size is not None:
            return Cameras(pose, intrinsics, *self._size)
        numbers = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index].reshape(-1).tolist()
        sizes = [self.sizes[k] for k in numbers]
        return Cameras(pose, intrinsics, [h for h, _ in sizes], [w for _, w in sizes])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of everyone's pictures.

        Raises:
            ValueError: they differ.
        """
        if self._size is None:
            count = len(set(self.sizes))
            raise ValueError(f"the cameras' pictures have {count} sizes: take cameras of one size at a time")
        return self._size

    @property
    def height(self) -> int:
        """Of ``size``."""
        return self.size[0]

    @property
    def width(self) -> int:
        """Of ``size``."""
        return self.size[1]

    def to(self, device: torch.device | str) -> "Cameras":
        return self.changed(self.camera_to_world.to(device), self.intrinsics.to(device))

    def changed(self, camera_to_world: Tensor | None = None, intrinsics: Tensor | None = None) -> "Cameras":
        """Other poses or lenses for pictures of the same sizes."""
        pose = self.camera_to_world if camera_to_world is None else camera_to_world
        lens = self.intrinsics if intrinsics is None else intrinsics
        if self._size is not None:
            return Cameras(pose, lens, *self._size)
        return Cameras(pose, lens, [h for h, _ in self.sizes], [w for _, w in self.sizes])

    @property
    def positions(self) -> Tensor:
        """Camera centers in the world, (N,3)."""
        return self.camera_to_world[:, :, 3]

    def resized(self, height: int | Sequence[int], width: int | Sequence[int]) -> "Cameras":
        """The same cameras with pictures of another size, or of N: intrinsics scale with the pixels."""
        new = Cameras(self.camera_to_world, self.intrinsics, height, width)
        ratios = [(w / v, h / u) * 2 for (h, w), (u, v) in zip(new.sizes, self.sizes, strict=True)]
        return new.changed(intrinsics=self.intrinsics * self.intrinsics.new_tensor(ratios).view(-1, 4))

    def most_alike(self) -> "Cameras":
        """Those whose pictures have the most frequent size, the first such where several are as frequent."""
        if self._size is not None:
            return self
        frequent = max(dict.fromkeys(self.sizes), key=self.sizes.count)
        return self[[k for k, size in enumerate(self.sizes) if size == frequent]]

    def padded(self, margin: int) -> "Cameras":
        """The same cameras with ``margin`` more pixels on every side."""
        shift = self.intrinsics.new_tensor([0, 0, margin, margin])
        height, width = (side + 2 * margin for side in self.size)
        return Cameras(self.camera_to_world, self.intrinsics + shift, height, width)

    def cropped(self, top: Sequence[int], left: Sequence[int], height: int, width: int) -> "Cameras":
        """The same cameras with a part of their pictures, from row ``top`` and column ``left`` of each one's on."""
        shift = torch.tensor([[0, 0, j, i] for i, j in zip(top, left, strict=True)]).to(self.intrinsics)
        return Cameras(self.camera_to_world, self.intrinsics - shift.view(-1, 4), height, width)

    def world_to_view(self, points: Tensor) -> Tensor:
        """World points (V,3) in each camera's frame, (N,V,3): x right, y up, z backward (z < 0 is visible)."""
        rotation, position = self.camera_to_world[:, :, :3], self.camera_to_world[:, :, 3]
        with full_precision(points):
            return (points[None] - position[:, None]) @ rotation  # (N, V, 3)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel coordinates x, y (N,V,2) and distance in front of the camera plane (N,V) of world points (V,3)."""
        view = self.world_to_view(points)
        depth = -view[..., 2]
        fx, fy, cx, cy = self.intrinsics[:, None].unbind(-1)
        x = cx + fx * view[..., 0] / depth
        y = cy - fy * view[..., 1] / depth
        return torch.stack([x, y], -1), depth

    def image_rays(self, view: int, first: int = 0, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Origins and unit directions (H*W,3) of the rays through every pixel center of one view, row by row.

        Or of ``count`` pixels from number ``first`` on.
        """
        camera = self[view]
        device = self.camera_to_world.device
        height, width = camera.size
        pixels = torch.arange(first, height * width if count is None else first + count, device=device)
        row, column = pixels // width, pixels % width
        exact = nullcontext() if self.camera_to_world.dtype == torch.float32 else use("reference")
        with full_precision(self.camera_to_world), exact:  # compiled kernels compute in float32
            return rays_from_pixels(camera.camera_to_world, camera.intrinsics, torch.zeros_like(pixels), row, column)


def full_precision(tensor: Tensor) -> torch.autocast:
    """A block without autocast on the tensor's device: products of positions need all of float32."""
    return torch.autocast(tensor.device.type, enabled=False)


def look_at(position: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Poses (N,3,4) of cameras at ``position`` (N,3) that look at ``target`` (N,3) or (3,), ``up`` (3,) upward.

    Differentiable by all three. A view straight along ``up`` has no defined roll; any roll is returned then, never NaN.
    A camera at its target looks along -z.
    """
    away = position - target
    anywhere = torch.tensor([0, 0, 1]).to(away)
    away = torch.where((away == 0).all(-1, keepdim=True), anywhere, away)
    backward = torch.nn.functional.normalize(away, dim=-1)
    up = up.expand_as(backward)
    right = torch.linalg.cross(up, backward)
    axis = torch.nn.functional.one_hot(backward.abs().argmin(-1), 3).to(backward.dtype)  # never along the view
    spare = torch.linalg.cross(axis, backward)
    degenerate = right.norm(dim=-1, keepdim=True) < 1e-6
    right = torch.nn.functional.normalize(torch.where(degenerate, spare, right), dim=-1)
    true_up = torch.linalg.cross(backward, right)
    return torch.stack([right, true_up, backward, position], -1)
