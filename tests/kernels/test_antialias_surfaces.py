"""Contours and creases in front of other surfaces: which crossings count, against visibility by casting rays."""

import pytest
import torch
import trimesh
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.kernels.antialias import antialias, find_pairs
from nerfkit.kernels.antialias.reference import crossing
from nerfkit.kernels.rasterize import rasterize
from nerfkit.raster.contour import contour_candidates
from tests.kernels.test_antialias import SQUARE, homogeneous, soup

BACKENDS = ["cpu", "reference"]


def project(vertices, size):
    """A camera at z = 4 that looks along -z: (w x, w y, w) of vertices (V,3)."""
    w = 4 - vertices[:, 2]
    return homogeneous(size / 2 + size * 1.3 * vertices[:, 0] / w, size / 2 - size * 1.3 * vertices[:, 1] / w, w)


def balls(subdivisions, centers, radius):
    """Bumpy balls at ``centers``; the last one is open: a bowl whose inside shows."""
    ball = trimesh.creation.icosphere(subdivisions)
    unit, faces = torch.tensor(ball.vertices), torch.tensor(ball.faces)
    unit = unit * (1 + 0.08 * torch.sin(5 * unit + torch.tensor([0.0, 1, 2])).sum(1, keepdim=True))
    bowl = faces[(unit[faces].mean(1) @ torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)) < 0.2]
    parts = [*[faces] * (len(centers) - 1), bowl]
    vertices = torch.cat([radius * unit + torch.tensor(center) for center in centers])
    return vertices, torch.cat([part + k * len(unit) for k, part in enumerate(parts)])


def visible(points, faces, place, inverse, edge):
    """Whether no face but the edge's own, at screen position ``place``, is nearer than the inverse depth given."""
    beside = ((faces[..., None] == edge).any(1)).all(1)
    corners = points[faces[~beside]]
    normals = torch.linalg.cross(corners.roll(-1, 1), corners.roll(-2, 1), dim=-1)
    det = (corners[:, 0] * normals[:, 0]).sum(-1)
    weights = (normals @ torch.tensor([*place, 1.0], dtype=points.dtype)) / det[:, None]
    inside = (weights > 1e-9).all(1)
    return not bool((inside & (weights.sum(1) > inverse * (1 + 1e-7))).any())


@pytest.mark.slow
def test_crossings_that_count_are_the_visible_ones():
    """Every pair between two surfaces, contour or crease, against a ray through its crossing."""
    size = 56
    vertices, faces = balls(2, [(-0.25, 0.1, 0.9), (0.35, -0.2, -0.3), (0.1, 0.3, -1.6)], 0.6)
    points, edges = project(vertices, size), contour_candidates(faces)
    face, *_ = rasterize(points[None], faces, size, size)
    with use("cpu"):
        pairs, _ = find_pairs(points[None], faces, edges, face, creases=torch.ones(len(edges), dtype=torch.bool))
    shown = face.view(-1)[pairs[:, :2]]
    t = crossing(points[None], pairs, size, size)
    inside, wrong = 0, 0
    for (owner, other, v0, v1), at, both in zip(pairs.tolist(), t.tolist(), (shown >= 0).all(1).tolist(), strict=True):
        if not both:
            continue
        x, y = owner % size + 0.5, owner // size + 0.5
        step = at if other > owner else -at
        x, y = (x + step, y) if owner // size == other // size else (x, y + step)
        (x0, y0), (x1, y1) = (points[v, :2] / points[v, 2] for v in (v0, v1))
        share = (y - y0) / (y1 - y0) if abs(y1 - y0) > abs(x1 - x0) else (x - x0) / (x1 - x0)
        inverse = (1 - share) / points[v0, 2] + share / points[v1, 2]
        inside += 1
        wrong += not visible(points, faces, (x, y), inverse, torch.tensor([v0, v1]))
    assert inside > 600
    assert wrong <= 0.005 * inside  # in a pixel pair with three surfaces the middle one may be taken for the first


@pytest.mark.parametrize("gap", [1e-3, 0.05, 1.0])
def test_a_backdrop_changes_no_outer_contour(gap):
    """However close behind the ball's rim it stands: the rim's own depth counts, not the ball's at the pixel."""
    size = 48
    vertices, faces = balls(2, [(0.0, 0.0, 0.0), (0.0, 0.0, 0.0)], 1.0)
    ball = faces[: len(trimesh.creation.icosphere(2).faces)]
    vertices = vertices[: int(ball.max()) + 1]
    points = project(vertices, size)
    with use("reference"):
        face, *_ = rasterize(points[None], ball, size, size)
        alone, _ = find_pairs(points[None], ball, contour_candidates(ball), face)
    rim = points[alone[:, 2:].unique(), 2]
    far = rim.max() + gap
    corners = homogeneous([-9.0, 99, 99, -9], [-9.0, -9, 99, 99], [far.item()] * 4)
    both, behind = torch.cat([points, corners]), torch.cat([ball, SQUARE + len(points)])
    with use("reference"):
        face, *_ = rasterize(both[None], behind, size, size)
        pairs, _ = find_pairs(both[None], behind, contour_candidates(behind), face)
        outer = {tuple(row) for row in alone.tolist()}
        assert outer <= {tuple(row) for row in pairs.tolist()}
        near = torch.cat([points, homogeneous([-9.0, 99, 99, -9], [-9.0, -9, 99, 99], [rim.min().item() - 1.2] * 4)])
        face, *_ = rasterize(near[None], behind, size, size)
        hidden, _ = find_pairs(near[None], behind, contour_candidates(behind), face)
    assert len(outer) > 80
    assert len(hidden) == 0


def rectangles(*boxes):
    """Rectangles (left, top, right, bottom, depth) of two faces each."""
    parts = [homogeneous([a, c, c, a], [b, b, d, d], [w] * 4) for a, b, c, d, w in boxes]
    return torch.cat(parts), torch.cat([SQUARE + 4 * k for k in range(len(boxes))])


def picture(points, faces, colors, height, width, backend, creases=None):
    """Antialiased picture (H,W) of faces with one gray each."""
    with use(backend):
        face, *_ = rasterize(points[None], faces, height, width)
        gray = torch.where(face >= 0, torch.as_tensor(colors).to(points)[face.clamp(min=0).long()], 0.0)
        return antialias(gray[..., None], points[None], faces, contour_candidates(faces), face, creases=creases)[
            0, :, :, 0
        ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_t_junction(backend):
    """A rectangle's end in front of another's: areas are exact but in the one pixel where three colors meet."""
    boxes = (-9.0, -9.0, 4.8, 19.0, 1.0), (-9.0, -9.0, 19.0, 5.3, 2.0)
    points, faces = rectangles(*boxes)
    out = picture(points.float(), faces, [0.9, 0.9, 0.4, 0.4], 9, 9, backend).double()
    fine = (torch.arange(9 * 50) + 0.5) / 50
    exact = torch.where(fine < 4.8, 0.9, torch.where(fine[:, None] < 5.3, 0.4, 0.0)).view(9, 50, 9, 50).mean((1, 3))
    away = torch.ones(9, 9, dtype=torch.bool)
    away[5, 4] = False
    assert_close(out[away], exact[away].double(), atol=1e-5, rtol=0)
    assert 0 < out[5, 4] < 0.9


@pytest.mark.parametrize("backend", BACKENDS)
def test_thin_fold(backend):
    """A sheet folded back by less than a pixel: the fold hides and changes as much as it covers."""
    vertices = homogeneous([-9.0, 4.8, 4.8, -9, 4.4, 4.4, 19, 19], [-9.0, -9, 19, 19, -9, 19, -9, 19], [1.0] * 8)
    vertices[[1, 2]] *= 1.0  # the front sheet ends at x = 4.8
    vertices[4:] *= 1.1  # the sheet goes back to x = 4.4 behind it and from there to the right
    faces = torch.tensor([[0, 1, 2], [2, 3, 0], [1, 4, 2], [4, 5, 2], [4, 6, 5], [6, 7, 5]])
    out = picture(vertices.float(), faces, [1.0, 1, 0, 0, 0.5, 0.5], 7, 9, backend)
    expected = torch.tensor([1.0, 1, 1, 1, 0.9, 0.5, 0.5, 0.5, 0.5]).expand(7, 9)
    assert_close(out, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("border", [4.2, 4.5, 4.9, 5.1])
def test_crease_gives_exact_areas(backend, border):
    """Two colored halves of one sheet, tilted in depth, with the border's edge at x = ``border``."""
    w = [1.0, 1.4, 1.4, 1.0, 2.0, 2.0]
    points = homogeneous([-9.0, border, border, -9, 30, 30], [-9.0, -9, 19, 19, -9, 19], w)
    faces = torch.tensor([[0, 1, 2], [2, 3, 0], [1, 4, 5], [5, 2, 1]])
    colors = [0.2, 0.2, 0.8, 0.8]
    edges = contour_candidates(faces)
    jump = (edges[:, :2] == torch.tensor([1, 2])).all(1)
    out = picture(points.float(), faces, colors, 7, 9, backend, jump)
    covered = (border - torch.arange(9)).clamp(0, 1)
    assert_close(out, (0.8 - 0.6 * covered).expand(7, 9).float(), atol=1e-5, rtol=0)
    plain = picture(points.float(), faces, colors, 7, 9, backend)
    assert ((plain - 0.2).abs() < 1e-6).logical_or((plain - 0.8).abs() < 1e-6).all()


def test_moving_a_crease_changes_the_sum_by_its_length():
    points = homogeneous([-9.0, 4.3, 4.3, -9, 30, 30], [-9.0, -9, 19, 19, -9, 19], [2.0] * 6).requires_grad_()
    faces = torch.tensor([[0, 1, 2], [2, 3, 0], [1, 4, 5], [5, 2, 1]])
    jump = (contour_candidates(faces)[:, :2] == torch.tensor([1, 2])).all(1)
    picture(points, faces, [0.2, 0.2, 0.8, 0.8], 7, 9, "reference", jump).sum().backward()
    per_pixel = points.grad[:, 0] * 2
    assert_close(per_pixel[1] + per_pixel[2], torch.tensor(-0.6 * 7, dtype=torch.float64))
    assert not per_pixel[[0, 3, 4, 5]].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_hidden_creases_and_creases_before_a_contour(backend):
    """A crease behind another sheet does nothing; one between a pixel and a contour leaves the pair to the contour."""
    crease = homogeneous([-9.0, 4.3, 4.3, -9, 30, 30], [-9.0, -9, 19, 19, -9, 19], [2.0] * 6)
    faces = torch.tensor([[0, 1, 2], [2, 3, 0], [1, 4, 5], [5, 2, 1]])
    for right, expected in ((30.0, [1.0] * 9), (4.6, [1.0, 1, 1, 1, 0.6 + 0.4 * 0.8, 0.8, 0.8, 0.8, 0.8])):
        front, front_faces = rectangles((-9.0, -9.0, right, 19.0, 1.0))
        points, both = torch.cat([crease, front]), torch.cat([faces, front_faces + 6])
        jump = (contour_candidates(both)[:, :2] == torch.tensor([1, 2])).all(1)
        out = picture(points.float(), both, [0.2, 0.2, 0.8, 0.8, 1, 1], 7, 9, backend, jump)
        assert_close(out, torch.tensor(expected).expand(7, 9), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_views_with_meshes_of_their_own(backend):
    """A batch of different meshes, padded, gives what each gives alone, in any of the ways to share a topology."""
    points, faces = soup(2, 12, seed=5)
    points = points.float()
    own = [faces, faces[3:9].flip(1)]
    padded = torch.full((2, 12, 3), -1)
    padded[0], padded[1, :6] = own[0], own[1]
    creases = [torch.arange(len(contour_candidates(f))) % 3 == 0 for f in own]
    edges = contour_candidates(padded)
    assert edges.shape == (2, 36, 4)
    assert (edges[1, 18:] == -1).all()
    flags = torch.nn.utils.rnn.pad_sequence(creases, batch_first=True)
    image = torch.rand(2, 19, 23, 2, generator=torch.Generator().manual_seed(0))
    with use(backend):
        shown = torch.cat([rasterize(points[n : n + 1], own[n], 19, 23)[0] for n in range(2)])
        together = antialias(image, points, padded, edges, shown, creases=flags)
        for n in range(2):
            view, topology = slice(n, n + 1), contour_candidates(own[n])
            alone = antialias(image[view], points[view], own[n], topology, shown[view], creases=creases[n])
            assert_close(together[view], alone, rtol=0, atol=1e-6)
            assert not torch.equal(alone, image[view])


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 150), size=st.integers(1, 24))
def test_values_stay_between_zero_and_one(seed, count, size):
    points, faces = soup(1, count, seed)
    points = points.float()
    generator = torch.Generator().manual_seed(seed)
    edges = contour_candidates(faces)
    with use("cpu"):
        face, *_ = rasterize(points, faces, size, size)
        image = (torch.rand(1, size, size, 3, generator=generator) * 1.6 - 0.3).clamp(0, 1)
        creases = torch.rand(len(edges), generator=generator) < 0.5
        out = antialias(image, points, faces, edges, face, creases=creases)
    assert out.min() >= 0
    assert out.max() <= 1 + 1e-6
