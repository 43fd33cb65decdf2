"""The harmonic field in Triton: rung 3 (the interpreter against the float64 reference) and rung 5 (a GPU)."""

import math

import pytest
import torch
import triton
import triton.language as tl

from nerfkit.kernels import use
from nerfkit.kernels.harmonic_field import FieldSpec, FieldWeights, harmonic_density, harmonic_field, harmonic_render
from nerfkit.kernels.harmonic_field.triton_operands import operand
from nerfkit.kernels.march import Samples
from tests.dry_run import fewer
from tests.kernels import ladder
from tests.kernels.approximations import Approximated
from tests.kernels.harmonic_cases import FEW, FEWER, PACKED, SPECS, Result, assert_same, bits, evaluate, make_rays
from tests.kernels.test_harmonic_field import make_weights

# The tutorial's 60 octaves hash the last bit of a position: the oracle must see the same float32 phases.
EXACT = {name: torch.float32 if name == "tutorial" else torch.float64 for name in SPECS}
SHAPES = [(32, 3), (64, 3), (32, 4)]
SEVERAL = 16  # numbers, whose error is more than luck


def depth_for(spec: FieldSpec, depth: int) -> int:
    return depth if spec.skip is None else max(depth, spec.skip + 1)


@pytest.mark.interpreted
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("composited", [True, False], ids=["render", "field"])
def test_interpreter_equals_reference(poison: None, name: str, composited: bool) -> None:
    spec = SPECS[name]
    # The interpreter takes a second for every hundred samples of phases by integers, and some for several tiles.
    counts = (PACKED if name == "default" else FEWER) if spec.omega0 == math.pi else [70, 1, 0, 40, 2]
    several = composited and name == "default"
    for width, depth in SHAPES if several else SHAPES[:1]:
        case = {"width": width, "depth": depth_for(spec, depth), "composited": composited, "counts": counts}
        assert_same(evaluate("triton", spec, **case), evaluate("reference", spec, dtype=EXACT[name], **case))


def rounded_to_tf32(x: torch.Tensor) -> torch.Tensor:
    """Float32 to 10 bits behind the point, ties away from zero, by another way than the kernels': ulps as integers."""
    mantissa, exponent = torch.frexp(x.detach().double())
    nearest = torch.floor(mantissa.abs() * 2**11 + 0.5) * mantissa.sign()
    return x + (torch.ldexp(nearest, exponent - 11).to(x.dtype) - x.detach())


@pytest.mark.interpreted
def test_tf32_operands_are_rounded_and_not_cut_off(poison: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter multiplies what it is given as float32, so that operands' rounding is all there is to see.

    It is compared with PyTorch's own field whose products are given rounded numbers: at most twice that error. Cut-off
    numbers are 6 to 8 times as wrong.
    """
    spec = SPECS["default"]._replace(precision="tf32")
    case = {"width": 64, "depth": 3}
    linear = torch.nn.functional.linear
    exact = evaluate("reference", spec, dtype=torch.float64, **case)
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda x, w, b=None: linear(rounded_to_tf32(x), rounded_to_tf32(w), b)
    )
    same = evaluate("reference", spec, **case)
    monkeypatch.undo()
    compare(evaluate("triton", spec, **case), same, exact)


@triton.jit
def round_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y_ptr + i, operand(tl.load(x_ptr + i), x_ptr, "tf32"))


@pytest.mark.interpreted
def test_rounding_to_tf32() -> None:
    ulp = 2.0**-10
    exact = [1.0, 1 + ulp, 1 + ulp / 2, -1 - ulp / 2, 1 + 0.49 * ulp, 1 + 1.5 * ulp, 1 + 1.51 * ulp, 0.0]
    odd = [math.inf, -math.inf, 1e-38, -3e38]
    x = torch.tensor([*exact, *odd, *torch.randn(20, generator=torch.Generator().manual_seed(0)).tolist()])
    y = torch.empty_like(x)
    round_kernel[(1,)](x, y, BLOCK=32)
    assert torch.equal(y[:8], torch.tensor([1, 1 + ulp, 1 + ulp, -1 - ulp, 1, 1 + 2 * ulp, 1 + 2 * ulp, 0]))
    assert torch.equal(y[8:10], x[8:10])
    assert torch.equal(y[10:], rounded_to_tf32(x[10:]))
    nan = torch.full((32,), -1 >> 1 & 0x7FFFFFFF, dtype=torch.int32).view(torch.float32)  # a GPU's: all bits set
    round_kernel[(1,)](nan, y, BLOCK=32)
    assert y.isnan().all()


@pytest.mark.interpreted
@pytest.mark.parametrize(("width", "depth"), [(32, 8), (128, 2), (256, 2), (64, 5), (32, 6), (32, 7)])
def test_interpreter_at_other_sizes(poison: None, width: int, depth: int) -> None:
    case = {"width": width, "depth": depth, "counts": FEW, "composited": True}
    spec = SPECS["softplus"]
    assert_same(evaluate("triton", spec, **case), evaluate("reference", spec, dtype=torch.float64, **case))


@pytest.mark.interpreted
@pytest.mark.parametrize("opacity", ["density", "raw"])
@pytest.mark.parametrize("early_stop", [0.0, 0.3])
@pytest.mark.parametrize("store", [False, True], ids=["recompute", "store"])
def test_interpreter_options(poison: None, opacity: str, early_stop: float, store: bool) -> None:
    def denser(weights: FieldWeights, samples: Samples) -> None:
        weights.density[1][0] += 2.0  # so that rays do stop early

    case = {"opacity": opacity, "early_stop": early_stop, "store": store, "change": denser, "counts": FEWER}
    found = evaluate("triton", SPECS["default"], **case)
    assert_same(found, evaluate("reference", SPECS["default"], dtype=torch.float64, **case))


@pytest.mark.interpreted
def test_chunks_and_parts_make_no_difference(poison: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from nerfkit.kernels.harmonic_field import triton

    whole = evaluate("triton", SPECS["default"], counts=FEWER)
    monkeypatch.setattr(triton, "CHUNK_BYTES", 2 * 3 * 32 * 4 * 64)  # 64 samples a chunk
    monkeypatch.setattr(triton, "SHARE", 32)
    monkeypatch.setattr(triton, "SPAN", 1)
    assert_same(evaluate("triton", SPECS["default"], counts=FEWER), whole, 2e-6)
    assert_same(evaluate("triton", SPECS["default"], counts=FEWER, store=True), whole, 2e-6)


@pytest.mark.interpreted
def test_no_sample_is_counted_in_two_parts(poison: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 413 / 7 = 59 samples would end within a step of the kernels that sum them."""
    from nerfkit.kernels.harmonic_field import triton

    whole = evaluate("triton", SPECS["default"])
    monkeypatch.setattr(triton, "SHARE", 1)
    monkeypatch.setattr(triton, "MOST_PARTS", 7)
    assert_same(evaluate("triton", SPECS["default"]), whole, 2e-6)


@pytest.mark.interpreted
def test_no_octaves_at_another_frequency(poison: None) -> None:
    spec = FieldSpec(octaves=0, direction_octaves=0, omega0=1.3)
    found = evaluate("triton", spec, counts=FEWER)
    assert_same(found, evaluate("reference", spec, counts=FEWER, dtype=torch.float64))


@pytest.mark.interpreted
@pytest.mark.parametrize("counts", [[5], [0, 0, 7, 0, 300, 1, 0, 129, 0, 0], [64] * 9, [0] * 200 + [3] * 500], ids=len)
def test_programs_begin_where_rays_do(counts: list[int]) -> None:
    from nerfkit.kernels.harmonic_field.triton import STARTS
    from nerfkit.kernels.harmonic_field.triton_forward import starts_kernel

    offsets, span = torch.tensor([0, *counts]).cumsum(0), 64
    total = int(offsets[-1])
    marks = torch.tensor([*range(0, total, span), total])
    starts = torch.empty_like(marks)
    grid = (triton.cdiv(len(marks), STARTS),)
    starts_kernel[grid](offsets, starts, len(counts), len(marks), total, SPAN=span, BLOCK=STARTS)
    assert torch.equal(starts, offsets[torch.searchsorted(offsets, marks)])


@pytest.mark.interpreted
def test_two_runs_are_equal_in_every_bit(poison: None) -> None:
    first, again = (evaluate("triton", SPECS["default"], counts=FEWER) for _ in range(2))
    for one, other in zip(bits(first), bits(again), strict=True):
        assert (one == other).all()


@pytest.mark.interpreted
@pytest.mark.parametrize("name", ["default", "softplus"])
def test_half_precision_is_as_good_as_pytorchs(poison: None, name: str) -> None:
    spec = SPECS[name]._replace(precision="fp16")
    exact = evaluate("reference", spec, dtype=torch.float64, width=64, depth=3)
    same = evaluate("reference", spec, width=64, depth=3, autocast=torch.float16)
    compare(evaluate("triton", spec, width=64, depth=3), same, exact)


def compare(found: Result, same_precision: Result, exact: Result, approximated: Result | None = None) -> None:
    """The errors of a few numbers are luck: those tensors may be as wrong as the worst of the others'."""
    off = exact if approximated is None else approximated
    for name in ("outputs", "gradients"):
        parts = zip(*(getattr(result, name) for result in (found, same_precision, exact, off)), strict=True)
        parts = [tuple(t.detach().double().cpu() for t in part) for part in parts]
        worst = max(float(((b - c).norm() + (d - c).norm()) / c.norm()) for _, b, c, d in parts if c.norm() > 0)
        for number, (a, b, c, d) in enumerate(parts):
            what = f"{name} {number}"
            if c.numel() >= SEVERAL:
                ladder.assert_error_at_most_twice(a.float(), b.float(), c, what, d)
            else:
                error, allowed = float((a - c).norm()), (2 * worst + torch.finfo(torch.float32).eps) * float(c.norm())
                assert error <= allowed, f"{what}: error {error:.3e} against float64, allowed {allowed:.3e}"


@pytest.mark.interpreted
def test_float16_gradients_neither_vanish_nor_overflow(poison: None) -> None:
    """A loss of 1e-9 or of 1e6 a pixel: the scale follows."""
    spec = SPECS["default"]._replace(precision="fp16")
    for factor in (1e-9, 1.0, 1e6):
        weights = make_weights(spec, 32, 2)
        x, samples, directions = make_rays(FEW)
        with use("triton"):
            rendered = harmonic_render(x, samples, directions, weights, spec)
        gradients = torch.autograd.grad(factor * rendered.color.sum(), weights.flat())
        exact = harmonic_render_reference(spec)
        for found, expected in zip(gradients, exact, strict=True):
            scale = float(expected.abs().max())
            torch.testing.assert_close(found.double() / factor, expected, rtol=0, atol=2e-2 * scale + 1e-12)


@pytest.mark.interpreted
def test_an_infinite_gradient_stays_in_its_ray(poison: None) -> None:
    """In float16 as well: it must not scale all others to nothing."""
    spec = SPECS["default"]._replace(precision="fp16")
    x, samples, directions = make_rays(FEW)
    x.requires_grad_()
    with use("triton"):
        rendered = harmonic_render(x, samples, directions, make_weights(spec, 32, 2), spec)
    incoming = torch.tensor([torch.inf, 1.0, 1.0])
    (gradient,) = torch.autograd.grad(rendered.opacity, x, incoming)
    assert gradient[3:].isfinite().all()
    assert (gradient[3:] != 0).any()


def harmonic_render_reference(spec: FieldSpec) -> tuple[torch.Tensor, ...]:
    weights = FieldWeights.unflatten(
        tuple(t.detach().double().requires_grad_() for t in make_weights(spec, 32, 2).flat())
    )
    x, samples, directions = make_rays(FEW)
    samples = Samples(*(t.double() if t.is_floating_point() else t for t in samples))
    with use("reference"):
        rendered = harmonic_render(x.double(), samples, directions.double(), weights, spec)
    return torch.autograd.grad(rendered.color.sum(), weights.flat())


@pytest.mark.interpreted
@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0], [1], [300], [0, 129, 0]], ids=str)
def test_odd_numbers_of_samples(poison: None, counts: list[int]) -> None:
    found = evaluate("triton", SPECS["default"], counts=counts, early_stop=1e-3)
    assert_same(found, evaluate("reference", SPECS["default"], counts=counts, early_stop=1e-3, dtype=torch.float64))


@pytest.mark.interpreted
@pytest.mark.parametrize("raw", [-1e4, 13.8155, 1e4], ids=["density 0", "density 1e6", "density at its bound"])
def test_extreme_densities(poison: None, raw: float) -> None:
    def change(weights: FieldWeights, samples: Samples) -> None:
        weights.density[0].zero_()
        weights.density[1][0] = raw

    found = evaluate("triton", SPECS["default"], counts=FEWER, change=change)
    assert all(t.isfinite().all() for t in (*found.outputs, *found.gradients))
    assert_same(found, evaluate("reference", SPECS["default"], counts=FEWER, change=change, dtype=torch.float64), 2e-5)


@pytest.mark.interpreted
@pytest.mark.parametrize("raw", [-1e4, 0.0])
def test_an_infinite_far_plane(poison: None, raw: float) -> None:
    def change(weights: FieldWeights, samples: Samples) -> None:
        weights.density[0].zero_()
        weights.density[1][0] = raw
        samples.t_end[samples.offsets[1:][samples.offsets.diff() > 0] - 1] = torch.inf

    found = evaluate("triton", SPECS["default"], counts=FEWER, change=change)
    assert all(t.isfinite().all() for t in (*found.outputs, *found.gradients))
    assert_same(found, evaluate("reference", SPECS["default"], counts=FEWER, change=change, dtype=torch.float64))


@pytest.mark.interpreted
def test_nan_weights_show() -> None:
    """No comparison may swallow a NaN: not ReLU, not a clamp."""
    for place in ("hidden", "density", "feature", "color"):

        def spoil(weights: FieldWeights, samples: Samples, place: str = place) -> None:
            pair = weights.hidden[0] if place == "hidden" else getattr(weights, place)
            pair[0][0, 0] = torch.nan

        found = evaluate("triton", SPECS["default"], counts=FEW, change=spoil)
        assert found.outputs[0].isnan().any(), place


@pytest.mark.interpreted
def test_density_alone(poison: None) -> None:
    for depth in (2, 3):
        weights = make_weights(SPECS["default"], 32, depth)
        x = make_rays(PACKED)[0]
        with use("triton"), torch.no_grad():
            found = harmonic_density(x, weights, SPECS["default"])
        with use("reference"), torch.no_grad():
            expected = harmonic_density(x, weights, SPECS["default"])
        torch.testing.assert_close(found, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.interpreted
def test_density_has_gradients() -> None:
    weights, x = make_weights(SPECS["default"], 32, 2), make_rays(FEW)[0].requires_grad_()
    found = []
    for backend in ("triton", "reference"):
        with use(backend):
            density = harmonic_density(x, weights, SPECS["default"])
        found.append(torch.autograd.grad(density.sum(), (x, weights.hidden[0][0])))
    torch.testing.assert_close(*found)


@pytest.mark.interpreted
def test_only_float32_is_taken() -> None:
    spec = SPECS["default"]
    weights = make_weights(spec, 32, 2)
    x, samples, directions = make_rays(FEW)
    with use("triton"):
        double = FieldWeights.unflatten(tuple(t.double() for t in weights.flat()))
        with pytest.raises(ValueError, match=r"x: expected torch.float32 for the triton backend, got torch.float64"):
            harmonic_field(x.double(), samples.offsets, directions.double(), double, spec)
        with pytest.raises(ValueError, match=r"float32 .* got torch.float64"):
            harmonic_render(x, samples._replace(t_end=samples.t_end.double()), directions, weights, spec)
        half = FieldWeights.unflatten(tuple(t.half() for t in weights.flat()))
        with pytest.raises(ValueError, match=r"float32 .* got torch.float16"):
            harmonic_density(x, half, spec)


@pytest.mark.interpreted
def test_more_rays_than_a_kernel_can_count_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from nerfkit.kernels.harmonic_field import triton

    monkeypatch.setattr(triton, "MOST_ELEMENTS", 64)
    with pytest.raises(ValueError, match="2 rays of width 32 at once, not 3"):
        evaluate("triton", SPECS["default"], counts=FEW)


@pytest.mark.interpreted
def test_sizes_without_a_kernel_are_named() -> None:
    for width, depth, message in ((48, 2, "width 32, 64, 128, 256, not 48"), (32, 9, "2 to 8 hidden layers, not 9")):
        with pytest.raises(ValueError, match=message):
            evaluate("triton", SPECS["default"], width=width, depth=depth, counts=FEW)


# Every kind of field in bfloat16, every precision at the sizes in use, every width once: each costs a compilation.
GPU_CASES = [
    *((name, "bf16", 64, 3) for name in SPECS),
    *(("default", precision, 128, 4) for precision in ("fp32", "tf32", "bf16", "fp16")),
    *(("tutorial", precision, 256, 2) for precision in ("fp32", "bf16", "fp16")),
    ("softplus", "bf16", 32, 8),
    ("default", "bf16", 256, 7),
]


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "precision", "width", "depth"), GPU_CASES)
def test_gpu_error_against_float64(poison: None, name: str, precision: str, width: int, depth: int) -> None:
    spec = SPECS[name]._replace(precision=precision)
    autocast = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    counts = [(7 * i) % 29 for i in range(fewer(2000, 100))]
    case = {"width": width, "depth": depth_for(spec, depth), "counts": counts, "device": "cuda"}
    exact = evaluate("reference", spec, **case | {"dtype": EXACT[name], "device": "cpu"})
    with Approximated():
        off = evaluate("reference", spec, **case | {"dtype": EXACT[name], "device": "cpu"})
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        same = evaluate("reference", spec, **case, autocast=autocast)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    compare(evaluate("triton", spec, **case), same, exact, off)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("store", [False, True])
def test_gpu_runs_are_equal_in_every_bit(poison: None, precision: str, store: bool) -> None:
    spec = FieldSpec(octaves=10, direction_octaves=4, precision=precision)
    counts = [(7 * i) % 29 for i in range(fewer(9000, 100))]
    case = {"width": 128, "depth": 4, "counts": counts, "device": "cuda", "store": store}
    for one, other in zip(bits(evaluate("triton", spec, **case)), bits(evaluate("triton", spec, **case)), strict=True):
        assert (one == other).all()


@pytest.mark.gpu
def test_gpu_one_ray_of_a_million_samples(poison: None) -> None:
    spec = SPECS["default"]._replace(precision="bf16")
    counts = [fewer(1_000_000, 3000)]
    found = evaluate("triton", spec, width=64, counts=counts, device="cuda", early_stop=1e-4)
    assert all(t.isfinite().all() for t in (*found.outputs, *found.gradients))
