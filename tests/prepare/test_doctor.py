"""The report's sentences, from made-up results."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from nerfkit.prepare import doctor
from nerfkit.prepare.coverage import coverage
from nerfkit.prepare.mapping import Center
from nerfkit.prepare.measures import beside, brightness, crispness, gray_at, sharpness
from nerfkit.prepare.report import Report, center_sentence, write_report
from tests.prepare.made import fact, noise, poses_around, shot

GOOD = [fact(f"{number:02d}.jpg") for number in range(10)]


def says(facts: list, *words: str) -> None:
    """Exactly one sentence for each of ``words``, which it contains, and no other."""
    sentences = doctor.advice(facts, None)
    assert len(sentences) == len(words), sentences
    for word, sentence in zip(words, sentences, strict=True):
        assert word in sentence


def test_a_good_capture_needs_nothing() -> None:
    says(GOOD)


def test_photos_to_drop() -> None:
    says(
        [
            *GOOD,
            fact("soft.jpg", sharpness=0.2, crispness=0.4),
            fact("off.jpg", error=3.0),
            fact("alone.jpg", partners={"00.jpg": 31}),
        ],
        "Drop soft.jpg, or take it again: blurred: its sharpness is 20% of its neighbors'.",
        "Drop off.jpg, or take it again: its pose is doubtful: 3.0 px of reprojection error, 0.7 px is usual here.",
        "Drop alone.jpg, or take it again: its pose hangs on 31 matches.",
    )


def test_a_faulty_photo_that_stands_alone_is_not_dropped() -> None:
    seen = coverage({f"{n:02d}.jpg": pose for n, pose in enumerate(poses_around([0, 10, 20, 60, 90], elevation=10))})
    assert seen.nearest("00.jpg") == pytest.approx(10 * np.cos(np.radians(10)), rel=0.01)
    bad = [fact("01.jpg", error=5.0), fact("03.jpg", error=5.0)]
    sentences = doctor.advice([*GOOD[4:], *bad], seen)
    assert sentences[0].startswith("Drop 01.jpg") and sentences[1].startswith("Take 03.jpg again, and do not drop it")


def test_a_plain_thing_is_not_blurred() -> None:
    says([*GOOD, fact("back.jpg", sharpness=0.1)])
    blotches = [noise(1200, 1200, cells=(cells,))[..., 0] > 128 for cells in (3, 40)]
    plain, patterned = (Image.fromarray(200 * one.astype(np.uint8)) for one in blotches)
    assert sharpness(gray_at(plain)) < doctor.DULL * sharpness(gray_at(patterned))
    assert crispness(plain) == pytest.approx(crispness(patterned), rel=0.15)
    for radius in (3, 8, 20):
        assert crispness(patterned.filter(ImageFilter.GaussianBlur(radius))) < doctor.SOFT * crispness(patterned)
    assert crispness(Image.new("L", (50, 50))) == 0


def test_photos_that_are_not_placed() -> None:
    says(
        [
            *GOOD,
            fact("sky.jpg", None, partners={}),
            fact("far.jpg", None, partners={"03.jpg": 40, "04.jpg": 20}, sharpness=0.1, crispness=0.3),
        ],
        "sky.jpg shares nothing with the other photos and is not placed",
        "far.jpg is not placed: most matches, 40, with 03.jpg; photos between the two would join it. It is blurred",
    )


def test_few_are_placed() -> None:
    lost = [fact(f"lost{number}.jpg", None, partners={}) for number in range(12)]
    says(
        [*GOOD, *lost],
        "lost0.jpg, lost1.jpg, lost2.jpg, lost3.jpg, lost4.jpg, lost5.jpg and 6 more share nothing",
        "Only 10 of 22 photos are placed. Take more with small steps",
    )


def test_two_rooms_in_one_folder() -> None:
    says(
        [*GOOD, fact("bath1.jpg", 1), fact("bath2.jpg", 1)],
        "fall into 2 parts that do not see each other. The largest, 10 photos (00.jpg, 01.jpg, 02.jpg, 03.jpg, 04.jpg, "
        "05.jpg and 4 more), is kept; left out: 2 photos (bath1.jpg, bath2.jpg).",
    )


def test_exposure_jumps() -> None:
    says([*GOOD, fact("dark.jpg", exposure=-1.7)], "Brightness jumps at dark.jpg (-1.7 stops)")


def test_missing_photos() -> None:
    around = {f"{number:02d}.jpg": pose for number, pose in enumerate(poses_around(range(0, 241, 20)))}
    sentences = doctor.advice([], coverage(around))
    assert "No photo from azimuth 240 to 0 degrees, a gap of 120 degrees between 12.jpg and 00.jpg" in sentences[0]
    assert "All photos are from one height (20 to 20 degrees" in sentences[1] and len(sentences) == 2


def test_facts_from_what_was_measured() -> None:
    shots = [
        shot(f"{n}.jpg", sharpness=50.0 if n == 2 else 100.0, brightness=-1.0 if n == 3 else -2.0) for n in range(5)
    ]
    facts = doctor.facts_of(
        shots, [["0.jpg", "1.jpg", "2.jpg"], ["3.jpg"]], {"0.jpg": {"1.jpg": 9, "2.jpg": 4}}, {"0.jpg": 0.5}
    )
    assert [one.model for one in facts] == [0, 0, 0, 1, None]
    assert [one.sharpness for one in facts] == [1, 1, 0.5, 1, 1]
    assert [one.exposure for one in facts] == [0, 0, 0, 1, 0]
    assert facts[0].matches == 13 and facts[0].error == 0.5 and math.isnan(facts[1].error)


def test_why_nothing_was_placed() -> None:
    apart = [fact(f"{n}.jpg", None, partners={}) for n in range(3)]
    assert doctor.nothing_placed(apart).startswith("No two photos show the same things")
    near = [*apart, fact("a.jpg", None, partners={"b.jpg": 17})]
    assert "3 of 4 photos share nothing with others, and the best pair has 17 matches" in doctor.nothing_placed(near)


def test_measures() -> None:
    blurred = np.full((40, 40), 100, np.float32)
    stripes = blurred + 20 * (np.arange(40) % 2)
    assert sharpness(blurred) == 0
    assert sharpness(stripes.astype(np.float32)) == pytest.approx((2 * 20) ** 2, rel=0.01)  # -+2 a, by turns
    assert sharpness(np.zeros((2, 9), np.float32)) == 0
    assert brightness(np.full((4, 4), 255.0)) == pytest.approx(0, abs=1e-5)
    assert brightness(np.full((4, 4), 255 * 0.5 ** (1 / 2.2))) == pytest.approx(-1, abs=1e-4)
    assert brightness(np.zeros((4, 4))) < -15
    assert beside([1, 2, 3, 10], reach=1)[:3] == [2, 2, 6] and math.isnan(beside([5.0])[0])


def test_the_files_of_a_report(tmp_path: Path) -> None:
    facts = [*GOOD, fact("a|b.jpg", None, partners={}, sharpness=math.nan)]
    around = {one.name: pose for one, pose in zip(GOOD, poses_around(range(0, 100, 10)), strict=True)}
    camera: dict[str, Any] = {
        "id": 1,
        "photos": 10,
        "model": "SIMPLE_RADIAL",
        "names": "f, cx, cy, k",
        "params": [900.0, 400.0, 300.0, 0.05],
    }
    camera |= {"width": 800, "height": 600}
    center = Center(0.95, 0.9, True, {1: (14.5, -3.0)})
    report = Report(
        "photos",
        "abc",
        {"seed": 0},
        facts,
        [camera],
        0.9,
        center,
        coverage(around),
        ["a note"],
        ["do it"],
        {"poses": 3.0},
    )
    write_report(tmp_path, report)
    content = json.loads((tmp_path / "report.json").read_text())
    assert (content["placed"], content["total"], content["coverage"]["inward"]) == (10, 11, True)
    assert content["photos"][10]["sharpness"] is None and content["photos"][0]["azimuth"] == pytest.approx(0, abs=1e-3)
    page = (tmp_path / "report.md").read_text()
    assert page.startswith("# 10 of 11 photos placed\n") and "- do it\n" in page and "- a note\n" in page
    assert "| a\\|b.jpg | no |  | +0.0 | 0 |  |  |  |" in page
    assert "Camera 1: 10 photos of 800x600, SIMPLE_RADIAL (f, cx, cy, k) = 900.0, 400.0, 300.0, 0.05." in page
    assert noise(8, 8).shape == (8, 8, 3) and (tmp_path / "coverage.png").stat().st_size > 1000


def test_what_became_of_the_principal_point() -> None:
    kept = center_sentence(Center(0.95, 0.9, True, {1: (14.5, -3.0)}))
    assert "from 0.950 to 0.900 px: camera 1 by (+14.5, -3.0) px" in kept
    assert center_sentence(Center(0.9, 0.95, False, {1: (200.0, 0.0)})).startswith("The principal point stays")
