"""The comparison with other ways: what is not there says so, what is there does the same work."""

import sys
from pathlib import Path

import pytest
import torch

from benchmarks import peers, peers_silhouette as silhouette, readme_performance
from benchmarks.raster_gradients import gradient
from nerfkit.raster.visibility import Contour
from tests.benchmarks.tables import cells, write


def test_tables_of_what_was_not_run(tmp_path: Path) -> None:
    assert set(readme_performance.FIELDS) == set(peers.FIELDS)
    assert set(readme_performance.SILHOUETTES) == set(silhouette.CONTESTANTS)
    tables = readme_performance.field_table, readme_performance.silhouette_table, readme_performance.compositing_table
    for lines in (make(tmp_path) for make in tables):
        assert all("not run" in cells(lines, row) for row in range(2, len(lines)))


def test_tables_say_what_was_absent(tmp_path: Path) -> None:
    curve = {"psnr": 24.0, "curve": [[1.0, 20.5], [4.02, 24.0]], "steps": 1200, "samples_per_second": 1_230_000}
    found = {"harmonic": curve, "compile": {"not_run": "no compiler"}}
    drawn = {"median_ms": 4.0, "cosine": 1.0, "slope": 1.001}
    slow = {"median_ms": 200.0, "cosine": 0.9, "slope": 0.5}
    results = {
        "threads": 1, "seconds": 4.0, "shares": [0.25, 0.5, 1.0], "fields": found,
        "silhouettes": {"contour": drawn, "mitsuba 4": slow, "drtk": {"not_run": "not importable"}},
        "compositing": {"kernel": {"median_ms": 2.5}, "nerfacc": {"not_run": "for GPUs alone"}},
    }  # fmt: skip
    write(tmp_path, "peers", results)
    lines = readme_performance.field_table(tmp_path)
    assert cells(lines, 0) == ["held-out PSNR after", "1 s", "2 s", "4 s", "steps", "samples a second"]
    rows = {row[0]: row[1:] for row in (cells(lines, number) for number in range(2, len(lines)))}
    assert rows[readme_performance.FIELDS["harmonic"]] == ["20.50", "", "24.00", "1,200", "1.23 M"]
    assert rows[readme_performance.FIELDS["compile"]][3] == "not run: no compiler"
    assert rows[readme_performance.FIELDS["planes"]][3] == "not run"
    lines = readme_performance.silhouette_table(tmp_path)
    rows = {row[0]: row[1:] for row in (cells(lines, number) for number in range(2, len(lines)))}
    assert rows["nerfkit, contour"] == ["4.0 ms", "1.0 x", "1.000", "1.00"]
    assert rows["Mitsuba 3, 4 samples a pixel"] == ["200.0 ms", "50.0 x", "0.900", "0.50"]
    assert rows["DRTK itself"] == ["not run: not importable", "", "", ""]
    assert cells(readme_performance.compositing_table(tmp_path), 4)[1] == "not run: for GPUs alone"
    assert readme_performance.where("peers", tmp_path) == "Measured on: Some CPU, 1 thread; 2026-11-21."


@pytest.mark.slow
def test_silhouettes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of the loss itself is right, half of it has half the slope, and a broken peer stops nobody."""
    monkeypatch.setattr(silhouette, "REPEATS", 1)
    monkeypatch.setattr(silhouette, "SAMPLES", 16)
    task = silhouette.new_task(size=64, subdivisions=3)

    def of(factor: float) -> silhouette.Gradient:
        return lambda task: lambda: factor * gradient(task.subject, task.cameras, task.target, Contour())

    def broken(task: silhouette.Task) -> None:
        raise RuntimeError("no such kernel")

    contestants = {"contour": of(1.0), "half": of(0.5), "broken": broken, "absent": silhouette.on_a_gpu("no_such_peer")}
    found = silhouette.results(task, contestants)
    assert found["contour"]["cosine"] > 0.995 and found["contour"]["slope"] == pytest.approx(1, abs=0.05)
    assert found["half"]["slope"] == pytest.approx(found["contour"]["slope"] / 2, abs=1e-4)
    assert found["contour"]["median_ms"] > 0
    assert found["broken"] == {"not_run": "RuntimeError: no such kernel"}
    assert found["absent"] == {"not_run": "not importable"}


def test_mitsuba_that_is_not_there_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    found = silhouette.results(silhouette.new_task(16, 1), {"mitsuba": silhouette.mitsuba(1)})
    assert found["mitsuba"] == {"not_run": "not importable"}


@pytest.mark.slow
def test_fields_train_in_turns_and_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        peers, "FIELDS", {"harmonic": [], peers.COMPILE: ["field.fused=false"], "planes": ["field=planes"]}
    )
    monkeypatch.setattr(peers, "SIDE", 32)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken())
    found = peers.fields(0.8)

    assert found[peers.COMPILE] == {"not_run": "RuntimeError: no compiler here"}
    for name in ("harmonic", "planes"):
        moments = [second for second, _ in found[name]["curve"]]
        assert moments == sorted(moments) and moments[-1] >= 0.8
        assert found[name]["steps"] > 0 and found[name]["psnr"] == found[name]["curve"][-1][1] > 8


def broken() -> None:
    raise RuntimeError("no compiler here")
