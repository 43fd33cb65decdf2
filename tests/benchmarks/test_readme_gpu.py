"""The tables of what was measured on a GPU come from its results, and say what was not run."""

from pathlib import Path
from typing import Any

from benchmarks import gpu, gpu_features, gpu_mesh, readme, readme_gpu, readme_mesh
from benchmarks.results import load
from tests.benchmarks.tables import cells, write


def test_gpu_mesh_table(tmp_path: Path) -> None:
    assert [gpu_mesh.Case(*case).name for case in gpu_mesh.CASES] == list(readme_mesh.GPU_SIZES)
    assert set(gpu_mesh.METHODS) == set(readme_mesh.METHODS)
    step = {"median_ms": 0.987, "idle_share": 0.25, "peak_bytes": 1.5e8}
    sizes: dict[str, Any] = {"80k_1024_1": {"hard": {"median_ms": 0.1}, "forward": {"median_ms": 0.2}, "step": step}}
    sizes["5k_512_1"] = {"not_run": "no time left"}
    meshes = {"sizes": sizes, "cpu": {"80k_1024_1": {"median_ms": 50}}, "visibility": {"dibr": {"median_ms": 2.0}}}
    write(tmp_path, "gpu", {"meshes": meshes})
    lines = readme_mesh.gpu_table(load("gpu", tmp_path))
    assert cells(lines, 2)[1:] == ["not run"] * 6
    assert cells(lines, 3)[1:] == ["0.10 ms", "0.20 ms", "0.99 ms", "25 %", "0.15 GB", "50.0 ms"]
    dibr = next(number for number, line in enumerate(lines) if line.startswith("| DIB-R"))
    assert cells(lines, dibr) == ["DIB-R", "2.00 ms", "not known"]


def timed(ms: float, share: float, times: float) -> dict[str, float]:
    return {"median_ms": ms, "samples_per_second": 2.5e8 / ms, "share_of_floor": share, "times_our_best": times}


GPU = {
    "peaks": {"bf16_tflops": 788.4, "copy_gb_per_s": 4301.2},
    "fields": {
        "wide": {
            "packed": {
                "inference": {"contestants": {"one_kernel": timed(1.0, 0.345, 1.0)}},
                "training": {
                    "contestants": {
                        "one_kernel": timed(2.5, 0.2, 1.25),
                        "one_kernel_storing": timed(2.0, 0.31, 1.0),
                        "two_kernels": timed(1.5, 0.4, 0.75),  # not the fused kernel
                        "pytorch": timed(20.0, 0.03, 10.0),
                        "compile": {"not_run": "stopped after 60 s"},
                    }
                },
            },
            "lockstep": {"inference": {"not_run": "no time left"}},
        },
        "preset": {"packed": {"inference": {"failed": "RuntimeError: an illegal memory access"}}},
    },
    "features": {
        "hash_grid": {
            "packed": {
                "training": {
                    "contestants": {
                        "one_kernel": timed(1.0, 0.2, 1.0) | {"gpu_share_of_floor": 0.4},
                        "pytorch": timed(3.5, 0.06, 3.5),
                    }
                }
            }
        },
        "planes": {"failed": "RuntimeError: an illegal memory access"},
    },
    "training": {
        "clock": {
            "steps_per_second": 412.6,
            "samples_per_second": 98_765_432,
            "seconds": 40.02,
            "psnr": 36.254,
            "seconds_to_psnr": {"30": 1.5, "33.8": 4.26},
            "gaps": {"idle_share": 0.0823},
            "peak_bytes": 2_340_000_000,
        },
        "mic": {
            "steps_per_second": 300.0,
            "psnr": 32.0,
            "seconds_to_psnr": {"30": 9.0},
            "gaps": {"not_run": "a reason"},
        },
        "kaolin": {"not_run": "not found"},
    },
    "pictures": {"gradient": {"bytes_above_weights": 734_000_000}, "frames": {"not_run": "no trained field"}},
}


def test_gpu_tables(tmp_path: Path) -> None:
    assert list(readme_gpu.SCENES) == list(gpu.SCENES) and set(readme_gpu.FEATURES) == set(gpu_features.SHAPES)
    write(tmp_path, "gpu", GPU)
    lines = readme_gpu.gpu_section(tmp_path)
    assert "Some CPU" in lines[0] and "788 TFLOP/s" in lines[0] and "4301 GB/s" in lines[0]
    found = readme.load("gpu", tmp_path)
    fields = {
        row[0]: row[1:]
        for row in (cells(readme_gpu.field_table(found), 2 + at) for at in range(len(readme_gpu.FIELDS)))
    }
    wide = ["250 M samples/s", "34 %", "125 M samples/s", "31 %", "10.0 x", "not run"]
    assert fields[readme_gpu.FIELDS["wide"]] == wide
    assert fields[readme_gpu.FIELDS["tutorial"]] == fields[readme_gpu.FIELDS["preset"]] == [readme.NOT_RUN] * 6
    trained = readme_gpu.gpu_training_table(found)
    scenes = {name: cells(trained, 2 + at)[1:] for at, name in enumerate(readme_gpu.SCENES)}
    clock, kaolin, mic, planes = (scenes[name] for name in ("clock", "kaolin", "mic", "clock_planes"))
    assert clock == ["413", "98.8 M", "8.2 %", "40 s", "36.25", "4.3 s", "2.34 GB"]
    assert kaolin == planes == [readme.NOT_RUN] * 7
    assert mic == ["300", "not known", "not run", "not known", "32.00", "not reached", "not known"]
    features = [cells(readme_gpu.feature_table(found), 2 + at)[1:] for at in range(2)]
    assert features == [["not run"] * 3 + ["250 M samples/s", "20 %", "40 %", "3.5 x"], ["not run"] * 7]
    pictures = [cells(readme_gpu.pictures_table(found), 2 + at)[1] for at in range(3)]
    assert pictures == ["not run", "not run", "0.73 GB"]
    assert "\n".join(lines) in readme.section(tmp_path)


def test_gpu_tables_of_parts_that_were_not_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "gpu", {part: {"not_run": "not asked for"} for part in GPU})
    found = readme.load("gpu", tmp_path)
    for lines in (
        readme_gpu.field_table(found),
        readme_gpu.feature_table(found),
        readme_gpu.gpu_training_table(found),
        readme_gpu.pictures_table(found),
    ):
        assert all(set(cells(lines, row)[1:]) == {readme.NOT_RUN} for row in range(2, len(lines)))
