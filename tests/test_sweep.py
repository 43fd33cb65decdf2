"""Sweeps with a launcher that runs jobs beside each other, in processes of their own."""

import csv
import errno
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.singleton import Singleton

from nerfkit.cli import _Files
from nerfkit.runs.configs import configs_through
from nerfkit.sweep import Sweep
from tests.scenes.builders import ring, write_kaolin
from tests.torture import ROOT, SMALL

LAUNCHERS = {"joblib": ["hydra.launcher.n_jobs=2"], "submitit_local": ["hydra.launcher.timeout_min=5"]}


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("NERFKIT_SLOWEST"), reason="half a minute each: NERFKIT_SLOWEST=1")
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_beside_each_other_have_a_folder_each_and_a_bad_one_stops_none(launcher: str, tmp_path: Path) -> None:
    plugin = f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"
    pytest.importorskip(plugin, reason="nerfkit[sweep] is not installed")
    views = write_kaolin(tmp_path / "sphere", ring(12, size=(40, 48)))
    words = [*SMALL, "trainer.max_steps=10", "stages=[field]", f"output={tmp_path / 'out'}"]
    launched = [f"hydra/launcher={launcher}", *LAUNCHERS[launcher]]
    sweep = [*launched, f"scene.root={views},{tmp_path / 'none'}", "seed=0,1"]
    command = [sys.executable, "train.py", "-m", *words, *sweep]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 2 and "Traceback" not in found.stderr, found.stderr
    (kept,) = (tmp_path / "out").glob("sweep_*.txt")
    rows = kept.read_text().splitlines()[2:]
    runs = [Path(row.split()[-1]) for row in rows[:2]]
    assert runs[0] != runs[1] and all((run / "metrics.json").exists() for run in runs)
    assert [row.split()[1] for row in rows] == ["0", "1", "0", "1"] and all("failed: " in row for row in rows[2:])
    left = {path.name for path in (tmp_path / "out").iterdir()} - {".submitit"}
    assert left == {"multirun.yaml", kept.name, kept.with_suffix(".csv").name, "sphere"}


def test_a_launcher_s_process_reads_configs_through_our_checks() -> None:
    before = Singleton.get_state()
    try:
        with configs_through(_Files):
            handed_over = Singleton.get_state()  # as launchers do it to their jobs
        Singleton.set_state(handed_over)
        assert SourcesRegistry.instance().types["file"] is _Files
    finally:
        Singleton.set_state(before)


def test_a_sweep_ends_with_the_first_failure_s_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = Sweep([[f"a={number}"] for number in range(1, 6)], tmp_path)

    def diverge() -> None:
        raise FloatingPointError("the loss is not finite")

    def fail() -> None:
        raise KeyError("a bug")

    def outgrow() -> None:
        raise MemoryError("Unable to allocate 4.00 GiB")

    def be_refused() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "out/a.png")

    sweep.run(0, lambda: tmp_path)
    sweep.run(1, diverge)
    with pytest.raises(KeyError):
        sweep.run(2, fail)
    sweep.run(3, outgrow)
    sweep.run(4, be_refused)
    assert sweep.end() == 3
    said = capsys.readouterr()
    starts = ("the loss is not finite", "there is not enough memory (Unable", "out/a.png: Permission denied; nothing")
    for line, start in zip(said.err.splitlines(), starts, strict=True):
        assert line.startswith(f"error: {start}")
    assert "run 2 of 5: a=2\n" in said.out
    kept, _ = sorted(tmp_path.iterdir(), reverse=True)  # .txt, .csv
    lines = [line.split() for line in kept.read_text().splitlines()[2:]]
    assert lines[0] == ["1", "0", str(tmp_path)]
    assert lines[1][:3] == ["2", "-", "failed:"] and lines[2][:4] == ["3", "-", "failed:", "KeyError:"]


def test_the_best_run_stands_on_top_and_failed_ones_at_the_end(tmp_path: Path) -> None:
    jobs = [["preset=fast", f"seed={seed}", "field=planes", f"++trainer.ema={0.1 * seed}"] for seed in range(4)]
    sweep = Sweep(jobs, tmp_path)
    for number, psnr in enumerate((21.0, None, 23.25, float("nan"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        if psnr is not None:
            measured = {"field": {"psnr": 50.0 - psnr}, "mesh": {"psnr": psnr, "steps": 3}}
            (folder / "metrics.json").write_text(json.dumps(measured))
        sweep.run(number, partial(Path, folder))
    assert sweep.end() == 0
    (kept,) = tmp_path.glob("*.csv")
    rows = list(csv.DictReader(kept.open()))
    assert [row["seed"] for row in rows] == ["2", "0", "1", "3"]
    assert rows[0]["mesh PSNR"] == "23.25" and rows[0]["trainer.ema"] == "0.2" and rows[0]["field PSNR"] == "26.75"
    assert list(rows[0])[:2] == ["seed", "trainer.ema"]
