"""Exponents out of sizes and times, memory out of allocations, and the page that shows them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import growth, measure, readme_performance
from benchmarks.growth_series import SERIES, Series
from nerfkit.runs.plot import COLORS
from tests.benchmarks.tables import cells, write

SIZES = [2.0, 4.0, 8.0, 16.0, 32.0]


def rows_of(seconds: list[float], taken: list[float]) -> list[dict[str, float]]:
    return [{"size": n, "seconds": s, "bytes": b} for n, s, b in zip(SIZES, seconds, taken, strict=True)]


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_the_slope_is_that_of_the_upper_half(power: float) -> None:
    values = [7.0, 7.0] + [3 * n**power for n in SIZES[2:]]
    assert growth.slope(SIZES, values) == pytest.approx(power, abs=1e-9)


def test_what_is_steeper_than_its_work_is_named() -> None:
    work = {"time": 1.0, "memory": 2.0}
    square, linear = [n**2 for n in SIZES], [1e6 * n for n in SIZES]
    found = growth.fitted(work, rows_of(square, linear))
    assert found == {"exponents": {"time": 2.0, "memory": 1.0}, "faster_than_the_work": ["time"]}
    assert growth.fitted({"time": 1.9, "memory": 0.5}, rows_of(square, linear))["faster_than_the_work"] == ["memory"]
    little = [0.1e6 * n for n in SIZES]  # the upper half begins at 0.8 MB
    assert growth.fitted(work, rows_of(square, little))["exponents"] == {"time": 2.0}


def test_calls_are_repeated_unless_they_are_long_or_change_what_the_next_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(growth.time, "process_time", lambda: 0.0625 * next(clock))
    assert len(growth.timed(lambda: None, once=True)) == 1
    assert len(growth.timed(lambda: None, once=False)) == 5  # the first number of sixteenths above ``SECONDS``
    monkeypatch.setattr(growth.time, "process_time", lambda: 1.0 * next(clock))
    assert len(growth.timed(lambda: None, once=False)) == growth.CALLS
    monkeypatch.setattr(growth.time, "process_time", lambda: 3.0 * next(clock))
    assert len(growth.timed(lambda: None, once=False)) == 1


@pytest.mark.parametrize("mapped", [False, True])
def test_memory_is_that_of_the_size(mapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(megabytes: int) -> Any:
        held = torch.ones(megabytes << 18)  # 4 bytes each
        return lambda: held.sum()

    monkeypatch.setattr(growth, "SECONDS", 0.2)  # long enough to be looked at
    series = Series("fields", "", "MB", (8, 64, 128), 1, 1, make, mapped=mapped)
    taken = [growth.one_size(series, size)["bytes"] / 2**20 for size in series.sizes]
    assert taken == pytest.approx(series.sizes, abs=6)


def test_series_of_another_commit_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(measure, "machine", lambda: {"commit": "abc", "device": "CPU"})
    assert growth.earlier() == {}
    saved = {"machine": measure.machine(), "results": {"threads": 2, "series": {"rays": {}}}}
    (tmp_path / "growth.json").write_text(json.dumps(saved))
    assert growth.earlier() == {"rays": {}}
    monkeypatch.setattr(measure, "machine", lambda: {"commit": "def", "device": "CPU"})
    assert growth.earlier() == {}


def test_series_fit_into_their_charts() -> None:
    for chart in readme_performance.TITLES:
        assert 0 < sum(series.chart == chart for series in SERIES.values()) <= len(COLORS)
    assert all(series.chart in readme_performance.TITLES for series in SERIES.values())
    assert all(len(series.sizes) >= 3 and list(series.sizes) == sorted(series.sizes) for series in SERIES.values())


SMALL = {
    "rays": 8, "samples": 2, "width": 8, "levels": 2, "table": 1024, "planes": 8, "field_picture": 8,
    "mesh_picture": 8, "texture": 8, "extraction": 16, "loading": 4, "training": 4,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SERIES))
def test_every_series_can_be_called(name: str) -> None:
    series, size = SERIES[name], SMALL.get(name, 320)
    if series.after:
        SERIES[series.after].make(size)()
    call = series.make(size)
    call()
    call()


def measured() -> dict[str, Any]:
    work = {"time": 1, "memory": 1}
    rows = rows_of([0.002, 0.004, 0.008, 0.5, 1.5], [0, 1e6, 8e6, 16e6, 32e6])
    about = {"chart": "meshes", "about": "drawn", "axis": "faces", "work": work, "rows": rows}
    return {"faces": {**about, **growth.fitted(work, rows)}}


def test_the_page_shows_exponents_and_charts(tmp_path: Path) -> None:
    assert cells(readme_performance.growth_table("meshes", tmp_path), -1) == ["not run"] * 8
    assert readme_performance.charts(tmp_path) == {}
    write(tmp_path, "growth", {"threads": 2, "series": measured()})
    row = cells(readme_performance.growth_table("meshes", tmp_path), 2)
    assert row[:4] == ["`faces`: drawn", "2.0 to 32.0 faces", "1.5 s", "1"]
    assert row[4].endswith(" (faster)") and row[5:] == ["32 MB", "1", "1.00"]
    assert "growth_meshes_time.png" in "\n".join(readme_performance.section("growth", tmp_path))
    charts = readme_performance.charts(tmp_path)
    assert list(charts) == ["growth_meshes_time.png", "growth_meshes_memory.png"]
    assert charts["growth_meshes_time.png"][3]["faces"][0] == (1.0, 0.002)
    memory = charts["growth_meshes_memory.png"][3]["faces"]
    assert memory == [(2.0, 1.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0)]  # 0 has no place on a logarithmic axis


def test_a_mark_without_a_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        readme_performance.fill("<!-- results: nothing -->\n<!-- /results -->", tmp_path)
