"""Texels that few pixels of the photos look at, or none: neighbors are tied, and what was not seen is filled.

Texels t minimize, over the pixels p of all training photos and the pairs (i, j) of neighboring texels::

    sum_p |picture_p - photo_p|  +  w sum_ij c_ij h(t_i - t_j)      h(d) = d^2 / (2 D) to |d| = D, |d| - D / 2 beyond

where c_ij is, but for a share of each of the eight directions, K / (K + n) of the texel that fewer pixels look at, n in
all. Neither sum pulls harder at larger distances: a pixel pulls with 1, the neighbors with 4 w c at most. So a texel is
what most of its neighbors are where hardly a pixel looks, and what the photos say where many agree. The second sum is
the total variation (Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal algorithms", 1992) with
Huber's corner; unlike squares it leaves edges sharp.
"""

from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor

from nerfkit.fit.refine_window import Windows
from nerfkit.kernels.texel_ties import PAIRS, texel_ties
from nerfkit.mesh.bake import fill_outside, texel_map
from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.mesh import Mesh, scattered
from nerfkit.raster import interpolate_corners, rasterize, sample_texture
from nerfkit.runs.memory import in_pieces
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.scenes.scene import Scene

CORNER = 0.02  # D: differences that nobody sees are evened out, not cut to zero
FEW = 2.0  # K, in pixels: the ties of a texel that so many look at are half as strong as those of one that none does
TOGETHER, PIXELS = 4, 1 << 19  # photos whose looks are counted at a time, and pixels of theirs: at most, of both
SWEEPS = 32  # of the relaxation; what the mesh's vertices say is right further from the seen texels than it reaches
_SHARES = (0.7, 0.7, 0.3, 0.3)  # c of a texel that nobody looks at, by the direction of the pair
_BESIDE = 3.0  # times as much for a texel beside a chart, which has fewer neighbors in it


class Ties:
    """The second sum of this module's formula, over the charts of one atlas, a mean over channels.

    At least one texel of a pair lies inside a chart: charts are two texels apart, so that no pair joins two of them,
    and the texels beside a chart, which look-ups read, are tied to it.

    Args:
        corner_uvs: (F,3,2).
        looks: (A,B), see ``texel_looks``.
    """

    def __init__(self, corner_uvs: Tensor, looks: Tensor) -> None:
        inside = (texel_map(corner_uvs, *looks.shape)[0] >= 0).float()  # (A, B)
        self.weights = torch.zeros(len(PAIRS), *looks.shape, device=looks.device)
        height, width = looks.shape
        for share, (down, right), weights in zip(_SHARES, PAIRS, self.weights, strict=True):
            left, past = max(-right, 0), width - max(right, 0)
            first = slice(0, height - down), slice(left, past)
            second = slice(down, height), slice(left + right, past + right)
            count = inside[first] + inside[second]
            fewer = torch.minimum(looks[first], looks[second])
            weights[first] = share * torch.where(count == 1, _BESIDE, count / 2) * FEW / (FEW + fewer)

    def __call__(self, texture: Tensor) -> Tensor:
        """Sum of c h over pairs, mean over channels, of a texture (A,B,C)."""
        return texel_ties(texture, self.weights.to(texture.dtype), CORNER)


def texel_looks(mesh: Mesh, scene: Scene, ranks: Ranks = ALONE) -> Tensor:
    """How many pixels of the training photos look at each texel, (A,B) float32: the sum of their bilinear weights.

    A pixel counts if the mesh covers its center and the mask at least half of it.

    Args:
        mesh: in normalized units, with UVs and a texture.
        ranks: the processes that look.
    """
    assert mesh.corner_uvs is not None and mesh.texture is not None
    looks = torch.zeros_like(mesh.texture[..., 0])
    for some in ranks.spread(_looks, _together(scene), mesh, scene, ahead=1):
        looks += some.to(looks)
    return looks


def _together(scene: Scene) -> list[list[int]]:
    """Training views, of one size, whose looks are counted at a time."""
    found: list[list[int]] = []
    for (height, width), same in groupby(scene.train, key=lambda view: scene.cameras.sizes[view]):
        views, at_once = list(same), max(1, min(TOGETHER, PIXELS // (height * width)))
        found += [views[first : first + at_once] for first in range(0, len(views), at_once)]
    return found


@torch.no_grad()
def _looks(views: list[int], mesh: Mesh, scene: Scene) -> Tensor:
    """Those of some photos of one size, on the CPU."""
    assert mesh.corner_uvs is not None and mesh.texture is not None
    looks = torch.zeros(*mesh.texture.shape[:2], 1, device=mesh.texture.device, requires_grad=True)
    windows, corner_uvs = Windows(replace(scene, has_masks=False)), mesh.corner_uvs  # where the mesh is: nothing else

    def add(views: list[int]) -> None:
        window = windows.around(mesh.vertices, views)
        fragments = rasterize(mesh.vertices, mesh.faces, window.cameras(scene.cameras[views]))
        shown = window.cut([(scene.images[view][..., 3] >= 128) & scene.images.known(view) for view in views])
        counts = fragments.covered & shown.to(looks.device)
        uv = interpolate_corners(fragments, corner_uvs)
        with torch.enable_grad():  # a look-up's derivative by a texel is its weight
            sample_texture(looks, uv, counts).sum().backward()

    for _ in in_pieces("photos", lambda a, b: add(views[a:b]), len(views), len(views)):
        pass
    assert looks.grad is not None
    return looks.grad[..., 0].cpu()


@torch.no_grad()
def fill_unseen(mesh: Mesh, seen: Tensor) -> Mesh:
    """Texels that are not ``seen`` (A,B) take the colors around them on the surface; the others stay as they are.

    A vertex has the mean color of the seen texels of its faces, else, ring by ring, that of its neighbors; so colors
    spread across the seams of the atlas. Unseen texels inside charts are interpolated from there, then relaxed toward
    the mean of their four neighbors, so that they join the seen ones. What is connected to nothing seen stays as it is.
    Unseen texels of the gutters take the color of the nearest texel inside a chart.

    Args:
        mesh: with UVs and a texture.
    """
    assert mesh.corner_uvs is not None and mesh.texture is not None
    height, width = mesh.texture.shape[:2]
    face, weights = texel_map(mesh.corner_uvs, height, width)
    inside = face >= 0
    known, unknown = inside & seen, inside & ~seen
    texture = mesh.texture.clone()
    if unknown.any() and known.any():
        corner, weight = mesh.faces[face[known]].flatten(), weights[known].flatten()[:, None]  # (3P,), (3P, 1)
        color = texture[known].repeat_interleave(3, 0)
        total = scattered(len(mesh.vertices), corner, torch.cat([color, torch.ones_like(weight)], 1) * weight)
        vertex = _spread(total, EdgeTable.of(mesh.faces, len(mesh.vertices)).ends)  # (V, 4)
        found = (vertex[mesh.faces[face[unknown]]] * weights[unknown][..., None]).sum(1)  # (Q, 4)
        reached = found[:, 3] > 0.999  # by all three vertices; a component is reached as a whole or not at all
        at = unknown.nonzero()[reached]  # (Q, 2)
        texture[at[:, 0], at[:, 1]] = found[reached, :3]
        _relax(texture, inside, at)
    filled = fill_outside(texture, inside)
    return replace(mesh, texture=torch.where((inside | seen)[..., None], texture, filled))


def _spread(total: Tensor, edges: Tensor) -> Tensor:
    """Sums of colors and their weights (V,4) to colors and 1, or zeros for vertices that no edge leads to."""
    vertex = torch.where(total[:, 3:] > 0, total / total[:, 3:].clamp(min=1e-12), 0)
    start, end = torch.cat([edges, edges.flip(1)]).unbind(1)  # (2E,)
    while True:
        around = scattered(len(vertex), end, vertex[start])
        fresh = (vertex[:, 3] == 0) & (around[:, 3] > 0)
        if not fresh.any():
            return vertex
        vertex[fresh] = around[fresh] / around[fresh, 3:]


def _relax(texture: Tensor, inside: Tensor, at: Tensor) -> None:
    """Moves the texels ``at`` (Q,2) to the mean of those neighbors that are ``inside`` (A,B), in place, many times."""
    height, width = inside.shape
    row, column = at.unbind(1)
    neighbors = []
    for i, j in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
        within = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        i, j = i.clamp(0, height - 1), j.clamp(0, width - 1)
        neighbors.append((i, j, (within & inside[i, j])[:, None].to(texture)))
    count = torch.stack([counts for _, _, counts in neighbors]).sum(0)  # (Q, 1)
    alone = count == 0
    for _ in range(SWEEPS):
        mean = torch.stack([texture[i, j] * counts for i, j, counts in neighbors]).sum(0) / count.clamp(min=1)
        texture[row, column] = torch.where(alone, texture[row, column], mean)
