"""The terms of a mesh's shape: by hand, float64 gradients, and in Numba and Triton: see ``ladder.py``."""

import numba
import pytest
import torch
from torch import Tensor

from nerfkit.kernels import use
from nerfkit.kernels.shape_terms import Lists, shape_terms
from nerfkit.mesh.laplacian import Topology
from nerfkit.mesh.shapes import icosphere
from tests.kernels import ladder

CASES = ["sphere", "large", "tiny", "torn", "triangle", "points"]


def lists_of(faces: Tensor, count: int) -> Lists:
    topology = Topology.of(faces, count)
    return Lists.of(faces, topology.edges, topology.face_pairs, topology.pair_signs, count)


def make(case: str, dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[Tensor, Lists, Tensor, Tensor]:
    """Vertices, lists, lengths around vertices and of edges; ``torn`` has borders, three faces on an edge, a face
    turned over, a flat one, one that names a vertex twice, and a vertex without faces."""
    generator = torch.Generator().manual_seed(len(case))
    if case in ("sphere", "large", "tiny"):
        ball = icosphere(3 if case == "sphere" else 2)
        vertices, faces = ball.vertices * {"sphere": 1.0, "large": 1e6, "tiny": 1e-6}[case], ball.faces
        vertices = vertices * (1 + 0.1 * torch.rand(vertices.shape, generator=generator))
    else:
        vertices = torch.rand(7, 3, generator=generator)
        vertices[3:6] = torch.tensor([[0.25, 0.5, 0.75], [0.75, 0.25, 0.25], [0.5, 0.375, 0.5]])  # in a line, exactly
        torn = [[0, 1, 2], [1, 0, 3], [0, 1, 4], [3, 4, 5], [2, 2, 3]]
        faces = torch.tensor({"torn": torn, "triangle": [[0, 1, 2]], "points": []}[case], dtype=torch.int64).view(-1, 3)
        vertices = vertices[:3] if case == "triangle" else vertices
    lists = lists_of(faces, len(vertices))
    size = vertices.norm(dim=-1).mean() / 10
    around = size * (0.5 + torch.rand(len(vertices), generator=generator))
    length = size * (0.5 + torch.rand(len(lists.edge) // 2, generator=generator))
    lists = Lists(*(part.to(device) for part in lists))
    return vertices.to(device, dtype), lists, around.to(device, dtype), length.to(device, dtype)


def results(backend: str, case: str, dtype: torch.dtype = torch.float32, device: str = "cpu") -> list[Tensor]:
    """The values, and the gradient of each."""
    vertices, lists, around, length = make(case, dtype, device)
    vertices.requires_grad_()
    with use(backend):
        terms = shape_terms(vertices, lists, around, length)
        gradients = [torch.autograd.grad(term, vertices, retain_graph=True)[0] for term in terms]
    return [term.detach() for term in terms] + gradients


def test_by_hand() -> None:
    """Two triangles of a square, folded by a right angle along the diagonal, with lengths of 1."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.5**0.5]], dtype=torch.float64)
    lists = lists_of(torch.tensor([[0, 1, 2], [2, 1, 3]]), 4)
    length = torch.ones(5, dtype=torch.float64)
    terms = shape_terms(vertices, lists, torch.ones(4, dtype=torch.float64), length)
    assert terms.normal.item() == pytest.approx(1)
    assert terms.edge.item() == pytest.approx((2**0.5 - 1) ** 2 / 5)
    means = [vertices[[1, 2]], vertices[[0, 2, 3]], vertices[[0, 1, 3]], vertices[[1, 2]]]
    bends = [around.mean(0) - own for around, own in zip(means, vertices, strict=True)]
    assert terms.laplacian.item() == pytest.approx(sum(bend.square().sum().item() for bend in bends) / 4)


def test_a_face_turned_over_is_as_smooth() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.3]])
    same, over = (torch.tensor([[0, 1, 2], last]) for last in ([2, 1, 3], [1, 2, 3]))
    found = [shape_terms(vertices, lists_of(faces, 4), torch.ones(4), torch.ones(5)).normal for faces in (same, over)]
    assert found[0] > 0.01
    assert torch.allclose(*found)


@pytest.mark.parametrize("which", range(3))
def test_gradients(which: int) -> None:
    for case in ("torn", "triangle"):
        vertices, *rest = make(case, torch.float64)
        vertices = vertices.clone()
        if case == "torn":
            vertices[5, 0] += 0.3  # where a face is flat there is no derivative
        assert torch.autograd.gradcheck(lambda x, rest=rest: shape_terms(x, *rest)[which], (vertices.requires_grad_(),))


def test_wrong_arguments() -> None:
    vertices, lists, around, length = make("sphere")
    with pytest.raises(ValueError, match="vertices: expected"):
        shape_terms(vertices[:, :2], lists, around, length)
    with pytest.raises(ValueError, match="lists: expected"):
        shape_terms(vertices[1:], lists, around[1:], length)
    with pytest.raises(ValueError, match="around: expected"):
        shape_terms(vertices, lists, around[1:], length)
    with pytest.raises(ValueError, match="length: expected"):
        shape_terms(vertices, lists, around, length.double())
    with pytest.raises(ValueError, match="faces: expected numbers"):
        lists_of(lists.faces, len(vertices) - 1)


def test_no_vertices_have_no_shape() -> None:
    vertices = torch.zeros(0, 3, requires_grad=True)
    terms = shape_terms(vertices, lists_of(torch.zeros(0, 3, dtype=torch.int64), 0), torch.zeros(0), torch.zeros(0))
    assert sum(terms).item() == 0


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_cpu_agrees(case: str) -> None:
    exact, same = results("reference", case, torch.float64), results("reference", case)
    for mine, peer, double in zip(results("cpu", case), same, exact, strict=True):
        ladder.assert_error_at_most_twice(mine, peer, double)


def test_what_is_not_finite_shows() -> None:
    vertices, *rest = make("sphere")
    vertices[3, 1] = torch.nan
    assert not any(term.isfinite() for term in shape_terms(vertices, *rest))


@pytest.mark.usefixtures("all_threads")
def test_threads_do_not_change_the_bits() -> None:
    found, threads = [], numba.get_num_threads()
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            found.append(results("cpu", "sphere"))
    finally:
        numba.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_triton_agrees(case: str) -> None:
    exact, same = results("reference", case, torch.float64), results("reference", case)
    for mine, peer, double in zip(results("triton", case), same, exact, strict=True):
        ladder.assert_error_at_most_twice(mine, peer, double)


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
@pytest.mark.parametrize("name", ["normals", "turns", "vertices", "bends"])
def test_budget(name: str, target: str) -> None:
    from nerfkit.kernels.shape_terms import triton

    kernel, types = getattr(triton, f"{name}_kernel"), {"count": "i32"}
    whole = ("faces", "neighbors", "neighbor", "edge", "corners", "corner", "pairs", "beside")
    types |= dict.fromkeys((f"{part}_ptr" for part in whole), "*i64") | {"sums_ptr": "*fp64"}
    types |= dict.fromkeys(("least", "factor", "turn_factor", "edge_factor"), "fp32")
    signature = {argument: types.get(argument, "*fp32") for argument in kernel.arg_names if argument != "BLOCK"}
    ladder.check_budget(f"shape_terms.{name}", target, kernel, signature, {"BLOCK": triton.BLOCK})


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_gpu(case: str) -> None:
    exact, same = results("reference", case, torch.float64), results("reference", case)
    found, again = (results("triton", case, device="cuda") for _ in range(2))
    for mine, other, peer, double in zip(found, again, same, exact, strict=True):
        assert torch.equal(mine, other)
        ladder.assert_error_at_most_twice(mine, peer, double)
