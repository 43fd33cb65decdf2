"""``doctor --compile``: its jobs run, and leave nothing of theirs to be compiled; one that fails stops nobody."""

import subprocess
import sys
from pathlib import Path

import pytest

from nerfkit import doctor, precompile


@pytest.mark.slow
@pytest.mark.parametrize("job", precompile.JOBS)
def test_a_job_done_once_compiles_nothing_more(job: str) -> None:
    """Where other tests have compiled it all, the first process says so: each takes some ten seconds."""
    command = [sys.executable, "-m", "nerfkit.precompile", job]
    for _ in range(2):
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert said.startswith(f"{job}: ")
        if said == f"{job}: 0 s of compiling":
            return
    pytest.fail(f"{said} in a second process")


def test_a_job_that_fails_is_named_and_the_others_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precompile, "JOBS", {"nothing": lambda folder, words: None})  # the process knows no such job
    photos = ["scene=auto", "scene.root=/photos", "scene.points=/photos/points.ply"]  # never read
    assert precompile.precompile([*photos, "mesh=/photos/model.glb"]) == ([], ["nothing"])
    monkeypatch.setattr(precompile, "JOBS", {})
    for words in ([], photos):
        assert precompile.precompile(words) == ([], [])


@pytest.mark.parametrize(("failed", "code", "says"), [([], "0", ""), (["mesh"], "1", "mesh: failed; the first run")])
def test_the_doctor_s_words(
    failed: list[str], code: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precompile, "precompile", lambda words: ([*words, "field: 3 s of compiling"], failed))
    with pytest.raises(SystemExit, match=code):
        doctor.main(["--compile", "preset=fast"])
    assert capsys.readouterr().out.startswith("preset=fast\nfield: 3 s of compiling\n" + says)
    with pytest.raises(SystemExit, match="2"):
        doctor.main(["--compiled"])
    assert "--compiled" in capsys.readouterr().err


def test_words_of_no_run_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        doctor.main(["--compile", "preset=nope"])
    assert "unknown preset" in capsys.readouterr().err


def test_make_compiles_before_the_clock() -> None:
    lines = (Path(__file__).parents[1] / "Makefile").read_text().splitlines()
    assert "clock: $(COMPILED)" in lines and "\t-$(BIN)/python -m nerfkit doctor --compile && touch $@" in lines
