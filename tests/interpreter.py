"""Triton's interpreter with the arithmetic of a GPU, for the dry run.

- Float32 exponentials and quotients are as far off as ``ex2.approx.f32`` and ``div.full.f32`` may be: 2 ulp.
- Bfloat16 is a number. The interpreter multiplies the integers that its bits are, and rounds to it toward zero.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch


def _off(result: np.ndarray, *arguments: np.ndarray) -> np.ndarray:
    """Float32 results moved by 2 ulp, up or down as the arguments' bits say."""
    with np.errstate(all="ignore"):
        bits = sum(np.broadcast_to(a, result.shape).astype(np.float32).view(np.uint32) for a in arguments)
        ulps = np.where(bits * np.uint32(2654435761) >> np.uint32(31), np.float32(2), np.float32(-2))
        moved = result + ulps * np.spacing(np.abs(result))
    whole = (result == np.rint(result)) | ~np.isfinite(result)  # powers of two, and what is no number, are exact
    return np.where(whole, result, moved).astype(np.float32)


def _exponential(x: np.ndarray) -> np.ndarray:
    if x.dtype != np.float32:
        return np.exp(x)
    with np.errstate(all="ignore"):
        y = x * np.float32(math.log2(math.e))
        return _off(np.exp2(y), y)


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        found = np.divide(a, b)
    return _off(found, a, b) if found.dtype == np.float32 else found


def _product(self: Any, a: Any, b: Any, d: Any, input_precision: Any, max_num_imprecise_acc: Any) -> Any:
    """``create_dot`` with bfloat16's numbers: their bits are the upper half of a float32's."""
    from triton.runtime.interpreter import TensorHandle

    x, y = ((t.data.astype(np.uint32) << 16).view(np.float32) if _is_bf16(t.dtype) else t.data for t in (a, b))
    return TensorHandle(np.matmul(x, y, dtype=d.data.dtype) + d.data, d.dtype.scalar)


def _is_bf16(dtype: Any) -> bool:
    return dtype.scalar.name == "bf16"


@contextlib.contextmanager
def arithmetic_of_a_gpu() -> Iterator[None]:
    """What is interpreted inside the block."""
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    cast = InterpreterBuilder.cast_impl

    def rounded(self: Any, source: Any, dtype: Any) -> Any:
        if not (_is_bf16(dtype) and source.data.dtype == np.float32):
            return cast(self, source, dtype)
        found = torch.from_numpy(np.ascontiguousarray(source.data)).bfloat16().view(torch.int16).numpy()
        return TensorHandle(found.view(np.uint16), dtype.scalar)

    with (
        mock.patch.object(InterpreterBuilder, "create_dot", _product),
        mock.patch.object(InterpreterBuilder, "cast_impl", rounded),
        mock.patch.object(InterpreterBuilder, "create_exp", lambda self, x: self.unary_op(x, _exponential)),
        mock.patch.object(InterpreterBuilder, "create_fdiv", lambda self, a, b: self.binary_op(a, b, _quotient)),
    ):
        yield
