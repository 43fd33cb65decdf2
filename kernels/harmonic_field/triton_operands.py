"""What a matrix product takes in Triton: numbers of the operands' type, rounded to the nearest."""

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def operand(x, ptr, PRECISION: tl.constexpr):
    """``x`` in the element type of ``ptr``; with tf32 of 10 bits behind the point, ties away from zero.

    Tensor cores only cut off the bits that tf32 has not, which is twice the error, and always toward zero, so that
    errors add up along a row. The interpreter knows no PTX: it does the same with integers.
    """
    x = x.to(ptr.dtype.element_ty)
    if PRECISION == "tf32":
        if INTERPRETED:
            bits = (x.to(tl.int32, bitcast=True) + 0x1000) & ~0x1FFF
            x = tl.where(x - x == 0, bits.to(tl.float32, bitcast=True), x)
        else:
            x = tl.inline_asm_elementwise(
                "cvt.rna.tf32.f32 $0, $1;", "=r, r", [x], dtype=tl.float32, is_pure=True, pack=1
            )
    return x
