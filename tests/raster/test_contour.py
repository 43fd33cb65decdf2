"""Mesh topology, and the silhouette's gradient against finite differences of a supersampled picture."""

import pytest
import torch

from nerfkit.cameras import Cameras
from nerfkit.raster import antialias, rasterize, render
from nerfkit.raster.contour import contour_candidates, crease_edges, opposite_vertices
from tests.raster.conftest import bumpy_ball, make_cameras

TETRAHEDRON = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


def test_faces_may_be_int32():
    """Two edges whose numbers, low * count + high, agree in their last 32 bits."""
    faces = torch.tensor([[0, 15000, 1], [61356, 62296, 2], [69999, 4, 3]])
    for function in (contour_candidates, opposite_vertices):
        assert torch.equal(function(faces), function(faces.int()))
        assert torch.equal(function(TETRAHEDRON), function(TETRAHEDRON.int()))


def test_faces_of_inference_mode():
    with torch.inference_mode():
        faces = TETRAHEDRON.clone()
        assert torch.equal(contour_candidates(faces), contour_candidates(TETRAHEDRON))
        assert torch.equal(opposite_vertices(faces), opposite_vertices(TETRAHEDRON))
        faces[0] = -1  # a write that PyTorch does not count
        assert torch.equal(contour_candidates(faces), contour_candidates(torch.tensor(faces.tolist())))


def test_an_edge_of_three_faces_counts_for_each_alone():
    book = torch.tensor([[0, 1, 2], [0, 1, 3], [1, 0, 4]])  # three pages on one spine
    edges = contour_candidates(book).tolist()
    assert [edge for edge in edges if edge[:2] == [0, 1]] == [[0, 1, 2, -1], [0, 1, 3, -1], [0, 1, 4, -1]]
    assert len(edges) == 9


def test_opposite_vertices():
    edges = contour_candidates(TETRAHEDRON).tolist()
    assert [edge[:2] for edge in edges] == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    for v0, v1, a, b in edges:
        assert sorted((v0, v1, a, b)) == [0, 1, 2, 3]
    assert sorted(contour_candidates(torch.tensor([[4, 6, 5]])).tolist()) == [
        [4, 5, 6, -1],
        [4, 6, 5, -1],
        [5, 6, 4, -1],
    ]


def test_no_faces_no_edges():
    nothing = torch.zeros(0, 3, dtype=torch.int64)
    assert contour_candidates(nothing).shape == (0, 4)
    assert opposite_vertices(nothing).shape == (0, 3)


def test_cached_edges_notice_a_change_in_place():
    faces = TETRAHEDRON.clone()
    first = contour_candidates(faces)
    assert contour_candidates(faces) is first
    faces[0] = torch.tensor([4, 5, 6])
    assert contour_candidates(faces)[:, :2].max() == 6


def test_blended_pixels_lie_on_the_silhouette_alone(ball):
    vertices, faces = ball
    fragments = rasterize(vertices, faces, make_cameras(2, 40, 40))
    mask = fragments.covered[..., None].float()
    out = antialias(mask, fragments, faces)
    changed = (out != mask)[..., 0]
    near_edge = torch.nn.functional.max_pool2d(mask[..., 0], 3, 1, 1) != -torch.nn.functional.max_pool2d(
        -mask[..., 0], 3, 1, 1
    )
    assert changed.sum() > 100
    assert not (changed & ~near_edge).any()
    assert out.min() >= 0
    assert out.max() <= 1


@pytest.mark.slow
def test_silhouette_gradient():
    """320 faces, 64 x 64: directional derivatives of a mask loss against hard masks of 16 x 16 samples a pixel."""
    size, samples, step = 64, 16, 0.008
    vertices, faces = bumpy_ball(2)
    cameras = make_cameras(2, size, size)
    fine = cameras.resized(size * samples, size * samples)

    def masks(v):
        covered = rasterize(v.float(), faces, fine).covered
        return covered.view(2, size, samples, size, samples).double().mean((2, 4))

    target = masks(bumpy_ball(2, seed=1)[0])
    leaf = vertices.float().requires_grad_()
    alpha = render(leaf, faces, cameras).alpha.double()
    assert (alpha - masks(vertices)).abs().mean() < 1e-3
    (alpha - target).square().sum().backward()

    generator = torch.Generator().manual_seed(2)
    analytic, measured = [], []
    for _ in range(8):
        frequency = 2 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
        direction = torch.sin(vertices @ frequency + 6 * torch.rand(3, generator=generator, dtype=torch.float64))
        losses = [(masks(vertices + sign * step * direction) - target).square().sum() for sign in (1, -1)]
        measured.append((losses[0] - losses[1]) / (2 * step))
        analytic.append((leaf.grad * direction).sum())
    a, d = torch.stack(analytic), torch.stack(measured)
    assert a @ d / (a.norm() * d.norm()) >= 0.99
    assert abs(a @ d / (d @ d) - 1) <= 0.05


def test_padded_meshes():
    book = torch.tensor([[0, 1, 2], [0, 1, 3], [1, 0, 4]])
    faces = torch.full((3, 5, 3), -1)
    faces[0, :4], faces[2, [0, 2, 3]] = TETRAHEDRON, book
    edges = contour_candidates(faces)
    assert edges.shape == (3, 9, 4)
    assert torch.equal(edges[0, :6], contour_candidates(TETRAHEDRON))
    assert (edges[0, 6:] == -1).all()
    assert (edges[1] == -1).all()
    assert torch.equal(edges[2], contour_candidates(book))  # the padding lies between the faces
    assert contour_candidates(faces[:, :0]).shape == (3, 0, 4)


def test_crease_edges_between_colored_faces():
    faces = torch.tensor([[0, 1, 2], [2, 1, 3], [2, 3, 4]])
    colors = torch.tensor([[0.2, 0.2, 0.2], [0.2, 0.2, 0.2], [0.2, 0.21, 0.2]])[:, None].expand(-1, 3, -1)
    ends = contour_candidates(faces)[:, :2]
    assert ends[crease_edges(faces, colors)].tolist() == [[2, 3]]
    assert not crease_edges(faces, colors, tolerance=0.02).any()
    both = crease_edges(faces, torch.stack([colors, colors * 0]))
    assert torch.equal(both, torch.stack([crease_edges(faces, colors), torch.zeros(len(ends), dtype=torch.bool)]))
    padded = torch.cat([torch.full((1, 3), -1), faces])[None]
    assert torch.equal(crease_edges(padded, torch.cat([colors[:1] + 9, colors]))[0], crease_edges(faces, colors))


def test_crease_edges_at_texture_seams():
    """Corner values that agree at both ends of an edge are none, whichever way round the faces run."""
    for faces in (TETRAHEDRON, torch.where(torch.arange(4)[:, None] == 2, TETRAHEDRON.flip(1), TETRAHEDRON)):
        uvs = torch.rand(4, 2)[faces]  # (F, 3, 2): one value a vertex
        assert not crease_edges(faces, uvs).any()
        uvs[2, (faces[2] == 3).nonzero()[0, 0]] += 0.1  # the corner of face 2 at vertex 3
        ends = contour_candidates(faces)[:, :2]
        touched = (ends == 3).any(1) & (ends != 0).all(1)  # vertex 0 is not of face 2
        assert touched.sum() == 2
        assert torch.equal(crease_edges(faces, uvs), touched)


def test_silhouette_cut_by_the_border(ball):
    """A picture's border is no border of the antialiasing: a crop of a larger picture is the same, gradients too."""
    vertices, faces = ball
    wide = make_cameras(2, 48, 48)
    results = []
    for cameras, inside in ((wide, slice(8, 32)), (cropped(wide, 8, 24), slice(0, 24))):
        leaf = vertices.clone().requires_grad_()
        alpha = render(leaf, faces, cameras).alpha[:, inside, inside]
        weight = torch.linspace(0.2, 1, 24)
        (alpha * weight * weight[:, None]).sum().backward()
        results.append((alpha, leaf.grad))
    (alpha, gradient), (expected_alpha, expected) = results
    border = torch.cat([alpha[:, [0, -1]].flatten(), alpha[:, :, [0, -1]].flatten()])
    assert ((border > 0.01) & (border < 0.99)).sum() >= 3
    assert torch.allclose(alpha, expected_alpha, atol=1e-6)
    assert torch.allclose(gradient, expected, atol=1e-4 * expected.abs().max().item())


def cropped(cameras, margin, size):
    """The cameras' pictures without ``margin`` pixels at the left and top, ``size`` pixels large."""
    shift = torch.tensor([0.0, 0, margin, margin])
    return Cameras(cameras.camera_to_world, cameras.intrinsics - shift, size, size)
