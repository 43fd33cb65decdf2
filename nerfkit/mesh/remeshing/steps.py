"""The steps of isotropic remeshing: split, collapse, flip and tangential smoothing, each over the whole mesh at once.

Symbols: a, b the ends of an edge, c, d the corners opposite to it; L the edge's target length.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.mesh.edges import EdgeTable, corners_of
from nerfkit.mesh.mesh import face_cross, face_normals
from nerfkit.mesh.remeshing.state import (
    COLLAPSE_BELOW,
    SLIVER,
    SPLIT_ABOVE,
    Groups,
    State,
    least,
    quadrics,
    ranked,
    settled,
    shapes,
)

ROUNDS = 40  # of one step; independent sets leave candidates over for the next round
LEFT_OVER = 1e-3  # share of the edges that may wait for the next call instead of a round of their own
TURN = 0.7  # cosine of the largest change of a face's normal in a collapse or in smoothing
FLAT = 0.85  # cosine, likewise, in a flip: two faces whose edge is sharper keep it
POOR = 0.1  # a shape below which a step may not push a face


def split(state: State) -> State:
    """Halve every edge longer than 4/3 L, until there is none.

    All marked sides of a face are halved at once, into two, three or four faces; of the two diagonals that the second
    case offers, the shorter one is taken. Any number of faces may meet at an edge.
    """
    for _ in range(ROUNDS):
        edges = EdgeTable.of(state.faces, len(state.position))
        length, target = state.lengths(edges)
        marked = length > SPLIT_ABOVE * target
        if not marked.any():
            break
        a, b = edges.ends[marked].unbind(-1)
        middle = state.mixed(a, b, torch.full_like(length[marked], 0.5))
        number = len(state.position) + marked.cumsum(0) - 1  # (E,)
        position = torch.cat([state.position, middle.position])
        faces = _cut(position, state.faces, marked[edges.face_edges], number[edges.face_edges])
        state = state.extended(middle, faces)
    return state


def _cut(position: Tensor, faces: Tensor, marked: Tensor, middle: Tensor) -> Tensor:
    """Faces (F,3) cut at the middles (F,3) of their marked sides (F,3)."""
    count = marked.sum(1)
    # turned so that the marked side comes first, or the unmarked one last
    first = torch.where(count == 1, marked.int().argmax(1), ((~marked).int().argmax(1) + 1) % 3)
    turn = (first[:, None] + torch.arange(3, device=faces.device)) % 3
    a, b, c = faces.gather(1, turn).unbind(1)
    p, q, r = middle.gather(1, turn).unbind(1)  # of ab, bc, ca
    one, two, three = (count == n for n in (1, 2, 3))
    across = (position[a[two]] - position[q[two]]).norm(dim=-1) <= (position[p[two]] - position[c[two]]).norm(dim=-1)

    def rows(where: Tensor, *corners: Tensor) -> Tensor:
        return torch.stack([corner[where] for corner in corners], -1)

    apqc = rows(two, a, p, q, c)
    return torch.cat(
        [
            faces[count == 0],
            rows(one, a, p, c),
            rows(one, p, b, c),
            rows(two, p, b, q),
            torch.where(across[:, None], apqc[:, [0, 1, 2]], apqc[:, [0, 1, 3]]),
            torch.where(across[:, None], apqc[:, [0, 2, 3]], apqc[:, [1, 2, 3]]),
            rows(three, a, p, r),
            rows(three, p, b, q),
            rows(three, r, q, c),
            rows(three, p, q, r),
        ]
    )


def collapse(state: State) -> State:
    """Merge the ends of edges shorter than 4/5 L, in rounds of independent sets.

    Two edges of a round have no end in common and no edge between their ends, so that neither collapse changes what
    the other was judged by. The vertex goes where the quadrics of both ends are least, to the boundary end where the
    other lies inside, and takes what it carries from the nearest point of the edge. An edge stays where its collapse
    would change the topology (link condition), turn or squash a face, or make an edge longer than 4/3 L. Ends of
    edges where more than two faces meet, or two that disagree on the direction, stay.
    """
    count = len(state.position)
    refused = state.faces.new_empty(0)  # keys of edges; vertices keep their numbers until the end
    for _ in range(ROUNDS):
        edges = EdgeTable.of(state.faces, count)
        length, target = state.lengths(edges)
        fixed = edges.ends_of(~(edges.regular | edges.boundary))
        rim = edges.ends_of(edges.boundary)
        ends = edges.ends
        candidate = (length < COLLAPSE_BELOW * target) & ~fixed[ends].any(1)
        candidate &= edges.boundary | ~rim[ends].all(1)
        at = torch.searchsorted(edges.keys, refused).clamp(max=max(len(edges.keys) - 1, 0))
        candidate[at[edges.keys[at] == refused]] = False
        chosen = candidate.nonzero().flatten()
        if len(chosen) <= len(ends) * LEFT_OVER:
            break
        rank = ranked((length / target)[chosen])
        near = least(rank, ends[chosen], count)
        around = near.scatter_reduce(0, ends.flatten(), near[ends.flip(1)].flatten(), "amin")  # of neighbors too
        chosen = chosen[rank == around[ends[chosen]].amin(1)]

        merged, passed = _merge(state, edges, chosen, rim)
        refused = torch.cat([refused, edges.keys[chosen[~passed]]])
        keep, gone = ends[chosen[passed]].unbind(-1)
        if not len(keep):
            continue
        number = torch.arange(count, device=keep.device).index_copy(0, gone, keep)
        faces = number[state.faces]
        faces = faces[(faces != faces.roll(-1, 1)).all(1)]
        state = state.overwritten(keep, merged, faces)
    return state.compacted()


def _merge(state: State, edges: EdgeTable, chosen: Tensor, rim: Tensor) -> tuple[State, Tensor]:
    """The vertices that edges ``chosen`` (n,) collapse to, of those that may: and which of them may, (n,) bool."""
    count = len(state.position)
    a, b = edges.ends[chosen].unbind(-1)  # (n,)
    among = torch.zeros_like(rim).index_fill(0, torch.cat([a, b]), True)
    corners = Groups.of(state.faces.flatten(), count, among)
    passed = _link_condition(state, edges, chosen, corners, among)

    A = quadrics(state, edges, corners)
    start, end = state.position[a], state.position[b]
    along = end - start
    middle = start + along / 2
    away = settled(middle, start, A[a], end, A[b]) - middle
    limit = 0.75 * along.norm(dim=-1, keepdim=True)
    place = middle + away * (limit / away.norm(dim=-1, keepdim=True).clamp(min=1e-300)).clamp(max=1)
    inside, outside = (~edges.boundary[chosen] & rim[v] for v in (b, a))  # the end that is not b, or not a, stays
    place = torch.where(inside[:, None], end, torch.where(outside[:, None], start, place))
    t = ((place - start) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-300)
    t = torch.where(inside, 1.0, torch.where(outside, 0.0, t.clamp(0, 1)))
    merged = replace(state.mixed(a, b, t), position=place)

    for this, other in ((a, b), (b, a)):
        corner, owner = corners.at(this)
        v, x, y = corners_of(corner, state.faces)
        kept = (x != other[owner]) & (y != other[owner])
        v, x, y, owner = v[kept], x[kept], y[kept], owner[kept]
        good = _turns_little(state.position, torch.stack([v, x, y], -1), place[owner])
        for ring in (x, y):
            limit = SPLIT_ABOVE * (state.target[ring] + merged.target[owner]) / 2
            good &= (state.position[ring] - place[owner]).norm(dim=-1) <= limit
        passed[owner[~good]] = False
    return merged.selected(passed, merged.faces), passed


def _link_condition(state: State, edges: EdgeTable, chosen: Tensor, corners: Groups, among: Tensor) -> Tensor:
    """Whether edges (n,) can collapse without a change of topology: (n,) bool.

    The neighbors that both ends have are the corners opposite to the edge and no others, and no two faces, or two
    boundary edges, fall onto each other.
    """
    count, n = len(state.position), len(chosen)
    a, b = edges.ends[chosen].unbind(-1)
    two = edges.regular[chosen]
    c = corners_of(edges.sides[chosen, 0], state.faces)[2]
    d = torch.where(two, corners_of(edges.sides[chosen, 1].clamp(min=0), state.faces)[2], -1)
    end, owner = Groups.of(edges.ends.flatten(), count, among).at(a)
    neighbor = edges.ends.flip(1).flatten()[end]
    common = torch.bincount(owner[edges.joined(neighbor, b[owner])], minlength=n)
    facing = []  # has an end a face on c and d
    for end in (a, b):
        corner, owner = corners.at(end)
        _, x, y = corners_of(corner, state.faces)
        meets = torch.minimum(x, y) == torch.minimum(c, d)[owner]
        meets &= torch.maximum(x, y) == torch.maximum(c, d)[owner]
        facing.append(torch.bincount(owner[meets], minlength=n) > 0)
    face = edges.sides[chosen, 0] // 3
    lone = edges.boundary[edges.face_edges[face]].sum(1) == 3
    return (common == torch.where(two, 2, 1)) & ~(facing[0] & facing[1]) & ~lone


def _turns_little(position: Tensor, faces: Tensor, place: Tensor) -> Tensor:
    """Whether faces (n,3) stay well when their first corner moves to ``place`` (n,3): (n,) bool."""
    v, x, y = (position[corner] for corner in faces.unbind(1))
    old, new = torch.linalg.cross(x - v, y - v), torch.linalg.cross(x - place, y - place)
    square = (x - y).square().sum(-1)
    old_size, new_size = old.norm(dim=-1), new.norm(dim=-1)
    before, after = (
        2 * 3**0.5 * size / ((x - p).square().sum(-1) + (y - p).square().sum(-1) + square).clamp(min=1e-300)
        for size, p in ((old_size, v), (new_size, place))
    )
    steady = (old * new).sum(-1) >= TURN * old_size * new_size
    return (steady | (before < SLIVER)) & ((after >= POOR) | (after >= before)) & (new_size > 0)


def flip(state: State) -> State:
    """Turn edges ab into cd where that brings valences nearer to 6, or 4 on the boundary, or repairs a flat face.

    An edge is left where its two faces meet at an angle, where a new face would be turned or worse than both are, and
    where the new edge would exist already or be longer than 4/3 L. Flips of a round share no vertex.
    """
    count, faces = len(state.position), state.faces
    for _ in range(ROUNDS):
        edges = EdgeTable.of(faces, count)
        valence = torch.bincount(edges.ends.flatten(), minlength=count)
        rim = edges.ends_of(edges.boundary)
        excess = valence - torch.where(rim, 4, 6)
        edge = edges.regular.nonzero().flatten()
        side, other = edges.sides[edge].unbind(-1)
        a, b, c = corners_of(side, faces)
        d = corners_of(other, faces)[2]
        # (v - 1)^2 - v^2 = 1 - 2 v at the ends and (v + 1)^2 - v^2 = 1 + 2 v at the opposite corners
        gain = 2 * (excess[a] + excess[b] - excess[c] - excess[d]) - 4
        shape = shapes(state.position, faces)
        worst = torch.minimum(shape[side // 3], shape[other // 3])
        maybe = ((gain > 0) | (worst < POOR)) & (c != d)
        maybe &= (valence[a] > torch.where(rim[a], 2, 3)) & (valence[b] > torch.where(rim[b], 2, 3))
        a, b, c, d, edge, gain, worst = (values[maybe] for values in (a, b, c, d, edge, gain, worst))
        after = torch.stack([torch.stack([a, d, c], -1), torch.stack([d, b, c], -1)], 1)  # (n, 2, 3)
        good = _flippable(state, faces, edges, edge, after, gain, worst)
        good &= ~edges.joined(c, d)
        a, b, c, d, edge, after, gain = (values[good] for values in (a, b, c, d, edge, after, gain))
        if not len(edge):
            break
        touched = torch.stack([a, b, c, d], -1)  # (n, 4)
        rank = ranked(-gain.double())
        chosen = (least(rank, touched, count)[touched] == rank[:, None]).all(1)
        faces = faces.index_copy(0, edges.sides[edge[chosen]].flatten() // 3, after[chosen].view(-1, 3))
    return replace(state, faces=faces)


def _flippable(
    state: State, faces: Tensor, edges: EdgeTable, edge: Tensor, after: Tensor, gain: Tensor, worst: Tensor
) -> Tensor:
    """Whether the faces ``after`` (n,2,3) may replace those at ``edge`` (n,), whose worse shape is ``worst`` (n,)."""
    side, other = edges.sides[edge].unbind(-1)
    old, new = face_cross(state.position, faces), face_cross(state.position, after.view(-1, 3)).view(-1, 2, 3)
    pair = torch.stack([old[side // 3], old[other // 3]], 1)  # (n, 2, 3)
    mean = normalize(pair.sum(1), dim=-1, eps=1e-300)[:, None]
    straight = (normalize(pair, dim=-1, eps=1e-300).prod(1).sum(-1) >= FLAT) | (worst < SLIVER)
    level = ((normalize(new, dim=-1, eps=1e-300) * mean).sum(-1) >= FLAT).all(1)
    shape = shapes(state.position, after.view(-1, 3)).view(-1, 2).amin(1)
    useful = ((gain > 0) & (shape >= torch.clamp(worst, max=0.3))) | (shape > 2 * worst)
    c, d = after[:, 0, 2], after[:, 0, 1]
    a, b = edges.ends[edge].unbind(-1)
    length = (state.position[c] - state.position[d]).norm(dim=-1)
    limit = SPLIT_ABOVE * (state.target[c] + state.target[d]) / 2
    limit = torch.maximum(limit, (state.position[a] - state.position[b]).norm(dim=-1))
    return straight & level & useful & (length <= limit)


def relax(state: State, share: float) -> State:
    """Move vertices by ``share`` of the way to their neighbors' mean, along the surface and its sharp edges.

    Vertices on boundaries and at irregular edges stay, and so do those that would turn or squash a face.
    """
    count = len(state.position)
    edges = EdgeTable.of(state.faces, count)
    fixed = edges.ends_of(~edges.regular)
    corners = Groups.of(state.faces.flatten(), count)
    A = quadrics(state, edges, corners)
    around = Groups.of(edges.ends.flatten(), count)
    total = around.sum(state.position[edges.ends.flip(1).flatten()[around.items]])
    mean = total / around.count.clamp(min=1)[:, None]
    old = state.position
    place = settled(old + share * (mean - old), old, A, old, torch.zeros_like(A))
    free = ~fixed & (around.count > 0)
    before, shape = face_normals(old, state.faces), shapes(old, state.faces)
    while True:
        position = torch.where(free[:, None], place, old)
        after = shapes(position, state.faces)
        bad = ((before * face_normals(position, state.faces)).sum(-1) < TURN) & (shape >= SLIVER)
        bad |= (after < POOR) & (after < shape)
        bad &= free[state.faces].any(1)
        if not bad.any():
            return replace(state, position=position)
        free[state.faces[bad].flatten()] = False
