"""Which implementation of an operation runs: it follows the tensor's device, and ``use`` overrides it for a block."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType

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


@contextlib.contextmanager
def implementation(
    package: str, tensor: torch.Tensor, *, float32: str | None = None, prefix: str = ""
) -> Iterator[ModuleType]:
    """The module of an operation that computes on ``tensor``: ``reference``, ``cpu`` or ``triton`` of its package.

    Inside the block the tensor's GPU is the current one: that is where Triton launches. (Backward passes need no block:
    autograd runs them in a thread of that GPU.) A module, and with it Numba or Triton, is imported when it is first
    needed.

    Args:
        package: the operation's, as its ``__name__``.
        tensor: what decides: see ``backend_for``.
        float32: the tensor's name, for operations whose compiled kernels take float32 alone.
        prefix: of the modules' names, where a package has more than one operation.

    Raises:
        ImportError: the operation has no such backend, or what it needs is not installed.
        ValueError: a compiled kernel cannot take the tensor's dtype.
    """
    backend = backend_for(tensor)
    if float32 and backend != "reference" and tensor.dtype != torch.float32:
        raise ValueError(f"{float32}: expected torch.float32 for the {backend} backend, got {tensor.dtype}")
    try:
        kernels = import_module(f"{package}.{prefix}{backend}")
    except ModuleNotFoundError as error:
        operation = package.rpartition(".")[2]
        known = ", ".join(BACKENDS)
        raise ImportError(
            f"{operation} on {tensor.device}: expected its {backend} backend, got '{error}'; "
            f"install what is missing, or choose one of {known} with nerfkit.kernels.use"
        ) from error
    with torch.cuda.device_of(tensor) if tensor.is_cuda else contextlib.nullcontext():
        yield kernels
