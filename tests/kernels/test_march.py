"""``march`` and ``intersect_box``: analytic cases, and every backend bit for bit: see ``ladder.py``."""

import math

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.march import Samples, intersect_box, march
from nerfkit.kernels.philox import JITTER, Draw, reference as philox
from tests.kernels import ladder
from tests.kernels.march_cases import BACKENDS, CAPACITY, CASES, SIGNATURE, grid_centers, make, run, unit


def assert_same_samples(case, backend, device="cpu"):
    expected, actual = run(case, "reference"), run(case, backend, device)
    for name in Samples._fields:
        mine, reference = getattr(actual, name).cpu(), getattr(expected, name)
        assert mine.dtype == reference.dtype
        assert torch.equal(mine, reference), f"{name} of {case}"


# intersect_box


def test_box_by_hand():
    origins = torch.tensor([[-3.0, 0, 0], [0, 0, 0], [-3, 0.5, 0], [-3, 2, 0], [3, 0, 0], [0, 1, -2], [0, 0, 0]])
    directions = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0.6, 0, 0.8], [1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]])
    near, far = intersect_box(origins, directions, near_plane=0.25)
    assert near.tolist() == [2.0, 0.25, 0.25, 0.25, 0.25, 1.0, 0.25]
    assert far.tolist() == [4.0, 1.0, 0.25, 0.25, 0.25, 3.0, 0.25]


def test_box_by_walking():
    generator = torch.Generator().manual_seed(2)
    origins = 1.3 * torch.randn(200, 3, generator=generator, dtype=torch.float64)
    directions = unit(torch.randn(200, 3, generator=generator, dtype=torch.float64))
    directions[::9, 0] = 0
    near, far = intersect_box(origins, directions, near_plane=0.1)
    t = torch.linspace(0.101, 12, 997, dtype=torch.float64)
    inside = ((origins[:, None] + t[:, None] * directions[:, None]).abs() < 1).all(-1)
    assert torch.equal(inside, (t > near[:, None]) & (t < far[:, None]))
    assert 20 < inside.any(1).sum() < 180


def box_rays():
    """Rays from inside and outside, some along an axis, on a wall, still, or past the box."""
    generator = torch.Generator().manual_seed(4)
    origins = 1.3 * torch.randn(300, 3, generator=generator)
    directions = unit(torch.randn(300, 3, generator=generator))
    directions[::9, 0], directions[::11, 2], directions[::50] = 0, -0.0, 0
    origins[::7, 1], origins[::13, 0] = 1.0, -1.0
    return origins, directions


def assert_same_box(device="cpu"):
    origins, directions = box_rays()
    with use("reference"):
        expected = intersect_box(origins, directions, near_plane=0.1)
    with use("triton"):
        found = intersect_box(origins.to(device), directions.to(device), near_plane=0.1)
        empty = intersect_box(torch.zeros(0, 3, device=device), torch.zeros(0, 3, device=device))
    assert all(torch.equal(a.cpu(), b) for a, b in zip(found, expected, strict=True))
    assert [len(t) for t in empty] == [0, 0]


@pytest.mark.interpreted
def test_triton_box(poison):
    assert_same_box()


@pytest.mark.gpu
def test_gpu_box(poison):
    assert_same_box("cuda")


@pytest.mark.parametrize("backend", ["cpu", pytest.param("triton", marks=pytest.mark.interpreted)])
def test_what_is_derived_from_a_grid_is_kept_until_it_changes(backend, monkeypatch):
    """A cell that was emptied and one that was filled count at once, whatever was kept of the grid before."""
    from nerfkit.kernels.march import kept

    derived = []
    monkeypatch.setattr(kept, "_kept", kept.WeakIdKeyDictionary())
    grid = torch.zeros(20, 20, 20, dtype=torch.bool)
    ray = torch.tensor([[-1.5, 0.01, 0.01]]), torch.tensor([[1.0, 0, 0]]), torch.tensor([0.5]), torch.tensor([2.5])

    def count():
        with use(backend):
            samples = len(march(*ray, grid, 0.1).t_start)
        derived.append(kept._kept[grid][1])
        return samples

    assert (count(), count()) == (0, 0)
    grid[15] = True
    assert count() == 1
    grid.logical_not_()
    assert (count(), count()) == (19, 19)
    assert derived[0] is derived[1] and derived[3] is derived[4]
    assert derived[1] is not derived[2] and derived[2] is not derived[3]


# march. Rung 1: the reference, and the CPU kernel with it, against analytic cases.


@pytest.mark.parametrize("backend", BACKENDS)
def test_lattice_by_hand(backend):
    """A ray along x through a full grid: steps of 0.75 from near = 0.5 to far = 2.5, the last one cut short."""
    ray = torch.tensor([[-1.5, 0.1, 0.1]]), torch.tensor([[1.0, 0, 0]]), torch.tensor([0.5]), torch.tensor([2.5])
    with use(backend):
        samples = march(*ray, torch.ones(4, 4, 4, dtype=torch.bool), 0.75)
    assert samples.t_start.tolist() == [0.5, 1.25, 2.0]
    assert samples.t_end.tolist() == [1.25, 2.0, 2.5]
    assert samples.ray_index.tolist() == [0, 0, 0]
    assert samples.offsets.tolist() == [0, 3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_cells_are_indexed_x_y_z(backend):
    """One occupied cell, x in [0.5, 1], y in [-1, -0.5], z in [0, 0.5]: a ray along each axis through its middle."""
    occupancy = torch.zeros(4, 4, 4, dtype=torch.bool)
    occupancy[3, 0, 2] = True
    middle = torch.tensor([0.75, -0.75, 0.25])
    directions = torch.eye(3)
    origins = middle - directions * (middle + 2)  # the coordinate along the ray is t - 2
    with use(backend):
        samples = march(origins, directions, torch.ones(3), torch.full((3,), 3.0), occupancy, 0.25)
    assert samples.offsets.tolist() == [0, 2, 4, 6]
    assert samples.t_start.tolist() == [2.5, 2.75, 1.0, 1.25, 2.0, 2.25]


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_fill_the_chord_of_a_ball(backend):
    size, step = 48, 0.01
    occupancy = grid_centers(size).norm(dim=-1) < 0.8
    (origins, directions, near, far, _), _, _ = make("shell")
    with use(backend):
        samples = march(origins, directions, near, far, occupancy, step)
    length = torch.zeros(len(near)).index_add(0, samples.ray_index, samples.t_end - samples.t_start)
    closest = (origins * directions).sum(-1)
    half = (0.64 - (origins.square().sum(-1) - closest.square())).clamp(min=0).sqrt()
    chord = (half - closest).clamp(min=0.1) - (-half - closest).clamp(min=0.1)
    central = half > 0.4  # elsewhere the grid's steps matter
    assert central.sum() > 10
    torch.testing.assert_close(length[central], chord[central], rtol=0, atol=4 / size)


@pytest.mark.parametrize("backend", BACKENDS)
def test_stops_after_the_sample_that_crosses_the_limit(backend):
    """Density 2, steps 0.25: depths before the samples are 0, 0.5, 1, 1.5; exp(-1.2) lets the first three through."""
    ray = torch.tensor([[-1.0, 0, 0]]), torch.tensor([[1.0, 0, 0]]), torch.zeros(1), torch.tensor([2.0])
    full, densities = torch.ones(2, 2, 2, dtype=torch.bool), torch.full((2, 2, 2), 2.0)
    for limit, count in ((math.exp(-1.2), 3), (math.exp(-0.99), 2), (0.999, 1), (0.0, 8)):
        with use(backend):
            samples = march(*ray, full, 0.25, density_grid=densities, min_transmittance=limit)
        assert len(samples.t_start) == count


@pytest.mark.parametrize("backend", BACKENDS)
def test_jitter_moves_each_lattice_by_its_own_fraction(backend):
    ray = torch.tensor([[-1.0, 0, 0]] * 9), torch.tensor([[1.0, 0, 0]] * 9), torch.zeros(9), torch.full((9,), 2.0)
    with use(backend):
        samples = march(*ray, torch.ones(2, 2, 2, dtype=torch.bool), 0.5, jitter=(3, 4))
    u = philox.uniform(Draw(3, 4), JITTER, torch.arange(9))[0]
    assert torch.equal(samples.t_start[samples.offsets[:-1]], u * 0.5)
    assert u.unique().numel() == 9


@pytest.mark.parametrize("backend", BACKENDS)
def test_pieces_are_the_whole(backend):
    (*rays, occupancy), step, _ = make("shell")
    with use(backend):
        whole = march(*rays, occupancy, step, jitter=(1, 2))
        pieces = [march(*(x[a:b] for x in rays), occupancy, step, jitter=Draw(1, 2, a)) for a, b in ((0, 17), (17, 41))]
    assert torch.equal(torch.cat([p.t_start for p in pieces]), whole.t_start)
    assert torch.equal(torch.cat([p.offsets.diff() for p in pieces]), whole.offsets.diff())


@pytest.mark.parametrize("case", CASES)
def test_packing(case):
    """The cases are what they claim to be, and the packed form is consistent."""
    samples = run(case, "cpu")
    rays = 0 if case == "no_rays" else 41
    counts = samples.offsets.diff()
    assert samples.offsets[0] == 0
    assert samples.offsets[-1] == len(samples.t_start) == len(samples.t_end)
    assert torch.equal(samples.ray_index, torch.arange(rays).repeat_interleave(counts))
    same_ray = samples.ray_index[1:] == samples.ray_index[:-1]
    assert (samples.t_start[1:] >= samples.t_end[:-1])[same_ray].all()
    filled = samples.t_end == samples.t_start
    assert not filled.any() or case in CAPACITY
    if case in ("empty", "no_rays", "all_miss"):
        assert len(samples.t_start) == 0
    else:
        assert (counts > 0).sum() > 10
    if case == "capped":
        assert counts.max() == 5
    if case in CAPACITY:
        assert len(filled) == CAPACITY[case] and filled.any()
        assert (samples.ray_index[filled] == 40).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("capacity", [1, 100, 10**4])
def test_rays_that_fit_are_whole_and_the_others_empty(backend, capacity):
    tensors, step, _ = make("shell")
    with use(backend):
        all_samples, samples = march(*tensors, step), march(*tensors, step, capacity=capacity)
    fit = (all_samples.offsets[1:] <= capacity)[all_samples.ray_index]
    real = samples.t_end > samples.t_start
    for whole, part in zip(all_samples[:3], samples[:3], strict=True):
        assert torch.equal(whole[fit], part[real])


def test_some_rays_have_more_runs_than_the_cpu_remembers():
    from nerfkit.kernels.march import cpu

    samples = run("many_runs", "cpu")
    gap = (samples.t_start[1:] > samples.t_end[:-1]) & (samples.ray_index[1:] == samples.ray_index[:-1])
    runs = torch.bincount(samples.ray_index[1:][gap]) + 1
    assert runs.max() > cpu.RUNS


# Rung 2: the CPU kernel.


@pytest.mark.parametrize("case", CASES)
def test_cpu_samples(case):
    assert_same_samples(case, "cpu")


def test_cpu_samples_of_many_random_grids():
    generator = torch.Generator().manual_seed(23)
    for size in (2, 7, 8, 17, 31):
        for fraction in (0.02, 0.5):
            origins = 1.5 * torch.randn(60, 3, generator=generator)
            directions = unit(torch.randn(60, 3, generator=generator) - origins)
            near, far = intersect_box(origins, directions)
            occupancy = torch.rand(size, size, size, generator=generator) < fraction
            for step in (0.4, 0.011):
                arguments = (origins, directions, near, far, occupancy, step)
                with use("reference"):
                    expected = march(*arguments, jitter=(size, 1))
                actual = march(*arguments, jitter=(size, 1))
                assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.mark.usefixtures("all_threads")
def test_cpu_does_not_depend_on_the_number_of_threads():
    import numba

    available = numba.get_num_threads()
    several = run("shell", "cpu")
    numba.set_num_threads(1)
    try:
        single = run("shell", "cpu")
    finally:
        numba.set_num_threads(available)
    assert all(torch.equal(a, b) for a, b in zip(several, single, strict=True))


def test_cpu_notices_that_the_grid_changed() -> None:
    """The CPU code remembers what it derived from a grid; an in-place change must undo that."""
    origins, directions = torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    near, far = intersect_box(origins, directions)
    occupancy = torch.zeros(16, 16, 16, dtype=torch.bool)
    assert len(march(origins, directions, near, far, occupancy, 0.1).t_start) == 0
    occupancy[8, 8, 3] = True
    assert len(march(origins, directions, near, far, occupancy, 0.1).t_start) > 0
    occupancy.zero_()
    assert len(march(origins, directions, near, far, occupancy, 0.1).t_start) == 0


def test_arguments_that_are_not_contiguous():
    (origins, directions, near, far, occupancy), step, _ = make("shell")
    occupancy[:, :3] = False  # no longer symmetric
    strided = occupancy.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    packed = torch.cat([origins, directions, near[:, None], far[:, None]], 1)
    views = packed[:, :3], packed[:, 3:6], packed[:, 6], packed[:, 7]
    expected, actual = march(origins, directions, near, far, occupancy, step), march(*views, strided, step)
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def test_no_gradient_flows_to_t():
    (origins, directions, *rest), step, _ = make("shell")
    samples = march(origins.requires_grad_(), directions.requires_grad_(), *rest, step)
    assert not samples.t_start.requires_grad


GRID = torch.ones(2, 2, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origins": torch.zeros(3, 2)}, r"origins: expected .*\(R,3\)"),
        ({"near": torch.zeros(4)}, r"near: expected .*\(3,\) on cpu, got torch.float32 \(4,\)"),
        ({"far": torch.zeros(3).double()}, "far: expected torch.float32 .* got torch.float64"),
        ({"occupancy": GRID.float()}, "occupancy: expected torch.bool or torch.uint8"),
        ({"occupancy": GRID[:1]}, r"occupancy: expected .*\(2,2,2\)"),
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"step_size": math.inf}, "step_size must be positive"),
        ({"min_transmittance": 0.5}, "needs a density_grid"),
        ({"min_transmittance": 1.0, "density_grid": torch.ones(2, 2, 2)}, r"in \[0, 1\)"),
        ({"density_grid": torch.ones(2, 2, 3)}, r"density_grid: expected .*\(2,2,2\)"),
        ({"max_samples_per_ray": -1}, "must not be negative"),
        ({"capacity": 0}, "capacity must be positive"),
        ({"jitter": (-1, 0)}, "seed must be"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"origins": torch.zeros(3, 3), "directions": torch.ones(3, 3), "near": torch.zeros(3)}
    arguments |= {"far": torch.ones(3), "occupancy": GRID, "step_size": 0.1}
    with pytest.raises(ValueError, match=message):
        march(**(arguments | change))


def test_compiled_kernels_take_float32_only():
    tensors, step, _ = make("shell")
    with use("cpu"), pytest.raises(ValueError, match="float32"):
        march(*(x.double() if x.is_floating_point() else x for x in tensors), step)


# Rung 3: Triton in its interpreter.


@pytest.mark.interpreted
@pytest.mark.parametrize("case", CASES)
def test_triton_samples(case, poison):
    assert_same_samples(case, "triton")


# Rung 4: Triton compiled, inside its budget.


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budgets(target):
    from nerfkit.kernels.march import triton

    lattice = {"JITTERED": True, "RAYS": triton.RAYS}
    kernels = [
        ("count", lattice | {"STOPPING": True}, {"num_warps": 1} | triton.AS_WRITTEN),
        ("emit", lattice, {"num_warps": 1} | triton.AS_WRITTEN),
        ("box", {"SAMPLES": triton.SAMPLES}, triton.AS_WRITTEN),
    ]
    for name, constants, options in kernels:
        ladder.check_budget(f"march.{name}", target, getattr(triton, f"{name}_kernel"), SIGNATURE, constants, **options)


# Rung 5: on a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_gpu_samples(case, poison):
    assert_same_samples(case, "triton", "cuda")
