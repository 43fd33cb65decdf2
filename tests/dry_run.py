"""A GPU that is not there: tensors that say they are on ``cuda:0`` while the CPU computes, and a count of what they do.

Inside ``dry_run()`` whatever is made on or moved to "cuda" is a ``GpuTensor``. Operations on it run on the CPU, but

- a CPU tensor among GPU tensors raises, as PyTorch and Triton would; a CPU number (0-dimensional) may go along;
- Triton kernels run in the interpreter (``TRITON_INTERPRET=1`` before they are imported), whose arithmetic
  ``tests/interpreter.py`` makes a GPU's;
- PyTorch's products round float32 to tf32 where ``allow_tf32`` says so;
- ``Counts`` has every operation that would launch a kernel, every launch of ours, and every wait for the device.

What it cannot show: time, memory, the rounding of a GPU's instructions, races, and whether a kernel compiles.
"""

import contextlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.interpreter import arithmetic_of_a_gpu

GPU = torch.device("cuda:0")
ROOT = Path(__file__).parent.parent
OURS = tuple(f"{ROOT / name}/" for name in ("nerfkit", "kernels", "tests"))  # what is installed may lie below, too
# No kernel: memory, and other looks at the same memory (beside every operation whose schema says that it is a view).
NO_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "set_"}
NO_KERNEL |= {"_local_scalar_dense"}
# The host must know a number before it can go on. (``linalg_inv_ex`` and its kin do not check, so they do not wait.)
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal"}
WAITS |= {"bincount", "_linalg_check_errors"}
COPIES = {"copy_", "_to_copy"}
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}  # their last two arguments are multiplied
FROM_HOST = {torch.tensor, torch.as_tensor, Tensor.new_tensor}


@dataclass
class Counts:
    """What was asked of the device: names of operations and of our kernels -> how often; what waited, and where."""

    aten: Counter[str] = field(default_factory=Counter)
    triton: Counter[str] = field(default_factory=Counter)
    waits: list[str] = field(default_factory=list)

    def wait(self, what: str) -> None:
        ours = [frame for frame in traceback.extract_stack() if frame.filename.startswith(OURS)]
        ours = [frame for frame in ours if frame.filename != __file__]
        place = f"{Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}" if ours else "?"
        self.waits.append(f"{what} at {place}")

    def clear(self) -> None:
        self.aten.clear()
        self.triton.clear()
        self.waits.clear()


class GpuTensor(torch.Tensor):
    """A CPU tensor that is said to be on ``GPU``."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: GPU)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def get_device(self) -> int:
        return 0

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        with _nothing_watched():
            return f"{_plain(self)} on {GPU}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a tensor of a dry run outside of it")


@contextlib.contextmanager
def _nothing_watched() -> Iterator[None]:
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        yield


def _labeled(tensor: Tensor) -> Tensor:
    return tensor if isinstance(tensor, GpuTensor) else torch.Tensor._make_subclass(GpuTensor, tensor)


def _plain(tensor: Tensor) -> Tensor:
    """The same memory as a CPU tensor."""
    with _nothing_watched():
        memory = tensor.untyped_storage()
        return torch.empty(0, dtype=tensor.dtype).set_(memory, tensor.storage_offset(), tensor.size(), tensor.stride())


def _tf32(x: Tensor) -> Tensor:
    """Float32 rounded to tf32's 10 bits behind the point."""
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) if x.dtype == torch.float32 else x


class _Operations(TorchDispatchMode):
    """Runs, checks and counts the operations below autograd."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts
        self.making = False  # inside a call with device="cuda"
        self.inside = False  # PyTorch's own code, on GPU tensors: what it makes of nothing is on their device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        on_gpu = self.making or any(isinstance(t, GpuTensor) for t in tensors) or (self.inside and not tensors)
        name = func._schema.name.partition("::")[2]
        if on_gpu:
            self._check(func, name, args, kwargs, tensors, leaves)
        with torch._C._DisableTorchDispatch():
            if on_gpu and name in PRODUCTS and torch.backends.cuda.matmul.allow_tf32:
                args = (*args[:-2], *(_tf32(t) for t in args[-2:]))
            out = func(*args, **kwargs)
        if not on_gpu or (name == "copy_" and not isinstance(args[0], GpuTensor)):
            return out
        if name not in NO_KERNEL and not func.is_view:
            self.counts.aten[name] += 1
        return tree_map(lambda t: _labeled(t) if isinstance(t, Tensor) else t, out)

    def _check(self, func: Any, name: str, args: Any, kwargs: Any, tensors: list[Tensor], leaves: list[Any]) -> None:
        strangers = [t for t in tensors if not isinstance(t, GpuTensor)]
        if name in COPIES or name in ("index", "index_put_", "_index_put_impl_"):
            # Between devices, or with places that the host has: allowed, and waited for.
            if any(len(t.shape) or name in COPIES for t in strangers) and len(tensors) > len(strangers):
                self.counts.wait(f"{name} between devices")
        elif any(len(t.shape) for t in strangers) and not self.making:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {GPU} and cpu: {func}"
            )
        if any(isinstance(leaf, torch.Generator) and leaf.device.type == "cpu" for leaf in leaves):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        masks = name.startswith("index") and any(
            isinstance(t, Tensor) and t.dtype in (torch.bool, torch.uint8) for t in tree_leaves(args[1:2])
        )
        filled = name == "index_put_" and isinstance(args[2], Tensor) and args[2].numel() == 1  # becomes masked_fill
        unknown = name == "repeat_interleave" and kwargs.get("output_size") is None
        if name in WAITS or (masks and not filled) or unknown:
            self.counts.wait("index by a mask" if masks else name)


class _Move(torch.autograd.Function):
    """A copy on the other device, and its gradient's way back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, to_gpu: bool, counts: Counts) -> Tensor:
        ctx.to_gpu, ctx.counts = to_gpu, counts
        counts.wait(f"copy to {'cuda' if to_gpu else 'cpu'}")
        counts.aten["copy between devices"] += 1
        copied = _plain(tensor).clone()
        return _labeled(copied) if to_gpu else copied

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Move.apply(gradient, not ctx.to_gpu, ctx.counts), None, None


class _Calls(TorchFunctionMode):
    """Takes the device out of calls before PyTorch looks for one; sees what a CPU does without an operation."""

    def __init__(self, operations: _Operations) -> None:
        super().__init__()
        self.operations, self.counts = operations, operations.counts

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.to:
            return self._to(*args, **kwargs)
        if func in (Tensor.cuda, Tensor.cpu):
            return self._moved(args[0], GPU if func is Tensor.cuda else torch.device("cpu"))
        if func in (Tensor.tolist, Tensor.numpy) and isinstance(args[0], GpuTensor):
            if func is Tensor.numpy and kwargs.get("force"):
                return self._moved(args[0].detach(), torch.device("cpu")).numpy()
            if func is Tensor.numpy:
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
            self.counts.wait("tolist")
            return _plain(args[0]).tolist()
        given = kwargs.get("device")
        to_gpu = given is not None and torch.device(given).type == "cuda"
        from_gpu = bool(args) and isinstance(args[0], GpuTensor)
        if func in FROM_HOST and (to_gpu or (from_gpu and given is None)):
            if isinstance(args[0], GpuTensor) and func is not Tensor.new_tensor:
                return func(*args, **kwargs | {"device": None})
            made = func(*args, **kwargs | {"device": "cpu"})
            return self._moved(made, GPU)
        if given is not None:
            kwargs["device"] = "cpu"
            if not to_gpu:
                args = tree_map(lambda t: _plain(t) if isinstance(t, GpuTensor) else t, args)
        operations = self.operations
        before = operations.making, operations.inside
        operations.making = to_gpu
        operations.inside = given is None and any(isinstance(t, GpuTensor) for t in tree_leaves((args, kwargs)))
        try:
            return func(*args, **kwargs)
        finally:
            operations.making, operations.inside = before

    def _to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        device, dtype = kwargs.get("device"), kwargs.get("dtype")
        for word in args:
            if isinstance(word, Tensor):
                device, dtype = word.device, word.dtype
            elif isinstance(word, torch.dtype):
                dtype = word
            elif isinstance(word, str | torch.device):
                device = word
        moved = tensor if device is None else self._moved(tensor, torch.device(device))
        return Tensor.to(moved, tensor.dtype if dtype is None else dtype, copy=kwargs.get("copy", False))

    def _moved(self, tensor: Tensor, device: torch.device) -> Tensor:
        if tensor.device.type == device.type:
            return tensor
        with self:
            return _Move.apply(tensor, device.type == "cuda", self.counts)


def fewer(number: int, dry: int) -> int:
    """``number`` on a GPU and ``dry`` in a dry run: the interpreter takes a second for every hundred samples or so."""
    return dry if isinstance(torch.empty(0, device="cuda"), GpuTensor) else number


@contextlib.contextmanager
def dry_run() -> Iterator[Counts]:
    """Inside the block "cuda" is a device, which ``Counts`` watches."""
    counts = Counts()
    operations = _Operations(counts)
    calls = _Calls(operations)
    autocast, group = torch.autocast, torch.optim.Optimizer._group_tensors_by_device_and_dtype
    run_backward = torch.autograd._engine_run_backward

    def backward(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        on_gpu = any(isinstance(t, GpuTensor) for t in outputs)
        with calls, mock.patch.object(operations, "inside", on_gpu):  # PyTorch turns ``calls`` off around this call
            return run_backward(outputs, *args, **kwargs)

    def grouped(lists: Any, with_indices: bool = False) -> Any:
        return {(value[0][0][0].device, key[1]): value for key, value in group(lists, with_indices).items()}

    def autocast_of(device: str, *args: Any, **kwargs: Any) -> Any:
        return autocast("cpu", *args, **kwargs)

    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (torch.cuda, "is_available", lambda: True),
            (torch.cuda, "is_bf16_supported", lambda including_emulation=True: True),
            (torch.cuda, "device_count", lambda: 1),
            (torch.cuda, "current_device", lambda: 0),
            (torch.cuda, "get_device_name", lambda device=None: "none: a dry run"),
            (torch.cuda, "device_of", lambda tensor: contextlib.nullcontext()),
            (torch.cuda, "device", lambda device: contextlib.nullcontext()),
            (torch.cuda, "synchronize", lambda device=None: counts.wait("synchronize")),
            (torch.cuda, "reset_peak_memory_stats", lambda device=None: None),
            (torch.cuda, "max_memory_allocated", lambda device=None: 0),
            (torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True),
            (torch, "autocast", autocast_of),
            (torch.autograd, "_engine_run_backward", backward),
            (torch.optim.Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(grouped)),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        stack.enter_context(_kernels_watched(counts))
        stack.enter_context(operations)
        stack.enter_context(calls)
        yield counts


@contextlib.contextmanager
def _kernels_watched(counts: Counts) -> Iterator[None]:
    """Launches of interpreted kernels take GPU tensors alone, are counted, and compute as roughly as a GPU may."""
    from triton.runtime.interpreter import GridExecutor

    launch = GridExecutor.__call__

    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        for place, value in enumerate((*args, *kwargs.values())):
            if isinstance(value, Tensor) and not isinstance(value, GpuTensor):
                raise ValueError(f"Pointer argument (at {place}) cannot be accessed from Triton (cpu tensor?)")
        counts.triton[self.fn.__name__] += 1
        args, kwargs = tree_map(lambda t: _plain(t) if isinstance(t, GpuTensor) else t, (args, kwargs))
        with _nothing_watched():
            return launch(self, *args, **kwargs)

    with mock.patch.object(GridExecutor, "__call__", checked), arithmetic_of_a_gpu():
        yield
