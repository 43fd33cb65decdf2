"""Which implementation of an operation runs: it follows the tensor's device, and ``use`` overrides it for a block."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

BACKENDS = ("reference", "cpu", "triton")
_override: ContextVar[str | None] = ContextVar("nerfkit_backend", default=None)


@contextlib.contextmanager
def use(backend: str) -> Iterator[None]:
    """Run every operation inside the block with ``backend``: ``"reference"``, ``"cpu"`` or ``"triton"``.

    Raises:
        ValueError: the name is none of the three.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; expected one of {', '.join(BACKENDS)}")
    token = _override.set(backend)
    try:
        yield
    finally:
        _override.reset(token)


def backend_for(tensor: torch.Tensor) -> str:
    """The backend that an operation on ``tensor`` uses: the override, else by device and dtype.

    Float64 on the CPU goes to ``reference`` (the compiled kernels are float32); CUDA and ROCm tensors go to ``triton``.
    """
    override = _override.get()
    if override is not None:
        return override
    if tensor.device.type == "cuda":
        return "triton"
    return "reference" if tensor.dtype == torch.float64 else "cpu"
