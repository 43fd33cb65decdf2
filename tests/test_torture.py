"""Runs that are stopped from outside, at any moment, and go on. ``make torture`` does many more."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nerfkit.runs import checkpoints
from tests.scenes.builders import ring, write_kaolin
from tests.torture import ROOT, SMALL, log_of, run_in, torture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a program without a signal"),
]


def test_a_run_that_is_killed_and_resumed_is_the_run_that_nobody_killed(tmp_path: Path) -> None:
    report = torture(tmp_path, kills=3, seed=6)  # two kinds of Ctrl-C, SIGKILL; SIGTERM below
    assert report.wrong == []
    assert report.kills == 3


def test_sigterm_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    views = write_kaolin(tmp_path / "sphere", ring(12, size=(40, 48)))
    words = [*SMALL, f"scene.root={views}", f"output={tmp_path / 'out'}", "trainer.max_steps=1000000"]
    process = subprocess.Popen([sys.executable, "train.py", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    give_up = time.monotonic() + 120
    while (run := run_in(tmp_path / "out")) is None or not checkpoints.steps(run):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.05)
    before = checkpoints.steps(run)[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert checkpoints.steps(run)[0] > before
    assert f"stopped; go on with: python train.py resume={run}" in log_of(run)
