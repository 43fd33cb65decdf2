"""Photos beyond a budget live in a file, and are the same photos."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nerfkit.errors import SceneError
from nerfkit.scenes import open_scene
from nerfkit.scenes.images import in_threads
from nerfkit.scenes.photo_store import PhotoStore
from tests.scenes.builders import ring, write_blender, write_kaolin
from tests.scenes.test_develop import write

MANY = ((4, 5), (4, 5), (4, 5))
GROWING = ((4, 5), (9, 7), (4, 5), (30, 20), (3, 3))
SHRINKING = ((9, 7), (2, 2))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache" / "deep"
    monkeypatch.setenv("NERFKIT_CACHE", str(folder))
    return folder


@pytest.mark.parametrize("sizes", [MANY, GROWING, SHRINKING])
@pytest.mark.parametrize("limit", [2.0, 400e-9, 0.0])  # the middle one is enough for MANY
@pytest.mark.parametrize("masked", [False, True])
def test_photos_come_back(cache: Path, sizes: tuple[tuple[int, int], ...], limit: float, masked: bool) -> None:
    numbers = np.random.default_rng(3)
    pictures = [numbers.integers(0, 256, (*size, 4), np.uint8) for size in sizes]
    ignored = [
        numbers.random(size) < 0.3 if masked and view else np.zeros(size, bool) for view, size in enumerate(sizes)
    ]
    store = PhotoStore(len(sizes), limit)
    for picture, unknown in zip(pictures, ignored, strict=True):
        store.add(picture, unknown)
    photos = store.photos()
    large = limit < 2 and (sizes is not MANY or not limit)
    assert photos.folder == (str(cache) if large else None)
    assert photos.sizes == sizes
    assert (photos.ignored is not None) == masked
    for view, picture in enumerate(pictures):
        assert np.array_equal(photos[view], picture)
        assert np.array_equal(photos.known(view), ~ignored[view])
    assert not cache.exists() or not list(cache.iterdir()), "the file has no name"


@pytest.mark.parametrize("kind", ["kaolin", "blender", "capture"])
def test_every_loader_keeps_to_the_budget(cache: Path, tmp_path: Path, kind: str) -> None:
    if kind == "kaolin":
        root = write_kaolin(tmp_path / "data", ring(4, (12, 16)))
    elif kind == "blender":
        root = write_blender(tmp_path / "data", ring(3, (6, 8)), ring(1, (6, 8)))
    else:
        root = write(tmp_path / "data")
    plain, mapped = (open_scene("auto", root, holdout=3, memory_gb=limit) for limit in (2.0, 0.0))
    assert torch.equal(plain.images.pixels, mapped.images.pixels)
    assert (plain.images.ignored is None) == (mapped.images.ignored is None)
    assert plain.images.ignored is None or torch.equal(plain.images.ignored, mapped.images.ignored)
    assert [note for note in mapped.notes if note not in plain.notes] == [
        f"the photos, 0.0 GB, are kept in a file in {cache}"
    ]


def test_where_there_is_no_room_nothing_is_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    store = PhotoStore(1000, 1e-6, "cup")
    expected = r"cup: its 1000 photos are more than scene.memory_gb=1e-06.*0.0 GB in .*deep and .* Set NERFKIT_CACHE"
    with pytest.raises(SceneError, match=expected):
        store.add(np.zeros((10, 10, 4), np.uint8))
    assert not list(cache.iterdir())


def test_without_a_cache_folder_the_one_for_temporary_files_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NERFKIT_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = PhotoStore(1, 0)
    store.add(np.ones((2, 2, 4), np.uint8))
    assert store.photos().folder == str(tmp_path)


def test_results_come_in_order_and_few_wait() -> None:
    started: list[int] = []

    def load(number: int) -> int:
        started.append(number)
        return number

    found = in_threads(load, 200, "numbers")
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    assert len(started) <= 3 + 2 * 8
    assert list(found) == list(range(3, 200))
    assert list(in_threads(load, 0, "nothing")) == []
