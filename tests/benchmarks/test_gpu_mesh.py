"""The GPU benchmark's meshes, tiny and on the CPU: sizes, what a row holds, and what is left out where time is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks import gpu_mesh, gpu_profile
from benchmarks.gpu_floors import Peaks
from benchmarks.gpu_limits import Budget, failures
from benchmarks.gpu_mesh import Case, Picture
from nerfkit.raster import rasterize

PEAKS = Peaks(1e12, 1e12, 1e12, 1e11)
TINY = Case(400, 24, 2)


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_mesh, "TIMED", 0.01)
    monkeypatch.setattr(gpu_mesh, "FIRST_CALL", 600.0)  # the CPU's compiler, where nothing is cached


@pytest.mark.slow
def test_pictures_have_the_faces_that_they_say() -> None:
    for case in (TINY, Case(5_000, 32, 5)):
        picture = Picture(case, "cpu")
        assert len(picture.faces) == pytest.approx(case.faces, rel=0.05)
        assert len(picture.cameras) == case.views
        shown = rasterize(picture.vertices, picture.faces, picture.cameras).covered.float().mean((1, 2))
        assert (shown > 0.15).all() and (shown < 0.8).all()
        volume = torch.linalg.det(picture.vertices.detach()[picture.faces]).sum() / 6
        assert abs(volume.item()) == pytest.approx(2 * torch.pi**2 * 0.75 * 0.32**2, rel=0.15)  # closed
    assert Case(80_000, 1024, 1).name == "80k_1024_1"


@pytest.mark.slow
def test_results_at_tiny_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    found = gpu_mesh.results("cpu", PEAKS, Budget(2400), cases=(TINY,), studied=Case(400, 24, 1))
    assert failures(found) == []
    (row,) = found["sizes"].values()
    assert row["bit_equal"] and row["size"] == 24 and row["views"] == 2
    hard = row["hard"]
    traffic = 30 * row["faces"] * 2 + 20 * 24**2 * 2
    assert hard["share_of_floor"] == pytest.approx(traffic / 1e11 / (hard["median_ms"] / 1e3), abs=1e-4)
    assert set(found["visibility"]) == set(gpu_mesh.METHODS)
    assert found["cpu"]["0k_24_2"]["largest_difference"] == 0  # here both are the CPU
    assert "peak_bytes" not in str(found) and "gpu_ms" not in str(found)
    assert "visibility  softras 1e-4" in capsys.readouterr().out


def test_large_sizes_are_not_repeated_on_the_cpu_and_time_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_mesh, "ON_CPU", 500)
    monkeypatch.setattr(gpu_mesh, "METHODS", {})
    found = gpu_mesh.results("cpu", PEAKS, Budget(2400), cases=(TINY,), studied=TINY)
    assert found["cpu"] == {} and "hard" in found["sizes"][TINY.name]  # 400 faces, 2 views
    monkeypatch.setattr(gpu_mesh, "size_row", lambda *_: [0 for _ in iter(int, 1)])  # never ends
    found = gpu_mesh.results("cpu", PEAKS, Budget(0.2), cases=(TINY,), studied=TINY)
    assert "stopped after" in found["sizes"][TINY.name]["not_run"]


def test_what_the_gpu_does_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def medians(calls: dict[str, Callable[[], object]], *_: Any) -> dict[str, Any]:
        return {"step": ({"median_ms": 4.0}, gpu_profile.Profile(3.0, {"tile": 2.0, "sort": 1.0}))}

    monkeypatch.setattr(gpu_profile, "medians", medians)
    entry = gpu_mesh.timed({"step": lambda: None}, "cpu")["step"]
    assert entry["kernels_ms"] == {"tile": 2.0, "sort": 1.0}
    assert (entry["gpu_ms"], entry["idle_share"]) == (3.0, 0.25)
    assert gpu_mesh.summary(entry) == "step 4.000 ms"
