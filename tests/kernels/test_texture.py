"""Texture look-ups: the ladder (see ``ladder.py``), and derivatives where they jump."""

import numba
import pytest
import torch
from torch.testing import assert_close

from nerfkit.kernels import use
from nerfkit.kernels.texture import mipmaps, sample_texture
from tests.kernels import ladder

# Textures (none: one for all samples), height, width, channels, samples of each, whether levels are given.
CASES = {
    "one_texel": (None, 1, 1, 3, 40, True),
    "one_row": (None, 1, 7, 3, 60, True),
    "bilinear": (None, 5, 2, 1, 60, False),
    "odd": (None, 11, 6, 3, 150, True),
    "batch": (2, 7, 5, 3, 60, True),
    "batch_bilinear": (3, 4, 4, 2, 40, False),
    "many_channels": (None, 6, 6, 19, 40, True),
    "large": (None, 67, 130, 3, 900, True),
    "empty": (None, 3, 4, 3, 0, True),
}
SMALL = [name for name in CASES if name != "large"]
NAMES = ("image", "texture", "uv", "level")


def make(case, device="cpu"):
    """Some coordinates lie outside [0,1], some on texels' centers, and some levels outside the pyramid."""
    count, height, width, channels, samples, mipped = CASES[case]
    generator = torch.Generator().manual_seed(5)
    texture = torch.rand(count or 1, height, width, channels, generator=generator)
    uv = 1.3 * torch.rand(count or 1, samples, 2, generator=generator) - 0.15
    size = torch.tensor([width, height])
    uv[:, ::5] = ((uv[:, ::5] * size).floor() + 0.5) / size
    covered = torch.rand(uv.shape[:-1], generator=generator) > 0.3
    level = 1.5 * max(height, width).bit_length() * torch.rand(uv.shape[:-1], generator=generator) - 0.5
    level[:, 1::5] = level[:, 1::5].floor()
    inputs = (texture if count else texture[0], uv, covered, level if mipped else None)
    return tuple(None if x is None else x.to(device) for x in inputs)


def results(backend, dtype, inputs):
    """The image and its gradients, for a seeded weighting."""
    texture, uv, covered, level = inputs
    leaves = [None if x is None else x.to(dtype, copy=True).requires_grad_() for x in (texture, uv, level)]
    with use(backend):
        image = sample_texture(leaves[0], leaves[1], covered, leaves[2])
    weight = torch.rand(image.shape, generator=torch.Generator().manual_seed(6)).to(image)
    (image * weight).sum().backward()
    return [image.detach(), *(None if x is None else x.grad for x in leaves)]


def assert_agrees(backend, case):
    inputs = make(case)
    for name, actual, exact in zip(
        NAMES, results(backend, torch.float32, inputs), results("reference", torch.float64, inputs), strict=True
    ):
        if exact is None:
            assert actual is None
            continue
        assert actual.dtype == torch.float32, name
        assert actual.shape == exact.shape, name
        scale = exact.abs().max().item() if exact.numel() else 1.0
        assert_close(actual.double(), exact, rtol=1e-6, atol=1e-6 * scale, msg=lambda m, name=name: f"{name}: {m}")


# Rung 1: the reference, against float64 finite differences, the library, and by hand.


@pytest.mark.slow
@pytest.mark.parametrize("mipped", [False, True])
def test_reference_gradcheck(mipped):
    texture, uv, covered, level = make("odd")
    inputs = (texture, uv[:, 2::5], level[:, 2::5])  # away from the jumps, which float32 rounding has moved
    leaves = [x.double().requires_grad_() for x in inputs[: 2 + mipped]]

    def function(texture, uv, level=None):
        return sample_texture(texture, uv, covered[:, 2::5], level)

    assert torch.autograd.gradcheck(function, leaves)


def test_reference_is_the_librarys():
    """PyTorch's own sampler, in its coordinates."""
    texture, uv, _, _ = make("odd")
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)[None]
    expected = torch.nn.functional.grid_sample(
        texture.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False
    )
    with use("reference"):
        assert_close(sample_texture(texture, uv), expected[0].permute(1, 2, 0))


def test_reference_pyramid_is_the_librarys_where_sizes_are_even():
    texture = torch.rand(2, 8, 16, 3, generator=torch.Generator().manual_seed(0))
    with use("reference"):
        levels = mipmaps(texture)
    expected = texture.permute(0, 3, 1, 2)
    assert [tuple(x.shape[1:3]) for x in levels] == [(8, 16), (4, 8), (2, 4), (1, 2), (1, 1)]
    for level in levels[1:4]:
        expected = torch.nn.functional.avg_pool2d(expected, 2)
        assert_close(level.permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_odd_sizes_are_weighed_by_area(backend):
    with use(backend):
        levels = mipmaps(torch.tensor([0.0, 1, 2, 3, 4])[None, :, None])
        assert_close(levels[1][0, :, 0], torch.tensor([0 * 2 + 1 * 2 + 2 * 1, 2 * 1 + 3 * 2 + 4 * 2]) / 5)
        for level in mipmaps(make("large")[0]):
            assert_close(level.mean((0, 1)), make("large")[0].mean((0, 1)))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_levels_by_hand(backend):
    """At a level's texels' centers its texels come back; half way between two levels their mean; beyond, the last."""
    texture, _, _, _ = make("odd")
    with use(backend):
        levels = mipmaps(texture)
        height, width, _ = levels[1].shape
        i, j = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        uv = torch.stack([(j + 0.5) / width, 1 - (i + 0.5) / height], -1)
        ones = torch.ones(uv.shape[:-1])
        look = lambda level: sample_texture(texture, uv, level=level * ones)  # noqa: E731
        assert_close(look(1.0), levels[1])
        assert_close(look(1.5), (look(1.0) + look(2.0)) / 2)
        assert_close(look(-3.0), sample_texture(texture, uv))
        assert_close(look(float("nan")), sample_texture(texture, uv))
        for beyond in (3.0, 50.0, float("inf")):
            assert_close(look(beyond), texture.mean((0, 1)).expand_as(levels[1]))


# Rung 2: the CPU kernel.


@pytest.mark.usefixtures("all_threads")
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_cpu_equals_reference(case):
    assert_agrees("cpu", case)


def pyramid_and_gradient(backend, dtype, shape):
    texture = torch.rand(shape, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
    with use(backend):
        levels = mipmaps(texture)
    generator = torch.Generator().manual_seed(2)
    sum((x * torch.rand(x.shape, generator=generator).to(dtype)).sum() for x in levels).backward()
    return *levels, texture.grad


PYRAMIDS = [(1, 1, 3), (13, 8, 3), (2, 5, 7, 2), (4, 1, 1), (1, 6, 9, 17)]


def assert_pyramids_agree(backend, shape):
    found = pyramid_and_gradient(backend, torch.float32, shape)
    expected = pyramid_and_gradient("reference", torch.float64, shape)
    for actual, exact in zip(found, expected, strict=True):
        assert_close(actual.double(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("shape", PYRAMIDS)
def test_cpu_pyramid_equals_reference(shape):
    assert_pyramids_agree("cpu", shape)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_derivatives_at_kinks_are_central_differences(backend):
    jumps_are_halved(backend)


def jumps_are_halved(backend):
    """On every texel's center, on the borders between texels, and at the edges of the clamped region."""
    texture = torch.rand(4, 8, 1, generator=torch.Generator().manual_seed(3))
    u = torch.arange(-1, 18) / 16  # every half texel, exact in binary
    v = torch.arange(-1, 10) / 8
    uv = torch.stack(torch.meshgrid(u, v, indexing="ij"), -1).reshape(-1, 2).requires_grad_()
    with use(backend):
        sample_texture(texture, uv).sum().backward()
        step = 2.0**-10
        for axis in range(2):
            move = step * torch.eye(2)[axis]
            after, before = (sample_texture(texture, uv.detach() + sign * move) for sign in (1, -1))
            slope = ((after - before) / (2 * step))[:, 0]
            assert slope.abs().max() > 1
            assert_close(uv.grad[:, axis], slope, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("all_threads")
def test_threads_do_not_change_a_bit():
    inputs = make("large")
    before = numba.get_num_threads()
    outcomes = []
    for threads in (1, before):
        numba.set_num_threads(threads)
        outcomes.append(results("cpu", torch.float32, inputs))
    for one, many in zip(*outcomes, strict=True):
        assert torch.equal(one, many)


def gradients_asked_for(backend, asked):
    inputs = make("batch")
    full = results(backend, torch.float32, inputs)[1 + asked]
    texture, uv, covered, level = (x.clone() for x in inputs)
    leaf = (texture, uv, level)[asked].requires_grad_()
    with use(backend):
        image = sample_texture(texture, uv, covered, level)
    image.backward(torch.rand(image.shape, generator=torch.Generator().manual_seed(6)))
    assert torch.equal(leaf.grad, full)


@pytest.mark.parametrize("asked", range(3))
def test_only_the_gradients_asked_for(asked):
    gradients_asked_for("cpu", asked)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_bad_coordinates_harm_nobody(backend):
    bad_coordinates(backend)


def bad_coordinates(backend):
    nan, inf = float("nan"), float("inf")
    texture = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(4)).requires_grad_()
    uv = torch.tensor([[nan, 0.5], [1e30, -1e30], [inf, -inf], [0.3, nan], [0.4, 0.6]], requires_grad=True)
    level = torch.tensor([0.5, nan, inf, -inf, 1.5], requires_grad=True)
    with use(backend):
        image = sample_texture(texture, uv, level=level)
        image.sum().backward()
    assert_close(image[1], texture[-1, -1])
    for values in (image, texture.grad, uv.grad, level.grad):
        assert torch.isfinite(values).all()
    assert not uv.grad[1:3].any()
    assert uv.grad[4].all()


@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float32), (torch.float32, torch.float64)])
def test_reference_of_mixed_dtypes(dtypes):
    texture, uv, covered, level = make("odd")
    leaves = [x.to(dtype).requires_grad_() for x, dtype in zip((texture, uv), dtypes, strict=True)]
    with use("reference"):
        image = sample_texture(*leaves, covered, level)
        exact = sample_texture(texture.double(), uv.double(), covered, level)
    assert_close(image, exact)
    image.sum().backward()
    assert [x.grad.dtype for x in leaves] == list(dtypes)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_nothing_covered(backend):
    texture, uv, covered, level = make("odd")
    texture.requires_grad_()
    with use(backend):
        image = sample_texture(texture, uv, torch.zeros_like(covered), level)
        image.sum().backward()
    assert not image.any()
    assert not texture.grad.any()


def test_constant_textures_stay_constant():
    _, uv, _, level = make("large")
    values = sample_texture(torch.full((67, 130, 1), 0.3), uv, level=level)
    assert_close(values, torch.full_like(values, 0.3), rtol=3e-7, atol=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texture": torch.zeros(0, 4, 3)}, r"texture: expected \(A,B,C\)"),
        ({"texture": torch.zeros(3, 4)}, r"texture: expected \(A,B,C\)"),
        ({"texture": torch.zeros(3, 4, 0)}, r"texture: expected \(A,B,C\)"),
        ({"texture": torch.zeros(3, 4, 4, 1)}, r"uv: expected \(N,...,2\) with N = 3"),
        ({"uv": torch.zeros(5, 3)}, r"uv: expected floats of shape \(...,2\)"),
        ({"covered": torch.zeros(4, dtype=torch.bool)}, r"covered: expected .*\(5,\)"),
        ({"level": torch.zeros(5, 1)}, r"level: expected .*\(5,\)"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"texture": torch.zeros(3, 4, 3), "uv": torch.zeros(5, 2)} | change
    with pytest.raises(ValueError, match=message):
        sample_texture(**arguments)


# Rung 3: Triton in its interpreter.


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", SMALL)
def test_triton_equals_reference(case):
    assert_agrees("triton", case)


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("shape", PYRAMIDS)
def test_triton_pyramid_equals_reference(shape):
    assert_pyramids_agree("triton", shape)


@pytest.mark.interpreted
@pytest.mark.parametrize("asked", range(3))
def test_triton_only_the_gradients_asked_for(asked):
    gradients_asked_for("triton", asked)


@pytest.mark.interpreted
def test_triton_kinks_and_bad_coordinates():
    jumps_are_halved("triton")
    bad_coordinates("triton")


# Rung 4: Triton compiled, inside its budget.

SIGNATURE = {
    **{f"{name}_ptr": "*fp32" for name in ("texels", "uv", "level", "image", "values", "texture", "smaller", "sums")},
    **{f"grad_{name}_ptr": "*fp32" for name in ("image", "uv", "level")},
    **{"table_ptr": "*i64", "cell_ptr": "*i64", "covered_ptr": "*u8"},
    **dict.fromkeys(("samples", "share", "channels", "top", "texels", "height", "width", "rows", "columns"), "i32"),
}


@pytest.mark.slow
@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budgets(target, width):
    from nerfkit.kernels.texture import pyramid_triton, triton

    tile, options = pyramid_triton.LANES // width, {"num_warps": pyramid_triton.WARPS}
    samples = {"MIPPED": True, "SAMPLES": tile, "WIDTH": width}
    texels = {"TEXELS": tile, "WIDTH": width}
    for name, kernel, shape in (
        ("forward", triton.forward_kernel, samples),
        ("slopes", triton.slopes_kernel, samples),
        ("corners", triton.corners_kernel, samples),
        ("halve", pyramid_triton.halve_kernel, texels),
        ("gather", pyramid_triton.gather_kernel, texels | {"SUMS": True, "SMALLER": True}),
    ):
        ladder.check_budget(f"texture.{name}", target, kernel, SIGNATURE, shape, **options)


# Rung 5: on a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_gpu(case, poison):
    inputs = make(case, "cuda")
    exact = results("reference", torch.float64, inputs)
    peer = results("reference", torch.float32, inputs)
    actual, again = (results("triton", torch.float32, inputs) for _ in range(2))
    for i, name in enumerate(NAMES):
        if exact[i] is not None:
            assert torch.equal(actual[i], again[i]), name
            ladder.assert_error_at_most_twice(actual[i], peer[i], exact[i], name)
