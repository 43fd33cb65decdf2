"""The harmonic field's Triton kernels, rung 4: compiled without a GPU for every target, within their budgets.

Two shapes stand for all: the GPU preset's (128 wide, 4 layers, 10 octaves, ReLU) and PyTorch3D's tutorial's (256 wide,
2 layers, 60 octaves, softplus), both with bfloat16 operands.
"""

from typing import Any

import pytest

from nerfkit.kernels.harmonic_field import FieldSpec
from tests.kernels import hopper, ladder
from tests.kernels.test_harmonic_field import make_weights

SHAPES = {
    "preset": (FieldSpec(octaves=10, direction_octaves=4, precision="bf16"), 128, 4),
    "tutorial": (FieldSpec(60, 60, 0.1, False, "softplus", "softplus", 10.0, None, "bf16"), 256, 2),
}
OPERANDS = ("matrices_ptr", "u_ptr", "layers_ptr", "d_layers_ptr", "d_layer_ptr", "d_heads_ptr")
INTEGERS = {
    "ray_ptr": "*i64",
    "offsets_ptr": "*i64",
    "starts_ptr": "*i64",
    "inverse_turn_ptr": "*i64",
    "used_ptr": "*i32",
}


def signature(kernel: Any, constants: dict[str, Any], operands: str = "*bf16") -> dict[str, str]:
    """Types of the arguments, by their names."""

    def kind(name: str) -> str:
        if name in OPERANDS:
            return operands
        if name in INTEGERS:
            return INTEGERS[name]
        return "*fp32" if name.endswith("_ptr") else "fp32" if name == "early_stop" else "i32"

    return {name: kind(name) for name in kernel.arg_names if name not in constants}


NAMES = ["starts", "render", "field", "backward", "squares", "embedded", "heads", "ray_sums", "positions"]


def launch(name: str, spec: FieldSpec, width: int, depth: int, target: str) -> tuple[Any, dict[str, Any]]:
    """A kernel, and its constants and options as it is launched with on that target."""
    from nerfkit.kernels.harmonic_field import triton, triton_backward, triton_forward

    field = triton._Field.of(make_weights(spec, width, depth), spec)
    field = field._replace(tile=triton.tile_of(width, spec.precision, hip=target.startswith("gfx")))
    sizes = {"D": depth, "E": field.packing.columns}
    kernels = {
        "starts": (triton_forward.starts_kernel, {"SPAN": triton.SPAN * field.tile.samples, "BLOCK": triton.STARTS}),
        "render": (triton_forward.render_kernel, {**field.forward, "BY_LENGTH": True, "SAVE": True, "STORE": False}),
        "field": (triton_forward.field_kernel, {**field.forward, "COLOR": True, "SAVE": False, "STORE": True}),
        "backward": (triton_backward.backward_kernel, field.backward),
        "squares": (triton_backward.squares_kernel, {**field.products, **sizes}),
        "embedded": (triton_backward.embedded_kernel, {**field.products, **field.embedding, "BIAS": True}),
        "heads": (triton_backward.heads_kernel, {**field.products, "D": depth, "HEADS": triton.HEADS}),
        "ray_sums": (triton_backward.ray_sums_kernel, {"W": width, "BS": 16, "num_warps": 1}),
        "positions": (triton_backward.positions_kernel, field.positions),
    }
    return kernels[name]


@pytest.fixture(autouse=True)
def compiler() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from nerfkit.kernels.harmonic_field import triton_forward

    if not hasattr(triton_forward.render_kernel, "arg_names"):
        pytest.skip("TRITON_INTERPRET is set: interpreted functions cannot be compiled")


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_budget(name: str, shape: str, target: str) -> None:
    kernel, constants = launch(name, *SHAPES[shape], target)
    options = {key: constants.pop(key) for key in ("num_warps", "num_stages") if key in constants}
    ladder.check_budget(
        f"harmonic_field.{name}.{shape}", target, kernel, signature(kernel, constants), constants, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["render", "field", "backward"])
def test_hopper_leaves_operands_alone(name: str, shape: str) -> None:
    kernel, constants = launch(name, *SHAPES[shape], "sm_90")
    options = {key: constants.pop(key) for key in ("num_warps", "num_stages")}
    found = ladder.compiled(kernel, "sm_90", signature(kernel, constants), constants, **options)
    sass = hopper.disassemble(found.asm["cubin"])
    assert "HGMMA" in sass
    assert hopper.overwritten_operands(sass) == []


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", ["render", "field", "backward", "embedded"])
def test_operands_in_tf32_are_rounded(name: str, target: str) -> None:
    """The tensor cores would cut bits off. What other kernels multiply has been rounded on its way to memory."""
    kernel, constants = launch(name, FieldSpec(octaves=10, direction_octaves=4, precision="tf32"), 64, 2, target)
    options = {key: constants.pop(key) for key in ("num_warps", "num_stages")}
    found = ladder.compiled(kernel, target, signature(kernel, constants, "*fp32"), constants, **options)
    assert "cvt.rna.tf32" in found.asm["ptx"]
    sass = hopper.disassemble(found.asm["cubin"])
    assert ".TF32" in sass  # and the products are tensor cores'
    if target == "sm_90":
        assert hopper.overwritten_operands(sass) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_another_size_compiles_nothing(name: str) -> None:
    """Numbers of samples change from step to step: kernels are not to be specialized by them."""
    kernel, _ = launch(name, *SHAPES["preset"], "sm_90")
    changing = {"rays", "starts", "rows", "layers_rows", "layers_first", "first", "count"}
    found = {p.name for p in kernel.params if p.name in changing and not p.do_not_specialize}
    assert not found
