"""The README's tables come from the results files, and say so where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme

RUN = {
    "scene": {"size": [256, 192]},
    "field": {"psnr": 39.123, "psnr_inside": 28.456, "seconds": 150.2},
    "mesh": {"psnr": 31.5, "mask_iou": 0.98765, "chamfer": 0.0034, "coarse": {"psnr": 27.25}},
    "stages": {
        "field": {"seconds": 170.4, "peak_memory_bytes": 1_500_000_000},
        "refine": {"seconds": 129.8, "peak_memory_bytes": 2_300_000_000},
    },
}


def write(folder: Path, name: str, results: dict[str, Any]) -> None:
    machine = {"device": "Some CPU, 2 threads", "date": "2026-11-21T10:00:00+00:00", "cores": 2}
    (folder / f"{name}.json").write_text(json.dumps({"machine": machine, "results": results}))


def cells(lines: list[str], row: int) -> list[str]:
    return [cell.strip() for cell in lines[row].strip("|").split("|")]


def test_scene_table(tmp_path: Path) -> None:
    write(tmp_path, "run_clock", RUN)
    mic_alone = {"field": {"psnr": 30.0, "seconds": 150.0}, "stages": {"field": {"seconds": 160.0}}}
    write(tmp_path, "run_mic", {"scene": {"size": [200, 200]}, **mic_alone})
    lines = readme.scene_table(tmp_path)
    assert len(lines) == 2 + len(readme.SCENES)
    assert len({line.count("|") for line in lines}) == 1
    clock, kaolin, mic = (cells(lines, 2 + list(readme.SCENES).index(name)) for name in ("clock", "kaolin", "mic"))
    assert [row[0] for row in (clock, kaolin, mic)] == [
        "own clock, 256x192",
        "Kaolin's clock",
        "NeRF-synthetic mic, 200x200",
    ]
    assert clock[1:] == ["39.12", "28.46", "150 s", "27.25", "31.50", "0.9877", "0.34 %", "300 s", "2.3 GB"]
    assert kaolin[1:] == [readme.NOT_RUN] * 9
    assert mic[1:4] == ["30.00", "not known", "150 s"]
    assert mic[-2:] == ["160 s", "not known"]


def test_a_chamfer_without_a_truth_is_not_known(tmp_path: Path) -> None:
    run = RUN | {"mesh": {key: value for key, value in RUN["mesh"].items() if key != "chamfer"}}
    write(tmp_path, "run_kaolin", run)
    write(tmp_path, "run_mic", {key: value for key, value in RUN.items() if key != "mesh"})
    column = cells(readme.scene_table(tmp_path), 0).index("chamfer")
    found = [cells(readme.scene_table(tmp_path), 2 + row)[column] for row in range(len(readme.SCENES))]
    assert dict(zip(readme.SCENES, found, strict=True)) == {"clock": "not run", "kaolin": "not known", "mic": "not run"}


def test_speed_table(tmp_path: Path) -> None:
    assert [cells(readme.speed_table(tmp_path), row)[1] for row in range(2, 6)] == ["not run"] * 4
    write(tmp_path, "training", {"samples_per_second": 1_234_567, "plain_pytorch_samples_per_second": 400_000})
    write(tmp_path, "tutorial", {"default": {"psnr": 38.7}, "nerf_tutorial": {"psnr": 22.125}})
    found = [cells(readme.speed_table(tmp_path), row)[1] for row in range(2, 6)]
    assert found == ["1.23 M samples/s", "0.40 M samples/s", "38.70 dB", "22.12 dB"]
    assert cells(readme.speed_table(tmp_path), 0)[0] == "on 2 CPU cores"


def test_gradient_table(tmp_path: Path) -> None:
    assert cells(readme.gradient_table(tmp_path), -1) == ["not run"] * 3
    rows = [{"faces": 20480, "cosine": 0.99876, "slope": 1.0123}]
    write(tmp_path, "raster_gradients", {"settings": {"directions": 7}, "rows": rows})
    lines = readme.gradient_table(tmp_path)
    assert cells(lines, -1) == ["20,480", "0.9988", "1.012"]
    assert "along 7 deformations" in lines[0]


def test_a_value_of_zero_is_a_value() -> None:
    assert readme.value({"results": {"a": {"b": 0.0}}}, "a.b", "{:.1f}") == "0.0"
    assert readme.value({"results": {"a": 3.0}}, "a.b", "{:.1f}") == readme.NOT_RUN
    assert readme.value({"results": {"a": {"c": 3.0}}}, "a.b", "{:.1f}") == readme.NOT_KNOWN
    assert readme.value(None, "a", "{:.1f}") == readme.NOT_RUN


def test_section_names_the_machine_of_a_recorded_run(tmp_path: Path) -> None:
    empty = readme.section(tmp_path)
    assert "Measured on" not in empty and "On a GPU: not run." in empty
    write(tmp_path, "run_kaolin", RUN)
    write(tmp_path, "gpu", {})
    full = readme.section(tmp_path)
    assert full.startswith("Measured on: Some CPU, 2 threads; 2026-11-21.")
    assert "On a GPU: see benchmarks/results/gpu.json." in full


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = tmp_path / "README.md"
    page.write_text(f"# before\n\n{readme.START}\nold figures\n{readme.END}\n\nafter\n")
    section = readme.section
    monkeypatch.setattr(readme, "README", page)
    monkeypatch.setattr(readme, "section", lambda: section(tmp_path))
    return page


def test_only_the_marked_part_is_replaced(page: Path, capsys: pytest.CaptureFixture) -> None:
    before = page.read_text()
    assert readme.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert page.read_text() == before
    assert readme.main([]) == 0
    text = page.read_text()
    assert text.startswith(f"# before\n\n{readme.START}\n") and text.endswith(f"{readme.END}\n\nafter\n")
    assert "old figures" not in text and "scene (held-out views)" in text
    assert readme.main(["--check"]) == 0
    assert readme.main([]) == 0 and page.read_text() == text


def test_results_of_uncommitted_code_are_refused(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path, "training", {"samples_per_second": 1_000_000})
    path = tmp_path / "training.json"
    saved = json.loads(path.read_text())
    for commit, code in (("0123456789ab", 0), ("0123456789ab-dirty", 1)):
        path.write_text(json.dumps(saved | {"machine": saved["machine"] | {"commit": commit}}))
        before = page.read_text()
        assert readme.main([]) == code
    assert "training.json: measured with uncommitted changes (0123456789ab-dirty)" in capsys.readouterr().err
    assert page.read_text() == before
    assert readme.main(["--check"]) == 1


def test_this_repository_s_page_has_the_marks() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert text.count(readme.START) == text.count(readme.END) == 1
    assert text.index(readme.START) < text.index(readme.END)
