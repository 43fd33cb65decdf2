"""The distance grid: by hand, float64 gradients, the CPU against the oracle, and threads."""

import math

import numba
import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.distance_grid import distance_bounds, distance_density, distance_roughness, nested_nodes
from tests.kernels import ladder

SIDES = [2, 3, 9, 33]
NAMES = ("sigma", "gradient", "d_x", "d_nodes", "eikonal", "laplacian", "d_nodes of both", "least", "greatest")


def make(side: int, count: int = 700) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nodes, positions, some of them outside of the box or on nodes, and what the loss makes of each density."""
    generator = torch.Generator().manual_seed(side)
    nodes = 0.1 * torch.randn(side, side, side, generator=generator)
    x = torch.rand(count, 3, generator=generator) * 2.4 - 1.2
    x[:4] = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [0, 0, 0], [1, -1, 0]])[:count]
    return nodes, x, torch.rand(count, generator=generator)


def results(
    backend: str, side: int, dtype: torch.dtype = torch.float32, count: int = 700, device: str = "cpu"
) -> list[torch.Tensor]:
    """What ``NAMES`` names."""
    nodes, x, weights = (t.to(device, dtype) for t in make(side, count))
    nodes.requires_grad_()
    x.requires_grad_()
    with use(backend):
        sigma, gradient = distance_density(x, nodes, 0.05)
        found = [sigma.detach(), gradient, *torch.autograd.grad(sigma @ weights, (x, nodes))]
        if side > 2:
            terms = distance_roughness(nodes, 0.12)
            found += [term.detach() for term in terms]
            found += torch.autograd.grad(2 * terms[0] + 3 * terms[1], nodes)
        found += distance_bounds(nodes.detach(), 0.05)
    return found


def nested(backend: str, side: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> list[torch.Tensor]:
    """A sum of two grids, and its gradients."""
    coarse, fine, weights = (make(n)[0].to(device, dtype) for n in (side, 2 * side - 1, 2 * side - 1))
    leaves = coarse.requires_grad_(), fine.requires_grad_()
    with use(backend):
        total = nested_nodes(*leaves)
        return [total.detach(), *torch.autograd.grad((total * weights).sum(), leaves)]


def test_by_hand() -> None:
    """s = x - 1/4: the density's halves, its slope, and a distance that is flat and has a gradient of 1."""
    line = torch.linspace(-1, 1, 9)
    nodes = (line[:, None, None] - 0.25).expand(9, 9, 9).contiguous()
    x = torch.tensor([[0.25, 0.3, -0.9], [0.35, 0, 0], [0.15, 0, 0], [7.0, 0, 0]])
    sigma, gradient = distance_density(x, nodes, 0.1)
    e = math.exp(-1) / 2
    torch.testing.assert_close(sigma, torch.tensor([5.0, 10 * e, 10 * (1 - e), 5 * math.exp(-7.5)]))
    torch.testing.assert_close(gradient, torch.tensor([[1.0, 0, 0]] * 3 + [[0.0, 0, 0]]))
    eikonal, laplacian = distance_roughness(2 * nodes, 0.3)
    assert eikonal.item() == pytest.approx(1.0, rel=1e-5) and laplacian.item() == pytest.approx(0, abs=1e-9)
    assert [t.item() for t in distance_roughness(nodes + 5, 0.3)] == [0, 0]


def test_gradients() -> None:
    nodes, x, _ = (t.double() for t in make(4, 13))
    leaves = x[4:].requires_grad_(), nodes.requires_grad_()  # the first four lie on kinks
    assert torch.autograd.gradcheck(lambda a, b: distance_density(a, b, 0.1)[0], leaves)
    assert torch.autograd.gradcheck(lambda b: distance_roughness(b, 1.0), leaves[1:])
    coarse = torch.randn(3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(nested_nodes, (coarse, make(5)[0].double().requires_grad_()))


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("side", SIDES)
def test_cpu_agrees(side: int) -> None:
    exact, same = results("reference", side, torch.float64), results("reference", side)
    names = [name for name in NAMES if side > 2 or name not in ("eikonal", "laplacian", "d_nodes of both")]
    for name, mine, peer, double in zip(names, results("cpu", side), same, exact, strict=True):
        ladder.assert_error_at_most_twice(mine, peer, double, name)


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("side", [2, 3, 17])
def test_nested_grids_are_their_sum(side: int) -> None:
    """Interpolated in the grid of the sum, or in each of the two, a position has the same distance."""
    coarse, fine = make(side)[0], make(2 * side - 1)[0]
    x = make(2)[1]
    total, *gradients = nested("cpu", side)
    peer, *expected = nested("reference", side)
    torch.testing.assert_close(total, peer)
    summed = distance_density(x, total, 1e3)[1]
    torch.testing.assert_close(
        summed, distance_density(x, coarse, 1e3)[1] + distance_density(x, fine, 1e3)[1], atol=1e-4, rtol=1e-4
    )
    for mine, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, other)


def test_bounds_hold() -> None:
    nodes, x, _ = make(9, 5000)
    sigma, _ = distance_density(x, nodes, 0.05)
    cell = ((x.clamp(-1, 1) + 1) * 4).long().clamp(max=7).unbind(-1)
    least, greatest = distance_bounds(nodes, 0.05)
    assert (least[cell] <= sigma * (1 + 1e-5)).all() and (sigma <= greatest[cell] * (1 + 1e-5)).all()
    assert (greatest > least).all()


def test_nothing_and_not_a_number() -> None:
    nodes, x, _ = make(9)
    sigma, gradient = distance_density(x[:0], nodes.requires_grad_(), 0.05)
    assert sigma.shape == (0,) and gradient.shape == (0, 3)
    (none,) = torch.autograd.grad(sigma.sum(), nodes)
    assert not none.any()
    wrong = x.clone()
    wrong[5, 1] = torch.nan
    sigma, _ = distance_density(wrong, nodes, 0.05)
    assert sigma.isnan().nonzero().tolist() == [[5]]
    damaged = nodes.detach().clone()
    damaged[4, 4, 4] = torch.nan
    assert distance_density(x, damaged, 0.05)[0].isnan().any()
    for backend in ("cpu", "reference"):
        with use(backend):
            assert distance_roughness(damaged + 10, 0.05)[1].isnan(), "nothing else is in the band"


@pytest.mark.parametrize("call", [lambda x, n: distance_density(x, n, 0.1), lambda x, n: distance_roughness(n, 1.0)])
def test_second_derivatives_are_refused(call) -> None:
    x, nodes = make(4)[1].requires_grad_(), make(4)[0].requires_grad_()
    with pytest.raises(RuntimeError, match="not differentiable again"):
        torch.autograd.grad(call(x, nodes)[0].sum(), nodes, create_graph=True)


def test_threads_do_not_matter() -> None:
    before = numba.get_num_threads()
    found = []
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        found.append(results("cpu", 33))
    numba.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda n, x: distance_density(x[:, :2], n, 0.1), "x: expected"),
        (lambda n, x: distance_density(x.double(), n, 0.1), "nodes: expected"),
        (lambda n, x: distance_density(x, n[:, :2], 0.1), "nodes: expected"),
        (lambda n, x: distance_density(x, n[:1, :1, :1], 0.1), "nodes: expected 2 or more"),
        (lambda n, x: distance_density(x, n, 0.0), "beta: expected 1e-06 or more"),
        (lambda n, x: distance_bounds(n, math.nan), "beta: expected"),
        (lambda n, x: distance_roughness(n[:2, :2, :2], 0.1), "nodes: expected 3 or more"),
        (lambda n, x: nested_nodes(n, n), "fine: expected"),
    ],
)
def test_wrong_arguments(call, says: str) -> None:
    nodes, x, _ = make(9)
    with pytest.raises(ValueError, match=says):
        call(nodes, x)
