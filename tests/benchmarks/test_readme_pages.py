"""The pages on reliability and exports show what was tried, and what was not."""

import json
from pathlib import Path

from benchmarks import exports, readme, readme_reliability
from tests.benchmarks.tables import write


def test_reliability_shows_what_was_tried_and_what_was_not(tmp_path: Path) -> None:
    page = "".join(f"<!-- results: {name} -->\nold\n<!-- /results -->\n" for name in readme_reliability.SECTIONS)
    assert readme_reliability.fill(page, tmp_path).count(readme.NOT_RUN) == len(readme_reliability.SECTIONS)
    kills = {"kills": 7, "runs": 2, "equal": 1, "lost": 0.25, "wrong": ["one"], "faults": {"full disk": "a | b"}}
    results = {
        "torture": kills | {"signals": {"SIGKILL": 7}, "moments": {"video": 7}},
        "hostile": {"glb": {"tried": 5, "refused": 3, "read": 2, "wrong": 0}},
        "fuzz": {
            "glb": {
                "executions": 12345,
                "seconds": 9,
                "cpu_seconds": 8,
                "findings": [{"mended": True}, {"mended": False}],
            }
        },
        "ranks": {
            **{"same_bits_twice": True, "psnr": {"1": 30.0}, "mean_weight_off": {"2": 0.01}},
            **{
                "as_expected": 19,
                "kills": [{}] * 20,
                "elastic": [{"as_expected": True, "killed": True, "stage": stage} for stage in ("field", None)],
            },
        },
    }
    for name, found in results.items():
        content = {"machine": {"commit": "abc"}, "results": found}
        (tmp_path / f"reliability_{name}.json").write_text(json.dumps(content))
    text = readme_reliability.fill(page, tmp_path)
    for row in ("7: SIGKILL 7", "2; 1", "| full disk | a / b |", "| glb | 5 | 3 | 2 | 0 |", "19 of 20", "2: 1.0%"):
        assert row in text
    assert "| glb | 12,345 | 9 | 8 | 2 | 1 |" in text and readme.NOT_RUN not in text and "old" not in text


def test_exports_show_what_was_read_and_what_was_not(tmp_path: Path) -> None:
    page = "".join(f"<!-- results: {name} -->\nold\n<!-- /results -->\n" for name in exports.SECTIONS)
    assert exports.fill(page, tmp_path).count(readme.NOT_RUN) == 4  # of checks the validator's and Blender's
    level = {"faces": 1000, "texture": [64, 64], "bytes": 12345, "psnr": 30.04, "psnr_afar": 35.5, "stl": "watertight"}
    results = {
        "textures": {"png": {"texture_bytes": 1234, "texture_psnr": None, "picture_psnr": None}},
        "levels": {"1000": level},
        "readers": {"glb": 54.321, "usdz": None},
        "validator": {"version": "2.0", "files": 10, "errors": 0, "warnings": 1},
        "blender": {"version": "5.0", "psnr": 47.5, "shift": [0.25, -0.5], "photo_psnr": [32.0, 33.0]},
    }
    write(tmp_path, exports.NAME, results)
    text = exports.fill(page, tmp_path)
    for row in ("| png | 1,234 | the same | the same |", "| 1,000 | 64x64 | 12,345 | 30.0 | 35.5 | watertight |"):
        assert row in text
    for said in ("| 54.3 |", "| 10: 0 errors, 1 warnings |", "-0.5000 pixels to the right, +0.2500 down"):
        assert said in text
    assert readme.NOT_RUN not in text and "old" not in text
