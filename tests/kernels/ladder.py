"""The ladder that every kernel climbs; this module holds what its rungs share.

1. ``reference`` passes a float64 gradcheck.
2. ``cpu`` equals ``reference``: values and every gradient.
3. ``triton`` in its interpreter equals ``reference``. Triton reads ``TRITON_INTERPRET`` when ``triton.jit`` decorates a
   function, so these tests need a process of their own. Mark them and write them as usual::

       @pytest.mark.interpreted
       def test_triton_forward():
           with use("triton"):
               ...                                   # CPU tensors

   ``tests/conftest.py`` runs the marked tests in a few child processes with ``TRITON_INTERPRET=1`` and reports those of
   each as one test, ``FILE::interpreted N``, which fails with the child's output.
4. ``triton`` compiles without a GPU for every target, inside its budget::

       @pytest.mark.parametrize("target", ladder.TARGETS)
       def test_budget(target):
           signature = {"x_ptr": "*fp32", "y_ptr": "*fp32", "n": "i32"}
           ladder.check_budget("composite.forward", target, kernel, signature, {"BLOCK": 32}, num_warps=1)

   ``budgets.json`` maps kernel -> target -> the most registers a thread and bytes of shared memory a program may use.
   Spills and stack must always be 0, so the file does not mention them; ``lanes`` only where they are not 0.
5. On a GPU, marker ``gpu``: ``assert_error_at_most_twice``, two runs bit-equal, and outputs poisoned with NaN first
   (fixture ``poison``, which serves the other rungs too).
"""

import dataclasses
import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

BUDGETS = Path(__file__).with_name("budgets.json")
TARGETS = ("sm_80", "sm_90", "gfx942")
_GPU_TARGETS = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one compiled kernel takes: registers a thread, bytes of stack a thread, spills, bytes of shared memory.

    ``lanes`` counts AMD's scalar registers that are kept in lanes of vector registers: moves, but no memory.
    """

    registers: int
    stack: int
    spills: int
    shared: int
    lanes: int = 0


def compiled(
    kernel: Any, target: str, signature: Mapping[str, str], constants: Mapping[str, Any], **options: Any
) -> Any:
    """A ``triton.jit`` function compiled for ``target`` (one of ``TARGETS``) without a GPU: ``asm``, ``metadata``.

    Args:
        kernel: the decorated function.
        signature: type of each argument that is no constant, e.g. ``{"x_ptr": "*fp32", "n": "i32"}``. Pointers count
            as aligned to 16 bytes, which is what torch allocates.
        constants: value of each ``tl.constexpr`` argument.
        options: ``num_warps``, ``num_stages`` and so on.
    """
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if not isinstance(kernel, triton.runtime.JITFunction):
        pytest.skip("TRITON_INTERPRET is set: interpreted functions cannot be compiled")
    names = kernel.arg_names
    types = {name: "constexpr" if name in constants else signature[name] for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if types[name].startswith("*")}
    source = ASTSource(fn=kernel, signature=types, constexprs=dict(constants), attrs=aligned)
    return triton.compile(source, target=GPUTarget(*_GPU_TARGETS[target]), options=options)


def compile_usage(
    kernel: Any, target: str, signature: Mapping[str, str], constants: Mapping[str, Any], **options: Any
) -> Usage:
    """Compile (see ``compiled``) and read what it uses."""
    found = compiled(kernel, target, signature, constants, **options)
    if "cubin" in found.asm:
        return _usage_of_cubin(found.asm["cubin"], found.metadata.shared)
    return _usage_of_amdgcn(found.asm["amdgcn"], found.metadata.shared)


def _usage_of_cubin(cubin: bytes, shared: int) -> Usage:
    """NVIDIA: the disassembler in Triton's wheel prints ``REG:40 STACK:0 SHARED:0 LOCAL:0``; spills show as stack."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {key: int(value) for key, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", text)}
    return Usage(registers=found["REG"], stack=found["STACK"], spills=found["LOCAL"], shared=shared)


def _usage_of_amdgcn(assembly: str, shared: int) -> Usage:
    """AMD: the metadata at the end of the assembly names vector registers, both kinds' spills and scratch memory."""
    found = {key: int(value) for key, value in re.findall(r"\.(\w+): +(\d+)$", assembly, re.MULTILINE)}
    stack, spills = found["private_segment_fixed_size"], found["vgpr_spill_count"]
    lanes = found["sgpr_spill_count"]
    return Usage(registers=found["vgpr_count"], stack=stack, spills=spills, shared=shared, lanes=lanes)


def check_budget(
    name: str, target: str, kernel: Any, signature: Mapping[str, str], constants: Mapping[str, Any], **options: Any
) -> None:
    """Compile (see ``compile_usage``) and fail, naming every excess over ``budgets.json[name][target]``."""
    usage = compile_usage(kernel, target, signature, constants, **options)
    budget = json.loads(BUDGETS.read_text()).get(name, {}).get(target)
    if budget is None:
        pytest.fail(f"{BUDGETS.name} has no entry {name!r} -> {target!r}; measured now: {usage}")
    limits = {"lanes": 0} | budget | {"stack": 0, "spills": 0}
    excess = [f"{key} {getattr(usage, key)} > {limit}" for key, limit in limits.items() if getattr(usage, key) > limit]
    if excess:
        pytest.fail(f"{name} is over its budget on {target}: {', '.join(excess)}")


def assert_error_at_most_twice(
    actual: torch.Tensor,
    same_precision: torch.Tensor,
    exact: torch.Tensor,
    what: str = "result",
    approximated: torch.Tensor | None = None,
) -> None:
    """Root-mean-square error of ``actual`` against the float64 ``exact`` is at most twice that of ``same_precision``.

    ``same_precision`` is the reference computed in the dtype of ``actual``. One rounding of the result itself is
    always allowed: where the reference happens to be exact, twice nothing would be nothing. ``approximated`` is the
    float64 reference with a GPU's exponential and quotient (``approximations.py``): twice what they do is allowed too.
    """
    exact = exact.double().cpu()

    def rms(x: torch.Tensor) -> float:
        return x.double().cpu().square().mean().sqrt().item() if x.numel() else 0.0

    error = rms(actual.double().cpu() - exact)
    allowed = 2 * rms(same_precision.double().cpu() - exact) + torch.finfo(actual.dtype).eps * rms(exact)
    if approximated is not None:
        allowed += 2 * rms(approximated.double().cpu() - exact)
    assert error <= allowed, f"{what}: error {error:.3e} against float64, allowed {allowed:.3e}"
