"""What every loader returns: images, cameras, the split, and the transform back to the scene's own units."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.sightings import Sightings


@dataclass(frozen=True)
class Similarity:
    """p_normalized = scale * p_scene + translation. Directions and axes are unchanged.

    Points keep their dtype: far from the origin, as on a map, those of the scene need float64 (``Mesh.transformed``).
    """

    scale: float = 1.0
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def apply(self, points: Tensor) -> Tensor:
        return points * self.scale + points.new_tensor(self.translation)

    def invert(self, points: Tensor) -> Tensor:
        return (points - points.new_tensor(self.translation)) / self.scale

    def enlarged(self, factor: float) -> "Similarity":
        """The similarity from the scene's units times ``factor`` to the same normalized ones."""
        return replace(self, scale=self.scale / factor)


@dataclass(frozen=True)
class Scene:
    """Photos of one object with known cameras, normalized so that the object lies in [-1,1]^3.

    Attributes:
        name: short name; the run folder is named after it.
        images: N photos, premultiplied RGBA; alpha is 255 everywhere where the format has no masks.
        cameras: N cameras in normalized world units.
        train, test: view numbers of the split; they do not overlap.
        background: (3,) floats in [0,1], the color that metrics and exports composite over.
        has_masks: whether alpha means anything.
        normalization: the similarity from the scene's own units to normalized units.
        up: the world's up axis as a unit vector.
        provenance: where the data came from: path, format, license, view file names.
        notes: what a user should know of how the data was read, a line each.
        ground: normal (upward, unit) and offset, n p = offset in normalized units, of the plane that carries the
            object; None if none was found.
        unbounded: whether photos show more than the object, and nothing masks it.
        cameras_refined: whether the cameras are as a field stage has corrected them.
        meters: how long the scene's own unit is, where ``scene.length`` says; None: nobody knows.
        box: two corners that the mesh is cropped to, in the scene's own units (``scene.box``); None for no crop.
        truth: path of the true mesh in the scene's own units, where it is known.
        points: (P,3) float64 on what the photos show, in the scene's own units, as ``Capture`` has them; may be (0,3).
        sightings: which photo saw which of them; empty where the format does not say.
        mask_slack: by how many pixels masks are grown for their hull to cover them: 1 where the cameras are right.
    """

    name: str
    images: Photos
    cameras: Cameras
    train: list[int]
    test: list[int]
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    has_masks: bool = True
    normalization: Similarity = Similarity()
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    truth: str | None = None
    ground: tuple[float, float, float, float] | None = None
    unbounded: bool = False
    cameras_refined: bool = False
    box: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    points: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    sightings: Sightings = field(default_factory=Sightings)
    meters: float | None = None
    mask_slack: int = 1

    @property
    def exported(self) -> Similarity:
        """To normalized units from those of exports: meters where a length is known, else the scene's own."""
        return self.normalization.enlarged(self.meters or 1.0)

    def photo_name(self, view: int) -> str:
        """The file name of photo ``view``, or its number where it has none."""
        names = self.provenance.get("views", ())
        return str(names[view]) if view < len(names) else f"number {view}"

    def photo_names(self, views: Sequence[int]) -> str:
        """The same of some photos, as a list in words."""
        return f"photo{'s' * (len(views) != 1)} {', '.join(map(self.photo_name, views))}"

    def image(self, view: int) -> Tensor:
        """View ``view`` over the scene's background, (H,W,3) float32 in [0,1]."""
        rgba = self.images[view].float() / 255
        return rgba[..., :3] + (1 - rgba[..., 3:]) * torch.tensor(self.background)

    def mask(self, view: int) -> Tensor:
        """Coverage of view ``view``, (H,W) float32 in [0,1]."""
        return self.images[view][..., 3].float() / 255
