"""The lazy Adam in Triton: a lane an entry; where there is no gradient, nothing else is read or written."""

import math

import triton
import triton.language as tl

BLOCK = 1024  # entries of a program
AS_WRITTEN = {"enable_fp_fusion": False}


@triton.jit(do_not_specialize=["size"])
def step_kernel(
    parameter_ptr, gradient_ptr, mean_ptr, square_ptr, found_ptr, size, rest1, keep2, rest2, rate, scale, eps,
    FOUND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """keep: the betas, rest: 1 - beta, scale: 1 / sqrt(1 - beta2^t)."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    gradient = tl.load(gradient_ptr + i, i < size, other=0.0)
    if FOUND:
        gradient = tl.where(tl.load(found_ptr) != 0, 0.0, gradient)
    has = gradient != 0  # a NaN has
    mean = tl.load(mean_ptr + i, has, other=0.0)
    mean += rest1 * (gradient - mean)
    square = keep2 * tl.load(square_ptr + i, has, other=0.0) + rest2 * gradient * gradient
    step = tl.div_rn(rate * mean, tl.sqrt_rn(square) * scale + eps)
    tl.store(parameter_ptr + i, tl.load(parameter_ptr + i, has, other=0.0) - step, has)
    tl.store(mean_ptr + i, mean, has)
    tl.store(square_ptr + i, square, has)


def lazy_adam(parameter, gradient, mean, square, step, rate, beta1, beta2, eps, found):
    """See the package for the formula."""
    if parameter.numel() == 0:
        return
    numbers = (1 - beta1, beta2, 1 - beta2, rate / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step), eps)
    step_kernel[(triton.cdiv(parameter.numel(), BLOCK),)](
        parameter, gradient, mean, square, parameter if found is None else found, parameter.numel(), *numbers,
        FOUND=found is not None, BLOCK=BLOCK, num_warps=4, **AS_WRITTEN,
    )  # fmt: skip
