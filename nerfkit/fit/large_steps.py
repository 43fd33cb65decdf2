"""Smooth steps for a mesh's vertices (Nicolet et al., "Large Steps in Inverse Rendering of Geometry", 2021)."""

import numpy as np
import torch
from scipy.sparse import coo_matrix, identity
from scipy.sparse.linalg import splu
from torch import Tensor

_BETA1, _BETA2 = 0.9, 0.999


class LargeSteps:
    """Adam on u = (I + smoothness L) x, with one step size for all vertices (the paper's AdamUniform).

    L = D - A is the mesh's combinatorial Laplacian. In terms of x, with M = I + smoothness L and the loss's gradient g,

        g' = M^-1 g,    m <- b1 m + (1 - b1) g',    v <- b2 v + (1 - b2) g'^2,
        x <- x - rate M^-1 (m / (1 - b1^t)) / sqrt(max(v) / (1 - b2^t)),

    so that a gradient at lone vertices, such as those of the silhouette, moves their surroundings along instead of
    pulling out spikes. M is factorised once; the two solves of a step run on the CPU.

    Args:
        vertices: (V,3) float32 leaf tensor, changed in place by ``step``.
        edges: (E,2) int64.
        smoothness: lambda, in units of mesh edges squared: features below about its root are damped.
    """

    def __init__(self, vertices: Tensor, edges: Tensor, smoothness: float) -> None:
        self.vertices = vertices
        count = len(vertices)
        a, b = edges.cpu().numpy().T
        adjacency = coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count))
        adjacency = adjacency + adjacency.T
        degree = np.asarray(adjacency.sum(1)).ravel()
        laplacian = coo_matrix((degree, (range(count), range(count))), shape=(count, count)) - adjacency
        matrix = (identity(count) + smoothness * laplacian).tocsc()
        self._factor = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        self._mean = np.zeros((count, 3))
        self._square = np.zeros((count, 3))
        self._steps = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the vertices by their ``grad``; a smooth displacement moves by about ``rate`` world units at most."""
        if self.vertices.grad is None:
            raise ValueError("the vertices have no gradient; call backward first")
        gradient = self._factor.solve(self.vertices.grad.cpu().numpy().astype(np.float64))
        self._steps += 1
        self._mean += (1 - _BETA1) * (gradient - self._mean)
        self._square += (1 - _BETA2) * (gradient**2 - self._square)
        scale = np.sqrt(self._square.max() / (1 - _BETA2**self._steps)) * (1 - _BETA1**self._steps)
        move = self._factor.solve(self._mean / max(scale, 1e-30))
        self.vertices -= rate * torch.from_numpy(move).to(self.vertices)
