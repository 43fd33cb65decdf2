"""Sums by key on the device: exact against a sum by hand, long segments, keys without rows, the same bits twice."""

import pytest
import torch

from tests.dry_run import fewer
from tests.kernels import ladder

segments = pytest.importorskip("nerfkit.kernels.segments", reason="Triton is not installed")

CASES = {
    "ordinary": (40, 7, (3,)),
    "one_channel": (40, 7, ()),
    "many_channels": (30, 5, (5, 9)),  # more than a program's width
    "sparse": (5, 60, (2,)),  # most keys have no row
    "long": (70, 3, (3,)),  # with CHUNK made small: segments of several chunks
    "one_key": (67, 1, (2,)),
    "no_rows": (0, 4, (3,)),
    "no_keys": (6, 0, (3,)),
    "no_channels": (6, 2, (0,)),
}


def make(case, dtype, device="cpu"):
    rows, size, shape = CASES[case]
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(rows, *shape, generator=generator, dtype=torch.float64).to(dtype)
    keys = torch.randint(-1, size + 1, (rows,), generator=generator)  # some lie outside
    if case == "one_key":
        keys = torch.zeros(rows, dtype=torch.int64)
    return values.to(device), keys.to(device), size


def by_hand(values, keys, size):
    values = values.double().cpu()
    expected = values.new_zeros(size, *values.shape[1:])
    for key, row in zip(keys.tolist(), values, strict=True):
        if 0 <= key < size:
            expected[key] += row
    return expected


def check(case, dtype, device):
    values, keys, size = make(case, dtype, device)
    result = segments.segment_sum(values, keys, size)
    assert result.dtype == dtype
    tolerance = 1e-7 if dtype == torch.float32 else 1e-15
    torch.testing.assert_close(result.double().cpu(), by_hand(values, keys, size), rtol=tolerance, atol=5 * tolerance)
    assert torch.equal(result, segments.segment_sum(values, keys, size))


# Rung 3: the interpreter.


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_interpreted(case, dtype, monkeypatch):
    if case in ("long", "one_key"):
        monkeypatch.setattr(segments, "CHUNK", 4)
        monkeypatch.setattr(segments, "LANES", 8)
    check(case, dtype, "cpu")


@pytest.mark.interpreted
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=["int32", "int64"])
def test_order_is_kept_and_reused(dtype):
    keys = torch.tensor([2, 0, 2, 9, 1, 0, -1], dtype=dtype)
    made = segments.Segments.of(keys, 4)
    assert made.order[made.offsets[0] : made.offsets[4]].tolist() == [1, 5, 4, 0, 2]
    assert made.offsets.tolist() == [1, 3, 4, 6, 6]
    for power in (1, 2):
        values = torch.arange(7.0) ** power
        assert made.sum(values).tolist() == [1 + 5**power, 4**power, 2**power, 0]


@pytest.mark.interpreted
def test_float32_sums_keep_what_float32_would_lose():
    values = torch.tensor([2.0**30, 1.0, -(2.0**30), 1.0])
    assert segments.segment_sum(values, torch.zeros(4, dtype=torch.int64), 1).tolist() == [2.0]


def test_bad_input():
    with pytest.raises(ValueError, match="keys"):
        segments.segment_sum(torch.ones(3), torch.ones(3), 2)
    with pytest.raises(ValueError, match="keys"):
        segments.segment_sum(torch.ones(3), torch.ones(3, 1, dtype=torch.int64), 2)
    with pytest.raises(ValueError, match="values"):
        segments.segment_sum(torch.ones(2), torch.ones(3, dtype=torch.int64), 2)
    with pytest.raises(ValueError, match="values"):
        segments.segment_sum(torch.ones(3, dtype=torch.int32), torch.ones(3, dtype=torch.int64), 2)


# Rung 4: compiled without a GPU.


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
@pytest.mark.parametrize("name", ["short", "chunk", "long"])
def test_budget(name, target):
    kernel = getattr(segments, f"{name}_kernel")
    types = {"order_ptr": "*i64", "offsets_ptr": "*i64", "chunk_segment_ptr": "*i64", "chunk_end_ptr": "*i64"}
    types |= {"values_ptr": "*fp32", "result_ptr": "*fp32", "partial_ptr": "*fp64", "size": "i32", "channels": "i32"}
    rows = {"SEGMENTS": 8} if name == "short" else {"ROWS": 8}
    constants = {"CHUNK": segments.CHUNK, "WIDTH": 16} | rows
    ladder.check_budget(f"segments.{name}", target, kernel, types, constants, num_warps=segments.WARPS)


# Rung 5: on a GPU.


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("case", CASES)
def test_gpu(case):
    check(case, torch.float32, "cuda")
    check(case, torch.float64, "cuda")


@pytest.mark.gpu
def test_gpu_one_long_segment_among_short_ones():
    long, short = fewer(200_000, 20_000), fewer(50_000, 5000)
    generator = torch.Generator().manual_seed(5)
    keys = torch.cat([torch.zeros(long, dtype=torch.int64), torch.arange(short)])
    keys = keys[torch.randperm(len(keys), generator=generator)]
    values = torch.randn(len(keys), 12, generator=generator)
    expected = torch.zeros(short, 12, dtype=torch.float64).index_add_(0, keys, values.double())
    result = segments.segment_sum(values.cuda(), keys.cuda(), short)
    torch.testing.assert_close(result.double().cpu(), expected, rtol=1e-6, atol=1e-5)
    assert torch.equal(result, segments.segment_sum(values.cuda(), keys.cuda(), short))
