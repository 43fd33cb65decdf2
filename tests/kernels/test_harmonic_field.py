"""The harmonic field: rungs 1 and 2 of the ladder."""

import math
import re

import numpy as np
import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.harmonic_field import FieldSpec, FieldWeights, harmonic_density, harmonic_field
from nerfkit.kernels.harmonic_field.reference import embed

SPECS = {
    "default": FieldSpec(),
    "softplus": FieldSpec(octaves=3, direction_octaves=2, activation="softplus", density_activation="softplus"),
    "tutorial": FieldSpec(60, 60, 0.1, False, "softplus", "softplus", 10.0),
    "one octave, no input": FieldSpec(octaves=1, direction_octaves=1, append_input=False),
    "fed in again": FieldSpec(octaves=2, skip=1),
    "fed in again, softplus": FieldSpec(octaves=9, skip=2, activation="softplus", omega0=1.7),
    "softplus density": FieldSpec(octaves=4, density_activation="softplus"),
}


def make_weights(
    spec: FieldSpec, width: int, depth: int, dtype: torch.dtype = torch.float32, columns: int | None = None
) -> FieldWeights:
    """Seeded weights; ``columns`` is the width of the color layer where it is another."""
    columns = columns or width
    generator = torch.Generator().manual_seed(3)

    def layer(outputs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
        matrix = torch.randn(outputs, inputs, generator=generator, dtype=dtype) / math.sqrt(inputs)
        bias = 0.1 * torch.randn(outputs, generator=generator, dtype=dtype)
        return matrix.requires_grad_(), bias.requires_grad_()

    inputs = [spec.position_size] + [width] * (depth - 1)
    if spec.skip is not None:
        inputs[spec.skip] += spec.position_size
    hidden = tuple(layer(width, size) for size in inputs)
    direction = layer(columns, spec.direction_size)[0]
    return FieldWeights(hidden, layer(1, width), layer(columns, width), direction, layer(3, columns))


def make_samples(counts: list[int], dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    offsets = torch.tensor([0, *np.cumsum(counts)], dtype=torch.int64)
    x = torch.rand(int(offsets[-1]), 3, generator=generator, dtype=dtype) * 2 - 1
    directions = torch.nn.functional.normalize(torch.randn(len(counts), 3, generator=generator, dtype=dtype), dim=-1)
    return x, offsets, directions


def test_embedding_by_hand() -> None:
    x = torch.tensor([[0.25, -0.5, 1.0]], dtype=torch.float64)
    e = embed(x, 2, math.pi, True)[0]
    expected = []
    for value in (0.25, -0.5, 1.0):
        expected += [math.sin(math.pi * value), math.sin(2 * math.pi * value)]
        expected += [math.cos(math.pi * value), math.cos(2 * math.pi * value)]
    torch.testing.assert_close(e, torch.tensor([*expected, 0.25, -0.5, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("name", ["softplus", "one octave, no input", "fed in again"])
def test_reference_gradients_against_finite_differences(name: str) -> None:
    spec = SPECS[name]._replace(activation="softplus")  # ReLU has kinks, where a difference quotient is no derivative
    weights = make_weights(spec, 4, 2, torch.float64)
    x, offsets, directions = make_samples([2, 0, 3], torch.float64)
    x.requires_grad_()
    directions.requires_grad_()

    def function(*tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return harmonic_field(tensors[0], offsets, tensors[1], FieldWeights.unflatten(tensors[2:]), spec)

    torch.autograd.gradcheck(function, (x, directions, *weights.flat()))


def assert_cpu_equals_reference(weights: FieldWeights, spec: FieldSpec, counts: list[int], exact: torch.dtype) -> None:
    """Values and all gradients of the CPU kernels against the reference's in ``exact``."""
    x, offsets, directions = make_samples(counts)
    generator = torch.Generator().manual_seed(7)
    weigh_density, weigh_color = torch.randn(len(x), generator=generator), torch.randn(len(x), 3, generator=generator)

    def both(dtype: torch.dtype, backend: str) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
        cast = FieldWeights.unflatten(tuple(t.detach().to(dtype).requires_grad_() for t in weights.flat()))
        with use(backend):
            density, color = harmonic_field(x.to(dtype), offsets, directions.to(dtype), cast, spec)
        loss = (density * weigh_density).sum() + (color * weigh_color).sum()
        return density, color, torch.autograd.grad(loss, cast.flat())

    expected, ours = both(exact, "reference"), both(torch.float32, "cpu")
    torch.testing.assert_close(ours[0], expected[0].float(), rtol=2e-5, atol=1e-5)
    torch.testing.assert_close(ours[1], expected[1].float(), rtol=2e-5, atol=1e-5)
    for found, gradient in zip(ours[2], expected[2], strict=True):
        # A ReLU whose input rounds to the other side of zero changes one sample's share of a sum over all of them.
        scale = float(gradient.abs().max()) if gradient.numel() else 0.0
        torch.testing.assert_close(found, gradient.float(), rtol=1e-4, atol=3e-4 * scale + 1e-6)


def oracle_dtype(spec: FieldSpec) -> torch.dtype:
    """float64, but for frequencies that hash the last bit of a position: they must see the same float32 phases."""
    return torch.float32 if spec.octaves > 20 else torch.float64


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("counts", [[1], [3, 0, 5, 0], [700, 1, 0, 8300, 40], [0, 0], []], ids=str)
def test_cpu_equals_reference(name: str, counts: list[int]) -> None:
    spec = SPECS[name]
    assert_cpu_equals_reference(make_weights(spec, 24, 3), spec, counts, oracle_dtype(spec))


@pytest.mark.parametrize(
    ("width", "depth", "columns"), [(1, 1, 1), (32, 1, 5), (37, 2, 70), (64, 3, 64), (130, 4, 33), (256, 2, 256)]
)
def test_cpu_equals_reference_at_any_width(width: int, depth: int, columns: int) -> None:
    spec = FieldSpec(octaves=5, activation="softplus", skip=depth - 1 if depth > 2 else None)
    weights = make_weights(spec, width, depth, columns=columns)
    assert_cpu_equals_reference(weights, spec, [130, 0, 1, 125, 300], torch.float64)


def test_more_octaves_than_the_integers_hold() -> None:
    spec = FieldSpec(octaves=66, direction_octaves=2, omega0=0.1)
    assert_cpu_equals_reference(make_weights(spec, 8, 2), spec, [3, 4], torch.float32)


def test_density_alone_is_the_density() -> None:
    spec = SPECS["default"]
    weights = make_weights(spec, 16, 2)
    x, offsets, directions = make_samples([9000, 5])
    with torch.no_grad():
        density, _ = harmonic_field(x, offsets, directions, weights, spec)
        torch.testing.assert_close(harmonic_density(x, weights, spec), density, rtol=1e-6, atol=1e-7)


def test_outputs_do_not_keep_their_graph_alive() -> None:
    import gc
    import weakref

    spec = SPECS["default"]
    weights = make_weights(spec, 16, 2)
    x, offsets, directions = make_samples([5])
    gc.disable()
    try:
        density, color = harmonic_field(x, offsets, directions, weights, spec)
        node = weakref.ref(density.grad_fn)
        del density, color
        assert node() is None
    finally:
        gc.enable()


def test_wrong_shapes_are_named() -> None:
    spec = SPECS["default"]
    weights = make_weights(spec, 8, 2)
    x, offsets, directions = make_samples([3])
    with pytest.raises(ValueError, match=r"x: expected .*\(S,3\)"):
        harmonic_field(x[:, :2], offsets, directions, weights, spec)
    with pytest.raises(ValueError, match="offsets"):
        harmonic_field(x, offsets[:1], directions, weights, spec)
    with pytest.raises(ValueError, match=r"hidden\[0\]\[0\]: expected .*\(8,21\) on cpu, got torch.float32 \(8,51\)"):
        harmonic_field(x, offsets, directions, weights, spec._replace(octaves=3))
    with pytest.raises(ValueError, match=r"directions: expected .*\(R,3\)"):
        harmonic_field(x, offsets, directions[:, :2], weights, spec)
    for end in (2, 4):  # samples that no ray owns, and samples that are not there
        with pytest.raises(ValueError, match=f"offsets: expected to run from 0 to 3, got 0 to {end}"):
            harmonic_field(x, torch.tensor([0, end]), directions, weights, spec)


def test_weights_that_do_not_fit_are_named() -> None:
    """The kernels read what the shapes promise: a tensor too small would be read beyond its end."""
    spec = SPECS["default"]
    weights = make_weights(spec, 8, 2)
    x, offsets, directions = make_samples([3])
    wrong = {
        "hidden[1][0]": {"hidden": (weights.hidden[0], (torch.zeros(9, 8), torch.zeros(9)))},
        "hidden[0][1]": {"hidden": ((weights.hidden[0][0], torch.zeros(7)), weights.hidden[1])},
        "density[0]": {"density": (torch.zeros(1, 9), torch.zeros(1))},
        "feature[1]": {"feature": (weights.feature[0], torch.zeros(1))},
        "direction": {"direction": torch.zeros(8, 5)},
        "color[0]": {"color": (torch.zeros(4, 8), torch.zeros(4))},
    }
    for name, change in wrong.items():
        with pytest.raises(ValueError, match=re.escape(f"weights.{name}: expected")):
            harmonic_field(x, offsets, directions, weights._replace(**change), spec)
    double = FieldWeights.unflatten(tuple(t.double() for t in weights.flat()))
    with torch.no_grad(), pytest.raises(ValueError, match=r"hidden\[0\]\[0\]: expected .*32 .* got .*64"):
        harmonic_density(x, double, spec)


def test_outputs_written_into_have_no_gradient() -> None:
    """The backward needs the values that came out: other ones would give other gradients, in silence."""
    weights = make_weights(SPECS["default"], 8, 2)
    density, _ = harmonic_field(*make_samples([3]), weights, SPECS["default"])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(density.mul_(2).sum(), weights.flat())


def test_sixty_octaves_are_the_exact_sines_of_the_float32_phases() -> None:
    """Python's integers as the judge: the phase v 2^k in turns, to 200 bits, for v = float32(omega0 x)."""
    from nerfkit.kernels.harmonic_field.embedding import embed_rows, waves

    spec = FieldSpec(octaves=60, omega0=0.1, append_input=False)
    x = torch.tensor([[0.3, -0.7, 1.0], [0.0, 1e-30, -3e-9], [-0.99999994, 0.123456, 2.5]])
    flat = np.empty(3 * 3 * 2 * 60, np.float32)
    embed_rows(x.numpy(), waves(spec.omega0, spec.octaves, spec.append_input), flat, 3 * 2 * 60)
    found = torch.from_numpy(flat).view(3, 3, 2, 60)
    pi = 31415926535897932384626433832795028841971693993751058209749445923  # times 10^-64
    for row in range(3):
        for axis in range(3):
            numerator, denominator = float(x[row, axis] * 0.1).as_integer_ratio()
            for k in (0, 1, 20, 31, 45, 59):
                # frac(v 2^k / (2 pi)) as a fraction of 2^53
                turn = ((numerator << (k + 53)) * 10**64 // (denominator * 2 * pi)) % 2**53 / 2**53
                expected = torch.tensor([math.sin(2 * math.pi * turn), math.cos(2 * math.pi * turn)])
                torch.testing.assert_close(found[row, axis, :, k], expected, atol=3e-7, rtol=0)
