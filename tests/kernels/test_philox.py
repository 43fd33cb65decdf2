"""Philox: published test vectors, and the same bits on every backend."""

import pytest
import torch

from nerfkit.kernels import philox, use
from nerfkit.kernels.philox import Draw, reference, uniform
from tests.kernels import ladder

ALL = 0xFFFFFFFF
# Random123's kat_vectors for philox4x32-10: counter, key, result.
VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ALL, ALL, ALL, ALL), (ALL, ALL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
CASES = [(Draw(0, 0), 0, 1), (Draw(2**63 - 1, 2**31 - 1, 2**31 - 257), 2**31 - 1, 4), (Draw(2**40 + 5, 1, 7), 4, 3)]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_published_vectors(counter, key, expected):
    words = reference.philox(key[0] | key[1] << 32, tuple(torch.tensor([c]) for c in counter))
    assert tuple(int(w) for w in words) == expected


def test_published_vector_in_numba():
    from nerfkit.kernels.philox import cpu

    (element, sample, step, stream), key, expected = VECTORS[2]
    words = cpu.words(key[0] | key[1] << 32, element, sample, step, stream)
    assert tuple(int(w) for w in words) == expected


def test_uniform_is_the_upper_24_bits_of_the_words():
    words = torch.stack(reference.words(Draw(11, 5, 3), philox.BACKGROUND, 3 + torch.arange(33)), -1)
    drawn = uniform(Draw(11, 5, 3), philox.BACKGROUND, 33, 4)
    assert torch.equal(drawn.double() * 2**24, (words // 256).double())
    assert drawn.dtype == torch.float32


def test_uniform_looks_uniform_and_keys_matter():
    drawn = uniform(Draw(1, 2), philox.RAYS, 20000, 2)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    torch.testing.assert_close(drawn.mean(0), torch.full((2,), 0.5), rtol=0, atol=0.01)
    torch.testing.assert_close(drawn.var(0), torch.full((2,), 1 / 12), rtol=0, atol=0.003)
    assert abs(torch.corrcoef(drawn.T)[0, 1]) < 0.03
    for other in (uniform(Draw(2, 2), 0, 20000), uniform(Draw(1, 3), 0, 20000), uniform(Draw(1, 2), 1, 20000)):
        assert abs(torch.corrcoef(torch.stack([drawn[:, 0], other[:, 0]]))[0, 1]) < 0.03


def assert_bits(backend, device="cpu"):
    for draw, stream, per in CASES:
        for count in (0, 1, 257):
            with use("reference"):
                expected = uniform(draw, stream, count, per)
            with use(backend):
                actual = uniform(draw, stream, count, per, device)
            assert torch.equal(actual.cpu(), expected)


def test_cpu_bits(poison):
    assert_bits("cpu")


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_pieces_draw_what_the_whole_draws(backend):
    with use(backend):
        whole = uniform(Draw(3, 4), philox.JITTER, 50, 2)
        pieces = [uniform(Draw(3, 4, first), philox.JITTER, 25, 2) for first in (0, 25)]
    assert torch.equal(torch.cat(pieces), whole)


@pytest.mark.parametrize(
    ("draw", "stream", "count", "per", "message"),
    [
        (Draw(-1, 0), 0, 1, 1, "seed"),
        (Draw(2**63, 0), 0, 1, 1, "seed"),
        (Draw(0, 2**31), 0, 1, 1, "step"),
        (Draw(0, 0, 2**31 - 1), 0, 2, 1, "ray numbers"),
        (Draw(0, 0), -1, 1, 1, "stream"),
        (Draw(0, 0), 0, 1, 5, "per"),
        (Draw(0, 0), 0, -1, 1, "count"),
    ],
)
def test_wrong_arguments(draw, stream, count, per, message):
    with pytest.raises(ValueError, match=message):
        uniform(draw, stream, count, per)


@pytest.mark.interpreted
def test_triton_bits(poison):
    assert_bits("triton")


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budget(target):
    from nerfkit.kernels.philox import triton

    signature = {"out": "*fp32", "seed": "i64", "step": "i32", "stream": "i32", "first": "i32", "count": "i32"}
    ladder.check_budget("philox.uniform", target, triton.uniform_kernel, signature, {"PER": 4, "BLOCK": 256})


@pytest.mark.gpu
def test_gpu_bits(poison):
    assert_bits("triton", "cuda")
