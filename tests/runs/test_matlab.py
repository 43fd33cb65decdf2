"""MAT files as SciPy writes them, and by hand: both byte orders, packed, in tags."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from nerfkit.runs import matlab
from nerfkit.runs.matlab import matrices
from nerfkit.runs.untrusted import RefusedError


def written(content: dict[str, Any], packed: bool = False) -> bytes:
    """A MAT file of level 5."""
    file = io.BytesIO()
    savemat(file, content, do_compression=packed)
    return file.getvalue()


CONTENT = {
    "grid": np.random.default_rng(0).random((3, 4, 5)) > 0.5,
    "box": np.array([[-1.5, 2, 3], [4, 5, 6]]),
    "one": np.float32(0.25),
    "small": np.array([[1, -2]], np.int8),
    "text": "abc",
    "nest": {"a": 1},
}


@pytest.mark.parametrize("packed", [False, True])
def test_matrices_as_scipy_writes_and_reads_them(packed: bool) -> None:
    data = written(CONTENT, packed)
    expected, found = loadmat(io.BytesIO(data)), matrices(data, ("grid", "box", "one", "small", "absent"))
    assert set(found) == {"grid", "box", "one", "small"}
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name])
    assert found["grid"].shape == (3, 4, 5) and found["one"].shape == (1, 1)


@pytest.mark.parametrize("order", "<>")
def test_numbers_in_a_smaller_type_and_in_a_tag(order: str) -> None:
    """As MATLAB writes doubles that are small whole numbers; of both byte orders."""
    parts = struct.pack(f"{order}4I", 6, 8, 6, 0) + struct.pack(f"{order}2I2i", 5, 8, 1, 4)
    parts += struct.pack(f"{order}I4s", 1 << 16 | 1, b"P")
    parts += struct.pack(f"{order}I4B", 4 << 16 | 2, 7, 0, 255, 1)
    head = b"by hand".ljust(124) + struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    data = head + struct.pack(f"{order}2I", 14, len(parts)) + parts
    np.testing.assert_array_equal(loadmat(io.BytesIO(data))["P"], [[7, 0, 255, 1]])
    np.testing.assert_array_equal(matrices(data, "P")["P"], [[7, 0, 255, 1]])


def test_what_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("text", "nest"):
        with pytest.raises(RefusedError, match=f"{name} holds other things than real numbers"):
            matrices(written(CONTENT), (name,))
    with pytest.raises(RefusedError, match="holds other things"):
        matrices(written({"a": np.array([1j])}), "a")
    with pytest.raises(RefusedError, match="of level 5"):
        matrices(b"MATLAB 7.3".ljust(124) + b"\0\2IM", "a")
    plain = written({"a": np.arange(6.0)})
    place = plain.index(struct.pack("<2i", 1, 6))
    with pytest.raises(RefusedError, match=r"a says that it is \[1, 7\], with 48 bytes of float64"):
        matrices(plain[:place] + struct.pack("<2i", 1, 7) + plain[place + 8 :], "a")
    with pytest.raises(RefusedError, match="announced that are not there"):
        matrices(plain[:-9], "a")
    monkeypatch.setattr(matlab, "ROOM", 1000)
    monkeypatch.setattr(matlab, "RATIO", 1)
    with pytest.raises(RefusedError, match="unpacks to more"):
        matrices(written({"a": np.zeros(400)}, packed=True), "a")
