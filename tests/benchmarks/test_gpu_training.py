"""Training, frames and memory of the GPU benchmark, on the CPU with a tiny sphere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_frames, gpu_training
from benchmarks.gpu_limits import Budget
from benchmarks.runs import NOT_THERE, with_data
from nerfkit.fit.field import FieldFit
from nerfkit.scenes import Scene, open_scene
from tests.fit.test_field import new_fit
from tests.scenes.builders import ring, write_kaolin

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps

CPU = torch.device("cpu")
WORDS = ("trainer.max_steps=null", "trainer.max_seconds=0.3")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return open_scene("kaolin", write_kaolin(tmp_path_factory.mktemp("sphere") / "views", ring(6)), holdout=3)


@pytest.fixture
def build(scene: Scene, tmp_path: Path) -> Callable[[], FieldFit]:
    return lambda: new_fit(scene, tmp_path, *WORDS)


def test_a_scene(build: Callable[[], FieldFit], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(gpu_training, "RERUN", 3)
    monkeypatch.setattr(gpu_training, "PROFILED", 2)
    found, fit = gpu_training.measured(build, {"size": [32, 32]}, 0.3, CPU, Budget(600))
    assert fit is not None and found["rerun"]["equal"] and found["size"] == [32, 32]
    assert found["seconds"] >= 0.3
    assert found["steps"] % gpu_training.STEPS_AT_ONCE == 0
    assert found["steps_per_second"] == pytest.approx(found["steps"] / found["seconds"], rel=1e-2)
    moments = [second for second, _ in found["curve"]]
    assert moments == sorted(moments) and moments[-1] == found["seconds"]
    assert found["curve"][-1][1] > 10
    assert found["psnr_views"] == [0, 3]
    assert found["gaps"]["step_ms"] > 0 and found["gaps"]["idle"] == "not known: the profiler saw no GPU"
    assert "peak_bytes" not in found
    gpu_training.describe("sphere", found)
    assert "steps/s" in capsys.readouterr().out


def test_reached_thresholds() -> None:
    curve = [(0.5, 20.0), (1.0, 26.5), (2.0, 25.0), (3.0, 34.0)]
    assert gpu_training.reached(curve) == {"24": 1.0, "26": 1.0, "28": 3.0, "30": 3.0, "32": 3.0, "33.8": 3.0}


def test_fits_that_differ_are_named(build: Callable[[], FieldFit]) -> None:
    fits = [build(), build()]
    with torch.no_grad():
        fits[1].model.get_parameter("field.color.bias")[0] += 1e-3
    found = gpu_training.repeatable(lambda: fits.pop(), steps=1)
    assert not found["equal"] and "field.color.bias" in found["differing"]


def test_a_fit_that_breaks_says_so(build: Callable[[], FieldFit], monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(fit: FieldFit) -> None:
        raise FloatingPointError("the loss is NaN")

    monkeypatch.setattr(FieldFit, "step", breaks)
    found, fit = gpu_training.measured(build, {}, 1.0, CPU, Budget(600))
    assert fit is None and found["failed"] == found["rerun"]["failed"] == "FloatingPointError: the loss is NaN"


def test_scenes_that_cannot_be_trained_say_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NERFKIT_DATA", raising=False)
    found, fit = gpu_training.results(CPU, Budget(5), 40.0, ["clock", "mic"])
    assert fit is None
    assert found["clock"] == {"not_run": "no time left for 40 s of training"}
    assert found["mic"] == {"not_run": f"$NERFKIT_DATA/nerf_mic {NOT_THERE}"}
    (tmp_path / "nerf_mic").mkdir()
    monkeypatch.setenv("NERFKIT_DATA", str(tmp_path))
    words = with_data(gpu_training.SCENES["mic"])
    assert words == ["scene=blender", f"scene.root={tmp_path / 'nerf_mic'}", "scene.resolution=800"]


def test_the_preset_is_the_gpu_s_and_a_scene_s_own_words_win() -> None:
    config = gpu_training.config_of(["scene=blender", "scene.resolution=800", "scene.root=/somewhere"], 40.0)
    assert (config.field.width, config.field.depth, config.field.octaves) == (128, 4, 10)
    assert (config.scene.resolution, config.trainer.max_seconds) == (800, 40.0)
    assert gpu_training.config_of(["scene=clock"], 40.0).scene.resolution == 512


def test_frames(build: Callable[[], FieldFit]) -> None:
    fit = build()
    cameras = fit.scene.cameras
    found = gpu_frames.frames(fit.average, cameras, [0, 3], CPU, side=12)
    assert found["views"] == 2 and 0 < found["share_of_samples_evaluated"] <= 1
    assert found["largest_difference"] <= 1e-4
    assert min(found[name]["frames_per_second"] for name in ("with_waves", "without_waves")) > 0
    colors, evaluated = gpu_frames.whole_view(fit.average, cameras, 0, gpu_frames.EVERYTHING)
    image = fit.average.render_view(cameras, 0)
    torch.testing.assert_close(colors, image.rgb.view(-1, 3), rtol=0, atol=1e-4)
    assert evaluated > 0


def test_the_gradient_of_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = gpu_frames.Picture(side=5, samples=4, piece=7, width=16, depth=2, octaves=2)
    found: dict[str, Any] = gpu_frames.backward_memory(CPU, picture)
    assert found["finite"] and found["seconds"] > 0
    assert "bytes_above_weights" not in found  # only a GPU tells
    monkeypatch.setattr(gpu_frames, "_seconds", lambda function, device: function() and 2.0)
    assert gpu_frames.backward_memory(CPU, picture)["samples_per_second"] == 50
