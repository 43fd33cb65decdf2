"""Fields at equal time: the table is of the results, and what is not there is said."""

import json
from pathlib import Path

import pytest

from benchmarks import equal_time
from benchmarks.results import NOT_KNOWN, NOT_RUN
from tests.benchmarks.tables import cells


def test_the_table_has_means_and_spread(tmp_path: Path) -> None:
    assert cells(equal_time.time_table(tmp_path), 2)[0] == NOT_RUN
    runs = [{"size": [400, 300], "steps": steps, "psnr": psnr} for steps, psnr in ((900, 20.0), (1100, 21.0))]
    (tmp_path / "time_cup_60_auto.json").write_text(json.dumps({"machine": {}, "results": {"runs": runs}}))
    row = cells(equal_time.time_table(tmp_path), 2)
    assert row == ["cup, 400x300", "60 s", "auto", "2", "1000 ± 100", "20.50 ± 0.50", NOT_KNOWN, NOT_KNOWN]


def test_data_that_is_not_there_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("NERFKIT_DATA", str(tmp_path))
    assert equal_time.main(["cup", "mic"]) == 0
    assert capsys.readouterr().out.count("not run") == 2
