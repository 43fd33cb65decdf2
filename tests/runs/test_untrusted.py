"""Names of files stay in their folder; archives unpack within limits; configs hold values."""

import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from nerfkit.errors import CheckpointError, ConfigError, SceneError, escaped
from nerfkit.runs import archives
from nerfkit.runs.archives import Archive
from nerfkit.runs.configs import CheckedFiles, check_config, configs_through, load_config
from nerfkit.runs.untrusted import RefusedError, inside, one_name, read_file, within_words


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file in it, and one beside it."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a").write_bytes(b"a")
    (tmp_path / "in2").mkdir()
    (tmp_path / "in2" / "b").write_bytes(b"b")
    return tmp_path / "in"


def test_a_name_and_a_link_within_the_folder(folder: Path) -> None:
    (folder / "deep" / "link").symlink_to(folder / "a")
    for name in ("a", "./a", "deep/../a", "deep/link", str(folder / "a")):
        assert read_file(inside(folder, name)) == b"a"
    assert inside(folder, "none") == folder / "none"  # who opens it will see
    (folder.parent / "door").symlink_to(folder)
    assert inside(folder.parent / "door", "a") == folder.parent / "door" / "a"


@pytest.mark.parametrize(
    "name", ["../in2/b", "deep/../../in2/b", "link", "door/b", "/etc/passwd", "..", "a\0", "\ud800"]
)
def test_a_name_or_link_that_leads_out(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "link").symlink_to(folder.parent / "in2" / "b")
    (folder / "door").symlink_to(folder.parent / "in2")
    with pytest.raises(RefusedError, match=r"leads out of its folder|no file can have"):
        inside(folder, name)
    if "\0" not in name and "\ud800" not in name:
        monkeypatch.setenv("NERFKIT_OUTSIDE", "1")
        assert inside(folder, name) == folder / name


def test_a_file_that_is_too_large(folder: Path) -> None:
    with pytest.raises(RefusedError, match="it has 1 bytes, more than 0"):
        read_file(folder / "a", 0)
    with pytest.raises(IsADirectoryError):
        read_file(folder)


@pytest.mark.parametrize(("name", "one"), [("2026-01-01_10-00-00_2", True), ("a/b", False), ("..", False), ("", False)])
def test_a_name_is_no_path(name: str, one: bool) -> None:
    assert one_name(name) is one


def test_words_as_a_table() -> None:
    words = [b"1"] * 100_000
    assert within_words(words, "number") is words
    with pytest.raises(RefusedError, match="a number of 3,000 characters"):
        within_words([*words, b"1" * 3000], "number")


def test_what_steers_a_terminal_is_spelled_out() -> None:
    assert escaped("a\x1b[2J\u202eé\ud800\n\t\\") == "a\\x1b[2J\\u202eé\\ud800\n\t\\"
    assert str(SceneError("\x07")) == "\\x07"


def zipped(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_all_entries_share_the_room_and_one_read_again_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ROOM", 2500)
    monkeypatch.setattr(archives, "RATIO", 1)
    with Archive(zipped(a=bytes(1000), b=bytes(1000), c=bytes(1000))) as archive:
        for name in "aabbab":
            assert archive.read(name) == bytes(1000)
        with pytest.raises(RefusedError, match="unpacks to more than 2,500 bytes"):
            archive.read("c")
        with pytest.raises(KeyError):
            archive.read("d")


def test_the_room_is_exact_whatever_number_of_threads_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ROOM", 20_000)
    monkeypatch.setattr(archives, "RATIO", 1)
    names = [f"e{k}" for k in range(64)]

    def read(name: str) -> int:
        try:
            return len(archive.read(name))
        except RefusedError:
            return 0

    with Archive(zipped(**{name: bytes(1000) for name in names})) as archive, ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(read, names * 3)) == 3 * 20_000


def test_a_list_of_entries_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives._File, "most", 2000)
    many = zipped(**{f"e{k}": b"" for k in range(100)})
    with pytest.raises(RefusedError, match="its list of entries has 4,890 bytes, more than 2,000"):
        Archive(many)
    with Archive(zipped(large=os.urandom(5000))) as archive:  # the limit is that list's alone
        assert len(archive.read("large")) == 5000


def test_a_config_holds_values(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: 'x\\${b}'\nb: [1, {c: 2.5}]\n")
    assert OmegaConf.to_container(load_config(path), resolve=True) == {"a": "x${b}", "b": [1, {"c": 2.5}]}
    path.write_text("a: 1\nb: ${a}\n")
    with pytest.raises(CheckpointError, match="is to be filled in"):
        load_config(path)
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "none.yaml")


def test_configs_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "experiment" / "x.yaml"
    path.parent.mkdir()
    path.write_text(
        "# @package _global_\n# not of hydra\ndefaults: [override /field: planes]\nseed: ${trainer.samples}\n"
    )
    check_config(path, "experiment")
    path.write_text("# @package _global_\nseed: '${oc.env:HOME}'\n")
    with pytest.raises(ConfigError, match="calls a resolver"):
        check_config(path, "experiment")
    path.write_text("seed: 3\n")
    check_config(path, "experiment")
    with pytest.raises(ConfigError, match="keys of Hydra's own"):
        check_config(path, "experiment/../hydra/callbacks")


def test_hydra_reads_folders_as_before_outside_the_block() -> None:
    Plugins.instance()  # registers Hydra's own
    before = SourcesRegistry.instance().resolve("file")
    with configs_through(CheckedFiles):
        assert SourcesRegistry.instance().resolve("file") is CheckedFiles
    assert SourcesRegistry.instance().resolve("file") is before is not CheckedFiles
