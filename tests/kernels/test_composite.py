"""``composite``: the reference's gradients, and every backend against it: see ``ladder.py``."""

import math

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.composite import composite
from tests.kernels import ladder
from tests.kernels.approximations import Approximated

CASES = (
    "ordinary",
    "raw",
    "stopped",
    "opaque",
    "huge",
    "tiny",
    "endless",
    "endless_raw",
    "hollow",
    "one_long_ray",
    "one_sample",
    "empty_rays",
    "no_rays",
)
OUTPUTS = ("color", "opacity", "depth", "weights")
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def make(case: str, device: str = "cpu") -> tuple[Inputs, dict]:
    """Seeded float32 samples (density, color, t_start, t_end, offsets) and the keywords of one case."""
    generator = torch.Generator().manual_seed(7)
    lengths = {"one_long_ray": [1000], "one_sample": [1, 1, 1], "empty_rays": [0, 0, 5, 0, 33, 0], "no_rays": []}.get(
        case, [3, 0, 1, 31, 32, 33, 70, 2]
    )
    offsets = torch.tensor([0, *lengths]).cumsum(0)  # (R + 1,)
    count = sum(lengths)
    step = 0.01 + 0.1 * torch.rand(count, generator=generator)  # (S,)
    t_start = 0.5 + step.cumsum(0) * 0.1  # (S,)
    color = torch.rand(count, 3, generator=generator)  # (S, 3)
    density = 8 * torch.rand(count, generator=generator)  # (S,)
    density[::5] = 0
    if case == "opaque":  # the first sample of every other ray, one in the middle of the rest
        opaque = offsets[:-1] + offsets.diff() // 2
        opaque[::2] = offsets[:-1][::2]
        density[opaque[offsets.diff() > 0]] = math.inf
    if case == "huge":
        density *= 1e6
    if case in ("tiny", "one_long_ray"):
        density *= 1e-6 if case == "tiny" else 0.02
    if case == "hollow":  # intervals without length, of every density
        step[::3] = 0
        density[:: 3 * 2], density[:: 3 * 5] = math.inf, 1e6
    t_end = t_start + step
    if case.startswith("endless"):  # the last interval of each ray: opaque, empty, and in between
        last = offsets[1:][offsets.diff() > 0] - 1
        t_end[last] = math.inf
        t_end[last[::4]] = 3e12
        if case == "endless":
            density[last[1::3]], density[last[2::3]] = 0, density[last[2::3]] * 1e-11
    raw = {"opacity": "raw"}
    keywords = {"raw": raw, "endless_raw": raw, "stopped": {"early_stop": 0.2}}.get(case, {})
    inputs = (density, color, t_start, t_end, offsets)
    return tuple(x.to(device) for x in inputs), keywords


def outputs_and_gradients(inputs: Inputs, keywords: dict, wanted: tuple[str, ...] = OUTPUTS) -> dict[str, torch.Tensor]:
    """The four results, and the gradients of a seeded weighting of the ``wanted`` ones."""
    density, color, *rest = inputs
    density, color = density.clone().requires_grad_(), color.clone().requires_grad_()
    result = composite(density, color, *rest, **keywords)
    generator = torch.Generator().manual_seed(11)
    weighting = {name: torch.randn(getattr(result, name).shape, generator=generator) for name in OUTPUTS}
    torch.autograd.backward(
        [getattr(result, name) for name in wanted], [weighting[name].to(density) for name in wanted]
    )
    gradients = {"d_density": density.grad, "d_color": color.grad}
    return {name: getattr(result, name).detach() for name in OUTPUTS} | gradients


def double(inputs: Inputs) -> Inputs:
    *floats, offsets = inputs
    return (*(x.double() for x in floats), offsets)


def assert_agrees(backend: str, case: str, wanted: tuple[str, ...] = OUTPUTS) -> None:
    inputs, keywords = make(case)
    with use("reference"):
        expected = outputs_and_gradients(double(inputs), keywords, wanted)
    with use(backend):
        actual = outputs_and_gradients(inputs, keywords, wanted)
    for name, value in expected.items():
        if value is None:
            assert actual[name] is None, name
            continue
        assert value.isfinite().all(), name
        assert actual[name].dtype == torch.float32
        endless = inputs[3] > 1e10  # their gradients are 1e10 times those of the others
        for part in (endless, ~endless) if name == "d_density" else (slice(None),):
            mine, exact = actual[name][part].double(), value[part]
            scale = exact.abs().max().item() if exact.numel() else 1.0
            torch.testing.assert_close(
                mine, exact, rtol=2e-6, atol=3e-7 * scale, msg=lambda text, name=name: f"{name}: {text}"
            )


# Rung 1: the reference, against float64 finite differences.


@pytest.mark.parametrize("keywords", [{}, {"opacity": "raw"}, {"early_stop": 0.2}], ids=["density", "raw", "stopped"])
def test_gradcheck_of_the_reference(keywords):
    inputs, _ = make("empty_rays")
    density, color, *rest = double(inputs)
    density = density + 0.05  # the cases hold zeros, where a finite difference would leave the domain

    def all_outputs(density: torch.Tensor, color: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with use("reference"):
            return tuple(composite(density, color, *rest, **keywords))

    assert torch.autograd.gradcheck(all_outputs, (density.requires_grad_(), color.requires_grad_()))


def test_gradcheck_of_endless_intervals():
    """By their optical depths: a density's step in a finite difference would be 1e10 times too long."""
    inputs, _ = make("endless")
    _, color, t_start, t_end, offsets = double(inputs)
    length = torch.where(t_end > 1e10, 1e10, t_end - t_start)  # (S,)
    tau = 0.05 + torch.rand(len(length), generator=torch.Generator().manual_seed(3)).double()  # (S,)

    def all_outputs(tau: torch.Tensor, color: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with use("reference"):
            return tuple(composite(tau / length, color, t_start, t_end, offsets))

    assert torch.autograd.gradcheck(all_outputs, (tau.requires_grad_(), color.requires_grad_()), fast_mode=True)


# Rung 2: the CPU kernel.


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("case", CASES)
def test_cpu_agrees(case, poison):
    assert_agrees("cpu", case)


@pytest.mark.parametrize("wanted", [(name,) for name in OUTPUTS], ids=OUTPUTS)
def test_cpu_gradient_of_each_output_alone(wanted, poison):
    assert_agrees("cpu", "stopped", wanted)


def test_cpu_gives_only_the_gradients_asked_for():
    (density, color, *rest), _ = make("ordinary")
    full = outputs_and_gradients((density, color, *rest), {}, ("opacity", "color"))
    generator = torch.Generator().manual_seed(11)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in (("color", (8, 3)), ("opacity", (8,)))}
    density.requires_grad_()
    result = composite(density, color, *rest)
    torch.autograd.backward([result.opacity, result.color], [weights["opacity"], weights["color"]])
    assert torch.equal(density.grad, full["d_density"])
    assert color.grad is None


@pytest.mark.usefixtures("all_threads")
def test_cpu_does_not_depend_on_the_number_of_threads():
    import numba

    inputs, keywords = make("ordinary")
    available = numba.get_num_threads()
    several = outputs_and_gradients(inputs, keywords)
    numba.set_num_threads(1)
    try:
        single = outputs_and_gradients(inputs, keywords)
    finally:
        numba.set_num_threads(available)
    assert all(torch.equal(several[name], single[name]) for name in single)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_nan_stays_in_its_ray(backend):
    inputs, keywords = make("ordinary")
    with use(backend):
        clean = outputs_and_gradients(inputs, keywords)
        density, *rest = inputs
        offsets = rest[-1]
        broken = density.clone()
        broken[offsets[4] + 3] = math.nan
        dirty = outputs_and_gradients((broken, *rest), keywords)
    others = torch.arange(len(offsets) - 1) != 4
    elsewhere = torch.repeat_interleave(others, offsets.diff())
    assert dirty["color"][4].isnan().all()
    for name in clean:
        keep = others if name in ("color", "opacity", "depth") else elsewhere
        assert torch.equal(dirty[name][keep], clean[name][keep]), name


def test_views_that_are_not_contiguous():
    inputs, keywords = make("ordinary")
    density, color, t_start, t_end, offsets = inputs
    strided = torch.stack([density, t_start, t_end], 1)
    views = (strided[:, 0], color.t().contiguous().t(), strided[:, 1], strided[:, 2], offsets)
    expected, actual = outputs_and_gradients(inputs, keywords), outputs_and_gradients(views, keywords)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_compiled_kernels_take_float32_only():
    inputs, _ = make("one_sample")
    with use("cpu"), pytest.raises(ValueError, match="float32"):
        composite(*double(inputs))


# Rung 3: Triton in its interpreter.


@pytest.mark.interpreted
@pytest.mark.parametrize("case", CASES)
def test_triton_agrees(case, poison):
    assert_agrees("triton", case)


@pytest.mark.interpreted
@pytest.mark.parametrize("wanted", [(name,) for name in OUTPUTS], ids=OUTPUTS)
def test_triton_gradient_of_each_output_alone(wanted, poison):
    assert_agrees("triton", "stopped", wanted)


# Rung 4: Triton compiled, inside its budget.

FORWARD = {
    "density_ptr": "*fp32",
    "color_ptr": "*fp32",
    "t_start_ptr": "*fp32",
    "t_end_ptr": "*fp32",
    "offsets_ptr": "*i64",
    "early_stop": "fp32",
    "pixel_ptr": "*fp32",
    "opacity_ptr": "*fp32",
    "depth_ptr": "*fp32",
    "weights_ptr": "*fp32",
    "behind_ptr": "*fp32",
    "used_ptr": "*i32",
}
BACKWARD = {
    **{f"{name}_ptr": "*fp32" for name in ("color", "t_start", "t_end", "weights", "behind")},
    **{f"d_{name}_ptr": "*fp32" for name in ("pixel", "opacity", "depth", "weights", "density", "color")},
    "offsets_ptr": "*i64",
    "used_ptr": "*i32",
}


@pytest.mark.slow
@pytest.mark.parametrize("by_length", [True, False], ids=["density", "raw"])
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budgets(target, by_length):
    from nerfkit.kernels.composite import triton

    shape = {"BY_LENGTH": by_length, "BLOCK": triton.BLOCK}
    switches = ("HAS_PIXEL", "HAS_OPACITY", "HAS_DEPTH", "HAS_WEIGHTS", "TO_DENSITY", "TO_COLOR")
    everything = shape | dict.fromkeys(switches, True)
    warps = {"num_warps": triton.WARPS}
    ladder.check_budget("composite.forward", target, triton.forward_kernel, FORWARD, shape, **warps)
    ladder.check_budget("composite.backward", target, triton.backward_kernel, BACKWARD, everything, **warps)


# Rung 5: on a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_gpu(case, poison):
    inputs, keywords = make(case, "cuda")
    actual, again = outputs_and_gradients(inputs, keywords), outputs_and_gradients(inputs, keywords)
    with use("reference"):
        peer = outputs_and_gradients(inputs, keywords)
        exact = outputs_and_gradients(double(inputs), keywords)
        with Approximated():
            off = outputs_and_gradients(double(inputs), keywords)
    for name in actual:
        assert torch.equal(actual[name], again[name]), name
        ladder.assert_error_at_most_twice(actual[name], peer[name], exact[name], name, off[name])
