"""A function at the points of a lattice over [-1,1]^3, and which of its empty space is reached from outside.

Both go by slabs of planes: beside the values, which take 4 bytes a lattice point, there is a byte a point for what is
empty, and what ``SLAB`` points take.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from nerfkit.runs.memory import by_rows

SLAB = 1 << 23  # lattice points looked at together: some 100 MB


def sample_lattice(
    function: Callable[[Tensor], Tensor],
    resolution: int,
    occupancy: Tensor | None = None,
    chunk: int = 1 << 18,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """``function`` at the points of a lattice, (R,R,R) float32 indexed by x, y, z.

    Args:
        function: points (S,3) to values (S,).
        resolution: R, points along each axis, the outermost at -1 and 1.
        occupancy: (G,G,G) bool; values are 0 outside of the true cells and their neighbors; None: nowhere.
        chunk: points to a call.
        device: where ``function`` expects its points.
        progress: called with the fraction done after each chunk.
    """
    axis = torch.linspace(-1, 1, resolution)
    cell = torch.zeros(resolution, dtype=torch.int64)
    near = np.ones((1, 1, 1), bool)
    if occupancy is not None:
        near = _grown(occupancy.cpu().numpy(), 1)
        cell = ((axis + 1) / 2 * len(near)).long().clamp(max=len(near) - 1)  # (R,)
    wanted = torch.from_numpy(near)
    share = torch.bincount(cell, minlength=len(near)).double()  # lattice points of each cell, along an axis
    total, done = round(torch.einsum("xyz,x,y,z->", wanted.double(), share, share, share).item()), 0
    values = np.zeros((resolution,) * 3, np.float32)
    flat = torch.from_numpy(values).view(-1)

    def fill(index: Tensor) -> None:
        x, y, z = index // resolution**2, index // resolution % resolution, index % resolution
        points = torch.stack([axis[x], axis[y], axis[z]], -1)  # (S, 3)
        flat[index] = function(points.to(device)).to("cpu", torch.float32)

    with torch.no_grad():
        for first, last in _slabs(resolution):
            here = wanted[cell[first:last]][:, cell][:, :, cell].flatten().nonzero().flatten() + first * resolution**2
            for count, _ in by_rows("lattice points", fill, here, at_once=chunk) if len(here) else ():
                if progress is not None:
                    progress((done + count) / total)
            done += len(here)
    return values


def fill_unreached(opacity: np.ndarray, closing: int) -> None:
    """Sets to 1, in place, what is below 1/2 in (R,R,R) and is not reached from beyond the box.

    Reached are points within ``closing`` of those that a cube of that half side reaches from there.
    """
    size = len(opacity)
    free = np.ones((size + 2,) * 3, bool)
    for first, last in _slabs(size):
        low = max(first - closing, 0)
        grown = _grown(opacity[low : last + closing] >= 0.5, closing)
        free[first + 1 : last + 1, 1:-1, 1:-1] = ~grown[first - low : last - low]
    _keep_reached(free)
    for first, last in _slabs(size):
        low, high = max(first - closing, 0), min(last + closing, size)
        near = _grown(free[low + 1 : high + 1, 1:-1, 1:-1], closing)[first - low : last - low]
        slab = opacity[first:last]
        slab[(slab < 0.5) & ~near] = 1.0


def _keep_reached(free: np.ndarray) -> None:
    """Leaves of what is true in (N,N,N), in place, what hangs together with its first corner, which is."""
    from scipy import ndimage, sparse

    slabs, parts, count = free.view(np.uint8), [], 0
    above, pairs = np.zeros(free.shape[1:], np.int64), [np.zeros((2, 0), np.int64)]
    for first, last in _slabs(len(free)):
        labels, found = ndimage.label(slabs[first:last])
        parts.append((first, last, count, found))
        below = np.where(labels[0] > 0, labels[0] + count, 0)
        both = (above > 0) & (below > 0)
        pairs.append(np.unique(np.stack([above[both], below[both]]), axis=1))
        above = np.where(labels[-1] > 0, labels[-1] + count, 0)
        count += found
        if found < 256:  # else they are found again
            slabs[first:last] = labels
    joined = np.concatenate(pairs, 1)  # (2, P), labels of all slabs, from 1
    graph = sparse.coo_matrix((np.ones(joined.shape[1], bool), (joined[0], joined[1])), (count + 1, count + 1))
    component = sparse.csgraph.connected_components(graph, directed=False)[1]
    reached = component == component[1]  # the first label is that of the first corner
    for first, last, before, found in parts:
        labels = slabs[first:last] if found < 256 else ndimage.label(slabs[first:last])[0]
        own = reached[before : before + found + 1].copy()
        own[0] = False  # what is not free
        free[first:last] = own[labels]


def _slabs(resolution: int) -> Iterator[tuple[int, int]]:
    """First and past the last of the planes that are looked at together."""
    planes = max(1, SLAB // resolution**2)
    return ((first, min(first + planes, resolution)) for first in range(0, resolution, planes))


def _grown(mask: np.ndarray, cells: int) -> np.ndarray:
    """Dilation of a bool array by a cube that reaches ``cells`` to either side, one axis after the other."""
    for axis in range(3):
        grown = mask.copy()
        to, of = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        for shift in range(1, cells + 1):
            to[shift:] |= of[:-shift]
            to[:-shift] |= of[shift:]
        mask = grown
    return mask
