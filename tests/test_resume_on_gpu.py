"""Runs that are killed on a GPU, in every fit, go on to the bits of one that nobody killed; CPUs: ``tests.torture``."""

import json
from pathlib import Path
from typing import Any

import pytest

from nerfkit import options, pipeline, resume
from nerfkit.fit import specular_fit
from nerfkit.fit.field import FieldFit
from nerfkit.fit.refine_phases import Phase
from tests.scenes.builders import ring, write_kaolin
from tests.torture import SMALL, run_in

WORDS = [*SMALL, "device=cuda", "stages=[field,extract,refine]", "trainer.max_steps=12", "trainer.checkpoint_every=0"]
WORDS += ["refine.steps=12", "refine.geometry=0.5", "refine.specular_steps=12", "refine.checkpoint_every=0"]


class KilledError(Exception):
    """The program is gone."""


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaolin(tmp_path_factory.mktemp("data") / "sphere", ring(12, size=(40, 48)))


def made(output: Path, views: Path) -> dict[str, Any]:
    """Fingerprints of everything that a run makes."""
    pipeline.run(options.compose("train", [*WORDS, f"scene.root={views}", f"output={output}"]))
    return found(output)


def found(output: Path) -> dict[str, Any]:
    run = run_in(output)
    assert run is not None
    return json.loads((run / "metrics.json").read_text())["fingerprints"]


@pytest.mark.gpu
def test_runs_that_are_killed_end_as_one_in_one_go(
    views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--gpu-dry"):
        pytest.skip("whole runs take a GPU")
    expected = made(tmp_path / "whole", views)
    assert set(expected) == {"field", "extract", "refine"}
    for fit, name in ((FieldFit, "_step"), (Phase, "step"), (specular_fit._Fit, "step")):
        output, whole, life = tmp_path / fit.__name__, getattr(fit, name), [7]

        def mortal(self: Any, share: float, whole: Any = whole, life: list[int] = life) -> Any:
            life[0] -= 1
            if life[0] < 0:
                raise KilledError
            return whole(self, share)

        with monkeypatch.context() as patch:
            patch.setattr(fit, name, mortal)
            with pytest.raises(KilledError):
                made(output, views)
        run = run_in(output)
        assert run is not None
        pipeline.run(resume.resumed(run, []))
        assert "going on from step 7" in (run / "log.txt").read_text()
        assert found(output) == expected, fit.__name__
