"""The field's benchmark counts what it says it counts, and its contestants compute the same thing."""

import pytest
import torch

from benchmarks import field
from benchmarks.gpu_fields import new_weights
from benchmarks.gpu_floors import flops
from nerfkit.kernels.harmonic_field import FieldSpec


def test_flops_by_hand() -> None:
    # One octave and no input: 6 numbers into 4 columns, one more layer of 4, the color layer, density and colors.
    spec = FieldSpec(octaves=1, direction_octaves=1, append_input=False)
    forward = 6 * 4 + 4 * 4 + 4 * 4 + 4 + 3 * 4
    of_weights, of_inputs = forward, forward - 6 * 4
    assert sum(flops(spec, 4, 2)) == 2 * (forward + of_weights + of_inputs)


@pytest.mark.parametrize("samples", [1, 100, 16_384])
def test_packed_batch_has_exactly_its_samples(samples: int) -> None:
    x, offsets, directions = field.packed_batch(samples)
    assert x.shape == (samples, 3)
    assert offsets[0] == 0 and offsets[-1] == samples
    assert int(offsets.diff().min()) >= 0 and int(offsets.diff().max()) <= 13
    assert len(directions) == len(offsets) - 1


@pytest.mark.slow
@pytest.mark.parametrize("pieces_of", [3, 2])
def test_contestants_agree(pieces_of: int) -> None:
    weights = new_weights(field.TUTORIAL._replace(width=16), "cpu")
    ours, *others = (field.tutorial_gradients(name, 3, pieces_of, weights) for name in field.CONTESTANTS)
    for other in others:
        for found, expected in zip(ours, other, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
