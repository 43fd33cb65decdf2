"""When a refinement has lost its way: its surface folds over or runs off, or its pictures get worse.

Looked at now and then, against the coarse mesh (area A, signed volume V) and the faces as they were last moved about::

    turned = area of the faces whose normal has turned by more than 90 degrees / area
    swollen = |V' - V| / (|V| + ball(A) / 10),      ball(A) = A^(3/2) / (6 sqrt(pi)), the most that an area A can hold

and the loss of pictures and masks, a mean over ``WINDOW`` steps, against that of the first steps. A refinement that
goes well is far from all of these limits.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.mesh import Mesh, face_areas, face_normals, signed_volume

CHECKED = 0.1  # of the budget between two looks
WINDOW = 10  # steps
TURNED = 0.25  # of the surface
AREA = 0.25, 2.0  # times that of the coarse mesh, at least and at most: a rough one may become smooth
SWOLLEN = 0.75
TANGLED = 0.25  # pairs of faces that run through each other, for each face, more than at the start
WORSE, MARGIN = 1.5, 0.05  # times the loss of the first steps, and added to it


class Guard:
    """Remembers how a refinement began.

    Args:
        coarse: the mesh that it begins with.

    Attributes:
        allowed: pairs of its faces that run through each other.
    """

    def __init__(self, coarse: Mesh) -> None:
        self.allowed, self.middle = len(self_intersections(coarse)), coarse.vertices.mean(0)
        self.area, self.volume = self._extent(coarse.vertices, coarse.faces)
        self.first: list[float] = []
        self.recent: deque[float] = deque(maxlen=WINDOW)

    def note(self, terms: Mapping[str, float]) -> None:
        """Takes the terms of a step's loss."""
        loss = terms["image"] + terms.get("mask", 0.0)
        if len(self.first) < WINDOW:
            self.first.append(loss)
        else:
            self.recent.append(loss)

    @torch.no_grad()
    def trouble(self, vertices: Tensor, faces: Tensor, base: Tensor) -> str | None:
        """What is wrong with a mesh whose faces were last moved about at the vertices ``base``; None: nothing is."""
        area, volume = self._extent(vertices, faces)
        if not math.isfinite(area + volume):
            return "a vertex is NaN or infinite"
        if not self.area * AREA[0] <= area <= self.area * AREA[1]:
            return f"its area has become {area / self.area:.2g} times what it was"
        if abs(volume - self.volume) > SWOLLEN * (abs(self.volume) + self.area**1.5 / (60 * math.sqrt(math.pi))):
            return f"its volume has changed from {self.volume:.2g} to {volume:.2g}"
        if torch.equal(vertices, base):
            return self._worse()
        turned = (face_normals(vertices, faces) * face_normals(base, faces)).sum(-1) < 0
        share = (face_areas(vertices, faces) * turned).sum().item() / max(area, 1e-30)
        if share > TURNED:
            return f"{share:.0%} of its surface are turned over"
        pairs = len(self_intersections(Mesh(vertices, faces)))
        if pairs > self.allowed + TANGLED * len(faces):
            return f"{pairs} pairs of its faces run through each other"
        return self._worse()

    def _worse(self) -> str | None:
        if len(self.recent) == WINDOW:
            before, now = sum(self.first) / WINDOW, sum(self.recent) / WINDOW
            if now > WORSE * before + MARGIN:
                return f"its pictures have become worse, from a loss of {before:.3g} to {now:.3g}"
        return None

    def state_dict(self) -> dict[str, Any]:
        """The losses so far."""
        return {"first": list(self.first), "recent": list(self.recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        self.first, self.recent = list(state["first"]), deque(state["recent"], maxlen=WINDOW)

    def _extent(self, vertices: Tensor, faces: Tensor) -> tuple[float, float]:
        """Area and signed volume, of an open surface that of the cone to the coarse mesh's middle."""
        found = [face_areas(vertices, faces).sum(), signed_volume(vertices - self.middle, faces)]
        area, volume = torch.stack(found).tolist()
        return area, volume
