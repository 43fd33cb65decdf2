"""``train.py scene.root=PHOTOS``: photos without cameras get them first; too few are refused as by ``prepare``."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from nerfkit import cli, options, pipeline
from nerfkit.prepare import Prepared
from tests.prepare.made import some_photos
from tests.scenes.builders import ring, write_kaolin
from tests.scenes.captures import some_views, write_colmap


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path]]:
    """What ``prepare`` was asked for: it leaves a model of the photos, at once."""
    calls = []

    def prepare(source: Path, out: Path) -> Prepared:
        calls.append((source, out))
        return Prepared(out, 4, 4)

    monkeypatch.setattr(pipeline, "prepare", prepare)
    return calls


def root_after(root: str, output: str, *words: str) -> str | None:
    config = options.compose("train", [f"scene.root={root}", f"output={output}", *words])
    pipeline._find_photos(config)
    return config.scene.root


def test_photos_are_prepared_and_the_run_is_of_what_that_leaves(
    tmp_path: Path, asked: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    some_photos(tmp_path / "shots")
    expected = tmp_path / "out" / "prepared" / "shots"
    assert root_after("shots", "out") == str(expected)
    assert asked == [(tmp_path / "shots", expected)]


@pytest.mark.skipif(sys.platform == "win32", reason="nothing waits there")
def test_two_sources_of_one_name_are_not_prepared_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = [], []

    def prepare(source: Path, out: Path) -> Prepared:
        inside.append(source)
        time.sleep(0.2)
        most.append(len(inside))
        inside.remove(source)
        return Prepared(out, 4, 4)

    monkeypatch.setattr(pipeline, "prepare", prepare)
    roots = [str(some_photos(tmp_path / name / "shots")) for name in "ab"]
    starts = [threading.Thread(target=root_after, args=(root, str(tmp_path / "out"))) for root in roots]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert most == [1, 1]


def test_a_video_is_prepared_under_its_name(tmp_path: Path, asked: list) -> None:
    (tmp_path / "walk.mp4").write_bytes(b"some")
    assert root_after(str(tmp_path / "walk.mp4"), str(tmp_path)) == str(tmp_path / "prepared" / "walk")
    assert asked == [(tmp_path / "walk.mp4", tmp_path / "prepared" / "walk")]


def test_scenes_with_cameras_are_not(tmp_path: Path, asked: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ball = write_kaolin(tmp_path / "ball", ring(3, (6, 8)))
    some_photos(tmp_path / "placed" / "images")
    write_colmap(tmp_path / "placed" / "sparse" / "0", some_views())
    for root in (ball, tmp_path / "placed"):
        assert root_after(os.path.relpath(root), "out") == str(root)
    assert root_after("nowhere", "out") == str(tmp_path / "nowhere")
    some_photos(tmp_path / "shots")
    assert root_after("shots", "out", "scene=colmap") == str(tmp_path / "shots")  # its message is the better one
    assert not asked


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_photos_are_refused_as_prepare_does(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    some_photos(tmp_path / "shots", count)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # the command sets its own
    monkeypatch.setattr(sys, "argv", ["train.py", "scene.root=shots", "output=out"])
    with pytest.raises(SystemExit) as stop:
        cli.train()
    said = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert said[-1].startswith(
        f"error: {tmp_path / 'shots'}: {count} photo{'s' * (count > 1)}, photo_0.jpg; expected at"
    )
    assert not (tmp_path / "out").exists()
