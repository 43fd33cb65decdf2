"""``march`` and its companions: analytic cases, and every backend bit for bit: see ``ladder.py``."""

import math

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.march import Samples, intersect_box, inverse_cdf, march, positions, stratified
from nerfkit.kernels.philox import INVERSE_CDF, JITTER, STRATIFIED, Draw
from nerfkit.kernels.philox import reference as philox
from tests.kernels import ladder

BACKENDS = ("reference", "cpu")
CASES = (
    "shell",
    "scattered",
    "full",
    "empty",
    "one_cell",
    "no_rays",
    "axis_aligned",
    "all_miss",
    "far_away",
    "not_clipped",
    "small_steps",
    "many_runs",
    "jittered",
    "stopped",
    "capped",
)


def unit(x):
    return torch.nn.functional.normalize(x, dim=-1)


def grid_centres(size):
    c = (torch.arange(size) + 0.5) * 2 / size - 1
    return torch.stack(torch.meshgrid(c, c, c, indexing="ij"), -1)  # (G, G, G, 3)


def make(case, device="cpu"):
    """Arguments and keywords of ``march``, seeded."""
    generator = torch.Generator().manual_seed(13)
    size = {"one_cell": 1, "scattered": 13, "axis_aligned": 8, "small_steps": 5, "many_runs": 33}.get(case, 20)
    radius = grid_centres(size).norm(dim=-1)
    occupancy = (radius - 0.6).abs() < 0.15
    if case in ("scattered", "axis_aligned", "small_steps", "many_runs", "stopped", "capped", "far_away"):
        occupancy = torch.rand(size, size, size, generator=generator) < 0.3
    if case in ("full", "one_cell"):
        occupancy = torch.ones(size, size, size, dtype=torch.uint8)
    if case == "empty":
        occupancy = torch.zeros_like(occupancy)
    rays = 0 if case == "no_rays" else 41
    origins = 2.5 * unit(torch.randn(rays, 3, generator=generator))
    if case != "all_miss":
        origins[::7] *= 0.2  # some start inside
    target = 1.4 * torch.rand(rays, 3, generator=generator) - 0.7
    if case == "all_miss":
        target = 3 * origins
    if case == "far_away":
        origins = origins * 1e3
    directions = unit(target - origins)
    if case == "axis_aligned":
        axis = torch.arange(rays) % 3
        directions = torch.nn.functional.one_hot(axis, 3).float() * (1 - 2 * (torch.arange(rays) % 2))[:, None]
        origins = 2.0 * torch.rand(rays, 3, generator=generator) - 1
        origins[::2] = (origins[::2] * 4).round() / 4  # on the walls between cells
        origins -= 2 * directions
    near, far = intersect_box(origins, directions, near_plane=0.1)
    if case == "not_clipped":
        near, far = torch.zeros_like(near), torch.full_like(far, 7.0)
    step = {"far_away": 0.05, "small_steps": 0.008, "one_cell": 0.3}.get(case, 0.05)
    keywords = {}
    if case == "jittered":
        keywords = {"jitter": Draw(2**33 + 3, 5, 100)}
    if case == "stopped":
        densities = 40 * torch.rand(size, size, size, generator=generator)
        keywords = {"jitter": (1, 2), "density_grid": densities.to(device), "min_transmittance": 0.3}
    if case == "capped":
        keywords = {"max_samples_per_ray": 5}
    return tuple(x.to(device) for x in (origins, directions, near, far, occupancy)), step, keywords


def run(case, backend, device="cpu"):
    tensors, step, keywords = make(case, device)
    with use(backend):
        return march(*tensors, step, **keywords)


def assert_same_samples(case, backend, device="cpu"):
    expected, actual = run(case, "reference"), run(case, backend, device)
    for name in Samples._fields:
        mine, reference = getattr(actual, name).cpu(), getattr(expected, name)
        assert mine.dtype == reference.dtype
        assert torch.equal(mine, reference), f"{name} of {case}"


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


def lock_step_results(device="cpu"):
    generator = torch.Generator().manual_seed(17)
    near = torch.rand(37, generator=generator)
    far = near + torch.rand(37, generator=generator)
    far[3] = near[3]
    edges = torch.rand(37, 12, generator=generator).cumsum(1)
    weights = torch.rand(37, 11, generator=generator) * (torch.rand(37, 11, generator=generator) < 0.5)
    weights[5], weights[6], weights[7, 4:] = 0, 1e-30, 1e30
    near, far, edges, weights = (x.to(device) for x in (near, far, edges, weights))
    results = {}
    for jitter in (None, Draw(2**40 + 1, 6, 9)):
        for count in (1, 2, 19):
            results[f"stratified {jitter} {count}"] = stratified(near, far, count, jitter=jitter).t_start
            results[f"offsets {jitter} {count}"] = stratified(near, far, count, jitter=jitter).offsets
            results[f"inverse_cdf {jitter} {count}"] = inverse_cdf(edges, weights, count, jitter=jitter)
        results[f"no rays {jitter}"] = stratified(near[:0], far[:0], 4, jitter=jitter).t_end
        results[f"no weights {jitter}"] = inverse_cdf(edges[:0], weights[:0], 4, jitter=jitter)
    return results


def assert_same_lock_step(backend, device="cpu"):
    with use("reference"):
        expected = lock_step_results()
    with use(backend):
        actual = lock_step_results(device)
    for name, value in expected.items():
        assert torch.equal(actual[name].cpu(), value), name


# intersect_box


def test_box_by_hand():
    origins = torch.tensor([[-3.0, 0, 0], [0, 0, 0], [-3, 0.5, 0], [-3, 2, 0], [3, 0, 0], [0, 1, -2], [0, 0, 0]])
    directions = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0.6, 0, 0.8], [1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]])
    near, far = intersect_box(origins, directions, near_plane=0.25)
    assert near.tolist() == [2.0, 0.25, 0.25, 0.25, 0.25, 1.0, 0.25]
    assert far.tolist() == [4.0, 1.0, 0.25, 0.25, 0.25, 3.0, 0.25]
    near, far = intersect_box(origins[:1], directions[:1], box=0.5)
    assert (near.item(), far.item()) == (2.5, 3.5)


def test_box_by_walking():
    generator = torch.Generator().manual_seed(2)
    origins = 2 * torch.randn(200, 3, generator=generator, dtype=torch.float64)
    directions = unit(torch.randn(200, 3, generator=generator, dtype=torch.float64))
    directions[::9, 0] = 0
    near, far = intersect_box(origins, directions, near_plane=0.1, box=1.5)
    t = torch.linspace(0.101, 12, 997, dtype=torch.float64)
    inside = ((origins[:, None] + t[:, None] * directions[:, None]).abs() < 1.5).all(-1)
    assert torch.equal(inside, (t > near[:, None]) & (t < far[:, None]))
    assert 20 < inside.any(1).sum() < 180


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
    occupancy = grid_centres(size).norm(dim=-1) < 0.8
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
    assert (samples.t_end > samples.t_start).all()
    if case in ("empty", "no_rays", "all_miss"):
        assert len(samples.t_start) == 0
    else:
        assert (counts > 0).sum() > 10
    if case == "capped":
        assert counts.max() == 5


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


def test_cpu_does_not_depend_on_the_number_of_threads():
    import numba

    available = numba.get_num_threads()
    several = [*run("shell", "cpu"), *position_results().values()]
    numba.set_num_threads(1)
    try:
        single = [*run("shell", "cpu"), *position_results().values()]
    finally:
        numba.set_num_threads(available)
    assert all(torch.equal(a, b) for a, b in zip(several, single, strict=True))


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
        ({"origins": torch.zeros(3, 2)}, r"must both be \(R,3\)"),
        ({"near": torch.zeros(4)}, r"near must be \(3,\), got \(4,\)"),
        ({"far": torch.zeros(3).double()}, "far is torch.float64"),
        ({"occupancy": GRID.float()}, "occupancy must be bool or uint8"),
        ({"occupancy": GRID[:1]}, r"occupancy must be \(G,G,G\)"),
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"step_size": math.inf}, "step_size must be positive"),
        ({"min_transmittance": 0.5}, "needs a density_grid"),
        ({"min_transmittance": 1.0, "density_grid": torch.ones(2, 2, 2)}, r"in \[0, 1\)"),
        ({"density_grid": torch.ones(2, 2, 3)}, r"density_grid must be \(2, 2, 2\)"),
        ({"max_samples_per_ray": -1}, "must not be negative"),
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


# positions


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
    with pytest.raises(ValueError, match=r"offsets must be \(41,\)"):
        positions(samples, rays[:40], rays[:40])
    with pytest.raises(ValueError, match="offsets must run from 0"):
        positions(samples._replace(offsets=samples.offsets + 1), rays, rays)


# Lock-step samplers


def test_stratified_depths_of_pytorch3d():
    """Its rule, written out: linspace; then each depth uniform between the middles to its neighbours."""
    near, far, count = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.5]), 5
    plain, drawn = (stratified(near, far, count, jitter=jitter).t_start.view(2, count) for jitter in (None, (7, 8)))
    u = philox.uniform(Draw(7, 8), STRATIFIED, torch.arange(2)[:, None], torch.arange(count))[0]
    for r in range(2):
        z = torch.linspace(float(near[r]), float(far[r]), count)
        torch.testing.assert_close(plain[r], z)
        for i in range(count):
            low = (z[i - 1] + z[i]) / 2 if i > 0 else z[0]
            high = (z[i] + z[i + 1]) / 2 if i < count - 1 else z[-1]
            torch.testing.assert_close(drawn[r, i], low + (high - low) * u[r, i])


def test_stratified_is_packed_and_has_no_length():
    samples = stratified(torch.zeros(3), torch.ones(3), 4, jitter=(1, 1))
    assert samples.ray_index.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert samples.offsets.tolist() == [0, 4, 8, 12]
    assert torch.equal(samples.t_start, samples.t_end)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inverse_cdf_by_hand(backend):
    """Bins [0,1), [1,3), [3,4) with shares 1/4, 0, 3/4; centres 1/8, 3/8, 5/8, 7/8. No weight: every bin alike."""
    edges = torch.tensor([[0.0, 1, 3, 4]] * 2)
    with use(backend):
        t = inverse_cdf(edges, torch.tensor([[1.0, 0, 3], [0, 0, 0]]), 4)
    torch.testing.assert_close(t[0], torch.tensor([0.5, 3 + 1 / 6, 3.5, 3 + 5 / 6]))
    torch.testing.assert_close(t[1], torch.tensor([0.375, 1.25, 2.75, 3.625]))


def test_inverse_cdf_inverts_the_cumulative_mass():
    generator = torch.Generator().manual_seed(29)
    edges, weights = torch.rand(6, 9, generator=generator).cumsum(1), torch.rand(6, 8, generator=generator)
    t = inverse_cdf(edges, weights, 33, jitter=(4, 5))
    assert (t.diff(dim=1) >= 0).all()
    share = weights / weights.sum(1, keepdim=True)
    inside = (t[:, :, None] - edges[:, None, :-1]) / edges.diff(dim=1)[:, None]  # (R, n, bins)
    mass = (inside.clamp(0, 1) * share[:, None]).sum(-1)
    u = philox.uniform(Draw(4, 5), INVERSE_CDF, torch.arange(6)[:, None], torch.arange(33))[0]
    torch.testing.assert_close(mass, (torch.arange(33) + u) / 33, rtol=0, atol=1e-5)


def test_cpu_lock_step(poison):
    assert_same_lock_step("cpu")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stratified(torch.zeros(3), torch.zeros(2), 4), r"far must be \(3,\)"),
        (lambda: stratified(torch.zeros(3), torch.zeros(3), 0), "count must be at least 1"),
        (lambda: inverse_cdf(torch.zeros(3, 4), torch.zeros(3, 4), 2), r"edges must be \(3, 5\)"),
        (lambda: inverse_cdf(torch.zeros(3, 1), torch.zeros(3, 0), 2), "weights must be"),
        (lambda: inverse_cdf(torch.zeros(3, 5), torch.zeros(3, 4), -1), "count must not be negative"),
        (lambda: intersect_box(torch.zeros(3, 3), torch.zeros(2, 3)), r"must both be \(R,3\)"),
    ],
)
def test_wrong_companions(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Rung 3: Triton in its interpreter.


@pytest.mark.interpreted
@pytest.mark.parametrize("case", CASES)
def test_triton_samples(case, poison):
    assert_same_samples(case, "triton")


@pytest.mark.interpreted
def test_triton_positions(poison):
    assert_same_positions("triton")


@pytest.mark.interpreted
def test_triton_lock_step(poison):
    assert_same_lock_step("triton")


# Rung 4: Triton compiled, inside its budget.

FLOATS = (
    *("origins", "directions", "near", "far", "density", "start", "end", "points", "fractions", "depths", "edges"),
    *("weights", "out", "grad_points", "grad_origins", "grad_directions"),
)
SIGNATURE = {
    **{f"{name}_ptr": "*fp32" for name in FLOATS},
    **{f"{name}_ptr": "*i64" for name in ("counts", "offsets", "ray_index")},
    **{f"{name}_ptr": "*u8" for name in ("occupancy", "distance")},
    **dict.fromkeys(("step", "first", "size", "blocks_per_side", "max_samples", "rays", "bins", "count"), "i32"),
    **dict.fromkeys(("step_size", "depth_limit"), "fp32"),
    "seed": "i64",
}


@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budgets(target):
    from nerfkit.kernels.march import triton

    lattice = {"JITTERED": True, "RAYS": triton.RAYS}
    samples = {"SAMPLES": triton.SAMPLES}
    kernels = [
        ("count", lattice | {"STOPPING": True}, {"num_warps": 1} | triton.AS_WRITTEN),
        ("emit", lattice, {"num_warps": 1} | triton.AS_WRITTEN),
        ("positions", samples, triton.AS_WRITTEN),
        ("positions_backward", {"LANES": triton.LANES}, {"num_warps": 1}),
        ("stratified", samples | {"JITTERED": True}, triton.AS_WRITTEN),
        ("inverse_cdf", lattice, {"num_warps": 2} | triton.AS_WRITTEN),
    ]
    for name, constants, options in kernels:
        kernel = getattr(triton, f"{name}_kernel")
        ladder.check_budget(f"march.{name}", target, kernel, SIGNATURE, constants, **options)


# Rung 5: on a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_gpu_samples(case, poison):
    assert_same_samples(case, "triton", "cuda")


@pytest.mark.gpu
def test_gpu_positions(poison):
    actual, again = position_results("cuda"), position_results("cuda")
    with use("reference"):
        peer, exact = position_results("cuda"), position_results("cuda", torch.float64)
    for name in actual:
        assert torch.equal(actual[name], again[name]), name
        ladder.assert_error_at_most_twice(actual[name], peer[name], exact[name], name)


@pytest.mark.gpu
def test_gpu_lock_step(poison):
    assert_same_lock_step("triton", "cuda")


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
