"""``positions`` of marched samples and their gradients, every backend: see ``ladder.py``."""

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.march import Samples, positions
from tests.kernels import ladder
from tests.kernels.march_cases import BACKENDS, SIGNATURE, make, run


def position_results(device="cpu", dtype=torch.float32):
    """Points and both gradients, for samples with empty rays among them."""
    (origins, directions, *_), _, _ = make("shell", device)
    samples = run("shell", "reference")
    samples = Samples(*(x.to(device, dtype) if x.is_floating_point() else x.to(device) for x in samples))
    origins, directions = (x.to(dtype).clone().requires_grad_() for x in (origins, directions))
    points = positions(samples, origins, directions)
    weighting = torch.randn(points.shape, generator=torch.Generator().manual_seed(1)).to(points)
    points.backward(weighting)
    return {"points": points.detach(), "d_origins": origins.grad, "d_directions": directions.grad}


def assert_same_positions(backend):
    with use("reference"):
        exact, same = position_results(dtype=torch.float64), position_results()
    with use(backend):
        actual = position_results()
    assert torch.equal(actual["points"], same["points"])
    for name in ("d_origins", "d_directions"):
        torch.testing.assert_close(actual[name].double(), exact[name], rtol=1e-5, atol=1e-5)


# Rungs 1 and 2: the reference and the CPU kernel.


def test_gradcheck_of_positions():
    (origins, directions, *_), _, _ = make("shell")
    samples = Samples(*(x.double() if x.is_floating_point() else x for x in run("capped", "reference")))

    def points(origins, directions):
        with use("reference"):
            return positions(samples, origins, directions)

    assert torch.autograd.gradcheck(points, (origins.double().requires_grad_(), directions.double().requires_grad_()))


def test_cpu_positions(poison):
    assert_same_positions("cpu")


@pytest.mark.parametrize("backend", BACKENDS)
def test_positions_lie_in_occupied_cells(backend):
    (origins, directions, *_, occupancy), _, _ = make("scattered")
    with use(backend):
        points = positions(run("scattered", backend), origins, directions)
    cell = ((points + 1) / 2 * len(occupancy)).floor().long()
    assert occupancy[cell[:, 0], cell[:, 1], cell[:, 2]].all()


def test_positions_of_nothing():
    points = positions(run("no_rays", "cpu"), torch.zeros(0, 3), torch.zeros(0, 3))
    assert points.shape == (0, 3)


def test_positions_check_their_samples():
    samples = run("shell", "cpu")
    rays = torch.zeros(41, 3)
    with pytest.raises(ValueError, match=r"offsets: expected .*\(41,\)"):
        positions(samples, rays[:40], rays[:40])
    with pytest.raises(ValueError, match="offsets: expected to run from 0"):
        positions(samples._replace(offsets=samples.offsets + 1), rays, rays)


@pytest.mark.usefixtures("all_threads")
def test_cpu_does_not_depend_on_the_number_of_threads():
    import numba

    available = numba.get_num_threads()
    several = position_results()
    numba.set_num_threads(1)
    try:
        single = position_results()
    finally:
        numba.set_num_threads(available)
    assert all(torch.equal(several[name], single[name]) for name in several)


# Rung 3: Triton in its interpreter.


@pytest.mark.interpreted
def test_triton_positions(poison):
    assert_same_positions("triton")


# Rung 4: Triton compiled, inside its budget.


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budgets(target):
    from nerfkit.kernels.march import triton

    kernels = [
        ("positions", {"SAMPLES": triton.SAMPLES}, triton.AS_WRITTEN),
        ("positions_backward", {"LANES": triton.LANES}, {"num_warps": 1}),
    ]
    for name, constants, options in kernels:
        ladder.check_budget(f"march.{name}", target, getattr(triton, f"{name}_kernel"), SIGNATURE, constants, **options)


# Rung 5: on a GPU.


@pytest.mark.gpu
def test_gpu_positions(poison):
    actual, again = position_results("cuda"), position_results("cuda")
    with use("reference"):
        peer, exact = position_results("cuda"), position_results("cuda", torch.float64)
    for name in actual:
        assert torch.equal(actual[name], again[name]), name
        ladder.assert_error_at_most_twice(actual[name], peer[name], exact[name], name)
