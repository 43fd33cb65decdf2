"""`python -m nerfkit runs`: every run below a folder in its state, broken ones too."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nerfkit.errors import CheckpointError
from nerfkit.runs.folder import Run, being_written
from nerfkit.runs.lock import locked
from nerfkit.runs.unfinished import newest_unfinished
from nerfkit.runs_command import main as runs

CONFIG = {
    "stages": ["field", "extract"],
    "recipe": None,
    "field": {"name": "planes", "width": 64},
    "trainer": {"max_steps": 4000},
}
FIELD = {"psnr": 31.256, "steps": 4000}
DONE = {
    "scene": {"name": "clock"},
    "field": FIELD,
    "mesh": {"psnr": 28.0, "faces": 8000},
    "stages": {"field": {"seconds": 60.4}, "extract": {"seconds": 2.0}},
    "fingerprints": {"field": {"state": "0"}, "extract": {}},
}


def made(folder: Path, metrics: dict[str, Any], step: int | None = None, config: Any = CONFIG) -> Path:
    """A run with the name ``folder``, of which a checkpoint says ``step``."""
    config = OmegaConf.create(config)
    run = Run.create(folder.parent.parent, folder.parent.name, config, ["scene=clock", "preset=fast", "seed=1"])
    run.update_metrics(metrics)
    run.close()
    if step is not None:
        (run.folder / "checkpoints").mkdir()
        (run.folder / "checkpoints" / f"step_{step:08d}.pt").touch()
    return run.folder.rename(folder)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("outputs")
    begun = {"scene": {"name": "clock"}, "fingerprints": {"field": {"step 10": "0"}}}
    fit = {**DONE, "fingerprints": {"field": {"state": "0"}}}
    made(place / "clock" / "2026-01-01_10-00-00", DONE, 4000)
    made(place / "clock" / "2026-01-02_10-00-00", begun, 300)
    made(place / "deeper" / "clock" / "2026-01-03_10-00-00_2", fit, 4000)
    made(place / "clock" / "2026-01-04_10-00-00", begun)
    made(place / "clock" / "2026-01-05_10-00-00", begun, 700)
    (place / "log.txt").touch()  # what was printed, say: no run
    recipe = {**CONFIG, "recipe": {"name": "nmr_draw"}}
    made(place / "nmr_draw" / "2026-01-06_10-00-00", {"nmr_draw": {"frames": 3}}, config=recipe)
    made(place / "nmr_draw" / "2026-01-07_10-00-00", {"stages": {"nmr_draw": {"seconds": 1.0}}}, config=recipe)
    texts = {
        8: ("metrics.json", "{"),
        9: ("config.yaml", "a: &b [1]\nc: *b"),
        12: ("config.yaml", "3"),
        10: ("metrics.json", '{"mesh": 3}'),
    }
    for day, (name, text) in texts.items():
        (made(place / "clock" / f"2026-01-{day:02d}_10-00-00", DONE) / name).write_text(text)
    (made(place / "clock" / "2026-01-11_10-00-00", DONE) / "config.yaml").unlink()
    return place


def test_every_run_is_in_its_state(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at_work = locked(output / "clock" / "2026-01-05_10-00-00" / "log.txt")
    runs([str(output)])
    text = capsys.readouterr().out
    at_work.close()
    expected = [  # newest first
        "clock/2026-01-12_10-00-00 clock - broken - - - -",
        "clock/2026-01-11_10-00-00 clock - broken - - - -",
        "clock/2026-01-10_10-00-00 clock fast/planes broken - - - -",
        "clock/2026-01-09_10-00-00 clock - broken - - - -",
        "clock/2026-01-08_10-00-00 clock - broken - - - -",
        "nmr_draw/2026-01-07_10-00-00 nmr_draw fast/nmr_draw stopped: nmr_draw - - - 1",
        "nmr_draw/2026-01-06_10-00-00 nmr_draw fast/nmr_draw done - - - 0",
        "clock/2026-01-05_10-00-00 clock fast/planes being written: step 700 of 4000 - - - 0",
        "clock/2026-01-04_10-00-00 clock fast/planes stopped: field - - - 0",
        "deeper/clock/2026-01-03_10-00-00_2 clock fast/planes unfinished: extract 31.26 28.00 8000 62",
        "clock/2026-01-02_10-00-00 clock fast/planes unfinished: step 300 of 4000 - - - 0",
        "clock/2026-01-01_10-00-00 clock fast/planes done 31.26 28.00 8000 62",
    ]
    lines = text.splitlines()
    assert [" ".join(line.split()[:-2]) for line in lines[2 : 2 + len(expected)]] == expected
    why = "\n".join(lines[2 + len(expected) :])
    assert "2026-01-11_10-00-00: no config.yaml" in why and "2026-01-09_10-00-00: " in why and "an alias" in why
    assert why.count("\n") == 4 and "2026-01-12_10-00-00: config.yaml names no stages" in why


def test_as_json(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs([str(output / "clock"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 9 and found[1]["state"] == "broken" and found[1]["why"] == "no config.yaml"
    assert found[-1] == {
        **{"run": "2026-01-01_10-00-00", "date": "2026-01-01 10:00:00", "scene": "clock", "preset": "fast"},
        **{"field": "planes", "state": "done", "stage": None, "step": 4000, "steps": 4000, "psnr": 31.256},
        **{"mesh_psnr": 28.0, "faces": 8000, "seconds": 62.4, "why": None},
    }


def test_a_run_that_is_being_written_is_not_gone_on_with(output: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(output / "clock" / "2026-01-02_10-00-00", tmp_path / "clock" / "2026-01-02_10-00-00")
    assert newest_unfinished(tmp_path) == copied.resolve()
    at_work = Run.open(copied)
    at_work.hold()
    at_work.go_on(OmegaConf.create(CONFIG))
    assert being_written(copied)
    with pytest.raises(CheckpointError, match="no unfinished run"):
        newest_unfinished(tmp_path)
    at_work.close()
    assert not being_written(copied)


def test_what_is_left_of_a_run_under_any_name(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    (tmp_path / "2026-01-01_10-00-00" / "checkpoints").mkdir(parents=True)
    shutil.copytree(output / "clock" / "2026-01-02_10-00-00", tmp_path / "2026-01-01_10-00-00" / "images" / "kept")
    runs([str(tmp_path), "--json"])
    found = {row["run"]: row["why"] for row in json.loads(capsys.readouterr().out)}
    assert found == dict.fromkeys(("mine", "2026-01-01_10-00-00"), "no config.yaml")


def test_folders_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs([str(tmp_path)])
    assert capsys.readouterr().out == f"no runs below {tmp_path}\n"
    with pytest.raises(CheckpointError, match="no such folder"):
        runs([str(tmp_path / "nowhere")])
