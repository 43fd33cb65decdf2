"""LPIPS of weights in files, against its formula written out with NumPy and convolutions by hand."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfkit.errors import ConfigError
from nerfkit.fit.perceptual import BLOCKS, EXPECTED, lpips

WIDTHS = [3, *(width for block in BLOCKS for width in block)]
PLACES = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]  # of VGG-16's convolutions among its layers
BEGINS = [0, 2, 4, 7, 10]  # the convolution that each block begins with


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Weights that keep signals of one size, as VGG-16's and LPIPS' are called in two files."""
    chance, made = torch.Generator().manual_seed(0), {}
    for place, before, after in zip(PLACES, WIDTHS[:-1], WIDTHS[1:], strict=True):
        made[f"features.{place}.weight"] = torch.randn(after, before, 3, 3, generator=chance) * (2 / 9 / before) ** 0.5
        made[f"features.{place}.bias"] = 0.1 * torch.randn(after, generator=chance)
    for number, block in enumerate(BLOCKS):
        made[f"lin{number}.model.1.weight"] = torch.rand(1, block[-1], 1, 1, generator=chance)
    return made


def by_hand(x: np.ndarray, y: np.ndarray, state: dict[str, torch.Tensor]) -> float:
    """LPIPS of pictures (H,W,3) in [0,1], float64."""
    total, features = 0.0, []
    for picture in (x, y):
        value = (2 * picture - 1 - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        found = []
        for number, place in enumerate(PLACES):
            if number in BEGINS[1:]:
                height, width = value.shape[0] // 2, value.shape[1] // 2
                value = value[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).max((1, 3))
            kernel, bias = (state[f"features.{place}.{name}"].double().numpy() for name in ("weight", "bias"))
            padded = np.pad(value, ((1, 1), (1, 1), (0, 0)))
            height, width = value.shape[:2]
            steps = [(i, j) for i in range(3) for j in range(3)]
            shifted = [padded[i : i + height, j : j + width] @ kernel[:, :, i, j].T for i, j in steps]
            value = np.maximum(sum(shifted) + bias, 0)
            if number + 1 in (*BEGINS[1:], len(PLACES)):
                found.append(value / (np.sqrt((value**2).sum(-1, keepdims=True)) + 1e-10))
        features.append(found)
    for number, (a, b) in enumerate(zip(*features, strict=True)):
        weight = state[f"lin{number}.model.1.weight"].double().numpy()[0, :, 0, 0]
        total += float(((a - b) ** 2 @ weight).mean())
    return total


def written(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def test_lpips_is_its_formula(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """From two files, one of them as PyTorch wrote them before 1.6, and from one with the package's names."""
    vgg = {key: value for key, value in state.items() if key.startswith("features")}
    rest = {key: value for key, value in state.items() if key.startswith("lin")}
    vgg["classifier.0.bias"] = torch.ones(2)
    two = [written(tmp_path / "vgg16.pth", vgg, zipped=False), written(tmp_path / "vgg.pth", rest)]
    block = {place: sum(k >= begin for begin in BEGINS) for k, place in enumerate(PLACES)}
    renamed = {f"net.slice{block[int(k.split('.')[1])]}.{k[9:]}" if k[0] == "f" else k: v for k, v in state.items()}
    one = [written(tmp_path / "whole.pth", renamed)]
    x, y = np.random.default_rng(0).integers(0, 256, (2, 37, 45, 3)) / 255
    y = np.rint(255 * (0.7 * x + 0.3 * y)) / 255
    expected = by_hand(x, y, state)
    for files in (two, one):
        distance, why = lpips(files)
        assert distance is not None and why == ""
        a, b = torch.from_numpy(x).float(), torch.from_numpy(y).float()
        assert distance(a, b) == pytest.approx(expected, rel=1e-4) and distance(a, a) == 0
    assert expected > 0.1
    assert np.isnan(distance(a[:15], b[:15]))


def test_files_that_are_none(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    few = io.BytesIO()
    torch.save({"features.0.weight": state["features.0.weight"]}, few)
    path = tmp_path / "w.pth"
    for data, message in (
        (few.getvalue(), r"no features\.0\.bias \(64,\) of finite numbers; expected the state dicts"),
        (few.getvalue()[:-300], "cannot be read"),
        (b"", "cannot be read"),
    ):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=message):
            lpips([path])
    with pytest.raises(ConfigError, match="holds no dictionary"):
        lpips([written(path, [1, 2])])
    wide = {"features.0.weight": torch.zeros(65, 3, 3, 3)}
    with pytest.raises(ConfigError, match=r"no features\.0\.weight \(64, 3, 3, 3\)") as raised:
        lpips([written(path, wide)])
    assert EXPECTED in str(raised.value)
    with pytest.raises(ConfigError, match="No such file"):
        lpips([tmp_path / "none.pth"])
