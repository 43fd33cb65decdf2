"""The README's tables come from the results files, and say so where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme, readme_mesh, readme_performance, readme_reliability
from tests.benchmarks.tables import cells, write

RUN: dict[str, Any] = {
    "scene": {"size": [256, 192]},
    "field": {"psnr": 39.123, "psnr_inside": 28.456, "seconds": 150.2},
    "mesh": {"psnr": 31.5, "mask_iou": 0.98765, "chamfer": 0.0034, "coarse": {"psnr": 27.25}},
    "stages": {
        "field": {"seconds": 170.4, "peak_memory_bytes": 1_500_000_000},
        "refine": {"seconds": 129.8, "peak_memory_bytes": 2_300_000_000},
    },
}


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
    assert clock[1:] == [
        "39.12",
        "28.46",
        "150 s",
        "27.25",
        "31.50",
        "not known",
        "0.9877",
        "0.34 %",
        "300 s",
        "2.3 GB",
    ]
    assert kaolin[1:] == [readme.NOT_RUN] * 10
    assert mic[1:4] == ["30.00", "not known", "150 s"]
    assert mic[-2:] == ["160 s", "not known"]


def test_the_first_screen(tmp_path: Path) -> None:
    assert "CPU: not run. GPU: no run on a GPU yet" in readme.readme_section(tmp_path)
    write(tmp_path, "run_clock", RUN)
    lines = readme.readme_section(tmp_path).splitlines()
    assert "CPU: measured." in lines[0] and lines[-1] == "Measured on: Some CPU, 2 threads; 2026-11-21."
    assert cells(lines, 4) == ["own clock, 256x192", "39.1 dB", "31.5 dB", "not known", "300 s"]
    assert (
        readme.filled(f"a\n{readme.START}\nold\n{readme.END}\nb", "new") == f"a\n{readme.START}\nnew\n{readme.END}\nb"
    )


def test_a_chamfer_without_a_truth_is_not_known(tmp_path: Path) -> None:
    run = RUN | {"mesh": {key: value for key, value in RUN["mesh"].items() if key != "chamfer"}}
    write(tmp_path, "run_kaolin", run)
    write(tmp_path, "run_mic", {key: value for key, value in RUN.items() if key != "mesh"})
    column = cells(readme.scene_table(tmp_path), 0).index("chamfer")
    found = [cells(readme.scene_table(tmp_path), 2 + row)[column] for row in range(len(readme.SCENES))]
    known = dict.fromkeys(readme.SCENES, "not run") | {"kaolin": "not known"}
    assert dict(zip(readme.SCENES, found, strict=True)) == known


def test_speed_table(tmp_path: Path) -> None:
    assert [cells(readme.speed_table(tmp_path), row)[1] for row in range(2, 12)] == ["not run"] * 10
    write(tmp_path, "training", {"samples_per_second": 1_234_567, "plain_pytorch_samples_per_second": 400_000})
    write(tmp_path, "tutorial", {"default": {"psnr": 38.7}, "nerf_tutorial": {"psnr": 22.125}})
    field = {"default": {"16384": {"gflops": 271.4, "share": {"torch_mm": 1.26}}}}
    field["tutorial"] = {"kernels": {"seconds": 3.14, "peak_bytes": 8e8}, "plain_pytorch": {"seconds": 9.0}}
    write(tmp_path, "field", field)
    found = [cells(readme.speed_table(tmp_path), row)[1] for row in range(2, 12)]
    assert found[:6] == ["271 GFLOP/s", "126 %", "3.1 s", "9.0 s", "not run", "0.80 GB"]
    assert found[6:] == ["1.23 M samples/s", "0.40 M samples/s", "38.70 dB", "22.12 dB"]
    assert cells(readme.speed_table(tmp_path), 0)[0] == "on 2 CPU cores"


def test_gradient_table(tmp_path: Path) -> None:
    assert cells(readme_mesh.gradient_table(tmp_path), -1)[-1] == "not run"
    entry = {"row": "mask", "faces": 20480, "method": "contour", "cosine": 0.99876, "slope": 1.0123}
    other = {**entry, "faces": 320, "method": "dibr", "cosine": 0.5, "slope": 2}
    write(tmp_path, "raster_gradients", {"table": [entry, other]})
    lines = readme_mesh.gradient_table(tmp_path)
    assert cells(lines, 2) == ["loss", "gradient", "320 faces", "20,480 faces"]
    assert cells(lines, 4) == ["silhouette", "contour (nerfkit)", "", "0.999 / 1.01"]
    assert cells(lines, 6) == ["silhouette", "DIB-R", "0.500 / 2.00", ""]


def test_raster_speed_table(tmp_path: Path) -> None:
    assert cells(readme_mesh.speed_table(tmp_path), -1) == ["not run"] * 4
    times = {name: {"median_ms": ms} for name, ms in (("hard", 1.234), ("forward", 2.0), ("step", 30.06))}
    write(tmp_path, "raster_speed", {"rows": [{"faces": 5120, "size": 256, "views": 4, "times": times}]})
    expected = ["5,120 faces, 256x256, 4 views", "1.2 ms", "2.0 ms", "30.1 ms"]
    assert cells(readme_mesh.speed_table(tmp_path), -1) == expected


def test_experiments_are_filled_between_their_marks(tmp_path: Path) -> None:
    found = {"mesh_deform": {"chamfer": 0.01234, "f_score": 0.875, "steps": 2000}}
    write(tmp_path, "recipe_mesh_deform_spot", {"seconds": 93.6, "smoke_seconds": 9.2, "metrics": found})
    marks = "# A\n<!-- results: mesh_deform -->\nold\n<!-- /results -->\nkept\n"
    marks += "<!-- results: nmr_draw --><!-- /results -->\n"
    text = readme_mesh.fill_experiments(marks, tmp_path)
    assert "| Spot | 1.234 % | 0.8750 | 2000 | 94 s | 9 s |" in text
    assert "| own clock | not run | not run | not run | not run | not run |" in text
    assert "kept" in text and "old" not in text
    assert readme_mesh.fill_experiments(text, tmp_path) == text
    with pytest.raises(KeyError):
        readme_mesh.fill_experiments("<!-- results: nothing --><!-- /results -->", tmp_path)


def test_when_one_fit_overtakes_the_other(tmp_path: Path) -> None:
    history = [{"step": step, "mask_iou": iou} for step, iou in ((0, 0.1), (50, 0.8), (100, 0.9))]
    for name, iou in (("", 0.9), ("_dibr", 0.75)):
        found = {"dibr_sphere": {"mask_iou": iou, "steps": 100, "history": history}}
        write(tmp_path, f"recipe_dibr_sphere{name}", {"seconds": 1.0, "smoke_seconds": 1.0, "metrics": found})
    lines = readme_mesh.experiment("dibr_sphere", tmp_path)
    assert "| own clock | 50 of 100 |" in lines and "| Kaolin's clock | not run |" in lines
    found["dibr_sphere"]["mask_iou"] = 0.99
    theirs = {"results": {"metrics": found}}
    assert readme_mesh.overtaking({"results": {"metrics": found}}, theirs) == "never"


def test_variants_and_methods_have_tables_of_their_own(tmp_path: Path) -> None:
    machine = {"seconds": 1.0, "smoke_seconds": 1.0}
    variants = {"silhouette_fit": {"none": {"mask_iou": 0.9, "self_intersections": 12}}}
    write(tmp_path, "recipe_silhouette_fit", {**machine, "metrics": variants})
    assert "| none | 0.9 | 12 |" in readme_mesh.experiment("silhouette_fit", tmp_path)
    study = {"visibility_study": {"painted": {"1280": {"nmr": {"mask_error": 1.5}}}}}
    write(tmp_path, "recipe_visibility_study", {**machine, "metrics": study})
    lines = readme_mesh.experiment("visibility_study", tmp_path)
    assert "| painted, 1,280 faces | mask error |" in lines and "| nmr | 1.5 |" in lines


def test_a_value_of_zero_is_a_value() -> None:
    assert readme.value({"results": {"a": {"b": 0.0}}}, "a.b", "{:.1f}") == "0.0"
    assert readme.value({"results": {"a": 3.0}}, "a.b", "{:.1f}") == readme.NOT_RUN
    assert readme.value({"results": {"a": {"c": 3.0}}}, "a.b", "{:.1f}") == readme.NOT_KNOWN
    assert readme.value(None, "a", "{:.1f}") == readme.NOT_RUN


def test_section_names_the_machine_of_a_recorded_run(tmp_path: Path) -> None:
    empty = readme.section(tmp_path)
    assert "Measured on" not in empty and "On a GPU: not run." in empty
    write(tmp_path, "run_kaolin", RUN)
    assert readme.section(tmp_path).startswith("Measured on: Some CPU, 2 threads; 2026-11-21.")


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("README", "MEASURED"):
        page = tmp_path / f"{name}.md"
        page.write_text(f"# before\n\n{readme.START}\nold figures\n{readme.END}\n\nafter\n")
        monkeypatch.setattr(readme, name, page)
    whole, short = readme.section, readme.readme_section
    monkeypatch.setattr(readme, "section", lambda: whole(tmp_path))
    monkeypatch.setattr(readme, "readme_section", lambda: short(tmp_path))
    monkeypatch.setattr(readme, "EXPERIMENTS", tmp_path / "experiments.md")
    readme.EXPERIMENTS.write_text("")
    monkeypatch.setattr(readme, "PERFORMANCE", tmp_path / "performance.md")
    readme.PERFORMANCE.write_text("<!-- results: growth -->\n<!-- /results -->\n")
    monkeypatch.setattr(readme, "SCALING", tmp_path / "scaling.md")
    readme.SCALING.write_text("<!-- results: scaling -->\n<!-- /results -->\n")
    monkeypatch.setattr(readme, "RELIABILITY", tmp_path / "reliability.md")
    marks = (f"<!-- results: {name} -->\n<!-- /results -->\n" for name in readme_reliability.SECTIONS)
    readme.RELIABILITY.write_text("".join(marks))
    monkeypatch.setattr(readme, "VIEWER", tmp_path / "viewer.md")
    readme.VIEWER.write_text("<!-- results: viewer -->\n<!-- /results -->\n")
    monkeypatch.setattr(readme, "EXPORTS", tmp_path / "exports.md")
    readme.EXPORTS.write_text("<!-- results: levels -->\n<!-- /results -->\n")
    monkeypatch.setattr(readme, "PICTURES", tmp_path)
    charts, fill = readme_performance.charts, readme_performance.fill
    monkeypatch.setattr(readme_performance, "charts", lambda folder=tmp_path: charts(folder))
    monkeypatch.setattr(readme_performance, "fill", lambda text: fill(text, tmp_path))
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


def test_large_pictures_are_named_with_their_sizes(tmp_path: Path) -> None:
    rows = {"mesh": {"seconds": 12.3, "peak_gb": 1.26}, "extract": {"seconds": 99.8, "peak_gb": 6.04}}
    write(tmp_path, "big", {"threads": 1, "side": 300, "resolution": 40, "rows": rows})
    lines = readme_performance.section("big", tmp_path)
    assert "| a frame of 300x300 pixels of the mesh | 1.3 GB | 12 s |" in lines
    assert "| a frame of 300x300 pixels of the field | not run |  |" in lines
    assert "| the coarse mesh from a lattice of 40^3 points | 6.0 GB | 100 s |" in lines


def test_this_repository_s_page_has_the_marks() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert text.count(readme.START) == text.count(readme.END) == 1
    assert text.index(readme.START) < text.index(readme.END)
