"""Sweeps of the commands: ``-m``. Those with launchers are in test_sweep.py."""

import csv
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nerfkit import cli
from nerfkit.runs.folder import Run
from tests.conftest import Command

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps


def test_a_sweep_says_what_each_run_has_and_ends_with_a_table(
    command: Command, pipeline: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: Any, words: list[str] | None = None) -> Path:
        record = Run.create(config.output, "clock", config, words)
        record.update_metrics({"scene": {"size": 2.5}, "field": {"psnr": 30.0 + config.seed, "steps": 9}})
        return record.folder

    pipeline.run = run
    assert command(cli.train, "-m", "output=out", "seed=1,2", "field.width=32,64") == 0
    text = capsys.readouterr().out
    assert "run 3 of 4: seed=2 field.width=32\n" in text
    (kept,) = (tmp_path / "out").glob("sweep_*.txt")
    table = kept.read_text().splitlines()
    assert table[0].split() == ["seed", "field.width", "field", "PSNR", "seconds", "run"] and len(table) == 6
    assert [row.split()[:3] for row in table[3:5]] == [["2", "64", "32.000"], ["1", "32", "31.000"]]  # best first
    assert table[3] in text
    rows = list(csv.DictReader(kept.with_suffix(".csv").open()))
    assert [(row["seed"], row["field.width"], float(row["field PSNR"])) for row in rows][1] == ("2", "64", 32.0)


def test_a_sweep_runs_once_for_each_value(command: Command, runs: list[Any]) -> None:
    assert command(cli.train, "-m", "seed=3,4", "preset=smoke") == 0
    assert [config.seed for config in runs] == [3, 4]
    runs.clear()
    assert command(cli.train, "-m", "seed=3,x", "preset=smoke") == 2
    assert runs == []  # the second job's mistake is found before the first job starts


def test_paths_in_a_sweep(command: Command, runs: list[Any], tmp_path: Path) -> None:
    assert command(cli.train, "-m", "scene=kaolin", "scene.root=it's,${x} (1)", "output=a b") == 0
    assert [(config.scene.root, config.output) for config in runs] == [("it's", "a b"), ("${x} (1)", "a b")]
    (tmp_path / "it's,${x} (1)").mkdir()
    assert command(cli.train, "-m", "scene=kaolin", "scene.root=it's,${x} (1)", "seed=1,2") == 0
    assert [(config.scene.root, config.seed) for config in runs[2:]] == [("it's,${x} (1)", 1), ("it's,${x} (1)", 2)]
