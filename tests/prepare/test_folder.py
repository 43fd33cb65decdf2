"""Whole results, starts that go on, and the pairs that are compared."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from nerfkit.__main__ import main
from nerfkit.prepare import steps
from nerfkit.prepare.features import OVERLAP, pairs_of
from nerfkit.prepare.folder import RESULT, Work, fingerprint_of, finished
from nerfkit.prepare.options import PrepareOptions
from nerfkit.prepare.steps import watched
from tests.prepare.made import shot, some_photos


def whole(out: Path) -> Work:
    """Work of which nothing is left to do but to move it."""
    work = Work(out)
    work.begin("abc")
    (work.images / "a.jpg").write_bytes(b"some")
    work.sparse.mkdir(parents=True)
    for name in RESULT[2:]:
        (work.result / name).write_text('{"fingerprint": "abc"}')
    return work


def test_the_result_is_moved_whole(tmp_path: Path) -> None:
    whole(tmp_path / "out").settle()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(RESULT)
    assert finished(tmp_path / "out") == {"fingerprint": "abc"}


@pytest.mark.parametrize("moved", range(len(RESULT) + 1))
def test_stopped_while_moving(tmp_path: Path, moved: int) -> None:
    work = whole(tmp_path / "out")
    (work.root / "whole").touch()
    for name in RESULT[:moved]:
        (work.result / name).rename(work.out / name)
    assert (finished(tmp_path / "out") is not None) == (moved == len(RESULT))
    work.finish_moving()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(RESULT)


def test_work_goes_on_only_with_the_same_input(tmp_path: Path) -> None:
    work = Work(tmp_path / "out")
    assert not work.begin("abc") and work.photos() is None
    work.keep_photos([shot("a.jpg")], ["a note"])
    assert work.begin("abc") and work.photos() == ([shot("a.jpg")], ["a note"])
    assert not work.begin("def") and work.photos() is None
    work.finish_moving()
    assert work.root.is_dir(), "what is not whole is not moved"
    work.discard()
    assert not (tmp_path / "out").exists()


def test_the_fingerprint_knows_files_and_options(tmp_path: Path) -> None:
    files = sorted(some_photos(tmp_path / "in").iterdir())
    first = fingerprint_of(tmp_path / "in", files, PrepareOptions())
    assert first == fingerprint_of(tmp_path / "in", files, PrepareOptions())
    assert first != fingerprint_of(tmp_path / "in", files, PrepareOptions(seed=1))
    assert first != fingerprint_of(tmp_path / "in", files[1:], PrepareOptions())
    files[0].write_bytes(b"another")
    assert first != fingerprint_of(tmp_path / "in", files, PrepareOptions())


def test_all_pairs_once() -> None:
    assert pairs_of(["c", "a", "b"], sequential=False) == [("c", "a"), ("c", "b"), ("a", "b")]


def test_a_sequence_is_closed() -> None:
    names = [f"{number:03d}" for number in range(100)]
    pairs = pairs_of(names, sequential=True)
    assert len(set(map(frozenset, pairs))) == len(pairs) < 100 * (OVERLAP + 4)
    assert ("000", "010") in pairs and ("000", "011") not in pairs and ("000", "064") in pairs
    assert ("000", "099") in pairs
    assert set(pairs_of(names[:5], sequential=True)) == set(pairs_of(names[:5], sequential=False))


def test_watched_passes_results_and_errors_on() -> None:
    assert watched(lambda: 3, "thing") == 3
    assert watched(lambda: 4, "thing", lambda: 0.5) == 4
    with pytest.raises(ValueError, match="wrong"):
        watched(lambda: int("wrong"), "thing")


def test_what_a_call_is_likely_to_take_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Where there is no terminal: at the start, unless it is short, and in the lines that follow."""
    watched(lambda: 3, "thing", likely=(1.0, 9.0))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(steps, "SECONDS_BETWEEN_LINES", 0.0)
    watched(lambda: time.sleep(0.1), "thing", likely=(3.0, 70.0))
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == "thing: begins; likely to take 0:03 to 1:10, how far it is cannot be seen"
    assert second == "thing: 0:00 of likely 0:03 to 1:10"
    watched(lambda: time.sleep(0.1), "thing")
    assert capsys.readouterr().err.splitlines()[0] == "thing: 0:00"


def test_an_interrupt_asks_the_call_to_stop() -> None:
    stop = threading.Event()

    def share() -> float:
        if stop.is_set():
            return 1.0
        raise KeyboardInterrupt

    calls = iter([0.0])
    with pytest.raises(KeyboardInterrupt):
        watched(lambda: stop.wait(20), "thing", lambda: next(calls, None) or share(), stop.set)
    assert stop.is_set()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["nerfkit", "prepare", *words])
        try:
            main()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1
        return 0

    assert call("--help") == 0 and "features=4096" in capsys.readouterr().out
    assert call("photos") == 2 and "expected photos and a folder" in capsys.readouterr().err
    assert call("photos", "out", "sise=3") == 2 and "did you mean size" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    photos = str(some_photos(tmp_path / "in"))
    assert call(photos, str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: pycolmap") and "pip install 'nerfkit[photos]'" in error


def test_a_finished_folder_is_left(tmp_path: Path) -> None:
    from nerfkit.errors import SceneError
    from nerfkit.prepare import prepare

    root = some_photos(tmp_path / "in")
    work = whole(tmp_path / "out")
    fingerprint = fingerprint_of(root, sorted(root.iterdir()), PrepareOptions())
    content = {"fingerprint": fingerprint, "placed": 3, "total": 4, "notes": [], "advice": ["go"], "source": "in"}
    (work.result / "report.json").write_text(json.dumps(content))
    work.settle()
    lines: list[str] = []
    again = prepare(root, tmp_path / "out", log=lines.append)
    assert (again.placed, again.total) == (3, 4) and "is finished and left as it is: 3 of 4" in lines[0]
    with pytest.raises(
        SceneError, match="OUT holds what was prepared from in, from other photos or with other options"
    ):
        prepare(root, tmp_path / "out", PrepareOptions(seed=1))
