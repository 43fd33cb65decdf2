"""Smooth steps for a mesh's vertices (Nicolet et al., "Large Steps in Inverse Rendering of Geometry", 2021)."""

from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_matrix, identity
from scipy.sparse.linalg import splu
from torch import Tensor

from nerfkit.fit.watch import gradient_not_finite

_BETA1, _BETA2 = 0.9, 0.999


class LargeSteps:
    """Adam on u = (I + smoothness L) x, with one step size for all vertices (the paper's AdamUniform).

    L = D - A is the mesh's combinatorial Laplacian. In terms of x, with M = I + smoothness L and the loss's gradient g,

        g' = M^-1 g,    m <- b1 m + (1 - b1) g',    v <- b2 v + (1 - b2) g'^2,
        x <- x - rate M^-1 (m / (1 - b1^t)) / sqrt(max(v) / (1 - b2^t)),

    so that a gradient at lone vertices, such as those of the silhouette, moves their surroundings along instead of
    pulling out spikes. M is factorized once (0.04 s for 10 000 vertices, 0.1 s for 20 000); the two solves of a step
    (2 ms each for 10 000 vertices) run on the CPU.

    After a change of faces, ``remeshed`` goes on with the moments m and v carried along.

    Args:
        vertices: (V,3) float32 leaf tensor, changed in place by ``step``.
        edges: (E,2) int64.
        smoothness: lambda, in units of mesh edges squared: features below about its root are damped.
    """

    def __init__(self, vertices: Tensor, edges: Tensor, smoothness: float) -> None:
        self.vertices = vertices
        self.smoothness = smoothness
        count = len(vertices)
        a, b = edges.cpu().numpy().T
        adjacency = coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count))
        adjacency = adjacency + adjacency.T
        degree = np.asarray(adjacency.sum(1)).ravel()
        laplacian = coo_matrix((degree, (range(count), range(count))), shape=(count, count)) - adjacency
        matrix = (identity(count) + smoothness * laplacian).tocsc()
        # The last vertices first, as those of a subdivision follow what it divides. With an icosphere's first vertices
        # first the order of least degree takes fifty times as long at 80,000 faces; elsewhere it makes no difference.
        matrix = matrix[::-1, ::-1].tocsc()
        self._factor = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        self._mean = np.zeros((count, 3))
        self._square = np.zeros((count, 3))
        self._steps = 0

    def moments(self) -> Tensor:
        """m and v of every vertex side by side, (V,6) float64 on the vertices' device, to be carried by remeshing."""
        return torch.from_numpy(np.concatenate([self._mean, self._square], 1)).to(self.vertices.device)

    def remeshed(
        self, vertices: Tensor, edges: Tensor, moments: Tensor, smoothness: float | None = None
    ) -> "LargeSteps":
        """The optimizer of a mesh with other vertices and edges that goes on where this one is.

        A loss over the surface or over pixels has gradients at the vertices in proportion to the area around them:
        with V' vertices instead of V, m is scaled by V / V' and v by its square, so that the steps keep their length.

        Args:
            vertices: (V',3) float32 leaf tensor.
            edges: (E',2) int64.
            moments: (V',6), what became of ``moments()``, such as the attributes that ``remesh`` returns.
            smoothness: lambda, which counts in edges squared: where these become shorter by a factor, the same reach
                takes a lambda larger by its square. None keeps it.
        """
        if moments.shape != (len(vertices), 6):
            raise ValueError(f"the moments are {tuple(moments.shape)}, expected ({len(vertices)}, 6), one row a vertex")
        new = LargeSteps(vertices, edges, self.smoothness if smoothness is None else smoothness)
        mean, square = moments.detach().cpu().double().numpy().reshape(-1, 2, 3).transpose(1, 0, 2).copy()
        share = len(self.vertices) / max(len(vertices), 1)
        new._mean, new._square, new._steps = mean * share, square * share**2, self._steps
        return new

    def state_dict(self) -> dict[str, Any]:
        """What a step changes, but for the vertices."""
        return {"mean": torch.from_numpy(self._mean), "square": torch.from_numpy(self._square), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        self._mean, self._square = (state[key].cpu().numpy().copy() for key in ("mean", "square"))
        self._steps = state["steps"]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the vertices by their ``grad``; a smooth displacement moves by about ``rate`` world units at most.

        Raises:
            FloatingPointError: the gradient is NaN or infinite; nothing has moved.
        """
        if self.vertices.grad is None:
            raise ValueError("the vertices have no gradient; call backward first")
        gradient = self._solved(self.vertices.grad.cpu().numpy().astype(np.float64))
        mean = self._mean + (1 - _BETA1) * (gradient - self._mean)
        square = self._square + (1 - _BETA2) * (gradient**2 - self._square)
        largest = square.max(initial=0.0)
        if not np.isfinite(largest):
            raise FloatingPointError(gradient_not_finite("the vertices"))
        self._mean, self._square, self._steps = mean, square, self._steps + 1
        scale = np.sqrt(largest / (1 - _BETA2**self._steps)) * (1 - _BETA1**self._steps)
        move = self._solved(self._mean / max(scale, 1e-30))
        self.vertices -= rate * torch.from_numpy(move).to(self.vertices)

    def _solved(self, right: np.ndarray) -> np.ndarray:
        """M^-1 of ``right`` (V,3)."""
        return np.ascontiguousarray(self._factor.solve(right[::-1])[::-1])
