"""The doctor's table after training, from made-up numbers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nerfkit.prepare.coverage import coverage
from nerfkit.prepare.report import Report, write_report
from nerfkit.prepare.residuals import residuals, sentence, standing_out, write_capture
from tests.prepare.made import fact, poses_around

NAMES = [f"{number:02d}.jpg" for number in range(12)]
HELD = [number % 4 == 0 for number in range(12)]
USUAL = [22.0 - 2.5 * held + 0.2 * (number % 3) for number, held in enumerate(HELD)]


def out_of(psnr: list[float], held: list[bool] = HELD) -> list[str]:
    return [one.name for one in standing_out(residuals(NAMES, psnr, held))]


def changed(**values: float) -> list[float]:
    return [values.get(f"p{number}", value) for number, value in enumerate(USUAL)]


@pytest.mark.parametrize(
    ("psnr", "named"),
    [
        (USUAL, []),
        (changed(p5=15.0), ["05.jpg"]),
        (changed(p4=15.0), ["04.jpg"]),  # held out
        (changed(p4=19.0, p5=20.0), []),  # less than half of what would stand out
        (changed(p0=12.0, p11=10.0), ["11.jpg", "00.jpg"]),  # at the ends, the worst first
        (changed(p3=math.nan, p5=15.0), ["05.jpg"]),
        ([22.0 - 1.2 * number for number in range(12)], []),  # each a little worse than the one before
        ([math.nan] * 12, []),
    ],
)
def test_who_stands_out(psnr: list[float], named: list[str]) -> None:
    assert out_of(psnr) == named


def test_photos_that_scatter_do_not_stand_out_for_it() -> None:
    noisy = (np.array(USUAL) + np.random.default_rng(0).normal(0, 3, 12)).tolist()
    assert out_of(noisy, [False] * 12) == []


def test_too_few_held_out_to_say() -> None:
    held = [number == 0 for number in range(12)]
    found = residuals(NAMES, [5.0, *USUAL[1:]], held)
    assert math.isnan(found[0].against) and found[0].psnr == 5.0


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    root = tmp_path / "scene"
    (root / "sparse" / "0").mkdir(parents=True)
    facts = [fact(name) for name in reversed(NAMES)]  # by time, not by name
    facts[2] = fact("09.jpg", sharpness=0.2, crispness=0.3)
    facts.append(fact("lost.jpg", None, sharpness=math.nan))
    poses = poses_around(range(0, 120, 10))
    seen = coverage(dict(zip(NAMES, poses, strict=True)))
    write_report(root, Report("photos", "abc", {}, facts, [], 0.9, None, seen))
    return root


def test_the_prepared_table_has_two_more_columns(tmp_path: Path, prepared: Path) -> None:
    before = {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()}
    said = write_capture(tmp_path, prepared, [f"images/{name}" for name in NAMES], changed(p9=15.0), HELD)
    assert said is not None and said.startswith("09.jpg (15.0 dB, 7.") and "less than its neighbors; blurred)" in said
    page = (tmp_path / "capture.md").read_text()
    header, _, *lines = (line for line in page.splitlines() if line.startswith("|"))
    assert header.count("|") == 11 and all(line.count("|") == 11 for line in lines)
    assert [line.split(" ")[1] for line in lines] == [*reversed(NAMES), "lost.jpg"]
    assert lines[2].endswith("| 15.0 | -7.2 |") and "| 0.20 |" in lines[2]
    assert lines[11].split("|")[9].strip() == "19.5 held out"
    assert lines[12].endswith("|  |  |")
    content = json.loads((tmp_path / "capture.json").read_text())
    assert content["stand_out"] == ["09.jpg"] and content["photos"][0] == {
        "name": "11.jpg",
        "held_out": False,
        "psnr": 22.4,
        "against_neighbors": content["photos"][0]["against_neighbors"],
    }
    assert {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()} == before


def test_without_a_report_the_table_is_short(tmp_path: Path, prepared: Path) -> None:
    for spoil in ('{"fingerprint": "abc", "photos": [{"name": "00.jpg"}]}', '{"fingerprint": 1, "photos": 3}', "[]"):
        (prepared / "report.json").write_text(spoil)
        assert write_capture(tmp_path, prepared, NAMES, USUAL, HELD) is None
        page = (tmp_path / "capture.md").read_text()
        assert "No photo stands out." in page and "| photo | PSNR after training, dB | against neighbors, dB |" in page
    assert json.loads((tmp_path / "capture.json").read_text())["photos"][0]["name"] == "00.jpg"


def test_several_photos_in_one_sentence() -> None:
    said = sentence(residuals(NAMES, changed(p5=15.0, p9=12.0), HELD), [fact("05.jpg", error=4.0), fact("01.jpg")])
    assert said is not None
    assert said.startswith("09.jpg (12.0 dB, 10.") and "05.jpg (15.0 dB, 7.2 less than its neighbors" in said
    assert said.endswith(
        "stand out after training: their poses are wrong, something in them moved or changed, or they are blurred"
    )
