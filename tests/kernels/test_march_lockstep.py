"""The lock-step samplers ``stratified`` and ``inverse_cdf``, bit for bit on every backend: see ``ladder.py``."""

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.march import intersect_box, inverse_cdf, stratified
from nerfkit.kernels.philox import INVERSE_CDF, STRATIFIED, Draw
from nerfkit.kernels.philox import reference as philox
from tests.kernels import ladder
from tests.kernels.march_cases import BACKENDS, SIGNATURE


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


# Rungs 1 and 2: the reference and the CPU kernel.


def test_stratified_depths_of_pytorch3d():
    """Its rule, written out: linspace; then each depth uniform between the middles to its neighbors."""
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
    """Bins [0,1), [1,3), [3,4) with shares 1/4, 0, 3/4; centers 1/8, 3/8, 5/8, 7/8. No weight: every bin alike."""
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
def test_triton_lock_step(poison):
    assert_same_lock_step("triton")


# Rung 4: Triton compiled, inside its budget.


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budgets(target):
    from nerfkit.kernels.march import triton

    kernels = [
        ("stratified", {"JITTERED": True, "SAMPLES": triton.SAMPLES}, triton.AS_WRITTEN),
        ("inverse_cdf", {"JITTERED": True, "RAYS": triton.RAYS}, {"num_warps": 2} | triton.AS_WRITTEN),
    ]
    for name, constants, options in kernels:
        ladder.check_budget(f"march.{name}", target, getattr(triton, f"{name}_kernel"), SIGNATURE, constants, **options)


# Rung 5: on a GPU.


@pytest.mark.gpu
def test_gpu_lock_step(poison):
    assert_same_lock_step("triton", "cuda")
