import pytest

from nerfkit.runs.outcome import asked, figures

CONFIG = {"seed": 7, "field": {"width": 64}, "trainer": {"poses": "on", "max_seconds": None}, "stages": ["field"]}
WORDS = {
    "seed=3": {"seed": 7},  # the config has what a resumed run was asked last
    "field.width=64": {"field.width": 64},
    "+trainer.poses='on'": {"trainer.poses": "on"},
    "trainer.max_seconds=null": {"trainer.max_seconds": "null"},
    "field=planes": {"field": "planes"},
    "preset=fast": {"preset": "fast"},
    "stages=[field]": {"stages": "[field]"},
    "output=/tmp/a": {},
    "resume=latest": {},
    "-m": {},
}


@pytest.mark.parametrize("word", WORDS)
def test_what_a_word_asked(word: str) -> None:
    assert asked([word], CONFIG) == WORDS[word]


def test_figures_are_results_that_can_be_compared() -> None:
    metrics = {
        "scene": {"scale": 0.5},
        "field": {"psnr": 30.0, "views": [{"psnr": 1.0}], "steps": 400, "seconds": 12.5},
        "mesh": {"ssim": 0.9, "watertight": True, "coarse": {"ssim": 0.8}},
        "stages": {"field": {"seconds": 1.5}},
        "device": "cpu",
    }
    assert list(figures(metrics)) == [("field", "psnr", 30.0), ("mesh", "ssim", 0.9)]
