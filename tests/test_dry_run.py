"""The GPU that is not there refuses what a GPU refuses, and counts what would be asked of it."""

import subprocess
import sys

import pytest
import torch

from tests.dry_run import ROOT, GpuTensor, dry_run

triton = pytest.importorskip("triton", reason="Triton is not installed")
import triton.language as tl  # noqa: E402  Triton is there


def test_what_is_made_there_stays_there() -> None:
    with dry_run():
        made = [torch.zeros(2, device="cuda"), torch.tensor([1.0, 2.0], device="cuda:0"), torch.arange(2.0).cuda()]
        made += [made[0].new_ones(2), made[1][:1].expand(2), torch.zeros_like(made[0]), made[0] + 1, made[2].double()]
        assert all(isinstance(t, GpuTensor) and t.is_cuda and t.device == torch.device("cuda:0") for t in made)
        for home in (made[6].cpu(), made[6].to("cpu"), torch.ones(2).to(made[6].cpu())):
            assert not isinstance(home, GpuTensor) and home.tolist() == [1, 1]
        assert torch.ones(2).to(made[7]).dtype == torch.float64
        module = torch.nn.Linear(2, 1).to("cuda")
        assert all(p.is_cuda and isinstance(p, torch.nn.Parameter) for p in module.parameters())


def test_two_devices_in_one_operation_are_refused_but_for_numbers() -> None:
    with dry_run():
        x = torch.ones(3, device="cuda")
        assert (x + torch.tensor(2.0)).tolist() == [3, 3, 3]
        for wrong in (lambda: x + torch.ones(3), lambda: torch.cat([x, torch.ones(1)]), lambda: torch.ones(3) @ x):
            with pytest.raises(RuntimeError, match=r"at least two devices, cuda:0 and cpu"):
                wrong()
        with pytest.raises(TypeError, match="numpy"):
            x.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, device="cuda", generator=torch.Generator())


WAITS = {
    "item": lambda x: x.sum().item(),
    "a condition": lambda x: 1 if x.any() else 0,
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "to the device": lambda x: torch.ones(3).to(x),
    "made of numbers": lambda x: x.new_tensor([1.0, 2.0]),
    "nonzero": lambda x: x.nonzero(),
    "read by a mask": lambda x: x[x > 0],
    "written by a mask": lambda x: x.index_put_((x > 0,), x[:2].clone()),
    "an element set": lambda x: x.__setitem__(-1, 5.0),
    "repeated by counts": lambda x: torch.repeat_interleave(torch.ones_like(x, dtype=torch.int64)),
    "unique": lambda x: x.unique(),
    "compared": lambda x: torch.equal(x, x),
    "read by the host's places": lambda x: x[torch.tensor([0, 1])],
}
NO_WAITS = {
    "arithmetic": lambda x: (x + 1).sum(),
    "views": lambda x: x[1:].view(2, 1).T,
    "places on the device": lambda x: x[torch.arange(2, device="cuda")],
    "filled by a mask": lambda x: x.masked_fill(x > 0, 1.0),
    "a range set": lambda x: x.__setitem__(slice(0, 2), 5.0),
    "repeated, the size known": lambda x: torch.repeat_interleave(x.long(), output_size=2),
    "sorted": lambda x: x.sort(stable=True),
}


@pytest.mark.parametrize("name", [*WAITS, *NO_WAITS])
def test_what_the_host_waits_for(name: str) -> None:
    with dry_run() as counts:
        x = torch.zeros(3, device="cuda")
        x += torch.arange(3, device="cuda") > 0
        assert counts.waits == []
        (WAITS | NO_WAITS)[name](x)
        assert len(counts.waits) == (name in WAITS)
        assert all("tests/test_dry_run.py" in wait for wait in counts.waits)


def test_operations_are_counted_and_views_and_memory_are_not() -> None:
    with dry_run() as counts:
        x = torch.empty(4, device="cuda").view(2, 2)[0].expand(3, 2)
        assert not counts.aten
        x.mul(2).sum()
        torch.ones(3).exp()  # the CPU's
    assert counts.aten == {"mul": 1, "sum": 1}


def test_gradients_find_their_way_between_devices() -> None:
    with dry_run() as counts:
        x = torch.ones(2, requires_grad=True)
        y = (2 * x).to("cuda")
        (y.square().sum() + y.cpu().sum()).backward()
        assert x.grad is not None and not x.grad.is_cuda and x.grad.tolist() == [10, 10]
        assert len(counts.waits) == 4  # there, and one of the two back; and their gradients


def test_missing_gradients_are_zeros_of_the_device() -> None:
    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            saved = x * 1
            ctx.save_for_backward(saved)
            return saved, x * 2

        @staticmethod
        def backward(ctx, first, second):
            (saved,) = ctx.saved_tensors
            assert all(isinstance(t, GpuTensor) for t in (saved, first, second))
            return first + second

    with dry_run():
        x = torch.ones(2, device="cuda", requires_grad=True)
        Two.apply(x)[0].sum().backward()
        assert x.grad.tolist() == [1, 1]


@pytest.mark.interpreted
def test_kernels_take_tensors_of_the_device_alone() -> None:
    from nerfkit.kernels.philox import Draw, uniform
    from nerfkit.kernels.philox.triton import uniform_kernel

    with dry_run() as counts:
        assert uniform(Draw(1, 2), 3, 5, 2, device="cuda").is_cuda
        assert counts.triton == {"uniform_kernel": 1}
        with pytest.raises(ValueError, match="cannot be accessed from Triton"):
            uniform_kernel[(1,)](torch.empty(4), 1, 2, 3, 0, 4, PER=1, BLOCK=256)


def test_products_are_tf32_where_that_is_allowed() -> None:
    x = torch.tensor([[1 + 2.0**-12]])
    for allowed in (True, False):
        with dry_run():
            torch.backends.cuda.matmul.allow_tf32 = allowed
            try:
                products = [torch.nn.functional.linear(y, y, b) for y in (x.cuda(), x) for b in (None, y.new_zeros(1))]
            finally:
                torch.backends.cuda.matmul.allow_tf32 = False
            assert [product.item() > 1 for product in products] == [not allowed, not allowed, True, True]


@triton.jit
def product_kernel(x_ptr, y_ptr, out_ptr):
    i = tl.arange(0, 16)
    at = i[:, None] * 16 + i[None, :]
    x = tl.load(x_ptr + at).to(out_ptr.dtype.element_ty)
    y = tl.load(y_ptr + at).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at, tl.dot(x, y))


@pytest.mark.interpreted
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_products_of_every_precision_are_those_of_rounded_numbers(dtype: torch.dtype) -> None:
    """The interpreter alone multiplies the integers that bfloat16's bits are, and rounds to it toward zero."""
    x, y = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    with dry_run():
        out = torch.empty(16, 16, dtype=dtype, device="cuda")
        product_kernel[(1,)](x.cuda(), y.cuda(), out)
        found = out.cpu()
    expected = x.to(dtype).double() @ y.to(dtype).double()
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps / 2, atol=1e-5)


@pytest.mark.slow
def test_some_gpu_tests_pass() -> None:
    """``make gpu-dry`` runs them all."""
    files = [f"tests/kernels/test_{name}.py" for name in ("philox", "sample_rays", "march_positions", "pixel_loss")]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "--gpu-dry", "-p", "no:randomly", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
