"""Where along its rays a field is evaluated: a sampler turns rays into packed samples."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from nerfkit.errors import ConfigError
from nerfkit.fields.contracted import REACH
from nerfkit.fields.field import Field
from nerfkit.kernels.march import Samples, intersect_box, march, stratified
from nerfkit.kernels.philox import Draw
from nerfkit.scenes.hull import carve
from nerfkit.scenes.scene import Scene
from nerfkit.schema import Options, Registry, option
from nerfkit.volume.occupancy import OccupancyGrid

SAMPLERS = Registry("sampler")
"""Name of a sampler -> its options, whose ``build`` makes it and whose ``scale`` says what the field's positions are
multiplied by. A new sampler is one module with ``@SAMPLERS.register``."""

EMPTY_REST = 8  # where no mask narrows the grid, empty cells are visited so much more rarely

MOVES = 0.04  # of a picture's longer side: how far the object may be off in it where cameras are to be refined

# Of a lock-step sampler; the occupancy sampler keeps to trainer.samples by itself.
SAMPLES_AT_ONCE = {"cpu": 1 << 15, "cuda": 1 << 20}


class Sampler(nn.Module):
    """What a model asks of a sampler.

    Attributes:
        opacity: what the field's density means to ``composite``.
        near: where the first sample of a ray may lie.
        occupied: (G,G,G) bool over [-1,1]^3, the cells that may hold something; None where nothing is known.
        step_size: of even steps through the occupied cells; None where samples are others.
    """

    opacity: Literal["density", "raw"] = "density"
    near: float = 0.0
    occupied: Tensor | None = None
    step_size: float | None = None

    def sample(self, origins: Tensor, directions: Tensor, draw: Draw | None, capacity: int | None = None) -> Samples:
        """The samples of rays (R,3); jittered where ``draw`` is given; ``capacity`` of them as ``march`` has it."""
        raise NotImplementedError

    def reaches(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Which rays (R,3) can meet something, (R,) bool: the others render as empty whatever the weights are."""
        return torch.ones(len(origins), dtype=torch.bool, device=origins.device)

    def rays_at_once(self, count: int, device: torch.device) -> int:
        """How many of ``count`` rays have samples that fit in memory together, for a training step."""
        return max(count, 1)

    def after_step(self, field: Field, seed: int, step: int) -> None:
        """Follows the field after the optimizer's step number ``step``, counted from 1."""

    def logged(self) -> Mapping[str, float]:
        """What is worth a curve."""
        return {}


@dataclass
class SamplerOptions(Options):
    """Base of the options of samplers: what a model asks of them."""

    def scale(self, scene: Scene) -> float:
        """What the field's positions are multiplied by."""
        return 1.0

    def for_moving_cameras(self, scene: Scene) -> Self:
        """As it suits cameras that are not yet where they belong.

        Raises:
            ConfigError: it cannot be used with them.
        """
        raise ConfigError("trainer.poses=on: expected sampler=occupancy, or poses=off")

    def build(self, scene: Scene | None = None) -> Sampler:
        """The sampler, fitted to the cameras and masks of a scene."""
        raise NotImplementedError


class OccupancySampler(Sampler):
    """Even steps through the occupied cells of a grid; a ray ends where the grid knows it to be opaque.

    Args:
        grid: the occupancy grid.
        update_every: training steps between two updates of the grid.
        warmup: training steps before cells are dropped.
    """

    def __init__(self, grid: OccupancyGrid, *, update_every: int = 16, warmup: int = 256) -> None:
        super().__init__()
        self.grid, self.update_every, self.warmup = grid, update_every, warmup

    @property
    def occupied(self) -> Tensor:  # type: ignore[override]
        return self.grid.occupied

    @property
    def step_size(self) -> float:  # type: ignore[override]
        return self.grid.step_size

    def sample(self, origins: Tensor, directions: Tensor, draw: Draw | None, capacity: int | None = None) -> Samples:
        near, far = intersect_box(origins, directions)
        return march(
            origins,
            directions,
            near,
            far,
            self.grid.occupied,
            self.grid.step_size,
            jitter=draw,
            density_grid=self.grid.solid,
            min_transmittance=self.grid.min_transmittance,
            capacity=capacity,
        )

    def reaches(self, origins: Tensor, directions: Tensor) -> Tensor:
        near, far = intersect_box(origins, directions)
        grid = self.grid
        samples = march(origins, directions, near, far, grid.allowed, grid.step_size, max_samples_per_ray=1)
        return samples.offsets[1:] > samples.offsets[:-1]

    def after_step(self, field: Field, seed: int, step: int) -> None:
        if step % self.update_every == 1 % self.update_every:  # the first step, and every so many from there
            self.grid.update(field, Draw(seed, step), step // self.update_every, prune=step >= self.warmup)

    def logged(self) -> Mapping[str, float]:
        return {"train/occupied_fraction": self.grid.fraction}


@SAMPLERS.register
@dataclass
class OccupancyOptions(SamplerOptions):
    """Even steps through the occupied cells of a grid that is kept up to date as the field learns."""

    suits: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"resolution": 64},
        "gpu": {"step_size": 0.006},
        "smoke": {"resolution": 64, "step_size": 0.03, "warmup": 64},
    }

    name: str = "occupancy"
    resolution: int = option(128, "cells along each side of the grid", least=8, most=512)
    step_size: float = option(0.01, "normalized units (the object is about 1.9 wide)", above=0)
    hull: bool = option(True, "start from the visual hull of the masks, where there are masks")
    hull_margin: float = option(1.0, "pixels that the masks are grown by for it", least=0)
    threshold: float = option(0.01, "smallest optical depth of a step that keeps a cell", least=0)
    decay: float = option(0.8, "of a cell's bound at each of its updates", least=0, most=1)
    share: int = option(4, "an update visits every so many-th cell", least=1)
    update_every: int = option(16, "steps", least=1)
    warmup: int = option(256, "steps before cells are dropped", least=0)
    min_transmittance: float = option(0.001, "samples certainly behind this are skipped", above=0, below=1)
    levels: int = option(
        3, "where photos show more than the object: grids, each four times as large as the one inside", least=1, most=6
    )

    def scale(self, scene: Scene) -> float:
        return 1 / REACH if scene.unbounded else 1.0

    def for_moving_cameras(self, scene: Scene) -> Self:
        longest = max((side for size in scene.cameras.sizes for side in size), default=0)
        return replace(self, hull_margin=max(self.hull_margin, MOVES * longest))

    def build(self, scene: Scene | None = None) -> Sampler:
        """The sampler; its grid starts from the visual hull of the scene's masks where there are some.

        Where nothing masks what the photos show beyond the region, there are grids around it (``NestedSampler``).
        """
        if scene is not None and scene.unbounded:
            from nerfkit.volume.nested import GROWTH, NestedSampler, shell

            cameras, side = scene.cameras[scene.train], max(8, self.resolution // 8 * 4)  # quarters are whole cells
            shells = [shell(cameras, side, float(GROWTH**k)) for k in range(1, self.levels)]
            outer = [self._on(cells, 2 * self.step_size, EMPTY_REST) for cells in shells]
            return NestedSampler([self._on(self._everywhere(), self.step_size, EMPTY_REST), *outer])
        if scene is not None and scene.has_masks and self.hull:
            masks = [scene.images[view][..., 3] for view in scene.train]
            margin = max(self.hull_margin, scene.mask_slack) if scene.mask_slack > 1 else self.hull_margin
            allowed = carve(scene.cameras[scene.train], masks, self.resolution, margin_pixels=margin)
        else:
            allowed = self._everywhere()
        return self._on(allowed, self.step_size, 1)

    def _everywhere(self) -> Tensor:
        return torch.ones((self.resolution,) * 3, dtype=torch.bool)

    def _on(self, allowed: Tensor, step_size: float, rest: int) -> OccupancySampler:
        grid = OccupancyGrid(
            allowed,
            step_size,
            threshold=self.threshold,
            decay=self.decay,
            share=self.share,
            min_transmittance=self.min_transmittance,
            rest=rest,
        )
        return OccupancySampler(grid, update_every=self.update_every, warmup=self.warmup)


class StratifiedSampler(Sampler):
    """The same number of points on every ray, evenly spread from ``near`` to ``far`` and jittered within their strata.

    Args:
        near, far: in normalized units.
        count: points on a ray.
        opacity: "raw" if a step's opacity is 1 - exp(-density) whatever its length (PyTorch3D's tutorial).
    """

    def __init__(self, near: float, far: float, count: int, opacity: Literal["density", "raw"] = "raw") -> None:
        super().__init__()
        self.near, self.far, self.count, self.opacity = near, far, count, opacity

    def sample(self, origins: Tensor, directions: Tensor, draw: Draw | None, capacity: int | None = None) -> Samples:
        bound = torch.ones_like(origins[:, 0])
        return stratified(bound * self.near, bound * self.far, self.count, jitter=draw)

    def rays_at_once(self, count: int, device: torch.device) -> int:
        return max(1, SAMPLES_AT_ONCE[device.type] // self.count)


@SAMPLERS.register
@dataclass
class StratifiedOptions(SamplerOptions):
    """As many points on every ray, jittered within even strata; no step length in the opacity (PyTorch3D's tutorial).

    The planes are in the tutorial's units: the scene is scaled so that the far plane lies one normalized unit behind
    its center for the farthest camera.
    """

    name: str = "stratified"
    near: float = option(0.1, "of the first plane", least=0)
    far: float = option(3.0, "of the last plane", above=0)
    count: int = option(128, "points on a ray", least=1)

    def check(self) -> None:
        super().check()
        self.expect("near", self.near < self.far, f"from 0 to less than sampler.far={self.far}")

    def scale(self, scene: Scene) -> float:
        """Of the field's positions: the tutorial's planes and frequencies are meant for its own scene's size."""
        return self.far / (float(scene.cameras.positions.norm(dim=-1).max()) + 1.0)

    def build(self, scene: Scene | None = None) -> StratifiedSampler:
        """The sampler for the scene's cameras; without a scene the planes are in normalized units."""
        scale = 1.0 if scene is None else self.scale(scene)
        return StratifiedSampler(self.near / scale, self.far / scale, self.count)
