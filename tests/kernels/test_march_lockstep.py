"""The lock-step sampler ``stratified``, bit for bit on every backend: see ``ladder.py``."""

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.march import intersect_box, stratified
from nerfkit.kernels.philox import STRATIFIED, Draw, reference as philox
from tests.kernels import ladder
from tests.kernels.march_cases import SIGNATURE


def lock_step_results(device="cpu"):
    generator = torch.Generator().manual_seed(17)
    near = torch.rand(37, generator=generator)
    far = near + torch.rand(37, generator=generator)
    far[3] = near[3]
    near, far = near.to(device), far.to(device)
    results = {}
    for jitter in (None, Draw(2**40 + 1, 6, 9)):
        for count in (1, 2, 19):
            results[f"stratified {jitter} {count}"] = stratified(near, far, count, jitter=jitter).t_start
            results[f"offsets {jitter} {count}"] = stratified(near, far, count, jitter=jitter).offsets
        results[f"no rays {jitter}"] = stratified(near[:0], far[:0], 4, jitter=jitter).t_end
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


def test_cpu_lock_step(poison):
    assert_same_lock_step("cpu")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stratified(torch.zeros(3), torch.zeros(2), 4), r"far: expected .*\(3,\)"),
        (lambda: stratified(torch.zeros(3), torch.zeros(3), 0), "count must be at least 1"),
        (lambda: intersect_box(torch.zeros(3, 3), torch.zeros(2, 3)), r"directions: expected .*\(3,3\)"),
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

    constants = {"JITTERED": True, "SAMPLES": triton.SAMPLES}
    kernel = triton.stratified_kernel
    ladder.check_budget("march.stratified", target, kernel, SIGNATURE, constants, **triton.AS_WRITTEN)


# Rung 5: on a GPU.


@pytest.mark.gpu
def test_gpu_lock_step(poison):
    assert_same_lock_step("triton", "cuda")
